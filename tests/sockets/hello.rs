//! Routes by the TLS hello, which passes through as it came.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Identity, Launch, Peer, Proxy, Random, Server, TlsPeer, both_ways, refusing};

/// A hello for `name` that offers `protocols`, as one handshake message; `padding` makes it longer (RFC 7685).
fn message(name: &str, protocols: &[&str], padding: usize) -> Vec<u8> {
    let with_length = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let extension = |number: u16, data: &[u8]| [&number.to_be_bytes()[..], &with_length(data)].concat();
    let mut extensions = extension(0x0a0a, &[]);
    if padding > 0 {
        extensions.extend(extension(21, &vec![0; padding]));
    }
    if !protocols.is_empty() {
        let list =
            protocols.iter().flat_map(|protocol| [&[protocol.len() as u8], protocol.as_bytes()].concat());
        extensions.extend(extension(16, &with_length(&list.collect::<Vec<_>>())));
    }
    if !name.is_empty() {
        extensions.extend(extension(0, &with_length(&[&[0][..], &with_length(name.as_bytes())].concat())));
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(with_length(&extensions));
    let length = (body.len() as u32).to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

/// A handshake message in records of at most `most` bytes.
fn records(message: &[u8], most: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat();
    message.chunks(most).flat_map(record).collect()
}

fn hello(name: &str) -> Vec<u8> {
    records(&message(name, &["h2", "http/1.1"], 0), 16 * 1024)
}

/// Servers for app.test, for everything below wild.test, and for the rest.
struct Bed {
    app: Server,
    wild: Server,
    rest: Server,
    proxy: Proxy,
}

fn bed(flags: &str) -> Bed {
    let (app, wild, rest) = (Server::v4(), Server::v4(), Server::v4());
    let proxy = Launch::to(rest.address())
        .flags(&format!("--sni-route app.test={} --sni-route *.wild.test={}", app.address(), wild.address()))
        .flags(flags)
        .start();
    Bed { app, wild, rest, proxy }
}

/// What a client sends arrives at `server` as it is, and what that answers at the client.
fn expect_at(server: &Server, client: &Peer, sent: &[u8]) {
    let upstream = server.accept();
    upstream.expect(sent);
    upstream.send(b"answer");
    client.expect(b"answer");
    client.send(b"more");
    upstream.expect(b"more");
}

#[test]
fn names_choose_the_server() {
    let bed = bed("");
    for (name, server) in [
        ("app.test", &bed.app),
        ("APP.test", &bed.app),
        ("a.wild.test", &bed.wild),
        ("a.b.Wild.test", &bed.wild),
        ("wild.test", &bed.rest),
        ("other.test", &bed.rest),
        ("", &bed.rest),
    ] {
        println!("{name:?}");
        let client = Peer::connect(bed.proxy.address());
        client.send(&hello(name));
        expect_at(server, &client, &hello(name));
    }
}

#[test]
fn a_hello_may_come_in_any_pieces() {
    let bed = bed("--peek-timeout 1h");
    let hello = hello("app.test");
    for piece in [1, 2, 5, 6, 50, hello.len() - 1] {
        println!("{piece} bytes at a time");
        let client = Peer::connect(bed.proxy.address());
        for piece in hello.chunks(piece) {
            client.send(piece);
            // Long enough for most pieces to be received alone.
            thread::sleep(Duration::from_millis(2));
        }
        expect_at(&bed.app, &client, &hello);
    }
}

#[test]
fn a_hello_may_come_in_many_records_and_be_64_kib_long() {
    let bed = bed("--peek-timeout 1h");
    for (most, padding) in [(1, 0), (3, 0), (100, 1000), (16 * 1024, 40_000), (16 * 1024, 65_300)] {
        println!("records of {most} bytes, {padding} bytes of padding");
        let hello = records(&message("app.test", &[], padding), most);
        assert!(hello.len() <= 64 * 1024, "{} bytes are too many", hello.len());
        let client = Peer::connect(bed.proxy.address());
        client.send(&hello);
        expect_at(&bed.app, &client, &hello);
    }
}

#[test]
fn what_is_no_hello_goes_to_the_default() {
    let bed = bed("");
    let mut malformed = hello("app.test");
    let end = malformed.len() - 1;
    // The length of the name.
    malformed[end - 9] ^= 0xff;
    // Of one-byte records only a sixth is the message.
    let too_long = records(&message("app.test", &[], 20_000), 1);
    for sent in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x02", &malformed[..], &too_long] {
        let client = Peer::connect(bed.proxy.address());
        client.send(sent);
        let upstream = bed.rest.accept();
        upstream.expect(sent);
        upstream.send(b"answer");
        client.expect(b"answer");
    }
}

#[test]
fn a_client_that_ends_its_stream_early_has_its_say_at_the_default() {
    let bed = bed("--peek-timeout 1h");
    let client = Peer::connect(bed.proxy.address());
    client.send(&hello("app.test")[..20]);
    client.finish();
    let upstream = bed.rest.accept();
    upstream.expect(&hello("app.test")[..20]);
    upstream.expect_end();
    upstream.send(b"alert");
    client.expect(b"alert");
}

#[test]
fn a_client_that_sends_nothing_reaches_no_server() {
    let bed = bed("--peek-timeout 1h");
    Peer::connect(bed.proxy.address()).finish();
    bed.proxy.record().expect_end("client-left");
    bed.rest.expect_no_connection();
}

#[test]
fn a_hello_that_does_not_come_in_time_ends_the_session() {
    let bed = bed("--peek-timeout 200ms");
    let (silent, slow) = (Peer::connect(bed.proxy.address()), Peer::connect(bed.proxy.address()));
    slow.send(&hello("app.test")[..30]);
    silent.expect_close();
    slow.expect_close();
    for record in bed.proxy.records(2) {
        record.expect_end("hello-timeout");
        assert_eq!(record.get("upstream"), "-");
    }
    bed.proxy.wait_to_say_times("TLS hello not received in time", 2);
    bed.rest.expect_no_connection();
    bed.proxy.wait_until_idle();
}

#[test]
fn without_a_default_no_other_name_gets_in() {
    let app = Server::v4();
    let proxy = Launch::by_routes().flags(&format!("--sni-route app.test={}", app.address())).start();
    for sent in [&hello("other.test"), &hello(""), &b"GET / HTTP/1.1\r\n\r\n"[..].to_vec()] {
        let client = Peer::connect(proxy.address());
        client.send(sent);
        client.expect_close();
    }
    for record in proxy.records(3) {
        record.expect_end("no-route");
    }
    let said = proxy.wait_to_say("other.test");
    assert!(said.contains("no route matches the client's server name or protocols"), "{said}");
    let client = Peer::connect(proxy.address());
    client.send(&hello("app.test"));
    expect_at(&app, &client, &hello("app.test"));
}

#[test]
fn a_name_over_255_bytes_is_no_host_s_and_is_refused() {
    let bed = bed("--peek-timeout 1h");
    let longest = hello(&"a".repeat(255));
    let client = Peer::connect(bed.proxy.address());
    client.send(&longest);
    expect_at(&bed.rest, &client, &longest);
    drop(client);
    bed.proxy.records(1);
    let tail = |length: usize| format!("{}.wild.test", "a".repeat(length - ".wild.test".len()));
    for name in [tail(256), "b".repeat(300), format!("{}.", "c".repeat(255)), "d".repeat(16_000)] {
        let client = Peer::connect(bed.proxy.address());
        client.send(&hello(&name));
        client.expect_close();
    }
    for record in &bed.proxy.records(5)[1..] {
        record.expect_end("no-route");
        assert_eq!(record.get("upstream"), "-");
    }
    let said = bed.proxy.wait_to_say("the TLS server name is longer than 255 bytes");
    assert!(said.contains("closing"), "{said}");
    bed.rest.expect_no_connection();
    bed.wild.expect_no_connection();
    bed.proxy.wait_until_idle();
}

#[test]
fn a_protocol_comes_before_the_name() {
    let acme = Server::v4();
    let bed = bed(&format!("--alpn-route acme-tls/1={}", acme.address()));
    for (protocols, server) in
        [(&["acme-tls/1"][..], &acme), (&["h2", "acme-tls/1"], &acme), (&["h2"], &bed.app), (&[], &bed.app)]
    {
        let hello = records(&message("app.test", protocols, 0), 16 * 1024);
        let client = Peer::connect(bed.proxy.address());
        client.send(&hello);
        expect_at(server, &client, &hello);
    }
}

#[test]
fn servers_of_a_name_take_turns_and_stand_in_for_each_other() {
    let (one, other) = (Server::v4(), Server::v4());
    let (_taken, dead) = refusing();
    let flags: Vec<_> = [one.address(), &dead, other.address()]
        .iter()
        .map(|address| format!("--sni-route app.test={address}"))
        .collect();
    let proxy = Launch::by_routes().flags(&flags.join(" ")).start();
    // The dead one's turn falls to the one after it.
    for server in [&one, &other, &other, &one] {
        let client = Peer::connect(proxy.address());
        client.send(&hello("app.test"));
        expect_at(server, &client, &hello("app.test"));
    }
}

#[test]
fn proxy_headers_come_before_the_hello() {
    let bed = bed("--accept-proxy --send-proxy v1");
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.9 51234 443\r\n";
    let sent = [&header[..], &hello("app.test")].concat();
    for piece in [sent.len(), 10] {
        let client = Peer::connect(bed.proxy.address());
        for piece in sent.chunks(piece) {
            client.send(piece);
            thread::sleep(Duration::from_millis(1));
        }
        expect_at(&bed.app, &client, &sent);
    }
}

#[test]
fn a_real_handshake_passes_through_untouched() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let own = Identity::make(directory.path(), "own", &["app.test"]);
    let bed = bed("--splice always");
    let mut config = own.client(None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = TlsPeer::connect(bed.proxy.address(), &Arc::new(config), "app.test");
    let mut offered = Arc::unwrap_or_clone(own.server(None));
    offered.alpn_protocols = vec![b"h2".to_vec()];
    let upstream = TlsPeer::serve(bed.app.accept(), &Arc::new(offered));
    assert_eq!(client.facts().certificate, Some(own.der.clone()));
    let seen = upstream.facts();
    assert_eq!((seen.server_name.as_deref(), seen.alpn.as_deref()), (Some("app.test"), Some(&b"h2"[..])));
    both_ways(&client.plain, &upstream.plain, 3_000_017, 2_000_003, &mut Random::new());
    let record = bed.proxy.record();
    assert!(record.number("spliced") > 0.0, "what passes through can be spliced");
}
