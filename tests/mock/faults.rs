//! What goes wrong on purpose does so.

use std::io::ErrorKind;

use iisplice::mock::settings::Faults;
use iisplice::protocol::ntlm::Client;

use crate::visitor::{RANDOM, Visitor, authorization, now};
use crate::{alice, settings, start};

#[test]
fn a_login_is_cut_off_at_its_last_message() {
    let mut faulty = settings();
    faulty.faults = Faults { close_in_handshake: 1.0, ..Faults::default() };
    let (_mock, address) = start(faulty);
    let mut visitor = Visitor::connect(address);
    let alice = alice();
    let (client, negotiate) = Client::new(&alice).negotiate();
    let challenge =
        visitor.get_with("/", &authorization("NTLM", negotiate)).token("NTLM").expect("a challenge");
    let last = client.authenticate(&challenge, &RANDOM, now()).expect("sound").message;
    visitor.send(format!("GET / HTTP/1.1\r\nHost: mock\r\n{}\r\n", authorization("NTLM", &last)));
    assert!(visitor.is_closed());
}

#[test]
fn a_reply_ends_halfway() {
    let mut faulty = settings();
    faulty.faults = Faults { truncate: 1.0, ..Faults::default() };
    let (_mock, address) = start(faulty);
    let mut visitor = Visitor::connect(address);
    visitor.send("GET /public/bytes/100000 HTTP/1.1\r\nHost: mock\r\n\r\n");
    let error = visitor.read_reply(false).expect_err("half a reply");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_connection_is_reset() {
    let mut faulty = settings();
    faulty.faults = Faults { reset: 1.0, ..Faults::default() };
    let (_mock, address) = start(faulty);
    let mut visitor = Visitor::connect(address);
    visitor.send("GET /public/ HTTP/1.1\r\nHost: mock\r\n\r\n");
    let error = visitor.read_reply(false).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn where_resets_are_possible_a_goodbye_is_still_one() {
    let mut faulty = settings();
    faulty.faults = Faults { reset: 1e-9, ..Faults::default() };
    let (_mock, address) = start(faulty);
    let mut visitor = Visitor::connect(address);
    let reply = visitor.get_with("/public/bytes/1000000", "Connection: close\r\n");
    assert_eq!(reply.body.len(), 1_000_000);
    assert!(visitor.is_closed());
}

#[test]
fn a_slow_body_is_whole() {
    let mut faulty = settings();
    faulty.faults = Faults { slow_body: 1.0, ..Faults::default() };
    let (_mock, address) = start(faulty);
    assert_eq!(Visitor::connect(address).get("/public/bytes/1003").body.len(), 1003);
}
