//! HTTP as IIS does it, and what is no HTTP.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use iisplice::protocol::ntlm::Client;

use crate::visitor::{Visitor, tcp};
use crate::{alice, settings, start};

#[test]
fn bodies_of_any_size_with_length_and_chunked() {
    let (_mock, address) = start(settings());
    let mut visitor = Visitor::connect(address);
    visitor.ntlm(Client::new(&alice()), "/");
    let body: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    visitor.send(format!("POST /echo HTTP/1.1\r\nHost: mock\r\nContent-Length: {}\r\n\r\n", body.len()));
    visitor.send(&body);
    assert!(visitor.read_reply(false).expect("a reply").body == body, "with length");
    visitor.send("PUT /echo HTTP/1.1\r\nHost: mock\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(7777) {
        visitor.send(format!("{:x}\r\n", chunk.len()));
        visitor.send(chunk);
        visitor.send("\r\n");
    }
    visitor.send("0\r\n\r\n");
    assert!(visitor.read_reply(false).expect("a reply").body == body, "chunked");
    for length_bytes in [0, 1, 63, 65_536, 1_000_000] {
        assert_eq!(visitor.get(&format!("/bytes/{length_bytes}")).body.len(), length_bytes);
    }
}

#[test]
fn a_refused_body_is_read_to_its_end() {
    let (_mock, address) = start(settings());
    let mut visitor = Visitor::connect(address);
    visitor.send("POST /echo HTTP/1.1\r\nHost: mock\r\nContent-Length: 100000\r\n\r\n");
    visitor.send("x".repeat(100_000));
    assert_eq!(visitor.read_reply(false).expect("a reply").status, 401);
    assert_eq!(visitor.ntlm(Client::new(&alice()), "/whoami").status, 200, "the connection is still good");
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let (_mock, address) = start(settings());
    let mut visitor = Visitor::connect(address);
    visitor.ntlm(Client::new(&alice()), "/");
    visitor.send("POST /echo HTTP/1.1\r\nHost: mock\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(visitor.read_reply(false).expect("an interim reply").status, 100);
    visitor.send("hello");
    assert_eq!(visitor.read_reply(false).expect("a reply").body, b"hello");
}

#[test]
fn head_has_the_head_of_get() {
    let (_mock, address) = start(settings());
    let mut visitor = Visitor::connect(address);
    visitor.send("HEAD /public/bytes/1000 HTTP/1.1\r\nHost: mock\r\n\r\n");
    let reply = visitor.read_reply(true).expect("a reply");
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("1000")));
    assert_eq!(visitor.get("/public/bytes/1").body.len(), 1, "nothing follows the head");
}

#[test]
fn requests_in_one_go_are_answered_in_order() {
    let (_mock, address) = start(settings());
    let mut visitor = Visitor::connect(address);
    let gets: String =
        [3, 1, 2].map(|n| format!("GET /public/bytes/{n} HTTP/1.1\r\nHost: mock\r\n\r\n")).concat();
    visitor.send(gets);
    for length_bytes in [3, 1, 2] {
        assert_eq!(visitor.read_reply(false).expect("a reply").body.len(), length_bytes);
    }
}

#[test]
fn the_connection_is_closed_when_the_client_says_so() {
    let (_mock, address) = start(settings());
    let mut visitor = Visitor::connect(address);
    let reply = visitor.get_with("/public/", "Connection: close\r\n");
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(visitor.is_closed());
}

