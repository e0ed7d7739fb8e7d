//! Logins by how they end, whatever the client uses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Metrics;
use crate::admin::{Admin, start};
use crate::http::logins::{anonymous, challenge, ntlm, request};
use crate::support::{Launch, Peer, Server, wait_until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const OUTCOMES: [&str; 4] = ["begun", "accepted", "refused", "abandoned"];

fn counts(admin: &Admin, mechanism: &str) -> [u64; 4] {
    let metrics = Metrics::of(admin);
    OUTCOMES
        .map(|outcome| metrics.sum(&format!("iisplice_logins_{outcome}_total"), &[("mechanism", mechanism)]))
}

fn answered(client: &Peer, upstream: &Peer, request: &[u8], reply: &[u8]) {
    client.send(request);
    upstream.expect(request);
    upstream.send(reply);
    client.expect(reply);
}

fn with(credentials: &str) -> Vec<u8> {
    format!("GET /a HTTP/1.1\r\nHost: web\r\nAuthorization: {credentials}\r\n\r\n").into_bytes()
}

fn start_proxy(server: &Server) -> (crate::support::Proxy, Admin) {
    start(Launch::to(server.address()).flags("--mode http --forwarded off"))
}

#[test]
fn one_that_is_refused_one_that_is_given_up_and_one_that_is_open() {
    let server = Server::v4();
    let (proxy, admin) = start_proxy(&server);
    assert_eq!(counts(&admin, "ntlm"), [0; 4], "every mechanism is there from the start");
    let client = Peer::connect(proxy.address());
    client.send(&request(&ntlm(1, "", "")));
    let upstream = server.accept();
    upstream.expect(&request(&ntlm(1, "", "")));
    upstream.send(&challenge());
    client.expect(&challenge());
    assert_eq!(counts(&admin, "ntlm"), [1, 0, 0, 0], "it is open");
    answered(&client, &upstream, &request(&ntlm(3, "CORP", "alice")), &anonymous());
    assert_eq!(counts(&admin, "ntlm"), [1, 0, 1, 0]);
    answered(&client, &upstream, &request(&ntlm(1, "", "")), &challenge());
    answered(&client, &upstream, &request(&ntlm(3, "CORP", "alice")), OK);
    assert_eq!(counts(&admin, "ntlm"), [2, 1, 1, 0]);
    answered(&client, &upstream, &request(&ntlm(1, "", "")), &challenge());
    drop((client, upstream));
    wait_until("the login to be given up", || counts(&admin, "ntlm") == [3, 1, 1, 1]);
    let symptoms = Metrics::of(&admin).by("iisplice_login_symptoms_total", "symptom");
    assert_eq!(symptoms.get("type3-refused"), Some(&1), "{symptoms:?}");
}

#[test]
fn tickets_and_passwords_are_logins_of_their_own() {
    let server = Server::v4();
    let (proxy, admin) = start_proxy(&server);
    let client = Peer::connect(proxy.address());
    let basic = with("Basic Q09SUFxhbGljZTpzZWNyZXQ=");
    client.send(&basic);
    let upstream = server.accept();
    upstream.expect(&basic);
    upstream.send(OK);
    client.expect(OK);
    answered(&client, &upstream, &basic, &anonymous());
    assert_eq!(counts(&admin, "basic"), [2, 1, 1, 0]);
    // A Kerberos ticket, as far as its beginning tells.
    let ticket = STANDARD.encode([&[0x6e, 0x82, 0x03, 0xe8][..], &[0x42; 1000]].concat());
    let ticket = with(&format!("Negotiate {ticket}"));
    answered(&client, &upstream, &ticket, OK);
    assert_eq!(counts(&admin, "kerberos"), [1, 1, 0, 0]);
    let negotiate = with(&format!("Negotiate {}", ntlm(1, "", "")));
    let reply = String::from_utf8(challenge()).expect("text").replace("NTLM T", "Negotiate T").into_bytes();
    answered(&client, &upstream, &negotiate, &reply);
    let last = with(&format!("Negotiate {}", ntlm(3, "CORP", "alice")));
    answered(&client, &upstream, &last, OK);
    assert_eq!(counts(&admin, "negotiate-ntlm"), [1, 1, 0, 0]);
}
