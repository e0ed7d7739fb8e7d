//! Heads as a proxy passes them on (RFC 9110 section 7, RFC 9112).
//!
//! Everything goes on as it came, in its order and form, but what concerns the connection to the proxy alone, and
//! what the operator wants changed. `Authorization` and `WWW-Authenticate` belong to the two ends and are copied
//! whatever they hold. No `Via` is added: old IIS gives up persistent authentication when it sees one.

use super::request::RequestHead;
use super::response::ResponseHead;

/// Fields that concern one connection only (RFC 9110 section 7.6.1). `Transfer-Encoding` is one of them too, but the
/// body is passed on as it is framed.
const HOP_BY_HOP: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "te", "upgrade"];
/// Fields that a `Connection` field cannot remove: the next one would read another message.
const FRAMING: [&str; 4] = ["host", "content-length", "transfer-encoding", "authorization"];

/// Why a request cannot be passed on, though its syntax is right. The client's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// `CONNECT`: this is no forward proxy.
    #[error("CONNECT is not served here")]
    Connect,
    /// Neither a path, nor `*` for `OPTIONS`, nor `http://host/...`.
    #[error("the request's target is neither a path nor an http URI")]
    Form,
}

/// Where a request wants to go (RFC 9112 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'b> {
    /// Path and query, in origin-form, or `*`.
    pub path: &'b str,
    /// The authority of an absolute-form target, which goes before any `Host`.
    pub authority: Option<&'b str>,
}

/// Reads the target of a request.
///
/// # Errors
/// See [`TargetError`].
pub fn target<'b>(method: &str, target: &'b str) -> Result<Target<'b>, TargetError> {
    if method == "CONNECT" {
        return Err(TargetError::Connect);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Target { path: target, authority: None });
    }
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (begin, rest) = target.split_at_checked(scheme.len())?;
            begin.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(TargetError::Form)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // User information has no business in a request (RFC 9110 section 4.2.4).
    if authority.is_empty() || authority.contains('@') {
        return Err(TargetError::Form);
    }
    match path {
        "" if method == "OPTIONS" => Ok(Target { path: "*", authority: Some(authority) }),
        "" => Ok(Target { path: "/", authority: Some(authority) }),
        _ if path.starts_with('?') => Err(TargetError::Form),
        _ => Ok(Target { path, authority: Some(authority) }),
    }
}

/// Lines to take out and to put in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Names of fields to leave out.
    pub remove: Vec<String>,
    /// Fields to put in, in place of any of the same name.
    pub set: Vec<(String, String)>,
}

impl Edits {
    fn drops(&self, name: &str) -> bool {
        self.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name))
            || self.set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name))
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.set {
            line(out, name, value.as_bytes());
        }
    }
}

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

/// `Connection` anew, for the connection that this head goes to.
fn write_connection(out: &mut Vec<u8>, http11: bool, keep_alive: bool, upgrade: Option<&[u8]>) {
    match (upgrade, http11, keep_alive) {
        (Some(protocols), _, _) => {
            line(out, "Connection", b"Upgrade");
            line(out, "Upgrade", protocols);
        }
        (None, true, false) => line(out, "Connection", b"close"),
        (None, false, true) => line(out, "Connection", b"keep-alive"),
        (None, true, true) | (None, false, false) => {}
    }
}

/// `named`: does the message's own `Connection` field name it?
fn is_hop_by_hop(name: &str, named: impl FnOnce(&str) -> bool) -> bool {
    is_one_of(name, &HOP_BY_HOP) || (named(name) && !is_one_of(name, &FRAMING))
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::body::BodyLength;
    use super::super::request::{header_slots, read_head};
    use super::super::response::{AnswerTo, read_next_head};
    use super::*;

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
        let reply = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        let expected =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(answered(reply, true), expected);
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
        for (method, given, path) in
            [("GET", "HTTP://web", "/"), ("OPTIONS", "http://web", "*"), ("OPTIONS", "*", "*")]
        {
            assert_eq!(target(method, given).map(|target| target.path), Ok(path), "{method} {given}");
        }
        for (method, given) in [
            ("GET", "*"),
            ("GET", "web:80"),
            ("GET", "ftp://web/"),
            ("GET", "http:///a"),
            ("GET", "http://web?a"),
            ("GET", "http://user@web/"),
            ("GET", "é"),
        ] {
            assert_eq!(target(method, given), Err(TargetError::Form), "{method} {given}");
        }
        assert_eq!(target("CONNECT", "web:443"), Err(TargetError::Connect));
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
