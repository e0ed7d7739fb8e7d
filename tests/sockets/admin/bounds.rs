//! Clients that send too much, too slowly, or are too many: they cost themselves, and no connection of the proxy.

use super::{Stream, read_reply, start};
use crate::support::{Farm, Launch, Peer, Server, exchange, pair};

#[test]
fn long_heads_and_bodies_are_refused() {
    let (_proxy, admin) = start(Launch::to("127.0.0.1:9"));
    let long = "a".repeat(17 * 1024);
    assert!(admin.request("GET", "/healthz", &[&format!("X: {long}")]).refusal(431).contains("head"));
    assert!(admin.request("GET", &format!("/{long}"), &[]).refusal(431).contains("head"));
    let endless = "a".repeat(1024 * 1024);
    assert_eq!(admin.request("GET", "/healthz", &[&format!("X: {endless}")]).status, 431);
    let announced = admin.request("GET", "/healthz", &["Content-Length: 99999999999"]);
    assert!(announced.refusal(413).contains("body"));
    let chunk = format!("{:x}\r\n{long}\r\n", long.len());
    let head =
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    admin.raw(format!("{head}{chunk}").as_bytes()).refusal(413);
    assert!(admin.raw(format!("{head}2\r\nhi\r\n0\r\n\r\n").as_bytes()).refusal(400).contains("no body"));
    assert_eq!(admin.raw(format!("{head}0\r\n\r\n").as_bytes()).status, 200, "an empty body is none");
}

#[test]
fn a_request_that_does_not_end_gets_408_after_its_time() {
    let (_proxy, admin) = start(Launch::to("127.0.0.1:9"));
    let mut in_head = admin.connect();
    in_head.write_all(b"GET /healthz HTTP/1.1\r\nHost: local").expect("it reads");
    let mut in_body = admin.connect();
    in_body
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
        .expect("it reads");
    let mut silent = admin.connect();
    assert!(read_reply(&mut *in_head).refusal(408).contains("head"));
    assert!(read_reply(&mut *in_body).refusal(408).contains("body"));
    let mut nothing = Vec::new();
    silent.read_to_end(&mut nothing).expect("it closes");
    assert_eq!(nothing, b"", "who has sent nothing is told nothing");
}

#[test]
fn a_thousand_half_sent_requests_change_nothing_for_connections_nor_for_other_admin_clients() {
    let farm = Farm::of(1);
    let server = Server::v4();
    let flags = format!("--upstream {} --upstream {},backup", farm.addresses[0], server.address());
    let (proxy, admin) = start(Launch::default().flags(&flags));
    let mut open: Vec<Box<dyn Stream>> = Vec::new();
    for nth in 0..1000 {
        let mut stream = admin.connect();
        // It may have been closed in favour of a later one.
        let _ = stream.write_all(b"GET /v1/servers HTTP/1.1\r\nHost: localh");
        open.push(stream);
        if nth % 10 == 0 {
            Farm::greeted(&Peer::connect(proxy.address()));
        }
        if nth % 100 == 0 {
            assert_eq!(admin.get("/healthz").status, 200, "with {nth} others");
        }
    }
    assert!(proxy.sockets() < 400, "{} sockets for 1,000 clients", proxy.sockets());
    for _ in 0..50 {
        Farm::greeted(&Peer::connect(proxy.address()));
    }
    drop(open);
    assert_eq!(admin.json("/v1/servers")["servers"][0]["state"], "up");
}

#[test]
fn a_burst_of_half_sent_requests_delays_whole_ones_and_loses_none() {
    let (_proxy, admin) = start(Launch::to("127.0.0.1:9"));
    let mut open: Vec<Box<dyn Stream>> = Vec::new();
    let mut half = |count| {
        for _ in 0..count {
            let mut stream = admin.connect();
            // It may have been closed in favour of a later one.
            let _ = stream.write_all(b"GET /v1/servers HTTP/1.1\r\nHost: localh");
            open.push(stream);
        }
    };
    for _ in 0..3 {
        half(300);
        let mut whole = admin.connect();
        whole
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        half(300);
        assert_eq!(read_reply(&mut *whole).status, 200);
    }
}

#[test]
fn the_endpoint_s_thread_has_the_lowest_priority_and_no_other_has() {
    let (proxy, admin) = start(Launch::to("127.0.0.1:9"));
    // A thread that answers has set its priority.
    assert_eq!(admin.get("/healthz").status, 200);
    let nice = |name: &str| {
        let tasks = proxy.process().tasks().expect("our child").filter_map(Result::ok);
        let stats = tasks.filter_map(|task| task.stat().ok());
        stats.filter(|stat| stat.comm == name).map(|stat| stat.nice).collect::<Vec<_>>()
    };
    let [own] = nice("worker-0")[..] else { panic!("one worker") };
    assert_eq!((nice("admin"), own < 19), (vec![19], true));
}

#[test]
fn clients_that_read_nothing_and_ask_again_and_again_are_cut_off_by_their_own_replies() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()));
    let (client, upstream) = pair(&proxy, &server);
    let mut stream = std::net::TcpStream::connect(&admin.address).expect("it listens");
    stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).expect("a time");
    let request = b"GET /v1/servers HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let sent = (0..10_000).take_while(|_| std::io::Write::write_all(&mut stream, &request).is_ok()).count();
    assert!(sent < 10_000, "it reads on though nothing takes its replies");
    let before = proxy.memory();
    assert!(before < 256 * 1024 * 1024, "{before} bytes");
    exchange(&client, &upstream);
    assert_eq!(admin.get("/healthz").status, 200);
}
