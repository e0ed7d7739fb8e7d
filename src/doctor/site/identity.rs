//! Whether a client that has not logged in is anonymous on every connection.

use super::Id;
use super::reply::Reply;
use super::visit::Visit;
use super::wire::Broke;
use crate::words::counted;

/// Connections that are tried each time: a pool may hand out several before the one that is logged in.
const TRIES: usize = 4;

const FIX: &str = "take that proxy out of service now; then give each client a connection of its own to the server (nginx: \
                   keepalive shares connections between users; iisplice proxy does not)";
const WHY: &str = "a stranger acts as a user who has logged in: this is a breach, not a nuisance";

/// Before any login of ours.
pub(super) fn fresh(visit: &mut Visit<'_>) {
    let Some(first) = visit.seen.anonymous.clone() else { return };
    let mut replies = vec![Ok(first.clone())];
    replies.extend((1..TRIES).map(|_| visit.ask_anonymously()));
    if let Some(saw) = leaked(visit, &first, &replies) {
        visit.seen.has_leaked = true;
        visit.broken(Id::FreshConnection, format!("LEAK: {saw}"), WHY, FIX);
    } else if first.status == 401 {
        visit.fine(Id::FreshConnection, format!("{TRIES} new connections are anonymous"));
    }
}

/// While a connection is logged in.
pub(super) fn during_login(visit: &mut Visit<'_>) {
    if visit.seen.works.is_some() {
        visit.seen.during = (0..TRIES).map(|_| visit.ask_anonymously()).collect();
    }
}

/// When it has closed.
pub(super) fn after_login(visit: &mut Visit<'_>) {
    let Some(first) = visit.seen.anonymous.clone() else { return };
    if visit.seen.works.is_none() {
        return;
    }
    visit.seen.held = None;
    let mut replies = std::mem::take(&mut visit.seen.during);
    replies.extend((0..TRIES).map(|_| visit.ask_anonymously()));
    match leaked(visit, &first, &replies) {
        Some(saw) => {
            visit.seen.has_leaked = true;
            visit.broken(Id::Leak, format!("LEAK: after a login, {saw}"), WHY, FIX);
        }
        None if visit.seen.has_leaked => {}
        None => visit.fine(
            Id::Leak,
            format!("{TRIES} connections opened during a login, and {TRIES} after it, are anonymous"),
        ),
    }
}

/// The user that a reply on a connection of ours names, if that is another user.
pub(super) fn named_other(visit: &Visit<'_>, reply: &Reply) -> Option<String> {
    let named = reply.user(visit.settings.identity_header.as_deref())?;
    let ours = visit.budget.user()?;
    (account(&named) != account(&ours)).then_some(named)
}

/// The account in `CORP\alice`, `alice@corp.example.com` or `alice`. Domains are left out: one has several names.
fn account(name: &str) -> String {
    let name = name.rsplit_once('\\').map_or(name, |(_, name)| name);
    name.split('@').next().unwrap_or_default().to_lowercase()
}

/// A reply on a connection of ours named another user.
pub(super) fn another_user(visit: &mut Visit<'_>, named: &str) {
    visit.seen.has_leaked = true;
    let ours = visit.budget.user().unwrap_or_default();
    visit.broken(
        Id::Leak,
        format!("LEAK: a request on the connection of {ours} is answered AS ANOTHER USER, {named}"),
        WHY,
        FIX,
    );
}

/// What gives a leak away: a reply that names a user, or one without 401 where the page asks for a login.
fn leaked(visit: &Visit<'_>, first: &Reply, replies: &[Result<Reply, Broke>]) -> Option<String> {
    let header = visit.settings.identity_header.as_deref();
    let named = replies.iter().flatten().find_map(|reply| reply.user(header));
    if let Some(name) = named {
        return Some(format!("a request WITHOUT A LOGIN on a new connection is answered as {name}"));
    }
    let statuses: Vec<u16> = replies.iter().flatten().map(|reply| reply.status).collect();
    let asks = first.status == 401 || statuses.contains(&401);
    // A user who may log in and not see the page gets 403, and so does who is taken for him.
    let as_user =
        visit.seen.logged_in.as_ref().map(|reply| reply.status).filter(|status| (400..500).contains(status));
    let is_served = |status: u16| (200..400).contains(&status) || Some(status) == as_user;
    let served = statuses.iter().filter(|status| is_served(**status)).count();
    (asks && served > 0).then(|| {
        let requests = counted(replies.len() as u64, "request", "requests");
        format!("{served} of {requests} WITHOUT A LOGIN on new connections are served")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_in_each_way_of_writing() {
        for name in ["CORP\\Alice", "alice@corp.test", "alice", "corp.test\\ALICE"] {
            assert_eq!(account(name), "alice", "{name}");
        }
    }
}
