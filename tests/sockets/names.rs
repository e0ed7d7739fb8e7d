//! Names of servers while the proxy runs: addresses come and go, and what becomes of connections.

use std::thread;
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use nix::sys::signal::Signal;

use crate::reserved;
use crate::support::{Dns, Launch, Peer, Proxy, Server, exchange, wait_for, wait_until};

mod counts;
mod host;
mod orders;
mod services;
mod start;

/// What the log says of a name that stands for others now.
const CHANGED: &str = "name has other servers; using them for new connections";
const FAILING: &str = "name does not resolve any more; keeping its servers";
const BACK: &str = "name resolves again";

/// Looks names up so often that a test need not wait.
const OFTEN: &str = "--resolve-interval 100ms";

/// Servers at 127.0.0.1, 127.0.0.2 and so on, all at one port.
struct Host {
    port: u16,
    servers: Vec<Server>,
}

impl Host {
    fn of(count: u8) -> Self {
        let port = reserved::address().port();
        Self {
            port,
            servers: (1..=count).map(|number| Server::at(&format!("127.0.0.{number}:{port}"))).collect(),
        }
    }

    /// A new client, the number of the server that it reached, and that one's end.
    fn client(&self, address: &str) -> (Peer, usize, Peer) {
        let client = Peer::connect(address);
        client.send(b"first");
        let (nth, upstream) = wait_for("a server to get the connection", || {
            self.servers.iter().enumerate().find_map(|(nth, server)| Some((nth, server.try_accept()?)))
        });
        upstream.expect(b"first");
        exchange(&client, &upstream);
        (client, nth + 1, upstream)
    }

    /// How many of so many clients each server gets.
    fn counts(&self, proxy: &Proxy, clients: usize) -> Vec<usize> {
        let mut counts = vec![0; self.servers.len()];
        for _ in 0..clients {
            counts[self.client(proxy.address()).1 - 1] += 1;
        }
        counts
    }

    fn launch(&self, dns: &Dns, options: &str) -> Launch {
        Launch::to(&format!("iis.test:{}{options}", self.port)).flags(&dns.flag())
    }
}

/// Waits for so many more lookups of a name.
fn wait_for_lookups(dns: &Dns, name: &str, more: usize) {
    let before = dns.queries(name);
    wait_until("the name to be looked up again", || dns.queries(name) >= before + 2 * more);
}

