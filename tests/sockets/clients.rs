//! Who may connect, and how much of it: by the client's address, or by the source in its PROXY header.

use std::sync::Arc;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{Identity, Launch, Peer, Proxy, Server, TlsPeer, exchange};

fn header(source: &str) -> Vec<u8> {
    let (family, own) = if source.contains(':') { ("TCP6", "2001:db8::1") } else { ("TCP4", "192.0.2.1") };
    format!("PROXY {family} {source} {own} 51234 80\r\n").into_bytes()
}

fn connect_from(source: &str, proxy: &Proxy) -> Peer {
    Peer::connect_from(source.parse().expect("an address"), proxy.address())
}

fn expect_served(client: &Peer, server: &Server) -> Peer {
    let upstream = server.accept();
    exchange(client, &upstream);
    upstream
}

/// The totals of its last line.
fn stop(mut proxy: Proxy) -> String {
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    proxy.wait_to_say("stopped")
}

#[test]
fn clients_are_allowed_and_denied_by_address() {
    let server = Server::v4();
    let flags =
        "--workers 2 --no-pin --allow 127.0.0.0/16 --allow 127.7.0.9 --deny 127.0.0.128/25 --deny 127.0.0.3";
    let proxy = Launch::to(server.address()).flags(flags).start();
    for source in ["127.0.0.1", "127.0.0.127", "127.7.0.9"] {
        expect_served(&connect_from(source, &proxy), &server);
    }
    for source in ["127.0.0.3", "127.0.0.128", "127.7.0.8"] {
        connect_from(source, &proxy).expect_close();
        let line = proxy.wait_to_say(&format!("client={source}:"));
        assert!(
            line.contains("WARN client is not allowed to connect; closing service=\"default\""),
            "{line}"
        );
    }
    server.expect_no_connection();
    let records = proxy.records(6);
    let denied: Vec<_> = records.iter().filter(|record| record.get("end") == "denied").collect();
    assert_eq!(denied.len(), 3);
    for record in denied {
        assert_eq!(record.get("upstream"), "-");
    }
    let totals = stop(proxy);
    assert!(totals.contains(" connections=6 ") && totals.contains(" denied=3"), "{totals}");
}

#[test]
fn a_client_is_refused_before_it_is_shown_a_certificate_or_a_page() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let identity = Identity::make(directory.path(), "site", &["site.test"]);
    let server = Server::v4();
    let tls = format!("--tls-cert {} --tls-key {}", identity.certificate.display(), identity.key.display());
    for flags in
        [tls.as_str(), "--mode http", &format!("--mode http {tls}"), "--sni-route a.test=127.0.0.1:9"]
    {
        let proxy = Launch::to(server.address()).flags(flags).flags("--deny 127.0.0.2").start();
        let client = connect_from("127.0.0.2", &proxy);
        // It has not said anything yet.
        client.expect_end();
        let client = connect_from("127.0.0.2", &proxy);
        // It may have been closed meanwhile.
        let _ = std::io::Write::write(&mut client.socket(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut received = [0; 64];
        assert!(
            matches!(client.receive(&mut received), Ok(0) | Err(_)),
            "{flags}: {:?}",
            received.escape_ascii()
        );
        server.expect_no_connection();
        if flags == tls {
            let client = TlsPeer::connect(proxy.address(), &Arc::new(identity.client(None)), "site.test");
            exchange(&client.plain, &server.accept());
        }
        let totals = stop(proxy);
        assert!(totals.contains(" denied=2"), "{flags}: {totals}");
    }
}

#[test]
fn behind_a_trusted_balancer_the_source_it_names_counts() {
    let server = Server::v4();
    let flags = "--accept-proxy --accept-proxy-from 127.0.0.9 --deny 192.0.2.0/24 --deny 2001:db8:7::/48 --deny 127.0.0.3";
    let proxy = Launch::to(server.address()).flags(flags).start();
    let through = |balancer: &str, source: &str| {
        let client = connect_from(balancer, &proxy);
        client.send(&header(source));
        client
    };
    for source in ["198.51.100.7", "2001:db8:8::7", "127.0.0.9"] {
        expect_served(&through("127.0.0.9", source), &server);
    }
    for source in ["192.0.2.7", "2001:db8:7::7", "::ffff:192.0.2.7"] {
        through("127.0.0.9", source).expect_close();
    }
    // Whoever is no balancer cannot say that he is somebody else, in either direction.
    through("127.0.0.3", "198.51.100.7").expect_close();
    let client = through("127.0.0.4", "192.0.2.7");
    server.accept().expect(&header("192.0.2.7"));
    drop(client);
    server.expect_no_connection();
    let totals = stop(proxy);
    assert!(totals.contains(" denied=4"), "{totals}");
}

#[test]
fn clients_of_unix_sockets_are_allowed_by_their_own_word() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let server = Server::v4();
    for (flags, is_served) in [
        ("--allow 127.0.0.0/8 --allow ::/0", false),
        ("--allow unix:", true),
        ("--deny unix:", false),
        ("--deny ::/0", true),
    ] {
        let path = directory.path().join("proxy");
        let listen = format!("--listen unix:{}", path.display());
        let proxy = Launch::to(server.address()).flags(&listen).flags(flags).start();
        let client = Peer::connect(proxy.address());
        if is_served {
            expect_served(&client, &server);
        } else {
            client.expect_close();
        }
    }
    server.expect_no_connection();
}

#[test]
fn an_address_that_everybody_may_write_into_a_header_is_warned_of() {
    let server = Server::v4();
    let warning = "WARN clients are admitted by PROXY headers that anybody may send";
    let forgeable = Launch::to(server.address()).flags("--accept-proxy --deny 192.0.2.0/24").start();
    forgeable.wait_to_say(warning);
    let flags = "--accept-proxy --accept-proxy-from 127.0.0.9 --deny 192.0.2.0/24";
    for flags in [flags, "--accept-proxy", "--deny 192.0.2.0/24"] {
        let proxy = Launch::to(server.address()).flags(flags).start();
        assert!(proxy.said(warning).is_empty(), "{flags}");
    }
}
