//! SRV records: which servers a service has, and their parts.

use rustls::HandshakeKind;
use tempfile::TempDir;

use super::{CHANGED, FAILING, Host, OFTEN, wait_for_lookups};
use crate::support::{Dns, Identity, Launch, Peer, Proxy, Server, TlsPeer, exchange, wait_until};

const SERVICE: &str = "_http._tcp.corp.test";

fn launch(dns: &Dns) -> Launch {
    Launch::to(&format!("srv://{SERVICE}")).flags(&dns.flag()).flags(OFTEN)
}

fn port(server: &Server) -> u16 {
    server.address().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn weights_ports_and_priorities_of_the_records_count() {
    let (dns, host) = (Dns::new(), Host::of(4));
    for number in 1..=4 {
        dns.set(&format!("iis{number}.test"), &[&format!("127.0.0.{number}")]);
    }
    let records = |first: u16, second: u16| {
        [
            (20, 0, host.port, "iis3.test"),
            (10, first, host.port, "iis1.test"),
            (30, 500, host.port, "iis4.test"),
            (10, second, host.port, "iis2.test"),
        ]
    };
    dns.set_service(SERVICE, &records(10_000, 30_000));
    let proxy = launch(&dns).start();
    assert_eq!(host.counts(&proxy, 40), [10, 30, 0, 0]);
    dns.set_service(SERVICE, &records(1, 1));
    let line = proxy.wait_to_say(CHANGED);
    assert!(
        line.contains("added=\"-\"") && line.contains("removed=\"-\"") && line.contains("servers=4"),
        "{line}"
    );
    assert_eq!(host.counts(&proxy, 40), [20, 20, 0, 0]);
    dns.set_service(SERVICE, &records(1, 1)[..1]);
    proxy.wait_to_say_times(CHANGED, 2);
    assert_eq!(host.counts(&proxy, 4), [0, 0, 4, 0], "what was a backup server is the only one");
}

#[test]
fn backup_servers_serve_where_no_other_can() {
    let (dns, host) = (Dns::new(), Host::of(2));
    dns.set("iis1.test", &["127.0.0.9"]);
    dns.set("iis2.test", &["127.0.0.2"]);
    dns.set_service(SERVICE, &[(1, 1, host.port, "iis1.test"), (2, 1, host.port, "iis2.test")]);
    let proxy = launch(&dns).start();
    assert_eq!(host.counts(&proxy, 3), [0, 3]);
}

#[test]
fn a_service_that_is_not_available_keeps_its_servers() {
    let (dns, host) = (Dns::new(), Host::of(1));
    dns.set("iis1.test", &["127.0.0.1"]);
    dns.set_service(SERVICE, &[(0, 0, host.port, "iis1.test")]);
    let proxy = launch(&dns).start();
    dns.set_service(SERVICE, &[(0, 0, 0, ".")]);
    let line = proxy.wait_to_say(FAILING);
    assert!(line.contains("its SRV record says that the service is not available"), "{line}");
    assert_eq!(host.counts(&proxy, 2), [2]);
}

#[test]
fn a_host_that_does_not_resolve_is_left_out_or_keeps_its_addresses() {
    let (dns, host) = (Dns::new(), Host::of(3));
    dns.set("iis1.test", &["127.0.0.1"]);
    dns.set("iis2.test", &["127.0.0.2"]);
    let record = |name| (0, 0, host.port, name);
    dns.set_service(SERVICE, &[record("iis1.test"), record("iis2.test"), record("gone.test")]);
    let proxy = launch(&dns).start();
    let line =
        proxy.wait_to_say("cannot resolve gone.test, which its SRV record names: there is no such name");
    assert!(line.contains("leaving it out"), "{line}");
    assert_eq!(host.counts(&proxy, 4), [2, 2, 0]);
    dns.remove("iis2.test");
    let line = proxy.wait_to_say("cannot resolve iis2.test");
    assert!(line.contains("keeping its addresses"), "{line}");
    wait_for_lookups(&dns, "iis2.test", 2);
    assert_eq!(host.counts(&proxy, 4), [2, 2, 0]);
    dns.set("gone.test", &["127.0.0.3"]);
    proxy.wait_to_say(CHANGED);
    assert_eq!(host.counts(&proxy, 3), [1, 1, 1]);
}

#[test]
fn a_service_may_have_another_name_and_so_may_its_hosts() {
    let (dns, host) = (Dns::new(), Host::of(2));
    dns.set("real.test", &["127.0.0.2"]);
    dns.set_alias("between.test", "real.test");
    dns.set_alias("iis.test", "between.test");
    dns.set_service("_web._tcp.corp.test", &[(0, 0, host.port, "iis.test")]);
    dns.set_alias(SERVICE, "_web._tcp.corp.test");
    let proxy = launch(&dns).start();
    assert_eq!(host.counts(&proxy, 2), [0, 2]);
}

#[test]
fn hosts_at_several_ports_are_servers_of_their_own() {
    let (dns, servers) = (Dns::new(), [Server::v4(), Server::v4()]);
    dns.set("iis.test", &["127.0.0.1"]);
    dns.set_service(SERVICE, &[(0, 0, port(&servers[0]), "iis.test"), (0, 0, port(&servers[1]), "iis.test")]);
    let proxy = launch(&dns).start();
    let reaches = |proxy: &Proxy, server: &Server| {
        let client = Peer::connect(proxy.address());
        client.send(b"x");
        wait_until("a server to get it", || servers.iter().any(|server| server.try_accept().is_some()));
        server.address().to_owned()
    };
    for server in &servers {
        reaches(&proxy, server);
    }
    let line = proxy.wait_to_say("serving listeners=");
    assert!(servers.iter().all(|server| line.contains(server.address())), "{line}");
}

#[test]
fn checks_ask_for_the_domain_of_the_service() {
    let (dns, server) = (Dns::new(), Server::v4());
    dns.set("iis.test", &["127.0.0.1"]);
    dns.set_service(SERVICE, &[(0, 0, port(&server), "iis.test")]);
    let _proxy = launch(&dns).flags("--health http --health-timeout 20s").start();
    let check = server.accept();
    check.expect(b"GET / HTTP/1.1\r\nHost: corp.test\r\n");
}

#[test]
fn servers_prove_to_be_the_domain_and_sessions_with_them_outlive_a_change() {
    let (dns, server) = (Dns::new(), Server::v4());
    let directory = TempDir::new().expect("a directory for temporary files");
    let domain = Identity::make(directory.path(), "domain", &["corp.test"]);
    let host = Identity::make(directory.path(), "host", &["iis.test"]);
    dns.set("iis.test", &["127.0.0.1"]);
    let record = |target| (0, 0, port(&server), target);
    dns.set_service(SERVICE, &[record("iis.test")]);
    let authorities = directory.path().join("authorities.pem");
    let read = |identity: &Identity| std::fs::read_to_string(&identity.certificate).expect("it was written");
    std::fs::write(&authorities, read(&domain) + &read(&host)).expect("it is written");
    let flags = format!("--upstream-tls --upstream-ca {} --eject-after 0", authorities.display());
    let proxy = launch(&dns).flags(&flags).start();

    let client = Peer::connect(proxy.address());
    let refused = TlsPeer::serve(server.accept(), &host.server(None));
    assert!(refused.failure().contains("received fatal alert"), "a host that DNS names proves nothing");
    client.expect_close();

    let config = domain.server(None);
    let connect = || {
        let client = Peer::connect(proxy.address());
        let upstream = TlsPeer::serve(server.accept(), &config);
        exchange(&client, &upstream.plain);
        upstream.facts()
    };
    assert_eq!(connect().server_name.as_deref(), Some("corp.test"));
    connect();
    // A backup server that is never used.
    dns.set("other.test", &["127.0.0.9"]);
    dns.set_service(SERVICE, &[record("iis.test"), (1, 0, port(&server), "other.test")]);
    proxy.wait_to_say(CHANGED);
    assert_eq!(connect().kind, HandshakeKind::Resumed);
}