#[test]
fn addresses_come_and_go_and_connections_stay() {
    let (dns, host) = (Dns::new(), Host::of(4));
    dns.set("iis.test", &["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let proxy = host.launch(&dns, "").flags(OFTEN).start();
    assert_eq!(host.counts(&proxy, 30), [10, 10, 10, 0]);
    let (client, upstream) = wait_for("a connection to the third", || {
        let (client, nth, upstream) = host.client(proxy.address());
        (nth == 3).then_some((client, upstream))
    });
    dns.set("iis.test", &["127.0.0.4", "127.0.0.2", "127.0.0.1"]);
    let line = proxy.wait_to_say(CHANGED);
    assert!(
        line.contains(&format!("name=iis.test:{}", host.port))
            && line.contains(&format!("added=\"127.0.0.4:{}\"", host.port))
            && line.contains(&format!("removed=\"127.0.0.3:{}\"", host.port))
            && line.contains("groups=\"default\"")
            && line.contains("servers=3"),
        "{line}"
    );
    assert_eq!(host.counts(&proxy, 30), [10, 10, 0, 10]);
    exchange(&client, &upstream);
    assert_eq!(proxy.said(CHANGED).len(), 1, "one line for a change");
}

#[test]
fn a_client_that_waits_for_a_place_gets_one_at_an_address_that_comes_meanwhile() {
    let (dns, host) = (Dns::new(), Host::of(2));
    dns.set("iis.test", &["127.0.0.1"]);
    let proxy = host.launch(&dns, ",max-connections=1").flags(OFTEN).flags("--queue-timeout 5m").start();
    let (_first, nth, _upstream) = host.client(proxy.address());
    assert_eq!(nth, 1);
    let waits = Peer::connect(proxy.address());
    waits.send(b"first");
    proxy.wait_to_say("the client waits");
    dns.set("iis.test", &["127.0.0.1", "127.0.0.2"]);
    let upstream = host.servers[1].accept();
    upstream.expect(b"first");
    exchange(&waits, &upstream);
}

#[test]
fn another_order_and_an_address_twice_are_no_change() {
    let (dns, host) = (Dns::new(), Host::of(3));
    dns.set("iis.test", &["127.0.0.3", "127.0.0.1", "127.0.0.2", "127.0.0.1"]);
    let proxy = host.launch(&dns, "").flags(OFTEN).start();
    wait_for_lookups(&dns, "iis.test", 5);
    let descriptors = proxy.descriptors();
    wait_for_lookups(&dns, "iis.test", 30);
    assert!(proxy.descriptors() <= descriptors + 8, "lookups leave nothing behind");
    assert_eq!(proxy.said(CHANGED), [""; 0]);
    assert_eq!(host.counts(&proxy, 9), [3, 3, 3]);
}

#[test]
fn a_name_that_fails_keeps_its_servers_and_is_said_once() {
    for failure in ["nxdomain", "servfail", "silence", "nothing"] {
        let (dns, host) = (Dns::new(), Host::of(2));
        dns.set("iis.test", &["127.0.0.1", "127.0.0.2"]);
        let proxy = host.launch(&dns, "").flags(OFTEN).flags("--resolve-timeout 300ms").start();
        let reason = match failure {
            "nxdomain" => {
                dns.remove("iis.test");
                "there is no such name"
            }
            "servfail" => {
                for record_type in [RecordType::A, RecordType::AAAA] {
                    dns.fail("iis.test", record_type, ResponseCode::ServFail);
                }
                "the DNS server answers SERVFAIL"
            }
            "silence" => {
                dns.be_silent(true);
                "no "
            }
            _ => {
                dns.set("iis.test", &[]);
                "the name has no address"
            }
        };
        let line = proxy.wait_to_say(FAILING);
        assert!(line.contains(reason) && line.contains("servers=2"), "{failure}: {line}");
        wait_for_lookups(&dns, "iis.test", 3);
        assert_eq!(host.counts(&proxy, 10), [5, 5], "{failure}");
        dns.heal();
        dns.be_silent(false);
        dns.set("iis.test", &["127.0.0.2", "127.0.0.1"]);
        proxy.wait_to_say(BACK);
        wait_for_lookups(&dns, "iis.test", 3);
        let said = [FAILING, BACK, CHANGED].map(|text| proxy.said(text).len());
        assert_eq!(said, [1, 1, 0], "{failure}");
    }
}

#[test]
fn a_family_that_fails_keeps_its_addresses() {
    let (dns, server) = (Dns::new(), Server::v6());
    let port = server.address().rsplit(':').next().expect("a port").to_owned();
    dns.set("iis.test", &["127.0.0.1", "::1"]);
    let proxy = Launch::to(&format!("iis.test:{port}")).flags(&dns.flag()).flags(OFTEN).start();
    dns.fail("iis.test", RecordType::AAAA, ResponseCode::ServFail);
    proxy.wait_to_say("cannot look up the IPv6 addresses of iis.test: the DNS server answers SERVFAIL");
    wait_for_lookups(&dns, "iis.test", 3);
    assert_eq!(proxy.said(CHANGED), [""; 0]);
    dns.set("iis.test", &["127.0.0.2", "::1"]);
    assert!(proxy.wait_to_say(CHANGED).contains("servers=2"));
    dns.set("iis.test", &["127.0.0.2"]);
    dns.heal();
    let lines = proxy.wait_to_say_times(CHANGED, 2);
    assert!(lines[1].contains(&format!("removed=\"[::1]:{port}\"")), "{lines:?}");
    assert_eq!(proxy.said("cannot look up the IPv6 addresses").len(), 1);
}

#[test]
fn a_server_that_comes_back_is_known() {
    let (dns, host) = (Dns::new(), Host::of(2));
    dns.set("iis.test", &["127.0.0.1", "127.0.0.2"]);
    let proxy = host.launch(&dns, ",max-connections=1").flags(OFTEN).start();
    let held = [host.client(proxy.address()), host.client(proxy.address())];
    let [first, second] =
        [1, 2].map(|nth| held.iter().find(|(_, number, _)| *number == nth).expect("each has one"));
    Peer::connect(proxy.address()).expect_close();
    dns.set("iis.test", &["127.0.0.2"]);
    proxy.wait_to_say(CHANGED);
    dns.set("iis.test", &["127.0.0.2", "127.0.0.1"]);
    proxy.wait_to_say_times(CHANGED, 2);
    // Both have the connections from before.
    Peer::connect(proxy.address()).expect_close();
    exchange(&first.0, &first.2);
    exchange(&second.0, &second.2);
}

#[test]
fn two_groups_with_one_name_change_together_and_others_stay() {
    let (dns, host, other) = (Dns::new(), Host::of(2), Server::v4());
    dns.set("iis.test", &["127.0.0.1"]);
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("iisplice.toml");
    let (port, fixed) = (host.port, other.address());
    let group = |name: &str, servers: &str, keys: &str| {
        format!(
            "[service.{name}]\nlisten = \"127.0.0.1:0\"\nupstream = \"{name}\"\n[group.{name}]\nservers = \"{servers}\"\n{keys}\n"
        )
    };
    let interval = "resolve-interval = \"100ms\"";
    let name = format!("iis.test:{port}");
    let text = [
        format!("resolver = \"{}\"\n", dns.address()),
        group("one", &name, interval),
        group("two", &name, interval),
        group("fixed", fixed, ""),
        group("never", &name, "resolve-interval = \"off\""),
    ];
    std::fs::write(&path, text.concat()).expect("it is written");
    let proxy = Launch::by_file(&path).start();
    dns.set("iis.test", &["127.0.0.2"]);
    let line = proxy.wait_to_say(CHANGED);
    assert!(line.contains("groups=\"one,two\""), "{line}");
    for (listener, expected) in std::iter::zip(proxy.listeners(), [2, 2, 0, 1]) {
        if expected > 0 {
            assert_eq!(host.client(listener).1, expected, "{listener}");
        }
    }
    let client = Peer::connect(&proxy.listeners()[2]);
    client.send(b"first");
    other.accept().expect(b"first");
    assert_eq!(proxy.said(CHANGED).len(), 1);
}

#[test]
fn a_change_leaves_listeners_and_the_clients_in_their_queues_alone() {
    let (dns, host) = (Dns::new(), Host::of(2));
    dns.set("iis.test", &["127.0.0.1"]);
    let proxy = host.launch(&dns, "").flags(OFTEN).flags("--max-connections 1").start();
    let (first, _, upstream) = host.client(proxy.address());
    let waiting = Peer::connect(proxy.address());
    waiting.send(b"second");
    dns.set("iis.test", &["127.0.0.2"]);
    proxy.wait_to_say(CHANGED);
    exchange(&first, &upstream);
    drop((first, upstream));
    let served = wait_for("the client in the queue to be served", || host.servers[1].try_accept());
    served.expect(b"second");
}

#[test]
fn checks_follow_the_servers_of_a_name() {
    let (dns, host) = (Dns::new(), Host::of(2));
    let refusing = 9;
    dns.set("iis.test", &["127.0.0.1"]);
    let proxy = host.launch(&dns, "").flags(OFTEN).flags("--health tcp --health-interval 100ms").start();
    wait_for("a check of the first", || host.servers[0].try_accept());
    dns.set("iis.test", &["127.0.0.2", &format!("127.0.0.{refusing}")]);
    proxy.wait_to_say(CHANGED);
    wait_for("a check of the one that came", || host.servers[1].try_accept());
    let line = proxy.wait_to_say("server is unhealthy; not using it");
    assert!(line.contains(&format!("127.0.0.{refusing}:{}", host.port)), "{line}");
    // Those that were on their way.
    while host.servers[0].try_accept().is_some() {}
    for _ in 0..5 {
        wait_for("more checks of the one that came", || host.servers[1].try_accept());
    }
    host.servers[0].expect_no_connection();
}

#[test]
fn changes_do_not_keep_checks_from_finding_a_server_that_fails() {
    let (dns, host) = (Dns::new(), Host::of(1));
    dns.set("iis.test", &["127.0.0.1", "127.0.0.77"]);
    let flags = "--health tcp --health-interval 400ms --health-fall 3 --resolve-interval 100ms";
    let proxy = host.launch(&dns, "").flags(flags).start();
    // The first check of all decides alone.
    proxy.wait_to_say("server is unhealthy; not using it");
    wait_for("a check of the good one", || host.servers[0].try_accept());
    drop(host.servers);
    let mut number = 1_u8;
    wait_until("the server that has gone to be found", || {
        number = number % 200 + 1;
        dns.set("iis.test", &["127.0.0.1", &format!("127.0.1.{number}")]);
        thread::sleep(Duration::from_millis(200));
        let gone = format!("address=127.0.0.1:{}", host.port);
        proxy.said("server is unhealthy").iter().any(|line| line.contains(&gone))
    });
    assert!(proxy.said(CHANGED).len() > 2, "names changed all the time");
}

#[test]
fn many_dead_addresses_cost_little() {
    let (dns, host) = (Dns::new(), Host::of(1));
    let dead: Vec<String> = (1..=249).map(|number| format!("127.9.9.{number}")).collect();
    let mut all: Vec<&str> = dead.iter().map(String::as_str).collect();
    all.push("127.0.0.1");
    dns.set("iis.test", &all);
    let proxy = host.launch(&dns, "").flags("--eject-time 1h --eject-time-max 1h").start();
    assert_eq!(host.counts(&proxy, 30), [30]);
    let warnings = proxy.said("WARN").len();
    assert!(warnings < 500, "{warnings} warnings for 30 connections");
}

#[test]
fn no_more_servers_than_there_may_be_are_taken_and_always_the_same() {
    let dns = Dns::new();
    let many: Vec<String> =
        (0..300_u16).map(|number| format!("127.7.{}.{}", number / 256, number % 256)).collect();
    dns.set("iis.test", &many.iter().map(String::as_str).collect::<Vec<_>>());
    let proxy = Launch::to("iis.test:9").flags(&dns.flag()).flags(OFTEN).start();
    proxy.wait_to_say("has more than 256 addresses; using the first 256 of them");
    let line = proxy.wait_to_say("serving listeners=");
    assert!(line.contains("127.7.0.255:9") && !line.contains("127.7.1.0:9"), "{line}");
    wait_for_lookups(&dns, "iis.test", 3);
    assert_eq!(proxy.said(CHANGED), [""; 0]);
    assert_eq!(proxy.said("has more than 256 addresses").len(), 1);
}

#[test]
fn an_address_of_the_proxy_itself_is_left_out() {
    let (dns, host) = (Dns::new(), Host::of(2));
    dns.set("iis.test", &["127.0.0.1"]);
    let listen = format!("--listen 127.0.0.3:{}", host.port);
    let proxy = host.launch(&dns, "").flags(OFTEN).flags(&listen).start();
    dns.set("iis.test", &["127.0.0.3"]);
    proxy.wait_to_say("name has addresses of this proxy's own listeners; leaving them out");
    assert_eq!(host.counts(&proxy, 2), [2, 0], "the servers from before");
    dns.set("iis.test", &["127.0.0.3", "127.0.0.2"]);
    proxy.wait_to_say(CHANGED);
    assert_eq!(host.counts(&proxy, 4), [0, 4]);
}

#[test]
fn a_drain_goes_on_whatever_names_do() {
    let (dns, host) = (Dns::new(), Host::of(2));
    dns.set("iis.test", &["127.0.0.1"]);
    let mut proxy = host.launch(&dns, "").flags(OFTEN).start();
    let (client, _, upstream) = host.client(proxy.address());
    proxy.signal(Signal::SIGTERM);
    proxy.wait_to_say("received signal");
    dns.set("iis.test", &["127.0.0.2"]);
    thread::sleep(Duration::from_millis(500));
    exchange(&client, &upstream);
    drop((client, upstream));
    assert_eq!(proxy.exit_code(), Some(0));
    assert!(proxy.said(CHANGED).len() <= 1, "a change before the drain at most");
    assert_eq!(proxy.said("within 10s"), [""; 0]);
}

#[test]
fn an_answer_is_used_as_long_as_it_is_valid() {
    let (dns, host) = (Dns::new(), Host::of(2));
    dns.set("iis.test", &["127.0.0.1"]);
    dns.set_ttl(0);
    let proxy = host.launch(&dns, "").start();
    dns.set("iis.test", &["127.0.0.2"]);
    // Not more often than the shortest interval, whatever the answer says.
    proxy.wait_to_say(CHANGED);
    assert!(dns.queries("iis.test") <= 2 * 10, "{} queries", dns.queries("iis.test"));
    dns.set_ttl(u32::MAX >> 1);
    wait_for_lookups(&dns, "iis.test", 1);
    let before = dns.queries("iis.test");
    thread::sleep(Duration::from_secs(8));
    assert!(dns.queries("iis.test") <= before + 2, "an answer that is valid for long is used for long");
}

#[test]
fn names_of_the_host_itself_are_looked_up_again_as_well() {
    let server = Server::v4();
    let port = server.address().rsplit(':').next().expect("a port").to_owned();
    let proxy = Launch::to(&format!("localhost:{port}")).flags(OFTEN).start();
    thread::sleep(Duration::from_secs(1));
    let client = Peer::connect(proxy.address());
    client.send(b"x");
    server.accept().expect(b"x");
    assert_eq!((proxy.said(CHANGED), proxy.said(FAILING)), (vec![], vec![]));
}
