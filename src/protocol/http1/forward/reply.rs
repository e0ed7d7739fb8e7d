//! The head of a reply as the client is to see it.

use super::fields::{Edits, is_hop_by_hop, line, write_connection};
use crate::protocol::http1::response::ResponseHead;

impl ResponseHead<'_, '_> {
    fn has_item(&self, name: &str, item: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|found| found.trim_ascii().eq_ignore_ascii_case(item.as_bytes()))
    }

    /// Does it ask for a login that holds for the connection?
    fn asks_for_windows_authentication(&self) -> bool {
        self.status == 401
            && self.values("www-authenticate").any(|value| {
                value.split(|&byte| byte == b',').any(|challenge| {
                    let scheme =
                        challenge.trim_ascii().split(|&byte| byte == b' ').next().unwrap_or_default();
                    [&b"ntlm"[..], b"negotiate", b"nego2"]
                        .iter()
                        .any(|name| scheme.eq_ignore_ascii_case(name))
                })
            })
    }
}

/// Appends the head of `reply` as the client is to see it. `keep_alive`: whether the client's connection goes on.
pub fn write_reply(
    reply: &ResponseHead<'_, '_>,
    to_http11: bool,
    keep_alive: bool,
    edits: &Edits,
    out: &mut Vec<u8>,
) {
    let status = [
        b'0' + (reply.status / 100) as u8,
        b'0' + (reply.status / 10 % 10) as u8,
        b'0' + (reply.status % 10) as u8,
    ];
    for part in [&b"HTTP/1.1 "[..], &status, b" ", reply.reason.as_bytes(), b"\r\n"] {
        out.extend_from_slice(part);
    }
    for header in reply.headers {
        let dropped =
            edits.drops(header.name) || is_hop_by_hop(header.name, |item| reply.has_item("connection", item));
        if !dropped {
            line(out, header.name, header.value);
        }
    }
    // RFC 4559 section 6: a proxy between says that it does not share authenticated connections.
    if reply.asks_for_windows_authentication() && reply.values("proxy-support").next().is_none() {
        line(out, "Proxy-Support", b"Session-Based-Authentication");
    }
    edits.write(out);
    if reply.status == 101 || reply.status >= 200 {
        // 426 names what it wants in the same way as 101.
        let upgrade = reply.values("upgrade").next().filter(|_| matches!(reply.status, 101 | 426));
        write_connection(out, to_http11, keep_alive || reply.status == 101, upgrade);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::response::{AnswerTo, read_next_head};

    fn answered(head: &str, keep_alive: bool) -> String {
        let out = read_next_head(head.as_bytes(), AnswerTo::Usual, |reply| {
            let mut out = Vec::new();
            write_reply(reply, true, keep_alive, &Edits::default(), &mut out);
            out
        });
        let out = out.expect("sound").expect("whole");
        String::from_utf8(out).expect("what came was text")
    }

    #[test]
    fn a_change_of_protocol_goes_on() {
        let reply = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        let expected =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(answered(reply, true), expected);
    }

    #[test]
    fn a_challenge_goes_on_in_its_form_and_says_that_nothing_is_shared() {
        let reply = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate, NTLM\r\nwww-authenticate: Basic realm=\"a\"\r\n\
                     Connection: keep-alive\r\n\r\n";
        let expected = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate, NTLM\r\nwww-authenticate: Basic realm=\"a\"\r\n\
                        Proxy-Support: Session-Based-Authentication\r\n\r\n";
        assert_eq!(answered(reply, true), expected);
        let basic = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"NTLM\"\r\n\r\n";
        assert_eq!(answered(basic, true), basic);
        let closing = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false);
        assert_eq!(closing, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}
