//! The capabilities that settings need after the start, and the end of all others.

use std::fs;

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use crate::control::setting::Named;
use crate::proxy::settings::Service;
use crate::upstream::Sources;
use crate::uring::Address;

/// The kernel's default of `net.ipv4.ip_unprivileged_port_start`.
const UNPRIVILEGED_PORTS: u16 = 1024;

/// What these services need of root later. `named`: where the settings come from.
pub(in crate::control) fn needed<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    named: Named,
) -> CapabilitySet {
    let mut needed = CapabilitySet::empty();
    let first_free = first_unprivileged_port();
    for service in services {
        let is_low =
            |address: &Address| matches!(address, Address::Ip(ip) if (1..first_free).contains(&ip.port()));
        // Listeners that flags name are bound once and for all; a file can be changed and read again.
        if named == Named::Keys && service.listeners.iter().any(|listener| is_low(&listener.address)) {
            needed |= CapabilitySet::NET_BIND_SERVICE;
        }
        // Of the two that IP_TRANSPARENT takes (ip(7)) this one cannot change the host's network.
        if service.groups().any(|group| group.sources == Sources::Client) {
            needed |= CapabilitySet::NET_RAW;
        }
    }
    needed
}

fn first_unprivileged_port() -> u16 {
    let set = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    set.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(UNPRIVILEGED_PORTS)
}

/// Takes all but these out of the bounding set. Returns those of them that this thread has.
pub(super) fn bound(kept: CapabilitySet) -> io::Result<CapabilitySet> {
    let kept = kept & capabilities(None)?.permitted;
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !kept.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // Behind the last one that this kernel knows.
            Err(_) => break,
        }
    }
    Ok(kept)
}

/// Gives up all but these, and those that a program started from here would have.
pub(super) fn keep(kept: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}

/// Their names, separated by commas; `none` for none.
pub(in crate::control) fn names(set: CapabilitySet) -> String {
    let names: Vec<_> =
        set.iter_names().map(|(name, _)| format!("cap_{}", name.to_ascii_lowercase())).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proxy::routes::Routes;
    use crate::proxy::settings::Listener;
    use crate::upstream::GroupSettings;

    fn service(listener: &str, sources: Sources) -> Service {
        let group = GroupSettings { sources, ..GroupSettings::new("g", Vec::new()) };
        let listener = Listener::at(Address::Ip(listener.parse().expect("an address")));
        Service::new("s", vec![listener], Routes::all(Arc::new(group)))
    }

    #[test]
    fn only_what_a_reload_or_a_session_can_need_is_kept() {
        let needed = |listener, sources, named| names(needed([&service(listener, sources)], named));
        assert_eq!(needed("127.0.0.1:65000", Sources::Kernel, Named::Keys), "none");
        assert_eq!(needed("127.0.0.1:65000", Sources::Client, Named::Flags), "cap_net_raw");
        // A host may have all ports free.
        if first_unprivileged_port() > 1 {
            assert_eq!(needed("127.0.0.1:1", Sources::Kernel, Named::Flags), "none");
            assert_eq!(needed("127.0.0.1:1", Sources::Kernel, Named::Keys), "cap_net_bind_service");
        }
    }
}
