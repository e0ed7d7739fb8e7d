//! The head of a request as the upstream is to see it.

use super::fields::{Edits, is_hop_by_hop, is_one_of, line, write_connection};
use super::target::Target;
use crate::protocol::http1::request::RequestHead;

/// What the upstream is told about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The client's address without port, as X-Forwarded-For has it.
    pub client: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Add to what the client says of others before it, instead of putting this in its place.
    pub append: bool,
}

const X_FORWARDED: [&str; 4] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"];

/// What is done to a request's head.
#[derive(Debug, Clone, Copy)]
pub struct RequestChanges<'a> {
    /// Where it goes.
    pub target: Target<'a>,
    /// Another `Host` than the client's.
    pub host: Option<&'a str>,
    /// X-Forwarded-For and its like; none are added, and the client's pass, without.
    pub forwarded: Option<Forwarded<'a>>,
    /// The operator's.
    pub edits: &'a Edits,
}

/// Appends the head of `request` as the upstream is to see it.
pub fn write_request(request: &RequestHead<'_, '_>, changes: &RequestChanges<'_>, out: &mut Vec<u8>) {
    let version: &[u8] = if request.is_http11 { b" HTTP/1.1\r\n" } else { b" HTTP/1.0\r\n" };
    for part in [request.method.as_bytes(), b" ", changes.target.path.as_bytes(), version] {
        out.extend_from_slice(part);
    }
    let host = changes.host.or(changes.target.authority);
    if let Some(host) = host {
        line(out, "Host", host.as_bytes());
    }
    let forwarded = changes.forwarded;
    for header in request.headers {
        let name = header.name;
        let replaced = (host.is_some() && name.eq_ignore_ascii_case("host"))
            || (forwarded.is_some() && is_one_of(name, &X_FORWARDED))
            || changes.edits.drops(name)
            || is_hop_by_hop(name, |item| request.has_item("connection", item));
        if !replaced {
            line(out, name, header.value);
        }
    }
    if let Some(forwarded) = forwarded {
        write_forwarded(request, forwarded, out);
    }
    changes.edits.write(out);
    write_connection(out, request.is_http11, request.keep_alive, upgrade(request));
    out.extend_from_slice(b"\r\n");
}

/// The protocols that a request offers to change to.
fn upgrade<'b>(request: &RequestHead<'_, 'b>) -> Option<&'b [u8]> {
    if request.is_http11 && request.has_item("connection", "upgrade") {
        request.values("upgrade").next()
    } else {
        None
    }
}

