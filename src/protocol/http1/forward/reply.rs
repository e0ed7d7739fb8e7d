//! The head of a reply as the client receives it.

use httparse::Header;

use super::fields::{Copier, Edits, is_hop_by_hop, line, write_connection};
use super::origin::Origins;
use super::own_cookie::OwnCookie;
use crate::protocol::http1::connection::ConnectionOptions;
use crate::protocol::http1::response::ResponseHead;

impl ResponseHead<'_, '_> {
    /// Whether it asks for a login that holds for the connection.
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

/// The changes to a reply's head.
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Debug, Clone, Copy)]
pub struct ReplyChanges<'a> {
    /// Whether the client speaks HTTP/1.1; if not, it speaks HTTP/1.0.
    pub to_http11: bool,
    /// Whether the client's connection stays open after this reply.
    pub keep_alive: bool,
    /// Whether the body is sent without chunks, up to the end of the connection, because HTTP/1.0 has no chunks.
    pub unchunked: bool,
    /// Where the request went, if references to the server become references to what the client asked.
    pub origins: Option<&'a Origins<'a>>,
    /// Whether every cookie is for TLS only.
    pub secure_cookies: bool,
    /// The cookie by which the proxy knows the client again, if it does.
    pub own_cookie: Option<OwnCookie<'a>>,
    /// The operator's changes.
    pub edits: &'a Edits,
}

