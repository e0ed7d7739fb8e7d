//! The client that X-Forwarded-For names.

use std::net::{IpAddr, SocketAddr};

/// The address behind which there is no proxy that is trusted, by the field values of X-Forwarded-For in their order, whose
/// sender is trusted. Each proxy adds the address that connected to it at the end: the last one that is not a trusted proxy
/// is the client (as nginx's `real_ip_recursive`); if all are, the first one is. None without an address at the end.
pub fn forwarded_client<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let values: Vec<_> = values.collect();
    let mut client = None;
    for item in values.into_iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b',')) {
        // What a proxy could not name ends the chain.
        let Some(address) = address(item) else { break };
        client = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// An address as proxies write it: with or without brackets and port.
fn address(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(item).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(values: &[&str]) -> Option<String> {
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        forwarded_client(values.iter().map(|value| value.as_bytes()), is_trusted)
            .map(|address| address.to_string())
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxy_is_the_client() {
        for (values, expected) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["192.0.2.1, 192.0.2.2"], Some("192.0.2.2")),
            (&["192.0.2.1,192.0.2.2 ,\t10.0.0.1,10.0.0.2"], Some("192.0.2.2")),
            (&["192.0.2.1", "10.0.0.1, 10.0.0.2"], Some("192.0.2.1")),
            (&["10.0.0.3, 10.0.0.1"], Some("10.0.0.3")),
            (&["[2001:db8::1]:443"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["192.0.2.1:4000"], Some("192.0.2.1")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
            (&["::ffff:10.0.0.1, ::ffff:10.0.0.2"], Some("10.0.0.1")),
            (&["192.0.2.1, unknown"], None),
            (&["192.0.2.1, unknown, 10.0.0.1"], Some("10.0.0.1")),
            (&["192.0.2.1,"], None),
            (&["", "192.0.2.300"], None),
            (&[], None),
        ] {
            assert_eq!(client(values).as_deref(), expected, "{values:?}");
        }
        assert_eq!(forwarded_client([&b"\xff\xfe"[..]].into_iter(), |_| true), None);
    }
}
