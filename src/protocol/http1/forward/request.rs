//! The head of a request as the server receives it.

use std::sync::Arc;

use super::fields::{Copier, Edits, begins_with, is_hop_by_hop, is_same_name, line, write_connection};
use super::origin::Scheme;
use super::target::Target;
use super::upgrade::Offer;
use crate::protocol::http1::connection::list_items;
use crate::protocol::http1::cookie;
use crate::protocol::http1::request::{RequestHead, is_host};

/// What the server is told about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The client's address without port, for X-Forwarded-For.
    pub client: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Which of the client's own fields are forwarded.
    pub believed: Believed,
}

/// Which of a client's own fields about its identity and the hops before it are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Believed {
    /// None: `Forwarded`, `X-Forwarded-*` and `X-Real-IP` are removed and replaced by the proxy's.
    Nothing,
    /// X-Forwarded-For, with the client's address appended: a reader that starts from its end is not deceived.
    Chain,
    /// All of them; the proxy only adds those that are missing, and appends to X-Forwarded-For.
    Everything,
}

/// Fields that are written here and so never copied.
const WRITTEN: [&str; 4] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"];

/// The changes to a request's head.
#[derive(Debug, Clone, Copy)]
pub struct RequestChanges<'a> {
    /// Where it goes.
    pub target: Target<'a>,
    /// A `Host` that replaces the client's.
    pub host: Option<&'a str>,
    /// X-Forwarded-For and similar; without it none are added, and the client's are forwarded.
    pub forwarded: Option<Forwarded<'a>>,
    /// Other protocols that the connection may change to.
    pub offer: Option<&'a Offer>,
    /// Whether fields with an underscore in their name are forwarded.
    pub underscores: bool,
    /// The names of cookies that are the proxy's own, and for no server.
    pub own_cookies: &'a [Arc<str>],
    /// The operator's changes.
    pub edits: &'a Edits,
}

impl RequestChanges<'_> {
    /// The host that the server gets; empty if none.
    pub fn sent_host<'a>(&'a self, request: &RequestHead<'_, 'a>) -> &'a [u8] {
        self.host.map_or_else(|| asked_host(request, &self.target), str::as_bytes)
    }

    /// The scheme and the host of the URI that the client asked for; a client that is believed may say both. `scheme` is
    /// that of its connection.
    pub fn client_origin<'a>(&'a self, request: &RequestHead<'_, 'a>, scheme: Scheme) -> (Scheme, &'a [u8]) {
        let is_believed = self.forwarded.is_some_and(|forwarded| forwarded.believed == Believed::Everything);
        let said = |name| request.values(name).next().filter(|_| is_believed);
        (
            said("x-forwarded-proto").and_then(Scheme::of_name).unwrap_or(scheme),
            said("x-forwarded-host")
                .filter(|host| is_host(host))
                .unwrap_or_else(|| asked_host(request, &self.target)),
        )
    }
}

/// The host that is served, as the client names it: that of an absolute target takes precedence over `Host`. Empty if it
/// names none.
pub fn asked_host<'a>(request: &RequestHead<'_, 'a>, target: &Target<'a>) -> &'a [u8] {
    target.authority.or_else(|| request.values("host").next()).unwrap_or_default()
}

