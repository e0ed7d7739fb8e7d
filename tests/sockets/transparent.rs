//! Servers that see the clients' addresses: real routing between networks of the test's own.
//!
//! ```text
//!   client 10.77.1.2, fd77:1::2 -- 10.77.1.1, fd77:1::1 proxy 10.77.2.1, fd77:2::1 -- 10.77.2.2, fd77:2::2 server
//! ```

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use tempfile::TempDir;

use crate::support::{Dns, Launch, Network, Peer, Proxy, Server, exchange, in_own_network, run, wait_for};

/// The networks of clients and servers; the proxy's is that of the thread.
struct Networks {
    clients: Network,
    servers: Network,
}

impl Networks {
    fn new() -> Self {
        let networks = Self { clients: Network::new(), servers: Network::new() };
        for (nth, network) in [(1, &networks.clients), (2, &networks.servers)] {
            network.connect(&format!("to{nth}"));
            run(&format!("ip address add 10.77.{nth}.1/24 dev to{nth}"));
            run(&format!("ip address add fd77:{nth}::1/64 dev to{nth} nodad"));
            network.enter(|| {
                run(&format!("ip address add 10.77.{nth}.2/24 dev eth0"));
                run(&format!("ip address add fd77:{nth}::2/64 dev eth0 nodad"));
                run(&format!("ip route add default via 10.77.{nth}.1"));
                run(&format!("ip route add default via fd77:{nth}::1"));
            });
        }
        networks
    }

    fn client(&self, proxy: &Proxy, listener: usize) -> Peer {
        self.clients.enter(|| Peer::connect(&proxy.listeners()[listener]))
    }

    fn server(&self, address: &str) -> Server {
        self.servers.enter(|| Server::at(address))
    }
}

/// The commands that the proxy says are needed.
fn commands(proxy: &Proxy) -> Vec<String> {
    let said = proxy.wait_to_say("servers see the clients' addresses");
    let (_, commands) = said.split_once("and here to the proxy: ").expect("commands");
    commands.split("; ").map(str::to_owned).collect()
}

/// Has the proxy's network hand it the servers' replies, as it says.
fn route(proxy: &Proxy) {
    for command in commands(proxy) {
        run(&command);
    }
}

fn source(upstream: &Peer) -> String {
    let address = upstream.socket().peer_addr().expect("it is connected").as_socket();
    address.expect("an IP socket").ip().to_string()
}

/// A client with its server, which have exchanged messages.
fn served(client: Peer, server: &Server) -> (Peer, Peer) {
    client.send(b"first");
    let upstream = server.accept();
    upstream.expect(b"first");
    exchange(&client, &upstream);
    (client, upstream)
}

#[test]
fn servers_of_either_family_see_clients_when_the_commands_were_run() {
    in_own_network("transparent::servers_of_either_family_see_clients_when_the_commands_were_run", || {
        let networks = Networks::new();
        let (v4, v6) = (networks.server("10.77.2.2:0"), networks.server("[fd77:2::2]:0"));
        let proxy =
            Launch::to(v4.address()).flags("--transparent --listen 10.77.1.1:0 --connect-timeout 1s").start();
        // The server's reply finds no socket, since the client's address is not one of this host.
        let _waits = networks.client(&proxy, 0);
        let said = proxy.wait_to_say("server does not answer connections from the client's address");
        assert!(said.contains("source=10.77.1.2 cause=\"timed-out\"") && said.contains("ip rule"), "{said}");
        let proxy = Launch::to(v4.address())
            .flags(&format!("--upstream {} --transparent", v6.address()))
            .flags("--listen 10.77.1.1:0 --listen [fd77:1::1]:0 --connect-timeout 20s")
            .start();
        route(&proxy);
        let mut held = Vec::new();
        for _ in 0..3 {
            for (listener, server, address) in [(0, &v4, "10.77.1.2"), (1, &v6, "fd77:1::2")] {
                let (client, upstream) = served(networks.client(&proxy, listener), server);
                assert_eq!(source(&upstream), address);
                held.push((client, upstream));
            }
        }
        for (client, upstream) in &held {
            exchange(client, upstream);
        }
    });
}

