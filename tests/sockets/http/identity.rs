//! Whose a connection is: the name in the log is that of a login that has happened, and a second user is noticed before the
//! server sees the request.

use std::io::ErrorKind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iisplice::protocol::ntlm::{self, ClientRandom, Credentials, FileTime};
use iisplice::protocol::spnego::{self, NegTokenResp};

use super::logins::{anonymous, challenge, ntlm as message};
use super::{GET, OK, acquainted, expect_end, proxy};
use crate::support::{Peer, Proxy, Server};

const NOW: FileTime = FileTime(133_000_000_000_000_000);
const RANDOM: ClientRandom = ClientRandom { client_challenge: [0xaa; 8], session_key: [0x55; 16] };

/// A client and a server that know each other, and what they say in turn.
struct Pair {
    client: Peer,
    upstream: Peer,
}

impl Pair {
    fn new(proxy: &Proxy, server: &Server) -> Self {
        let (client, upstream) = acquainted(proxy, server);
        Self { client, upstream }
    }

    /// A request with this `Authorization`, or none, goes through and gets this reply.
    fn exchange(&self, authorization: &str, reply: &[u8]) {
        self.exchange_of(&request(authorization), reply);
    }

    fn exchange_of(&self, request: &[u8], reply: &[u8]) {
        self.client.send(request);
        self.upstream.expect(request);
        self.upstream.send(reply);
        self.client.expect(reply);
    }

    /// A login with NTLM, with messages of our own client and server.
    fn log_in(&self, domain: &str, user: &str) {
        let [type1, type2, type3] = ntlm(domain, user);
        self.exchange(&format!("NTLM {type1}"), &unauthorized(&format!("NTLM {type2}")));
        self.exchange(&format!("NTLM {type3}"), OK);
    }

    /// The same with the names alone.
    fn log_in_tersely(&self, user: &str) {
        self.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
        self.exchange(&format!("NTLM {}", message(3, "CORP", user)), OK);
    }

