//! What is seen of logins: in the log of requests, in the log of trouble, and where two users share a connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{GET, OK, acquainted, expect_end, proxy};
use crate::support::{Peer, Proxy, Server};

/// An NTLM message of this type with nothing in it but, in a Type 3, the names (MS-NLMP section 2.2.1).
pub(crate) fn ntlm(message_type: u32, domain: &str, user: &str) -> String {
    let mut fixed = b"NTLMSSP\0".to_vec();
    fixed.extend(message_type.to_le_bytes());
    let mut payload = Vec::new();
    match message_type {
        1 => fixed.extend([0x01, 0x82, 0x08, 0xa2].iter().chain(&[0; 16])),
        2 => fixed.extend([0; 36]),
        _ => {
            // LM response, NT response, domain, user, workstation, session key; then the flags (unicode).
            for text in ["", "", domain, user, "", ""] {
                let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                let length = (text.len() as u16).to_le_bytes();
                fixed.extend(length.iter().chain(&length).chain(&(64 + payload.len() as u32).to_le_bytes()));
                payload.extend(text);
            }
            fixed.extend([0x01, 0x82, 0x08, 0xa2]);
        }
    }
    STANDARD.encode([fixed, payload].concat())
}

pub(crate) fn request(token: &str) -> Vec<u8> {
    format!("GET /a?b=1 HTTP/1.1\r\nHost: web\r\nAuthorization: NTLM {token}\r\n\r\n").into_bytes()
}

pub(crate) fn challenge() -> Vec<u8> {
    let head = format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM {}\r\n", ntlm(2, "", ""));
    format!("{head}Proxy-Support: Session-Based-Authentication\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

pub(crate) fn anonymous() -> Vec<u8> {
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nProxy-Support: Session-Based-Authentication\r\n\
      Content-Length: 0\r\n\r\n"
        .to_vec()
}

fn answered(client: &Peer, upstream: &Peer, request: &[u8], reply: &[u8]) {
    client.send(request);
    upstream.expect(request);
    upstream.send(reply);
    client.expect(reply);
}

/// Type 1 and Type 3 of a user, who is let in.
fn log_in(client: &Peer, upstream: &Peer, user: &str) {
    answered(client, upstream, &request(&ntlm(1, "", "")), &challenge());
    answered(client, upstream, &request(&ntlm(3, "CORP", user)), OK);
}

fn steps(proxy: &Proxy, lines: usize) -> Vec<String> {
    let of =
        |name: &str| proxy.records(lines).iter().map(|line| line.get(name).to_owned()).collect::<Vec<_>>();
    of("step")
        .into_iter()
        .zip(of("status"))
        .zip(of("mechanism"))
        .map(|((a, b), c)| format!("{a} {b} {c}"))
        .collect()
}

#[test]
fn every_request_has_a_line_that_says_what_it_was_to_the_login() {
    let server = Server::v4();
    let proxy = proxy(&server, "--log-user");
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    upstream.send(&anonymous());
    client.expect(&anonymous());
    log_in(&client, &upstream, "alice");
    answered(&client, &upstream, GET, OK);
    let expected = ["challenged 401 -", "type1 401 ntlm", "type3-ok 200 ntlm", "none 200 -"];
    assert_eq!(steps(&proxy, 4), expected);
    let lines = proxy.records(4);
    assert_eq!(lines[0].get("user"), "-");
    assert_eq!(lines[3].get("user"), "\"CORP\\\\alice\"");
    assert_eq!((lines[1].get("method"), lines[1].get("target")), ("GET", "\"/a?b=1\""));
    assert_eq!(lines[3].bytes("request_bytes"), GET.len() as u64);
    assert_eq!(lines[3].bytes("reply_bytes"), OK.len() as u64);
    assert!(lines[2].number("total_ms") >= lines[2].number("upstream_ms"));
    let (first, last) = (lines[0].get("request"), lines[3].get("request"));
    assert_eq!(first.strip_suffix("-1"), last.strip_suffix("-4"), "one connection, counted");
}

#[test]
fn without_the_flag_no_line_names_a_user() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    log_in(&client, &upstream, "alice");
    assert!(proxy.records(3).iter().all(|line| line.get("user") == "-"));
}

#[test]
fn logins_that_fail_over_and_over_are_explained() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    for _ in 0..3 {
        answered(&client, &upstream, &request(&ntlm(1, "", "")), &challenge());
        answered(&client, &upstream, &request(&ntlm(3, "CORP", "alice")), &anonymous());
    }
    let line = proxy.wait_to_say("symptom=\"type3-refused\"");
    assert!(line.contains(&format!("upstream=\"{}\"", server.address())), "{line}");
    assert!(line.contains("count=3"), "{line}");
    assert!(line.contains("password"), "what to check: {line}");
}

#[test]
fn logins_spread_over_connections_are_explained() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    for _ in 0..3 {
        let (client, upstream) = acquainted(&proxy, &server);
        answered(&client, &upstream, &request(&ntlm(3, "CORP", "alice")), &anonymous());
    }
    proxy.wait_to_say("symptom=\"type3-without-type2\"");
}

#[test]
fn a_second_user_on_a_connection_is_said() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    log_in(&client, &upstream, "alice");
    log_in(&client, &upstream, "Alice");
    assert!(proxy.said("two users").is_empty(), "case is nothing in a Windows name");
    log_in(&client, &upstream, "bob");
    let line = proxy.wait_to_say("two users on one client connection");
    assert!(line.contains("Alice") && line.contains("bob"), "{line}");
}

#[test]
fn a_second_user_on_a_connection_is_refused_where_that_is_wanted() {
    let server = Server::v4();
    let proxy = proxy(&server, "--on-identity-change close");
    let (client, upstream) = acquainted(&proxy, &server);
    log_in(&client, &upstream, "alice");
    answered(&client, &upstream, &request(&ntlm(1, "", "")), &challenge());
    let second = request(&ntlm(3, "CORP", "bob"));
    client.send(&second);
    client.expect(b"HTTP/1.1 403 Forbidden\r\n");
    client.expect_close();
    upstream.expect_close();
    expect_end(&proxy, "identity-change");
}

#[test]
fn at_the_end_the_log_says_who_still_uses_ntlm() {
    let server = Server::v4();
    let mut proxy = proxy(&server, "");
    let (client, upstream) = acquainted(&proxy, &server);
    log_in(&client, &upstream, "alice");
    drop((client, upstream));
    proxy.wait_until_idle();
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    let line = proxy.wait_to_say("login totals: ");
    assert!(line.contains("ntlm=1 negotiate-ntlm=0 kerberos=0 "), "{line}");
    assert!(line.contains("type3-final_p99_ms="), "{line}");
    assert_eq!(proxy.exit_code(), Some(0));
}