fn write_forwarded(request: &RequestHead<'_, '_>, forwarded: Forwarded<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    if forwarded.append {
        for value in request.values("x-forwarded-for") {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(forwarded.client.as_bytes());
    out.extend_from_slice(b"\r\n");
    let said = |name| request.values(name).next().filter(|_| forwarded.append);
    line(out, "X-Forwarded-Proto", said("x-forwarded-proto").unwrap_or(forwarded.scheme.as_bytes()));
    if let Some(host) = said("x-forwarded-host").or_else(|| request.values("host").next()) {
        line(out, "X-Forwarded-Host", host);
    }
    line(out, "X-Real-IP", said("x-real-ip").unwrap_or(forwarded.client.as_bytes()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::target::target;
    use super::*;
    use crate::protocol::http1::body::BodyLength;
    use crate::protocol::http1::request::{header_slots, read_head};

    const CLIENT: Forwarded<'_> = Forwarded { client: "192.0.2.7", scheme: "https", append: false };

    /// The head of a request as it goes on.
    fn forwarded(head: &str, change: impl FnOnce(&mut RequestChanges<'_>)) -> String {
        edited(head, &Edits::default(), change)
    }

    fn edited(head: &str, edits: &Edits, change: impl FnOnce(&mut RequestChanges<'_>)) -> String {
        let mut slots = header_slots();
        let request = read_head(head.as_bytes(), 65536, &mut slots).expect("sound").expect("whole");
        let target = target(request.method, request.target).expect("a target");
        let mut changes = RequestChanges { target, host: None, forwarded: None, edits };
        change(&mut changes);
        let mut out = Vec::new();
        write_request(&request, &changes, &mut out);
        String::from_utf8(out).expect("what came was text")
    }

    #[test]
    fn a_head_goes_on_as_it_came() {
        let head = "POST /a?b HTTP/1.1\r\nhOst: web\r\nContent-Length: 3\r\nAuthorization: NTLM  TlRM\r\n\
                    X-Odd:\r\nTransfer-Odd: \"a\"\r\n\r\n";
        assert_eq!(forwarded(head, |_| ()), head.replace("X-Odd:\r\n", "X-Odd: \r\n"));
    }

    #[test]
    fn what_concerns_the_connection_stays_behind() {
        let head = "GET / HTTP/1.1\r\nHost: web\r\nConnection: close, X-Mine, Authorization, Host\r\nX-Mine: 1\r\n\
                    Keep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\n\
                    Authorization: NTLM TlRM\r\n\r\n";
        let expected = "GET / HTTP/1.1\r\nHost: web\r\nAuthorization: NTLM TlRM\r\nConnection: close\r\n\r\n";
        assert_eq!(forwarded(head, |_| ()), expected);
    }

    #[test]
    fn an_upgrade_goes_on() {
        let head =
            "GET /ws HTTP/1.1\r\nHost: web\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let expected = "GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(forwarded(head, |_| ()), expected);
    }

    #[test]
    fn http_1_0_stays_what_it_is() {
        let head = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
        assert_eq!(forwarded(head, |_| ()), "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    }

    #[test]
    fn an_absolute_target_becomes_a_path_and_its_host_wins() {
        let head = "GET http://web:8080/a?b HTTP/1.1\r\nHost: other\r\n\r\n";
        assert_eq!(forwarded(head, |_| ()), "GET /a?b HTTP/1.1\r\nHost: web:8080\r\n\r\n");
    }

    #[test]
    fn the_client_is_named_and_its_own_words_replaced_or_kept() {
        let head = "GET / HTTP/1.1\r\nHost: web\r\nx-forwarded-for: 10.0.0.1\r\nX-Forwarded-Proto: ftp\r\n\
                    X-Forwarded-For: 10.0.0.2\r\nX-Real-IP: 10.0.0.1\r\n\r\n";
        let replaced = forwarded(head, |changes| changes.forwarded = Some(CLIENT));
        let expected = "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
                        X-Forwarded-Host: web\r\nX-Real-IP: 192.0.2.7\r\n\r\n";
        assert_eq!(replaced, expected);
        let appended =
            forwarded(head, |changes| changes.forwarded = Some(Forwarded { append: true, ..CLIENT }));
        let expected = "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2, 192.0.2.7\r\n\
                        X-Forwarded-Proto: ftp\r\nX-Forwarded-Host: web\r\nX-Real-IP: 10.0.0.1\r\n\r\n";
        assert_eq!(appended, expected);
    }

    #[test]
    fn the_operator_sets_and_removes() {
        let edits = Edits {
            remove: vec!["x-secret".into()],
            set: vec![("X-Site".into(), "edge".into()), ("Accept".into(), "*/*".into())],
        };
        let head = "GET / HTTP/1.1\r\nHost: web\r\nX-Secret: 1\r\naccept: text/html\r\nX-SECRET: 2\r\n\r\n";
        let out = edited(head, &edits, |changes| changes.host = Some("inner"));
        assert_eq!(out, "GET / HTTP/1.1\r\nHost: inner\r\nX-Site: edge\r\nAccept: */*\r\n\r\n");
    }

    /// What decides how the next server reads a message.
    fn framing(head: &[u8]) -> Option<(String, BodyLength, bool, usize)> {
        let mut slots = header_slots();
        let request = read_head(head, 65536, &mut slots).ok()??;
        Some((request.method.to_owned(), request.body, request.is_http11, request.values("host").count()))
    }

    proptest! {
        /// Whatever is passed on is read by the next server as it was read here, and has nothing behind its head.
        #[test]
        fn the_next_server_reads_the_same(
            at in any::<prop::sample::Index>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..4),
            host in proptest::option::of("[a-z]{1,8}"),
        ) {
            let mut head = b"POST http://web/a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close, x, te\r\n\
                             X: 1\r\nX-Forwarded-For: 192.0.2.1\r\nTransfer-Odd: chunked\r\n\r\n".to_vec();
            let at = at.index(head.len());
            let end = (at + 1).min(head.len());
            head.splice(at..end, bytes);
            let mut slots = header_slots();
            if let Ok(Some(request)) = read_head(&head, 65536, &mut slots)
                && let Ok(target) = target(request.method, request.target)
            {
                let edits = Edits { remove: vec!["X".into()], set: vec![("Y".into(), "z".into())] };
                let forwarded = Some(Forwarded { append: true, ..CLIENT });
                let changes = RequestChanges { target, host: host.as_deref(), forwarded, edits: &edits };
                let mut out = Vec::new();
                write_request(&request, &changes, &mut out);
                let whole = out.len();
                out.extend_from_slice(b"behind");
                prop_assert_eq!(framing(&out), framing(&head), "{}", out.escape_ascii());
                let mut slots = header_slots();
                let again = read_head(&out, 65536, &mut slots).expect("sound").expect("whole");
                prop_assert_eq!(again.length_bytes, whole);
            }
        }
    }
}