#[test]
fn what_is_no_request_is_answered_and_shown_out() {
    let (_mock, address) = start(settings());
    for (request, status) in [
        ("GARBAGE\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: mock\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: mock\r\nA: 1\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: mock\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: mock\r\n\r\n", 411),
        ("POST / HTTP/1.1\r\nHost: mock\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: mock\r\nContent-Length: x\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: mock\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: mock\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (
            "POST /public/echo HTTP/1.1\r\nHost: mock\r\nContent-Length: 99999999999\r\nExpect: tea\r\n\r\n",
            417,
        ),
        ("GET / HTTP/1.1\r\nHost: mock\r\nAuthorization: NTLM ???\r\n\r\n", 400),
        // A Type 1 as texts on the web have it, damaged.
        ("GET / HTTP/1.1\r\nHost: mock\r\nAuthorization: NTLM TlRNTVMTUAAB4IIAAAAAAAAAAAA=\r\n\r\n", 401),
        ("GET / HTTP/1.1\r\nHost: mock\r\nAuthorization: NTLM TlRMTVNTUAABAAAA\r\n\r\n", 401),
        ("GET / HTTP/1.1\r\nHost: mock\r\nAuthorization: Negotiate YIIB\r\n\r\n", 401),
        ("GET / HTTP/1.1\r\nHost: mock\r\nAuthorization: Negotiate AAAA\r\n\r\n", 401),
    ] {
        let mut visitor = Visitor::connect(address);
        visitor.send(request);
        let reply = visitor.read_reply(false).expect(request);
        assert_eq!(reply.status, status, "{request:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{request:?}");
        assert!(visitor.is_closed(), "{request:?}");
    }
    assert_eq!(Visitor::connect(address).get("/public/").status, 200, "the mock still serves");
}

#[test]
fn a_head_over_the_limit_is_400_and_one_under_it_is_not() {
    let mut small = settings();
    small.header_limit_bytes = 2048;
    let (_mock, address) = start(small);
    let lines = |length_bytes| format!("X: {}\r\n", "x".repeat(length_bytes));
    assert_eq!(Visitor::connect(address).get_with("/public/", &lines(1900)).status, 200);
    assert_eq!(Visitor::connect(address).get_with("/public/", &lines(2048)).status, 400);
}

#[test]
fn an_idle_connection_is_closed() {
    let mut impatient = settings();
    impatient.idle_timeout = Duration::from_millis(50);
    let (_mock, address) = start(impatient);
    let mut visitor = Visitor::connect(address);
    assert_eq!(visitor.get("/public/").status, 200);
    assert!(visitor.is_closed());
    // In the middle of a request too.
    let mut visitor = Visitor::connect(address);
    visitor.send("GET / HT");
    assert!(visitor.is_closed());
}

/// Every prefix of a login, then nothing; and rubbish in every place. The mock serves on.
#[test]
fn clients_that_give_up_or_go_mad_anywhere() {
    let (_mock, address) = start(settings());
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: mock\r\n{}Content-Length: 5\r\n\r\nhello",
        crate::visitor::authorization("NTLM", Client::new(&alice()).negotiate().1)
    );
    for cut in (0..request.len()).step_by(3) {
        tcp(address).write_all(&request.as_bytes()[..cut]).expect("sent");
        let mut damaged = request.clone().into_bytes();
        damaged[cut] ^= 0x15;
        let mut stream = tcp(address);
        stream.write_all(&damaged).expect("sent");
        stream.shutdown(Shutdown::Write).expect("connected");
        read_all(stream);
    }
    assert_eq!(Visitor::connect(address).get("/public/").status, 200);
}

/// Whatever comes; a reset is an answer too.
fn read_all(mut stream: TcpStream) {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
}

#[test]
fn every_thread_serves() {
    let mut wide = settings();
    wide.threads = 4;
    let (_mock, address) = start(wide);
    // The kernel spreads connections over the listening sockets by hash.
    let mut visitors: Vec<_> = (0..50).map(|_| Visitor::connect(address)).collect();
    for visitor in &mut visitors {
        assert_eq!(visitor.get("/public/").status, 200);
    }
}

#[test]
fn a_stopped_mock_closes_its_connections_and_frees_its_port() {
    let mut wide = settings();
    wide.threads = 2;
    let (mock, address) = start(wide);
    let mut visitors: Vec<_> = (0..10).map(|_| Visitor::connect(address)).collect();
    for visitor in &mut visitors {
        visitor.get("/public/");
    }
    let mut waiting = Visitor::connect(address);
    waiting.send("GET /public/slow/600000 HTTP/1.1\r\nHost: mock\r\n\r\n");
    mock.stop();
    for visitor in &mut visitors {
        assert!(visitor.read_reply(false).is_err());
    }
    assert!(TcpStream::connect(address).is_err());
    let mut again = settings();
    again.listeners = vec![address];
    let (_mock, _) = start(again);
}
