//! The grammar of hosts, as `Host` and absolute targets have them (RFC 9110 sections 4.2 and 7.2, RFC 3986 section 3.2).

use std::net::Ipv6Addr;

/// Whether this is `host` or `host:port`, without user information.
///
/// A name has letters, digits, `-._~`, the underscores of Active Directory, the other characters that RFC 3986 allows,
/// and percent-encoded bytes of names that are not ASCII. Refused are a comma, which joins two fields into one, a
/// semicolon, which Apache does not accept, and percent-encoded ASCII, which only some servers decode.
pub fn is_host(text: &[u8]) -> bool {
    if let Some(rest) = text.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
        let address = std::str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
        return address.is_some() && is_port(&rest[end + 1..]);
    }
    let end = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
    end > 0 && is_name(&text[..end]) && is_port(&text[end..])
}

/// A valid host with an optional port as two parts. An empty port counts as none.
pub fn split_port(host: &[u8]) -> (&[u8], Option<u16>) {
    let name_end = if host.starts_with(b"[") { host.iter().position(|&byte| byte == b']') } else { None };
    let from = name_end.unwrap_or(0);
    match host[from..].iter().position(|&byte| byte == b':') {
        None => (host, None),
        Some(colon) => {
            let (host, port) = host.split_at(from + colon);
            (host, std::str::from_utf8(&port[1..]).ok().and_then(|port| port.parse().ok()))
        }
    }
}

fn is_name(mut name: &[u8]) -> bool {
    // Nearly all names have nothing encoded.
    while let Some(odd) = name.iter().position(|&byte| !is_name_byte(byte)) {
        name = match &name[odd..] {
            [b'%', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', low, rest @ ..] if low.is_ascii_hexdigit() => {
                rest
            }
            _ => return false,
        };
    }
    true
}

/// Whether a name may contain this byte unencoded.
const fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES[byte as usize]
}

/// [`is_name_byte`] of each byte.
const NAME_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[byte] = matches!(byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
            | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b'=');
        byte += 1;
    }
    bytes
};

/// Whether this is empty, or a colon and a number up to 65535; the number may be missing (RFC 3986 section 3.2.3).
fn is_port(text: &[u8]) -> bool {
    let Some((&first, digits)) = text.split_first() else { return true };
    let number = digits.iter().try_fold(0_u32, |sum, digit| {
        let sum = sum * 10 + char::from(*digit).to_digit(10)?;
        (sum <= 65535).then_some(sum)
    });
    first == b':' && number.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "a",
            "a.corp.example",
            "a.corp.example.",
            "FILE_SRV01",
            "a:80",
            "a:",
            "a:0080",
            "a:65535",
            "192.0.2.1",
            "192.0.2.1:8080",
            "[::1]",
            "[::1]:80",
            "[2001:db8::192.0.2.1]:443",
            "xn--bcher-kva.example",
            "b%C3%BCcher",
            "a!$&'()*+=~b",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn hosts_have_ports() {
        for (host, expected) in [
            (&b"a"[..], (&b"a"[..], None)),
            (b"a:", (b"a", None)),
            (b"a:0080", (b"a", Some(80))),
            (b"[::1]", (b"[::1]", None)),
            (b"[::1]:65535", (b"[::1]", Some(65535))),
            (b"", (b"", None)),
        ] {
            assert_eq!(split_port(host), expected, "{}", host.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_host() {
        for host in [
            &b"a b"[..],
            b"u@a",
            b"@a",
            b"a/b",
            b"a/",
            b"a, b",
            b"a,b",
            b"a;b",
            b"http://a",
            b"a:b",
            b"a:80b",
            b"a:-1",
            b"a:+1",
            b"a: 80",
            b"a:80:80",
            b"a:65536",
            b"a:99999999999999999999",
            b":80",
            b":",
            b"",
            b"::1",
            b"[::1",
            b"::1]",
            b"[::1]a",
            b"[::1]80",
            b"[::1]:x",
            b"[]",
            b"[a]",
            b"[192.0.2.1]",
            b"[::1%25eth0]",
            b"[v1.a]",
            b"[[::1]]",
            b"a[::1]",
            b"a\"b",
            b"\"a\"",
            b"a\tb",
            b"a\\b",
            b"a?b",
            b"a#b",
            b"<a>",
            b"{a}",
            b"a|b",
            b"a^b",
            b"a`b",
            b"a%",
            b"a%2",
            b"a%zz",
            b"a%8g",
            b"a%20b",
            b"a%2fb",
            b"a%00",
            b"b\xfccher",
            b"b\xc3\xbccher",
            b"a\x7f",
            b"a\x01",
        ] {
            assert!(!is_host(host), "{}", host.escape_ascii());
        }
    }
}
