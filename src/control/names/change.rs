//! A name that stands for other servers: its groups get them for new connections, and nothing else changes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::watch::{Change, Watch};
use crate::control::admin::Admin;
use crate::control::own_listener;
use crate::control::running::Running;
use crate::control::sources;
use crate::upstream::GroupSettings;
use crate::upstream::names::{Answer, Name};

/// Most addresses that a line names.
const NAMED_MAX: usize = 8;

/// Takes over what names stand for now.
pub(in crate::control) fn take_over(running: &mut Running) {
    while let Some(change) = running.names.as_ref().and_then(Watch::next) {
        apply(running, change);
    }
}

fn apply(running: &mut Running, Change { key: (name, interval), answer, .. }: Change) {
    let Some(answer) = without_own(running, &name, answer) else { return };
    let is_concerned = |group: &GroupSettings| {
        group.resolve_interval == interval
            && group.names().any(|(own, known)| *own == name && known.servers != answer.servers)
    };
    let services = running.services();
    let mut groups: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut before: BTreeSet<SocketAddr> = BTreeSet::new();
    running.replace_groups(|group| {
        if !is_concerned(group) {
            return None;
        }
        groups.insert(Arc::clone(&group.name));
        let known = group.names().filter(|(own, _)| *own == name);
        before.extend(known.flat_map(|(_, known)| &known.servers).map(|found| found.address));
        Some(group.with_answer(&name, &answer))
    });
    if groups.is_empty() {
        return;
    }
    let now: BTreeSet<_> = answer.servers.iter().map(|found| found.address).collect();
    tracing::info!(
        %name,
        groups = groups.into_iter().collect::<Vec<_>>().join(","),
        added = list(now.difference(&before)),
        removed = list(before.difference(&now)),
        servers = now.len(),
        "name has other servers; using them for new connections"
    );
    sources::log_what_new_servers_need(&services, &running.services());
}

/// The answer without the proxy's own listeners, whose connections would loop, and its admin endpoint, which is not for
/// clients; none if no other server is left.
fn without_own(running: &Running, name: &Name, mut answer: Answer) -> Option<Answer> {
    let admin = running.admin.as_ref().map(Admin::address);
    let listeners: Vec<_> = running.listeners.addresses().chain(admin).collect();
    let before = answer.servers.len();
    answer.servers.retain(|found| !own_listener::is_own(found.address, &listeners));
    let own = before - answer.servers.len();
    if own > 0 {
        tracing::warn!(%name, addresses = own, "name has addresses of this proxy's own listeners; leaving them out");
    }
    (!answer.servers.is_empty()).then_some(answer)
}

/// Some of the addresses with commas, `-` for none.
fn list<'a>(addresses: impl Iterator<Item = &'a SocketAddr>) -> String {
    let all: Vec<_> = addresses.map(ToString::to_string).collect();
    match all.len() {
        0 => "-".to_owned(),
        1..=NAMED_MAX => all.join(","),
        count => format!("{},and {} more", all[..NAMED_MAX].join(","), count - NAMED_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_few_addresses() {
        let addresses = |count: u8| {
            let all: Vec<SocketAddr> = (0..count).map(|number| ([192, 0, 2, number], 80).into()).collect();
            list(all.iter())
        };
        assert_eq!(addresses(0), "-");
        assert_eq!(addresses(2), "192.0.2.0:80,192.0.2.1:80");
        assert!(addresses(250).ends_with("192.0.2.7:80,and 242 more"));
    }
}