/// Appends the head of `reply` as the client receives it.
pub fn write_reply(reply: &ResponseHead<'_, '_>, changes: &ReplyChanges<'_>, out: &mut Vec<u8>) {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    let status = [digit(reply.status / 100), digit(reply.status / 10), digit(reply.status)];
    for part in [&b"HTTP/1.1 "[..], &status, b" ", reply.reason, b"\r\n"] {
        out.extend_from_slice(part);
    }
    let connection = ConnectionOptions::read(reply.values("connection"));
    let mut length_bytes = reply.content_length;
    let mut fields = Copier::new(reply.lines, out);
    for header in reply.headers {
        let name = header.name;
        if changes.edits.drops(name) || is_hop_by_hop(name, &connection) {
            continue;
        }
        if name.eq_ignore_ascii_case("content-length") {
            // Equal values become one.
            match length_bytes.take() {
                Some(_) if is_one_number(header.value) => fields.copy(header),
                Some(length_bytes) => fields.line(name, length_bytes.to_string().as_bytes()),
                None => {}
            }
        } else if !is_dropped_framing(reply, changes, name)
            && !changes.own_cookie.is_some_and(|own| own.is_set_by(name, header.value))
        {
            write_field(changes, header, &mut fields);
        }
    }
    fields.end();
    // RFC 4559 section 6: a proxy announces that it does not share authenticated connections.
    if reply.asks_for_windows_authentication() && reply.values("proxy-support").next().is_none() {
        line(out, "Proxy-Support", b"Session-Based-Authentication");
    }
    changes.edits.write(out);
    if !reply.is_interim() {
        if let Some(own) = &changes.own_cookie {
            own.write(reply, changes.edits, out);
        }
        // 426 names the protocol it requires in the same way as 101.
        let upgrade = if matches!(reply.status, 101 | 426) { reply.values("upgrade").next() } else { None };
        let keep_alive = changes.keep_alive || reply.status == 101;
        write_connection(out, changes.to_http11, keep_alive, upgrade);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(changes: &ReplyChanges<'_>, header: &Header<'_>, fields: &mut Copier<'_, '_>) {
    let Header { name, value } = *header;
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    if changes.secure_cookies && is("set-cookie") && !has_attribute(value, b"secure") {
        return fields.line(name, &[value, b"; Secure"].concat());
    }
    let unshared =
        changes.own_cookie.filter(|_| is("cache-control")).and_then(|own| own.cache_control(value));
    if let Some(unshared) = unshared {
        if !unshared.is_empty() {
            fields.line(name, &unshared);
        }
        return;
    }
    let rewritten = changes.origins.and_then(|origins| {
        if is("location") || is("content-location") {
            origins.rewritten(value)
        } else if is("refresh") {
            origins.refresh_rewritten(value)
        } else {
            None
        }
    });
    match rewritten {
        Some(rewritten) => fields.line(name, &rewritten),
        None => fields.copy(header),
    }
}

/// Whether a length stands there once, as it would be written.
fn is_one_number(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || !value.starts_with(b"0"))
}

/// Whether a cookie has this attribute, with or without a value. A cookie's own value ends at the first semicolon, also
/// within quotation marks (RFC 6265 section 5.2).
fn has_attribute(cookie: &[u8], attribute: &[u8]) -> bool {
    cookie.split(|&byte| byte == b';').skip(1).any(|found| {
        let name = found.split(|&byte| byte == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(attribute)
    })
}

fn is_dropped_framing(reply: &ResponseHead<'_, '_>, changes: &ReplyChanges<'_>, name: &str) -> bool {
    (reply.is_unframed() || changes.unchunked)
        && ["transfer-encoding", "trailer"].iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::cookie::{SameSite, SetCookie};
    use crate::protocol::http1::forward::Scheme;
    use crate::protocol::http1::response::{AnswerTo, read_next_head};

    static NO_EDITS: Edits = Edits { remove: Vec::new(), set: Vec::new() };

    fn answered(head: &str, keep_alive: bool) -> String {
        String::from_utf8(written(head.as_bytes(), keep_alive, false)).expect("what came was text")
    }

    fn written(head: &[u8], keep_alive: bool, unchunked: bool) -> Vec<u8> {
        changed(head, |changes| (changes.keep_alive, changes.unchunked) = (keep_alive, unchunked))
    }

    fn changed<'a>(head: &[u8], change: impl FnOnce(&mut ReplyChanges<'a>)) -> Vec<u8> {
        let out = read_next_head(head, AnswerTo::Usual, |reply| {
            let mut out = Vec::new();
            let mut changes = ReplyChanges {
                to_http11: true,
                keep_alive: true,
                unchunked: false,
                origins: None,
                secure_cookies: false,
                own_cookie: None,
                edits: &NO_EDITS,
            };
            change(&mut changes);
            write_reply(reply, &changes, &mut out);
            out
        });
        out.expect("sound").expect("whole")
    }

    #[test]
    fn what_was_odd_comes_out_clean() {
        let odd =
            b"HTTP/1.1  403.18 Verg\xfct\nX-Odd : v\nHTTP/1.1 200 OK\nX:\n a\n\tb\nContent-Length: 05, 5\n\
                    content-length: 5\n\n";
        let clean = b"HTTP/1.1 403 Verg\xfct\r\nX-Odd: v\r\nX: a b\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(written(odd, true, false).escape_ascii().to_string(), clean.escape_ascii().to_string());
    }

    #[test]
    fn replies_that_have_no_body_have_no_framing() {
        for status in ["100 Continue", "103 Early Hints", "204 No Content"] {
            let head = format!(
                "HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nTrailer: A\r\nA: b\r\n\r\n"
            );
            assert_eq!(answered(&head, true), format!("HTTP/1.1 {status}\r\nA: b\r\n\r\n"));
        }
        let head = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(answered(head, true), head);
    }

    #[test]
    fn cookies_become_secure_where_they_are_not() {
        for (cookie, is_secure) in [
            ("a=b", false),
            ("a=b; Path=/; HttpOnly", false),
            ("a=b; Secure", true),
            ("a=b;secure", true),
            ("a=b; path=/ ;\tSECURE ; HttpOnly", true),
            ("a=b; Secure=no", true),
            ("secure", false),
            ("secure=1", false),
            ("Secure; a=b", false),
            ("a=secure", false),
            ("a=b; Path=/secure", false),
            ("a=b; Path=secure; Comment=Secure", false),
            ("a=b; Secured; xsecure; secure-", false),
            ("a=\"x; y\"; Path=/", false),
            ("a=\"x; Secure\"", false),
            ("a=b, c=d Secure", false),
            ("a=b;", false),
            ("", false),
        ] {
            assert_eq!(has_attribute(cookie.as_bytes(), b"secure"), is_secure, "{cookie}");
        }
        let head = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nX: a=b\r\nset-cookie: c=d; Secure\r\n\r\n";
        let out = changed(head, |changes| changes.secure_cookies = true);
        let expected =
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/; Secure\r\nX: a=b\r\nset-cookie: c=d; Secure\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn the_proxys_own_cookie_is_for_one_client_and_no_servers() {
        let set = SetCookie { name: "own", value: "1f", same_site: SameSite::Lax, is_secure: true };
        let with = |head: &str, set| {
            let out =
                changed(head.as_bytes(), |changes| changes.own_cookie = Some(OwnCookie { name: "own", set }));
            String::from_utf8(out).expect("text")
        };
        let line = "Set-Cookie: own=1f; Path=/; HttpOnly; SameSite=Lax; Secure\r\n";
        for (came, sent) in [
            ("", "Cache-Control: private\r\n"),
            ("Cache-Control: max-age=5\r\n", "Cache-Control: max-age=5\r\n+Cache-Control: private\r\n"),
            ("cache-control: Private, max-age=5\r\n", "cache-control: Private, max-age=5\r\n+"),
            ("Cache-Control: no-store\r\n", "Cache-Control: no-store\r\n+"),
            (
                "Cache-Control: PUBLIC,max-age=5,s-maxage = 9, x\r\n",
                "Cache-Control: max-age=5, x\r\n+Cache-Control: private\r\n",
            ),
            ("Cache-Control: public\r\n", "Cache-Control: private\r\n"),
            (
                "Cache-Control: public, private=\"a, b\"\r\n",
                "Cache-Control: public, private=\"a, b\"\r\n+Cache-Control: private\r\n",
            ),
        ] {
            let out = with(&format!("HTTP/1.1 200 OK\r\nA: b\r\n{came}\r\n"), Some(set));
            let (before, after) = sent.split_once('+').unwrap_or(("", sent));
            assert_eq!(out, format!("HTTP/1.1 200 OK\r\nA: b\r\n{before}{line}{after}\r\n"));
        }
        let head = "HTTP/1.1 200 OK\r\nCache-Control: public\r\nSet-Cookie: a=own=1\r\nset-cookie: own = 2; Path=/\r\n\r\n";
        let expected = "HTTP/1.1 200 OK\r\nCache-Control: public\r\nSet-Cookie: a=own=1\r\n\r\n";
        assert_eq!(with(head, None), expected);
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        assert_eq!(with(interim, Some(set)), interim);
    }

    #[test]
    fn references_are_rewritten_in_three_fields() {
        let origins = Origins {
            server_scheme: Scheme::Http,
            server: Some(b"iis1:80"),
            sent_host: b"web",
            client_scheme: Scheme::Https,
            client_host: b"web",
        };
        let head = b"HTTP/1.1 302 Found\r\nLocation: http://web/a\r\ncontent-location: http://iis1/b\r\n\
                     Refresh: 1; url=http://web/\r\nLink: <http://web/>\r\n\r\n";
        let expected = "HTTP/1.1 302 Found\r\nLocation: https://web/a\r\ncontent-location: https://web/b\r\n\
                        Refresh: 1; url=https://web/\r\nLink: <http://web/>\r\n\r\n";
        let out = changed(head, |changes| changes.origins = Some(&origins));
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert_eq!(written(head, true, false), head, "not unless it is asked for");
    }

    #[test]
    fn http_1_0_gets_no_chunks() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\nA: b\r\n\r\n";
        let out = written(head.as_bytes(), false, true);
        assert_eq!(String::from_utf8_lossy(&out), "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn what_logins_need_is_not_removed_by_name() {
        let head = "HTTP/1.1 401 Unauthorized\r\nConnection: WWW-Authenticate, set-cookie,, X-Mine\r\n\
                    Connection: Proxy-Support, Persistent-Auth\r\nWWW-Authenticate: NTLM\r\nSet-Cookie: a\r\n\
                    X-Mine: 1\r\nProxy-Support: Session-Based-Authentication\r\nPersistent-Auth: true\r\n\r\n";
        let expected = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nSet-Cookie: a\r\n\
                        Proxy-Support: Session-Based-Authentication\r\nPersistent-Auth: true\r\n\r\n";
        assert_eq!(answered(head, true), expected);
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