/// Appends the head of `request` as the server receives it.
pub fn write_request(request: &RequestHead<'_, '_>, changes: &RequestChanges<'_>, out: &mut Vec<u8>) {
    let version: &[u8] = if request.is_http11 { b" HTTP/1.1\r\n" } else { b" HTTP/1.0\r\n" };
    let [slash, path] = changes.target.parts();
    for part in [request.method.as_bytes(), b" ", slash, path, version] {
        out.extend_from_slice(part);
    }
    let host = changes.host.map(str::as_bytes).or(changes.target.authority);
    if let Some(host) = host {
        line(out, "Host", host);
    }
    let drops_underscored = !changes.underscores && request.underscored().is_some();
    let mut fields = Copier::new(request.lines, out);
    for header in request.headers {
        let name = header.name;
        let dropped = (host.is_some() && name.eq_ignore_ascii_case("host"))
            || (drops_underscored && name.contains('_'))
            || changes.forwarded.is_some_and(|forwarded| !goes_on(name, forwarded.believed))
            || changes.edits.drops(name)
            || is_hop_by_hop(name, &request.connection)
            || (name.eq_ignore_ascii_case("expect") && list_items([header.value]).next().is_none());
        if dropped {
            continue;
        }
        if !changes.own_cookies.is_empty() && name.eq_ignore_ascii_case("cookie") {
            let is_own = |cookie: &[u8]| changes.own_cookies.iter().any(|own| own.as_bytes() == cookie);
            if let Some(others) = cookie::without(header.value, is_own) {
                fields.line(name, &others);
            }
        } else {
            fields.copy(header);
        }
    }
    fields.end();
    if let Some(forwarded) = changes.forwarded {
        write_forwarded(request, changes, forwarded, out);
    }
    changes.edits.write(out);
    match changes.offer {
        None => write_connection(out, request.is_http11, request.keep_alive, None),
        Some(offer) => write_offer(request, offer, out),
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a field of the client about its identity is forwarded.
fn goes_on(name: &str, believed: Believed) -> bool {
    // Most fields are told apart by their first letter.
    if !name.starts_with(['x', 'X', 'f', 'F']) {
        return true;
    }
    let is_of_the_family = begins_with(name, "x-forwarded-")
        || ["forwarded", "x-forwarded", "x-real-ip"].iter().any(|known| is_same_name(known, name));
    // A trusted proxy in front of this one spells these names correctly.
    let is_twin = || name.bytes().any(|byte| !(byte.is_ascii_alphanumeric() || byte == b'-'));
    !is_of_the_family
        || (believed == Believed::Everything
            && !is_twin()
            && !WRITTEN.iter().any(|written| written.eq_ignore_ascii_case(name)))
}

/// Writes the proxy's own fields, except those that the operator sets or removes.
fn write_forwarded(
    request: &RequestHead<'_, '_>,
    changes: &RequestChanges<'_>,
    forwarded: Forwarded<'_>,
    out: &mut Vec<u8>,
) {
    let is_ours = |name| !changes.edits.drops(name);
    if is_ours("X-Forwarded-For") {
        out.extend_from_slice(b"X-Forwarded-For: ");
        if forwarded.believed != Believed::Nothing {
            for value in request.values("x-forwarded-for").filter(|value| !value.is_empty()) {
                out.extend_from_slice(value);
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(forwarded.client.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let is_believed = forwarded.believed == Believed::Everything;
    let said = |name| request.values(name).next().filter(|value| is_believed && !value.is_empty());
    if is_ours("X-Forwarded-Proto") {
        line(out, "X-Forwarded-Proto", said("x-forwarded-proto").unwrap_or(forwarded.scheme.as_bytes()));
    }
    let asked_for = Some(asked_host(request, &changes.target)).filter(|host| !host.is_empty());
    if let Some(host) = said("x-forwarded-host").or(asked_for).filter(|_| is_ours("X-Forwarded-Host")) {
        line(out, "X-Forwarded-Host", host);
    }
    if is_ours("X-Real-IP") {
        line(out, "X-Real-IP", said("x-real-ip").unwrap_or(forwarded.client.as_bytes()));
    }
}

/// Writes the offer to change to another protocol. HTTP/2 over plain TCP (RFC 7540 section 3.2.1) comes with its
/// settings.
fn write_offer(request: &RequestHead<'_, '_>, offer: &Offer, out: &mut Vec<u8>) {
    let settings = request.values("http2-settings").next().filter(|_| offer.has(b"h2c"));
    if let Some(settings) = settings {
        line(out, "Connection", b"Upgrade, HTTP2-Settings");
        line(out, "Upgrade", offer.as_bytes());
        line(out, "HTTP2-Settings", settings);
    } else {
        write_connection(out, true, true, Some(offer.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::target::target;
    use super::*;
    use crate::protocol::http1::body::BodyLength;
    use crate::protocol::http1::request::{header_slots, read_head};

    const CLIENT: Forwarded<'_> =
        Forwarded { client: "192.0.2.7", scheme: "https", believed: Believed::Nothing };

    /// The head of a request as it is forwarded.
    fn forwarded(head: &str, change: impl FnOnce(&mut RequestChanges<'_>)) -> String {
        edited(head, &Edits::default(), change)
    }

    fn edited(head: &str, edits: &Edits, change: impl FnOnce(&mut RequestChanges<'_>)) -> String {
        let mut slots = header_slots();
        let request = read_head(head.as_bytes(), 65536, &mut slots).expect("sound").expect("whole");
        let target = target(request.method, request.target).expect("a target");
        let offer = Offer::of(&request, &["h2c".into()]);
        let mut changes = RequestChanges {
            target,
            host: None,
            forwarded: None,
            offer: offer.as_ref(),
            underscores: false,
            own_cookies: &[],
            edits,
        };
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
                    Keep-Alive: 5\r\nTE: trailers\r\nUpgrade: foo\r\nHTTP2-Settings: AA\r\nProxy-Connection: x\r\n\
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
        let appended = forwarded(head, |changes| {
            changes.forwarded = Some(Forwarded { believed: Believed::Everything, ..CLIENT });
        });
        let expected = "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2, 192.0.2.7\r\n\
                        X-Forwarded-Proto: ftp\r\nX-Forwarded-Host: web\r\nX-Real-IP: 10.0.0.1\r\n\r\n";
        assert_eq!(appended, expected);
    }

    #[test]
    fn a_clients_own_words_go_on_as_far_as_they_are_believed() {
        let head = "GET http://web/ HTTP/1.1\r\nHost: other\r\nForwarded: for=10.0.0.1\r\nX-Forwarded-For: 10.0.0.1\r\n\
                    X-Forwarded-Port: 81\r\nX-Forwarded: a\r\nX_Forwarded_For: 10.0.0.2\r\nX_Real_IP: 10.0.0.2\r\n\
                    X-Forwarded_Host: evil\r\nX-Forwarded-Ssl: on\r\nX-Real-IP:\r\n\r\n";
        let told = |chain: &str, more: &str| {
            format!(
                "GET / HTTP/1.1\r\nHost: web\r\n{more}X-Forwarded-For: {chain}192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: web\r\nX-Real-IP: 192.0.2.7\r\n\r\n"
            )
        };
        let others =
            "Forwarded: for=10.0.0.1\r\nX-Forwarded-Port: 81\r\nX-Forwarded: a\r\nX-Forwarded-Ssl: on\r\n";
        for (believed, expected) in [
            (Believed::Nothing, told("", "")),
            (Believed::Chain, told("10.0.0.1, ", "")),
            (Believed::Everything, told("10.0.0.1, ", others)),
        ] {
            let out = forwarded(head, |changes| {
                changes.forwarded = Some(Forwarded { believed, ..CLIENT });
                changes.underscores = true;
            });
            assert_eq!(out, expected, "{believed:?}");
        }
    }

    #[test]
    fn the_host_that_is_served_is_the_one_that_is_told() {
        for (head, told) in [
            ("GET http://web:81/ HTTP/1.1\r\nHost: other\r\n\r\n", Some("web:81")),
            ("GET http://web HTTP/1.0\r\n\r\n", Some("web")),
            ("GET / HTTP/1.1\r\nHost: other\r\n\r\n", Some("other")),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", None),
            ("GET / HTTP/1.0\r\n\r\n", None),
        ] {
            let out = forwarded(head, |changes| {
                changes.forwarded = Some(CLIENT);
                changes.host = Some("inner");
            });
            let line = out.lines().find_map(|line| line.strip_prefix("X-Forwarded-Host: "));
            assert_eq!(line, told, "{head:?}");
        }
    }

    #[test]
    fn what_the_operator_sets_or_removes_goes_before_ours() {
        let edits = Edits {
            remove: vec!["X-Real-IP".into(), "x-forwarded-host".into()],
            set: vec![("X-Forwarded-Proto".into(), "https".into())],
        };
        let head = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
        let http = Forwarded { scheme: "http", ..CLIENT };
        let out = edited(head, &edits, |changes| changes.forwarded = Some(http));
        let expected =
            "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn fields_with_underscores_go_on_where_they_may() {
        let head = "GET / HTTP/1.1\r\nHost: web\r\nX_Mine: 1\r\nContent_Length: 5\r\nX_Remote_User: a\r\nX.Site: b\r\n\r\n";
        let edits =
            Edits { remove: vec!["X-Remote-User".into()], set: vec![("X-Site".into(), "edge".into())] };
        let dropped = edited(head, &edits, |_| ());
        assert_eq!(dropped, "GET / HTTP/1.1\r\nHost: web\r\nX-Site: edge\r\n\r\n");
        let passed = edited(head, &edits, |changes| changes.underscores = true);
        assert_eq!(passed, "GET / HTTP/1.1\r\nHost: web\r\nX_Mine: 1\r\nX-Site: edge\r\n\r\n");
    }

    #[test]
    fn the_proxys_own_cookies_are_for_no_server() {
        let head =
            "GET / HTTP/1.1\r\nHost: web\r\nCookie: a=1; own=2; b=3\r\nX: own=2\r\ncookie: other=1\r\n\r\n";
        assert_eq!(forwarded(head, |_| ()), head);
        let own = ["own".into(), "other".into()];
        let expected = "GET / HTTP/1.1\r\nHost: web\r\nCookie: a=1; b=3\r\nX: own=2\r\n\r\n";
        let mut slots = header_slots();
        let request = read_head(head.as_bytes(), 65536, &mut slots).expect("sound").expect("whole");
        let changes = RequestChanges {
            target: target(request.method, request.target).expect("a target"),
            host: None,
            forwarded: None,
            offer: None,
            underscores: false,
            own_cookies: &own,
            edits: &Edits::default(),
        };
        let mut out = Vec::new();
        write_request(&request, &changes, &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn an_offer_of_h2c_goes_on_with_its_settings() {
        let head = "GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, foo\r\n\
                    HTTP2-Settings: AAMA\r\n\r\n";
        let expected = "GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                        HTTP2-Settings: AAMA\r\n\r\n";
        assert_eq!(forwarded(head, |_| ()), expected);
        let without = forwarded(head, |changes| changes.offer = None);
        assert_eq!(without, "GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    }

    #[test]
    fn an_expectation_of_nothing_stays_behind() {
        let head = "GET / HTTP/1.1\r\nHost: web\r\nExpect:\r\nExpect: 100-continue\r\nexpect: ,\r\n\r\n";
        let expected = "GET / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\n\r\n";
        assert_eq!(forwarded(head, |_| ()), expected);
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
        /// What is forwarded is read by the next server as it was read here, and no bytes follow its head.
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
                let forwarded = Some(Forwarded { believed: Believed::Everything, ..CLIENT });
                let host = host.as_deref();
                let changes = RequestChanges { target, host, forwarded, offer: None, underscores: true, own_cookies: &[], edits: &edits };
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
