//! How clients are spread over workers: one that accepts more than its share gives some to the others.

use nix::sys::signal::Signal;

use crate::admin::{Admin, start};
use crate::metrics::Metrics;
use crate::support::{Launch, Peer, Proxy, Server, exchange, pair, serve_waiting, wait_until};

/// By worker.
fn by_worker(admin: &Admin, name: &str) -> [u64; 2] {
    let metrics = Metrics::of(admin);
    ["0", "1"].map(|worker| metrics.sum(name, &[("worker", worker)]))
}

/// The connections that each worker has.
fn active(admin: &Admin) -> [u64; 2] {
    by_worker(admin, "iisplice_worker_connections_active")
}

/// The connections that each worker has begun to serve.
fn accepted(admin: &Admin) -> [u64; 2] {
    by_worker(admin, "iisplice_worker_connections_accepted_total")
}

fn given(admin: &Admin) -> [u64; 2] {
    by_worker(admin, "iisplice_worker_connections_given_total")
}

fn two_workers(flags: &str) -> (Server, Proxy, Admin) {
    let server = Server::v4();
    let launch = Launch::to(server.address()).flags("--workers 2 --no-pin").flags(flags);
    let (proxy, admin) = start(launch);
    (server, proxy, admin)
}

/// Opens so many connections one by one, ten times, and looks at the worker that has the most. By a hash alone the chance
/// that none of 16 takes has more than 10 is one in 30.
fn expect_even_spread(flags: &str, connections: usize, most: u64) {
    let (server, proxy, admin) = two_workers(flags);
    for _ in 0..10 {
        let pairs: Vec<_> = (0..connections).map(|_| pair(&proxy, &server)).collect();
        let now = active(&admin);
        assert_eq!(now.iter().sum::<u64>(), connections as u64, "{now:?}");
        assert!(now.iter().all(|worker| *worker <= most), "{now:?}");
        for (client, upstream) in &pairs {
            exchange(client, upstream);
        }
        drop(pairs);
        wait_until("all connections to end", || active(&admin) == [0, 0]);
    }
    let [accepted, given] = [accepted(&admin), given(&admin)];
    assert_eq!(accepted.iter().sum::<u64>(), 10 * connections as u64, "each counts once: {accepted:?}");
    assert!(given.iter().sum::<u64>() > 0, "{given:?}");
}

#[test]
fn few_connections_are_spread_evenly() {
    expect_even_spread("", 16, 10);
}

#[test]
fn more_connections_are_spread_evenly() {
    expect_even_spread("", 64, 40);
}

#[test]
fn connections_of_a_unix_socket_are_spread_evenly() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let listen = format!("--listen unix:{}", directory.path().join("proxy").display());
    expect_even_spread(&listen, 16, 10);
}

#[test]
fn connections_that_come_at_once_are_spread_evenly() {
    let (server, proxy, admin) = two_workers("");
    for _ in 0..10 {
        proxy.signal(Signal::SIGSTOP);
        let clients: Vec<_> = (0..64).map(|_| Peer::connect(proxy.address())).collect();
        proxy.signal(Signal::SIGCONT);
        let upstreams: Vec<_> = clients.iter().map(|_| server.accept()).collect();
        let now = active(&admin);
        assert!(now.iter().all(|worker| *worker <= 40), "{now:?}");
        drop((clients, upstreams));
        wait_until("all connections to end", || active(&admin) == [0, 0]);
    }
}

#[test]
fn a_lone_client_that_connects_again_and_again_is_never_given() {
    let (server, proxy, admin) = two_workers("");
    for _ in 0..50 {
        let (client, upstream) = pair(&proxy, &server);
        exchange(&client, &upstream);
        drop((client, upstream));
        wait_until("the connection to end", || active(&admin) == [0, 0]);
    }
    assert_eq!(given(&admin), [0, 0]);
    let accepted = accepted(&admin);
    assert!(!accepted.contains(&0), "the hash has chosen both: {accepted:?}");
}

/// Seven connections of each worker.
fn seven_each(server: &Server, proxy: &Proxy, admin: &Admin) -> [Vec<(Peer, Peer)>; 2] {
    let mut of_workers = [Vec::new(), Vec::new()];
    let mut before = [0, 0];
    while before[0].min(before[1]) < 7 {
        let one = pair(proxy, server);
        let now = active(admin);
        of_workers[usize::from(now[0] == before[0])].push(one);
        before = now;
    }
    for of_worker in &mut of_workers {
        of_worker.truncate(7);
    }
    wait_until("the others to end", || active(admin) == [7, 7]);
    of_workers
}

#[test]
fn new_connections_go_to_the_worker_whose_connections_have_ended() {
    let (server, proxy, admin) = two_workers("");
    let mut of_workers = seven_each(&server, &proxy, &admin);
    for round in 0..10 {
        let fewer = round % 2;
        of_workers[fewer].truncate(3);
        let mut before = active(&admin);
        wait_until("connections to end", || {
            before = active(&admin);
            before[fewer] == 3
        });
        while before.iter().sum::<u64>() < 14 {
            let one = pair(&proxy, &server);
            let now = active(&admin);
            of_workers[usize::from(now[0] == before[0])].push(one);
            before = now;
        }
        assert!(before.iter().all(|worker| *worker <= 8), "{before:?}");
        for (client, upstream) in of_workers.iter().flatten() {
            exchange(client, upstream);
        }
    }
}

#[test]
fn seats_go_with_the_clients() {
    let (server, proxy, admin) = two_workers("--max-connections 8");
    for _ in 0..20 {
        let pairs: Vec<_> = (0..8).map(|_| pair(&proxy, &server)).collect();
        let waits = Peer::connect(proxy.address());
        waits.send(b"waited");
        let now = active(&admin);
        assert!(now.iter().sum::<u64>() == 8 && now.iter().all(|worker| *worker <= 5), "{now:?}");
        server.expect_no_connection();
        drop(pairs);
        server.accept().expect(b"waited");
        drop(waits);
        wait_until("all connections to end", || active(&admin) == [0, 0]);
    }
    assert!(given(&admin).iter().sum::<u64>() > 0);
}

/// Clients that wait when the process is told to stop, of which some are on their way to another worker when it does.
#[test]
fn clients_that_are_given_when_the_workers_drain_are_served() {
    for _ in 0..10 {
        let (server, mut proxy, admin) = two_workers("");
        // One worker has none, so that the other one gives what it accepts first.
        let mut of_workers = seven_each(&server, &proxy, &admin);
        of_workers[0].clear();
        wait_until("connections to end", || active(&admin) == [0, 7]);
        let connections = accepted(&admin).iter().sum::<u64>() + 40;
        proxy.signal(Signal::SIGSTOP);
        let clients: Vec<_> = (0..40).map(|_| Peer::connect(proxy.address())).collect();
        proxy.signal(Signal::SIGTERM);
        proxy.signal(Signal::SIGCONT);
        let upstreams = serve_waiting(&server, &clients);
        drop((of_workers, clients, upstreams));
        assert_eq!(proxy.exit_code(), Some(0));
        let last = proxy.wait_to_say("stopped");
        assert!(last.contains(&format!(" connections={connections} ")), "{last}");
    }
}

#[test]
fn the_only_worker_gives_no_client() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()));
    let _pairs: Vec<_> = (0..16).map(|_| pair(&proxy, &server)).collect();
    assert_eq!(given(&admin), [0, 0]);
}
