//! PROXY headers, both versions, to servers and from clients.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Identity, Launch, Peer, Proxy, Server, TlsPeer, exchange};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 by the bytes of its parts (proxy-protocol.txt, section 2.2).
fn v2(version_and_command: u8, family_and_transport: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[version_and_command, family_and_transport], &length, rest].concat()
}

/// Version 2 for a TCP connection.
fn v2_tcp(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let family = if source.is_ipv4() { 0x11 } else { 0x21 };
    v2(0x21, family, &[octets(source), octets(destination), ports].concat())
}

/// Version 1 for a TCP connection.
fn v1_tcp(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let [from, to] = [source, destination].map(|address| address.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// What a server is sent for clients that come by v4, v6 and a Unix socket.
fn sent(version: &str, tcp: impl Fn(SocketAddr, SocketAddr) -> Vec<u8>, unix: &[u8]) {
    let directory = TempDir::new().expect("a directory for temporary files");
    let server = Server::v4();
    let path = directory.path().join("proxy");
    let listen = format!("--listen 127.0.0.1:0 --listen [::1]:0 --listen unix:{}", path.display());
    let proxy = Launch::to(server.address()).flags(&listen).flags(&format!("--send-proxy {version}")).start();
    for listener in proxy.listeners() {
        let client = Peer::connect(listener);
        let upstream = server.accept();
        match listener.parse() {
            Ok(destination) => upstream.expect(&tcp(client.address(), destination)),
            Err(_) => upstream.expect(unix),
        }
        // The header comes before the client has said anything, and nothing comes after it but what the client says.
        exchange(&client, &upstream);
        client.finish();
        upstream.expect_end();
    }
    for record in proxy.records(3) {
        assert_eq!(record.get("to_upstream_bytes"), "3", "the header is not the client's");
    }
}

#[test]
fn version_1_is_sent_byte_for_byte() {
    sent("v1", v1_tcp, b"PROXY UNKNOWN\r\n");
}

#[test]
fn version_2_is_sent_byte_for_byte() {
    sent("v2", v2_tcp, &v2(0x20, 0x00, &[]));
}

fn addresses() -> [(SocketAddr, SocketAddr); 2] {
    [("192.0.2.7:51234", "198.51.100.1:80"), ("[2001:db8::7]:51234", "[2001:db8::1]:80")]
        .map(|(source, destination)| (source.parse().expect("one"), destination.parse().expect("one")))
}

fn accepting(server: &Server, flags: &str) -> Proxy {
    Launch::to(server.address()).flags("--accept-proxy").flags(flags).start()
}

/// `header` is understood however it is cut up; what is behind it is the server's.
fn cut_everywhere(header: &[u8], source: &str) {
    let server = Server::v4();
    // The smallest buffer, and few of them: a header in pieces may not keep any.
    let proxy = accepting(&server, "--accept-proxy-timeout 1h --buffers 2 --buffer-size 1KiB");
    let message = [header, b"request"].concat();
    let clients: Vec<_> = (0..=message.len())
        .map(|cut| {
            let client = Peer::connect(proxy.address());
            client.send(&message[..cut]);
            (client, cut)
        })
        .collect();
    // What was sent so far has been received by then, mostly.
    thread::sleep(Duration::from_millis(100));
    for (client, cut) in &clients {
        client.send(&message[*cut..]);
    }
    for _ in &clients {
        let upstream = server.accept();
        upstream.expect(b"request");
        upstream.send(b"answer");
    }
    for (client, _) in &clients {
        client.expect(b"answer");
    }
    let bytewise = Peer::connect(proxy.address());
    for byte in &message {
        bytewise.send(&[*byte]);
        thread::sleep(Duration::from_millis(1));
    }
    server.accept().expect(b"request");
    let sessions = clients.len() + 1;
    drop((clients, bytewise));
    for record in proxy.records(sessions) {
        assert_eq!(record.get("proxied"), source);
        assert_eq!(record.get("to_upstream_bytes"), "7", "the header is not the server's");
    }
}

#[test]
fn version_1_is_understood_however_it_is_cut_up() {
    for (source, destination) in addresses() {
        cut_everywhere(&v1_tcp(source, destination), &source.to_string());
    }
}

#[test]
fn version_2_is_understood_however_it_is_cut_up() {
    for (source, destination) in addresses() {
        cut_everywhere(&v2_tcp(source, destination), &source.to_string());
    }
}

#[test]
fn version_2_with_more_in_it_than_addresses_is_understood() {
    let mut rest = v2_tcp(addresses()[0].0, addresses()[0].1)[16..].to_vec();
    // One TLV of 2,000 bytes, longer than a receive buffer.
    rest.extend([0x20, 0x07, 0xd0]);
    rest.extend(vec![b'x'; 2000]);
    let server = Server::v4();
    let proxy = accepting(&server, "--buffer-size 1KiB");
    let client = Peer::connect(proxy.address());
    client.send(&[&v2(0x21, 0x11, &rest), &b"request"[..]].concat());
    server.accept().expect(b"request");
    drop(client);
    assert_eq!(proxy.record().get("proxied"), "192.0.2.7:51234");
}

#[test]
fn an_accepted_address_is_passed_on_in_the_other_version() {
    for (source, destination) in addresses() {
        let (v1, v2) = (v1_tcp(source, destination), v2_tcp(source, destination));
        for (version, comes, goes) in [("v2", &v1, &v2), ("v1", &v2, &v1)] {
            let server = Server::v4();
            let proxy = accepting(&server, &format!("--send-proxy {version}"));
            let client = Peer::connect(proxy.address());
            client.send(&[comes, &b"request"[..]].concat());
            let upstream = server.accept();
            upstream.expect(goes);
            upstream.expect(b"request");
            drop((client, upstream));
            assert_eq!(proxy.record().get("proxied"), source.to_string());
        }
    }
}

#[test]
fn a_header_without_addresses_leaves_the_connections_own() {
    let server = Server::v4();
    let proxy = accepting(&server, "--send-proxy v1");
    let address: SocketAddr = proxy.address().parse().expect("an IP address");
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20, 0x00, &[]), v2(0x21, 0x00, &[])] {
        let client = Peer::connect(proxy.address());
        client.send(&header);
        server.accept().expect(&v1_tcp(client.address(), address));
    }
    for record in proxy.records(3) {
        assert_eq!(record.get("proxied"), "-");
    }
}