#[test]
fn the_source_in_a_proxy_header_is_what_servers_see() {
    in_own_network("transparent::the_source_in_a_proxy_header_is_what_servers_see", || {
        let networks = Networks::new();
        let server = networks.server("10.77.2.2:0");
        let flags = "--transparent --accept-proxy --listen 10.77.1.1:0";
        let proxy = Launch::to(server.address()).flags(flags).start();
        route(&proxy);
        proxy.wait_to_say("servers see addresses from PROXY headers that any client may send");
        for (header, expected) in [
            ("PROXY TCP4 192.0.2.7 192.0.2.250 4000 80\r\n", "192.0.2.7"),
            ("PROXY UNKNOWN\r\n", "10.77.1.2"),
        ] {
            let client = networks.client(&proxy, 0);
            client.send(header.as_bytes());
            assert_eq!(source(&served(client, &server).1), expected);
        }
        // Nothing that a server could take for the proxy's own address.
        for (nth, (address, end)) in [
            ("0.0.0.0", "no-source"),
            ("255.255.255.255", "no-source"),
            ("224.0.0.1", "no-source"),
            ("10.77.2.255", "local-limit"),
        ]
        .into_iter()
        .enumerate()
        {
            let client = networks.client(&proxy, 0);
            client.send(format!("PROXY TCP4 {address} 192.0.2.250 4000 80\r\nfirst").as_bytes());
            client.expect_close();
            assert_eq!(proxy.records(3 + nth)[2 + nth].get("end"), end, "{address}");
            // The broadcast address of a network is noticed late, but before a byte of the client is sent.
            while let Some(upstream) = server.try_accept() {
                assert_eq!(address, "10.77.2.255");
                upstream.expect_close();
            }
        }
        assert!(proxy.said("server is down").is_empty());
    });
}

#[test]
fn clients_without_an_address_that_servers_could_see_are_refused() {
    in_own_network("transparent::clients_without_an_address_that_servers_could_see_are_refused", || {
        let networks = Networks::new();
        let server = networks.server("10.77.2.2:0");
        let directory = TempDir::new().expect("a directory");
        let unix = format!("unix:{}", directory.path().join("s").display());
        let listeners = format!("--listen [fd77:1::1]:0 --listen {unix} --listen 127.0.0.1:0");
        let proxy = Launch::to(server.address()).flags("--transparent").flags(&listeners).start();
        route(&proxy);
        networks.client(&proxy, 0).expect_end();
        proxy.wait_to_say("no server of the group can be connected to from the client's address");
        Peer::connect(&unix).expect_end();
        proxy.wait_to_say("the client has no IP address, which servers are to see");
        // There is no way from 127.0.0.1 to another host.
        Peer::connect(&proxy.listeners()[2]).expect_end();
        proxy.wait_to_say("cannot connect from the source address");
        let ends: Vec<_> = proxy.records(3).iter().map(|record| record.get("end").to_owned()).collect();
        assert_eq!(ends, ["no-source", "no-source", "local-limit"]);
        server.expect_no_connection();
        assert!(proxy.said("server is down").is_empty());

        let flags = "--transparent --mode http --listen [fd77:1::1]:0";
        let proxy = Launch::to(server.address()).flags(flags).start();
        let client = networks.client(&proxy, 0);
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let reply = client.receive_all();
        assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
        proxy.wait_to_say("no server can be connected to from the client's address");
    });
}

#[test]
fn addresses_that_a_name_gets_later_have_their_commands_in_the_log() {
    in_own_network("transparent::addresses_that_a_name_gets_later_have_their_commands_in_the_log", || {
        let dns = Dns::new();
        dns.set("iis.test", &["10.77.2.2"]);
        let flags = "--transparent --resolve-interval 100ms --listen 127.0.0.1:0";
        let proxy = Launch::to("iis.test:80").flags(&dns.flag()).flags(flags).start();
        assert_eq!(commands(&proxy).len(), 2, "the route and the rule of the first address");
        dns.set("iis.test", &["10.77.2.2", "10.77.2.3"]);
        let said = proxy.wait_to_say("replies of the new servers");
        assert!(said.ends_with(": ip rule add from 10.77.2.3 ipproto tcp sport 80 lookup 100"), "{said}");
        dns.set("iis.test", &["10.77.2.2"]);
        proxy.wait_to_say_times("name has other servers", 2);
        assert_eq!(proxy.said("replies of the new servers").len(), 1, "a server that left needs nothing");
    });
}

