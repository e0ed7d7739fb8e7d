//! Redirecting a request to https.

use super::target::Target;
use crate::protocol::http1::request::split_port;

/// Status and reason of a redirect for good. Clients turn a POST into a GET on 301, but not on 308 (RFC 9110 section
/// 15.4.9); older ones know only 301.
pub fn moved(method: &str) -> (u16, &'static str) {
    if matches!(method, "GET" | "HEAD") { (301, "Moved Permanently") } else { (308, "Permanent Redirect") }
}

/// Where to find over TLS, at `port`, what a request for `host` asks for. The host is one by its grammar, and its own
/// port does not count; nothing when it is empty.
pub fn https_location(host: &[u8], target: &Target<'_>, port: u16) -> Option<String> {
    let (name, _plain_port) = split_port(host);
    if name.is_empty() {
        return None;
    }
    let mut location = "https://".to_owned();
    push_ascii(&mut location, name);
    if port != 443 {
        location.extend([":", &port.to_string()]);
    }
    for part in target.parts().into_iter().filter(|part| *part != b"*") {
        push_ascii(&mut location, part);
    }
    Some(location)
}

/// Bytes over 0x7F, which targets may have, are percent-encoded: a URI has none.
fn push_ascii(location: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii() {
            location.push(char::from(byte));
        } else {
            let escaped = format!("%{byte:02X}");
            location.push_str(&escaped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::forward::target;

    #[test]
    fn the_same_resource_over_tls() {
        for (host, method, given, port, expected) in [
            ("web.example", "GET", &b"/"[..], 443, "https://web.example/"),
            ("web.example:80", "GET", b"/a?b=c&d", 443, "https://web.example/a?b=c&d"),
            ("web.example:", "GET", b"//evil.example/", 8443, "https://web.example:8443//evil.example/"),
            ("[2001:db8::1]:80", "GET", b"/", 443, "https://[2001:db8::1]/"),
            ("[2001:db8::1]", "GET", b"/", 8443, "https://[2001:db8::1]:8443/"),
            ("web", "GET", b"/M\xfcller", 443, "https://web/M%FCller"),
            ("web", "GET", b"http://web?a", 443, "https://web/?a"),
            ("web", "OPTIONS", b"*", 443, "https://web"),
        ] {
            let target = target(method, given).expect("a target");
            assert_eq!(https_location(host.as_bytes(), &target, port).as_deref(), Some(expected));
        }
        assert_eq!(https_location(b"", &target("GET", b"/").expect("a path"), 443), None);
    }

    #[test]
    fn only_what_is_safe_to_repeat_as_get_is_301() {
        assert_eq!([moved("GET").0, moved("HEAD").0], [301, 301]);
        assert_eq!([moved("POST").0, moved("OPTIONS").0, moved("get").0], [308, 308, 308]);
    }
}