#[test]
fn a_unix_clients_path_is_logged_and_passed_on_as_unknown() {
    let mut paths = [0u8; 216];
    paths[..11].copy_from_slice(b"/run/client");
    paths[108..119].copy_from_slice(b"/run/server");
    let server = Server::v4();
    let proxy = accepting(&server, "--send-proxy v1");
    let client = Peer::connect(proxy.address());
    client.send(&v2(0x21, 0x31, &paths));
    server.accept().expect(b"PROXY UNKNOWN\r\n");
    drop(client);
    assert_eq!(proxy.record().get("proxied"), "unix:/run/client");
}

#[test]
fn what_is_no_header_closes_the_connection_and_says_why() {
    let server = Server::v4();
    let proxy = accepting(&server, "--accept-proxy-timeout 1h");
    let wrong: [(&[u8], &str); 12] = [
        (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header"),
        (b"\x16\x03\x01", "no PROXY header"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n", "two addresses and two ports"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 80 1\r\n", "two addresses and two ports"),
        (b"PROXY TCP4 2001:db8::7 2001:db8::1 51234 80\r\n", "not of the line's address family"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 66666 80\r\n", "port is not a number up to 65535"),
        (b"PROXY UDP4 192.0.2.7 198.51.100.1 51234 80\r\n", "not TCP4, TCP6 or UNKNOWN"),
        (b"PROXY UNKNOWN\n", "does not end with CR LF"),
        (b"PROXY\r\n", "no PROXY header"),
        (&v2(0x31, 0x11, &[0; 12]), "version 3"),
        (&v2(0x22, 0x11, &[0; 12]), "command 2"),
        (&v2(0x21, 0x11, &[0; 11]), "but its addresses take"),
    ];
    for (count, (bytes, cause)) in wrong.iter().enumerate() {
        let client = Peer::connect(proxy.address());
        client.send(bytes);
        client.expect_close();
        proxy.records(count + 1)[count].expect_end("proxy-header");
        let said = proxy.wait_to_say_times("no valid PROXY header received", count + 1);
        assert_eq!(said.len(), count + 1, "one line each (left: lines)");
        assert!(
            said[count].contains(cause),
            "expected {cause:?} about {} in: {}",
            bytes.escape_ascii(),
            said[count]
        );
    }
    server.expect_no_connection();
    proxy.wait_until_idle();
}

#[test]
fn a_header_that_is_too_long_closes_the_connection_and_says_why() {
    let server = Server::v4();
    let proxy = accepting(&server, "--accept-proxy-timeout 1h");
    let line = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 93]].concat();
    // Announced, not sent: it is refused before it is there.
    let announced = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    for (count, (bytes, cause)) in
        [(line, "longer than 107 bytes"), (announced, "longer than 4096")].iter().enumerate()
    {
        let client = Peer::connect(proxy.address());
        client.send(bytes);
        client.expect_close();
        proxy.records(count + 1)[count].expect_end("proxy-header");
        let said = proxy.wait_to_say_times("no valid PROXY header received", count + 1).remove(count);
        assert!(said.contains(cause), "expected {cause:?} in: {said}");
    }
    server.expect_no_connection();
}