    /// A request with this `Authorization` is refused, and the server sees not a byte of it.
    fn refused(self, authorization: &str) {
        self.client.send(&post(authorization));
        self.client.expect(b"HTTP/1.1 403 Forbidden\r\n");
        self.client.expect_close();
        drop(self.client);
        match self.upstream.receive(&mut [0; 1000]) {
            Ok(0) => {}
            Ok(bytes) => panic!("{bytes} bytes of the request were sent to the server"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

fn request(authorization: &str) -> Vec<u8> {
    match authorization {
        "" => GET.to_vec(),
        value => format!("GET /a HTTP/1.1\r\nHost: web\r\nAuthorization: {value}\r\n\r\n").into_bytes(),
    }
}

fn post(authorization: &str) -> Vec<u8> {
    let head = format!("POST /pay HTTP/1.1\r\nHost: web\r\nAuthorization: {authorization}\r\n");
    format!("{head}Content-Length: 7\r\n\r\namount=").into_bytes()
}

fn unauthorized(challenge: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\n");
    format!("{head}Proxy-Support: Session-Based-Authentication\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn reply(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").into_bytes()
}

fn ntlm_server() -> ntlm::Server {
    ntlm::Server {
        nb_domain: "CORP".into(),
        nb_computer: "WEB".into(),
        dns_domain: "corp.test".into(),
        dns_computer: "web.corp.test".into(),
    }
}

/// The three messages of a login, which a server would accept.
fn ntlm(domain: &str, user: &str) -> [String; 3] {
    let credentials = Credentials::new(domain, user, "secret");
    let (client, type1) = ntlm::Client::new(&credentials).negotiate();
    let (_, type2) = ntlm_server().challenge(type1, [1; 8], NOW).expect("a sound Type 1");
    let type3 = client.authenticate(&type2, &RANDOM, NOW).expect("a sound Type 2").message;
    [STANDARD.encode(type1), STANDARD.encode(type2), STANDARD.encode(type3)]
}

/// The client's two tokens and the server's between them, of a login with NTLM in SPNEGO.
fn in_spnego(domain: &str, user: &str) -> [String; 3] {
    let credentials = Credentials::new(domain, user, "secret");
    let (client, first) = spnego::Client::new(ntlm::Client::new(&credentials)).negotiate();
    let (_, second) = spnego::begin(&ntlm_server(), &first, [1; 8], NOW).expect("a sound token");
    let (_, third) = client.authenticate(&second, &RANDOM, NOW).expect("a sound token");
    [first, second, third].map(|token| format!("Negotiate {}", STANDARD.encode(token)))
}

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:secret")))
}

/// A Kerberos ticket, as far as its beginning tells.
fn kerberos() -> String {
    format!("Negotiate {}", STANDARD.encode([&[0x6e, 0x82, 0x03, 0xe8][..], &[0x42; 1000]].concat()))
}

/// The steps and users of the log's lines after the first, which is the acquaintance's.
fn users(proxy: &Proxy, lines: usize) -> Vec<(String, String)> {
    let lines = proxy.records(lines + 1);
    lines[1..].iter().map(|line| (line.get("step").to_owned(), line.get("user").to_owned())).collect()
}

fn expect_users(proxy: &Proxy, expected: &[(&str, &str)]) {
    let owned: Vec<_> =
        expected.iter().map(|(step, user)| ((*step).to_owned(), (*user).to_owned())).collect();
    assert_eq!(users(proxy, expected.len()), owned);
}

const ALICE: &str = "\"CORP\\\\alice\"";

#[test]
fn a_type_3_that_answers_no_type_2_names_no_user() {
    let server = Server::v4();
    let proxy = proxy(&server, "--log-user");
    let client = Peer::connect(proxy.address());
    let administrator = format!("NTLM {}", message(3, "CORP", "Administrator"));
    // At a page that needs no login, as the first request.
    client.send(&request(&administrator));
    let upstream = server.accept();
    upstream.expect(&request(&administrator));
    upstream.send(OK);
    client.expect(OK);
    let pair = Pair { client, upstream };
    pair.exchange("", OK);
    pair.exchange(&administrator, &reply("404 Not Found"));
    let [_, _, third] = in_spnego("CORP", "Administrator");
    pair.exchange(&third, OK);
    pair.exchange("", OK);
    let steps = proxy.records(5).iter().map(|line| line.get("step").to_owned()).collect::<Vec<_>>();
    let without = "type3-without-type2";
    assert_eq!(steps, [without, "none", without, without, "none"]);
    assert!(proxy.records(5).iter().all(|line| line.get("user") == "-"));
    drop(pair);
    proxy.wait_until_idle();
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    let all = proxy.wait_to_say("stopped;");
    assert!(proxy.said("login totals: ntlm=1").is_empty(), "no login was accepted: {all}");
}

#[test]
fn a_type_3_counts_once_and_right_behind_its_type_2_and_under_its_scheme() {
    let server = Server::v4();
    let proxy = proxy(&server, "--log-user");
    let pair = Pair::new(&proxy, &server);
    let [type1, type2, type3] = ntlm("CORP", "alice");
    let (type1, type2) = (format!("NTLM {type1}"), unauthorized(&format!("NTLM {type2}")));
    let under = |scheme: &str| format!("{scheme} {type3}");
    // Under another scheme.
    pair.exchange(&type1, &type2);
    pair.exchange(&under("Negotiate"), OK);
    // A request in between.
    pair.exchange(&type1, &type2);
    pair.exchange("", OK);
    pair.exchange(&under("NTLM"), OK);
    pair.exchange("", OK);
    // Twice.
    pair.exchange(&type1, &type2);
    pair.exchange(&under("NTLM"), OK);
    pair.exchange(&under("NTLM"), OK);
    pair.exchange("", OK);
    // For a page that may need no login.
    pair.exchange(&type1, &type2);
    let elsewhere =
        format!("GET /public HTTP/1.1\r\nHost: web\r\nAuthorization: {}\r\n\r\n", under("NTLM")).into_bytes();
    pair.exchange_of(&elsewhere, OK);
    pair.exchange("", OK);
    // A Type 2 under another scheme than the Type 1.
    pair.exchange(&type1, &unauthorized(&format!("Negotiate {}", message(2, "", ""))));
    pair.exchange(&under("NTLM"), OK);
    let without = ("type3-without-type2", "-");
    expect_users(
        &proxy,
        &[
            ("type1", "-"),
            without,
            ("type1", "-"),
            ("none", "-"),
            without,
            ("none", "-"),
            ("type1", "-"),
            ("type3-ok", ALICE),
            without,
            ("none", "-"),
            ("type1", "-"),
            without,
            ("none", "-"),
            ("type1-unanswered", "-"),
            without,
        ],
    );
}

#[test]
fn a_line_names_the_user_of_the_login_that_the_request_runs_under() {
    let server = Server::v4();
    let proxy = proxy(&server, "--log-user");
    let pair = Pair::new(&proxy, &server);
    let mut expected = vec![];
    let logged_in = [("type1", "-"), ("type3-ok", ALICE), ("none", ALICE)];
    let forgotten = b"HTTP/1.1 200 OK\r\nPersistent-Auth: false\r\nContent-Length: 2\r\n\r\nok";
    for (authorization, reply, line) in [
        (basic("bob"), OK, ("basic", "-")),
        (basic("bob"), &unauthorized("Basic realm=\"x\""), ("basic", "-")),
        (kerberos(), OK, ("kerberos-ok", "-")),
        (kerberos(), &anonymous(), ("kerberos-refused", "-")),
        ("Bearer abc".to_owned(), OK, ("other", "-")),
        (String::new(), &anonymous(), ("challenged", "-")),
        (String::new(), &unauthorized("Bearer"), ("challenged", "-")),
        (format!("NTLM {}", message(1, "", "")), OK, ("type1-unanswered", "-")),
        (format!("NTLM {}", message(3, "CORP", "alice")), OK, ("type3-without-type2", "-")),
        (format!("NTLM {}", message(3, "CORP", "alice")), &reply("503 Down"), ("other", "-")),
        // This one still runs under the login, the next one does not.
        (String::new(), forgotten, ("none", ALICE)),
    ] {
        pair.log_in("CORP", "alice");
        pair.exchange("", OK);
        pair.exchange(&authorization, reply);
        pair.exchange("", OK);
        expected.extend(logged_in);
        expected.extend([line, ("none", "-")]);
    }
    // A login that is refused, and one that the server does not keep.
    pair.log_in("CORP", "alice");
    pair.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
    pair.exchange(&format!("NTLM {}", message(3, "CORP", "alice")), &anonymous());
    pair.exchange("", OK);
    pair.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
    pair.exchange(&format!("NTLM {}", message(3, "CORP", "alice")), forgotten);
    pair.exchange("", OK);
    expected.extend([("type1", "-"), ("type3-ok", ALICE), ("type1", "-"), ("type3-refused", "-")]);
    expected.extend([("none", "-"), ("type1", "-"), ("type3-ok", ALICE), ("none", "-")]);
    expect_users(&proxy, &expected);
}

#[test]
fn who_may_not_see_the_page_is_logged_in() {
    let server = Server::v4();
    let proxy = proxy(&server, "--log-user");
    let pair = Pair::new(&proxy, &server);
    let mut expected = vec![];
    for (status, is_login) in [
        ("302 Found", true),
        ("403 Forbidden", true),
        ("404 Not Found", true),
        ("500 Internal Server Error", true),
        ("400 Bad Request", false),
        ("502 Bad Gateway", false),
        ("503 Service Unavailable", false),
        ("504 Gateway Timeout", false),
    ] {
        let [first, second, third] = in_spnego("CORP", "alice");
        pair.exchange(&first, &unauthorized(&second));
        pair.exchange(&third, &reply(status));
        pair.exchange("", OK);
        let user = if is_login { ALICE } else { "-" };
        let step = if is_login { "type3-ok" } else { "other" };
        expected.extend([("type1", "-"), (step, user), ("none", user)]);
    }
    expect_users(&proxy, &expected);
}

#[test]
fn a_request_without_a_reply_is_that_of_the_login_it_runs_under() {
    let server = Server::v4();
    let proxy = proxy(&server, "--log-user");
    for (lines, authorization, user) in [(4, "", ALICE), (8, &*basic("alice"), "-")] {
        let pair = Pair::new(&proxy, &server);
        pair.log_in("CORP", "alice");
        pair.client.send(&request(authorization));
        pair.upstream.expect(&request(authorization));
        pair.upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n");
        pair.client.expect(b"HTTP/1.1 100 Continue\r\n\r\n");
        pair.client.reset();
        pair.upstream.expect_close();
        assert_eq!(proxy.records(lines).last().map(|line| line.get("user")), Some(user), "{authorization:?}");
    }
}

/// Type 3 messages by a user, in forms that the strict parser refuses; none of them has the flags that say Unicode.
fn odd_type3s(user: &str) -> Vec<Vec<u8>> {
    let form = |flags: Option<u32>, domain: &[u8], user: &[u8], nt: &[u8]| {
        let start = if flags.is_some() { 64 } else { 52 };
        let mut fixed = b"NTLMSSP\0\x03\0\0\0".to_vec();
        let mut payload = Vec::new();
        let texts = [&[0][..], nt, domain, user, b"PC", b""];
        for text in &texts[..if flags.is_some() { 6 } else { 5 }] {
            let length = (text.len() as u16).to_le_bytes();
            fixed.extend(length.iter().chain(&length).chain(&((start + payload.len()) as u32).to_le_bytes()));
            payload.extend(*text);
        }
        fixed.extend(flags.map(u32::to_le_bytes).into_iter().flatten());
        [fixed, payload].concat()
    };
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    vec![
        // OEM names; with an NT response of no known form; without flags, as NT 4 has it, in either character set.
        form(Some(0x0202), b"CORP", user.as_bytes(), &[0; 24]),
        form(Some(0x0202), b"corp", user.to_uppercase().as_bytes(), b"what is this"),
        form(None, b"CORP", user.as_bytes(), &[0; 24]),
        form(None, &utf16("CORP"), &utf16(user), &[0; 24]),
        form(Some(0x0201), &utf16("CORP"), &utf16(user), &[7; 60_000]),
    ]
}

/// A token of SPNEGO, with its one length in the form that DER forbids and some readers take.
fn of_indefinite_length(message: &[u8]) -> Vec<u8> {
    let token = NegTokenResp { response_token: Some(message), ..NegTokenResp::default() }.to_bytes();
    let header = if token[1] < 0x80 { 2 } else { 2 + usize::from(token[1] & 0x7f) };
    [&[token[0], 0x80], &token[header..], &[0, 0]].concat()
}

/// Every form of credentials of this user whose name can be read.
fn credentials(user: &str) -> Vec<String> {
    let [_, _, type3] = ntlm("CORP", user);
    let [_, _, third] = in_spnego("CORP", user);
    let mut all = vec![
        format!("NTLM {type3}"),
        format!("ntlm   {}", type3.trim_end_matches('=')),
        format!("NTLM {}=== and more", type3.trim_end_matches('=')),
        format!("NTLM {} {}", &type3[..40], &type3[40..]),
        format!("Negotiate {type3}"),
        third,
        format!("Nego2 {type3}"),
        basic(&format!("CORP\\{user}")),
        basic(&format!("corp\\{}", user.to_uppercase())),
        format!("bAsIc {}", STANDARD.encode(format!("CORP\\{user}"))),
        format!("Digest realm=\"a, b\", username=\"CORP\\\\{user}\", nonce=\"x\""),
        format!("Digest username*=UTF-8''CORP%5C{user}, nonce=\"x\""),
    ];
    for message in odd_type3s(user) {
        let token = NegTokenResp { response_token: Some(&message), ..NegTokenResp::default() };
        let behind = [&vec![0xa3, 0x82, 0x01, 0x04, 0x04, 0x82, 0x01, 0x00][..], &[9; 256]].concat();
        all.push(format!("NTLM {}", STANDARD.encode(&message)));
        all.push(format!("NTLM {}", STANDARD.encode([&message[..], &vec![0; 30_000]].concat())));
        all.push(format!("Negotiate {}", STANDARD.encode(token.to_bytes())));
        all.push(format!("Negotiate {}", STANDARD.encode([behind, token.to_bytes()].concat())));
        all.push(format!("Negotiate {}", STANDARD.encode(of_indefinite_length(&message))));
    }
    all
}

#[test]
fn a_second_user_is_refused_before_the_server_sees_the_request() {
    let server = Server::v4();
    let proxy = proxy(&server, "--on-identity-change close --head-limit 256KiB");
    for credentials in credentials("bob") {
        println!("{}", &credentials[..credentials.len().min(100)]);
        let pair = Pair::new(&proxy, &server);
        pair.log_in("CORP", "alice");
        pair.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
        pair.refused(&credentials);
    }
    expect_end(&proxy, "identity-change");
}

#[test]
fn the_same_user_passes_in_every_form() {
    let server = Server::v4();
    let proxy = proxy(&server, "--on-identity-change close --head-limit 256KiB");
    let pair = Pair::new(&proxy, &server);
    pair.log_in("CORP", "alice");
    for credentials in credentials("alice") {
        println!("{}", &credentials[..credentials.len().min(100)]);
        pair.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
        pair.exchange(&credentials, OK);
    }
    pair.exchange("", OK);
}

#[test]
fn a_user_who_was_not_refused_is_the_first_user() {
    let server = Server::v4();
    let proxy = proxy(&server, "--on-identity-change close");
    let bob = format!("NTLM {}", message(3, "CORP", "bob"));
    // By Basic, also at a page that may not need it; in OEM names; without a verdict; with something in between.
    let first: [&dyn Fn(&Pair); 6] = [
        &|pair| pair.exchange(&basic("CORP\\alice"), OK),
        &|pair| pair.exchange(&basic("alice"), &reply("404 Not Found")),
        &|pair| {
            pair.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
            pair.exchange(&format!("NTLM {}", STANDARD.encode(&odd_type3s("alice")[0])), OK);
        },
        &|pair| {
            pair.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
            pair.exchange(&format!("NTLM {}", message(3, "CORP", "alice")), &reply("400 Bad Request"));
        },
        &|pair| {
            pair.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
            pair.exchange("", OK);
            pair.exchange(&format!("NTLM {}", message(3, "CORP", "alice")), OK);
        },
        &|pair| {
            pair.log_in("CORP", "alice");
            // What names no one changes nothing, and neither does the anonymous user.
            pair.exchange(&kerberos(), OK);
            pair.exchange("", &anonymous());
            pair.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
            pair.exchange(&format!("NTLM {}", message(3, "", "")), OK);
            pair.exchange("Bearer abc", OK);
        },
    ];
    for log_in in first {
        for second in [&bob, &basic("CORP\\bob")] {
            let pair = Pair::new(&proxy, &server);
            log_in(&pair);
            pair.refused(second);
        }
    }
}

#[test]
fn a_user_who_was_refused_is_not_the_first_user() {
    let server = Server::v4();
    let proxy = proxy(&server, "--on-identity-change close");
    let pair = Pair::new(&proxy, &server);
    pair.exchange(&basic("CORP\\alice"), &unauthorized("Basic realm=\"x\""));
    pair.exchange(&format!("NTLM {}", message(1, "", "")), &challenge());
    pair.exchange(&format!("NTLM {}", message(3, "CORP", "carol")), &anonymous());
    // Without a Type 2 it is no login either.
    pair.exchange(&format!("NTLM {}", message(3, "CORP", "Administrator")), OK);
    pair.log_in_tersely("bob");
    pair.refused(&basic("CORP\\alice"));
}

#[test]
fn the_refusal_has_a_line_of_its_own_and_is_counted() {
    let server = Server::v4();
    let proxy = proxy(&server, "--on-identity-change close --log-user");
    let pair = Pair::new(&proxy, &server);
    pair.log_in("CORP", "alice");
    pair.exchange(&kerberos(), OK);
    pair.exchange(&kerberos(), &anonymous());
    pair.refused(&basic("CORP\\bob"));
    let lines = proxy.records(6);
    let (line, before) = (&lines[5], &lines[4]);
    let seen = ["status", "method", "target", "user", "step"].map(|name| line.get(name).to_owned());
    assert_eq!(seen, ["403", "POST", "/pay", "-", "none"]);
    assert_eq!(line.bytes("request_bytes"), 0, "the server has seen nothing");
    assert_ne!(line.get("request"), before.get("request"));
    let said = proxy.wait_to_say("request refused: ");
    assert!(said.contains("CORP\\\\bob") && said.contains("CORP\\\\alice"), "{said}");
    proxy.wait_until_idle();
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    let line = proxy.wait_to_say("login totals: ");
    assert!(line.contains("ntlm=1 negotiate-ntlm=0 kerberos=1 refused=1 "), "{line}");
    assert!(line.contains("identity_changes=1 unnamed_requests=2 "), "{line}");
}

#[test]
fn a_second_user_of_any_mechanism_is_said_once_for_each_change() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let pair = Pair::new(&proxy, &server);
    pair.log_in("CORP", "alice");
    for _ in 0..3 {
        pair.exchange(&basic("CORP\\bob"), OK);
        pair.exchange("", OK);
    }
    pair.exchange(&basic("CORP\\carol"), &unauthorized("Basic realm=\"x\""));
    pair.log_in("CORP", "alice");
    pair.exchange("", OK);
    proxy.wait_to_say("from=\"CORP\\\\bob\" to=\"CORP\\\\alice\"");
    assert_eq!(proxy.said("two users on one client connection").len(), 2);
}