/// The same commands lead replies of servers on the proxy's host to the proxy, also of those on its loopback device.
#[test]
fn servers_on_the_same_host_see_clients_too() {
    in_own_network("transparent::servers_on_the_same_host_see_clients_too", || {
        let networks = Networks::new();
        for address in ["127.0.0.1:0", "10.77.2.1:0", "[fd77:2::1]:0"] {
            let server = Server::at(address);
            let flags = "--transparent --listen 10.77.1.1:0 --listen [fd77:1::1]:0";
            let proxy = Launch::to(server.address()).flags(flags).start();
            for command in commands(&proxy) {
                // The table of a family is there after the first of them.
                if !command.contains("route add") || address != "10.77.2.1:0" {
                    run(&command);
                }
            }
            let (listener, expected) =
                if address.starts_with('[') { (1, "fd77:1::2") } else { (0, "10.77.1.2") };
            assert_eq!(source(&served(networks.client(&proxy, listener), &server).1), expected, "{address}");
        }
    });
}

/// Ends a process when the test does.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn users_log_in_through_it_with_ntlm() {
    in_own_network("transparent::users_log_in_through_it_with_ntlm", || {
        let networks = Networks::new();
        let binary = env!("CARGO_BIN_EXE_iisplice");
        let directory = TempDir::new().expect("a directory");
        let log = directory.path().join("mock.log");
        let mock = networks.servers.enter(|| {
            let log = std::fs::File::create(&log).expect("a file");
            let arguments = ["mock", "--listen", "10.77.2.2:8080", "--user", "CORP\\alice:secret"];
            Command::new(binary)
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("it was built")
        });
        let _mock = Ended(mock);
        wait_for("the mock to serve", || {
            std::fs::read_to_string(&log).ok().filter(|said| said.contains("10.77.2.2:8080"))
        });
        let flags = "--transparent --mode http --listen 10.77.1.1:0 --health http-auth --log-user";
        let proxy = Launch::to("10.77.2.2:8080").flags(flags).start();
        route(&proxy);
        let url = format!("http://{}/", proxy.address());
        let arguments =
            ["load", "--auth", "ntlm", "--user", "CORP\\alice:secret", "--requests", "6", "-c", "2", &url];
        let load =
            networks.clients.enter(|| Command::new(binary).args(arguments).output().expect("it was built"));
        let said = String::from_utf8_lossy(&load.stderr) + String::from_utf8_lossy(&load.stdout);
        assert!(load.status.success(), "{said}");
        let log = std::fs::read_to_string(proxy.access_log()).expect("an access log");
        assert!(log.lines().any(|line| line.contains("step=type3-ok")), "{log}");
        assert!(proxy.said("server is unhealthy").is_empty(), "checks come from the proxy's own address");
    });
}

#[test]
fn without_the_capability_it_is_one_line_at_start() {
    for (level, option, server) in [
        (libc::IPPROTO_IP, libc::IP_TRANSPARENT, "127.0.0.1:9"),
        (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT, "[::1]:9"),
    ] {
        // A filter is inherited by what its thread starts, and stays with this thread (seccomp(2)).
        let without = thread::spawn(move || {
            let is = |argument, value| {
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value as u64)
                    .expect("a condition")
            };
            let rule = SeccompRule::new(vec![is(1, level), is(2, option)]).expect("a rule");
            let rules = BTreeMap::from([(libc::SYS_setsockopt, vec![rule])]);
            let denied = SeccompAction::Errno(libc::EPERM as u32);
            let architecture = std::env::consts::ARCH.try_into().expect("seccomp knows it");
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, architecture);
            let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a valid filter");
            seccompiler::apply_filter(&program).expect("filters are allowed to everybody");
            for check in ["", "--check"] {
                let (code, said) = Launch::to(server).flags("--transparent").flags(check).fail();
                let [line] = &said[..] else { panic!("one line: {said:?}") };
                let expected = "cannot connect to servers from the addresses of clients (--transparent): ";
                assert!(line.contains(expected) && line.contains("CAP_NET_RAW"), "{line}");
                assert_eq!(code, Some(1));
            }
        });
        without.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}