#[test]
fn a_header_that_does_not_come_in_time_closes_the_connection_and_says_why() {
    let server = Server::v4();
    let proxy = accepting(&server, "--accept-proxy-timeout 300ms");
    for (count, begun) in [&b""[..], b"PROXY TCP4 19", SIGNATURE].into_iter().enumerate() {
        let client = Peer::connect(proxy.address());
        client.send(begun);
        client.expect_close();
        proxy.records(count + 1)[count].expect_end("proxy-header");
        let said = proxy.wait_to_say_times("no valid PROXY header received", count + 1).remove(count);
        assert!(said.contains("not received within 300ms"), "{said}");
    }
    server.expect_no_connection();
    proxy.wait_until_idle();
}

#[test]
fn a_header_that_ends_early_closes_the_connection_and_says_why() {
    let server = Server::v4();
    let proxy = accepting(&server, "--accept-proxy-timeout 1h");
    let client = Peer::connect(proxy.address());
    client.send(b"PROXY TCP4 19");
    client.finish();
    client.expect_close();
    proxy.record().expect_end("proxy-header");
    let said = proxy.wait_to_say("no valid PROXY header received");
    assert!(said.contains("ended after 13 bytes"), "{said}");
    server.expect_no_connection();
}

#[test]
fn what_version_2_says_besides_addresses_is_passed_on() {
    let server = Server::v4();
    let proxy = accepting(&server, "--send-proxy v2");
    let (source, destination) = addresses()[0];
    // Authority, a checksum of this header, a unique ID.
    let received = b"\x02\0\x03web\x03\0\x04sums\x05\0\x02id";
    let with = |tlvs: &[u8]| {
        let plain = v2_tcp(source, destination);
        v2(0x21, 0x11, &[&plain[16..], tlvs].concat())
    };
    let client = Peer::connect(proxy.address());
    client.send(&with(received));
    let upstream = server.accept();
    upstream.expect(&with(b"\x02\0\x03web\x05\0\x02id"));
    exchange(&client, &upstream);
    // Elements that are cut off are no reason to refuse a client, and are not passed on.
    let client = Peer::connect(proxy.address());
    client.send(&with(b"\x05\0\x02id\x02\0\x09we"));
    let upstream = server.accept();
    upstream.expect(&with(b"\x05\0\x02id"));
    exchange(&client, &upstream);
}

#[test]
fn tls_that_ends_here_is_told_in_version_2() {
    let directory = TempDir::new().expect("a directory");
    let front = Identity::make(directory.path(), "front", &["front.test"]);
    let server = Server::v4();
    let flags = format!(
        "{} --send-proxy v2 --tls-client-ca {} --tls-client-cert optional",
        front.flags(),
        front.certificate.display()
    );
    let proxy = accepting(&server, &flags);
    let (source, destination) = addresses()[0];
    for (own, client_bits, verify) in [(None, 1, 1), (Some(&front), 5, 0)] {
        let mut config = front.client(own);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let wire = Peer::connect(proxy.address());
        // What a sender says of the client's TLS gives way to what is known here.
        let plain = v2_tcp(source, destination);
        wire.send(&v2(0x21, 0x11, &[&plain[16..], b"\x02\0\x05other\x05\0\x02id"].concat()));
        let client = TlsPeer::over(wire, &Arc::new(config), "front.test");
        let ssl = [&[0x20, 0, 15, client_bits, 0, 0, 0, verify, 0x21, 0, 7], &b"TLSv1.3"[..]].concat();
        let told = [&plain[16..], b"\x05\0\x02id\x01\0\x08http/1.1\x02\0\x0afront.test", &ssl].concat();
        let upstream = server.accept();
        upstream.expect(&v2(0x21, 0x11, &told));
        exchange(&client.plain, &upstream);
    }
}
