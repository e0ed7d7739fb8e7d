//! Several workers: each with its own listening sockets, and all of them serve.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::support::{Launch, Peer, Proxy, Server, exchange, pair};

/// How often each worker has slept; it does so at least once for every session.
fn sleeps(proxy: &Proxy) -> Vec<u64> {
    let tasks = proxy.process().tasks().expect("our child");
    let mut workers: Vec<_> = tasks
        .map(|task| task.expect("our child").status().expect("our child"))
        .filter(|status| status.name.starts_with("worker-"))
        .map(|status| (status.name, status.voluntary_ctxt_switches.expect("Linux 2.6.23 or newer")))
        .collect();
    workers.sort();
    workers.into_iter().map(|(_, sleeps)| sleeps).collect()
}

#[test]
fn all_workers_serve_when_a_hash_decides() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--workers 3 --no-pin --steer hash").start();
    assert_eq!(proxy.sockets(), 3, "a listening socket for each worker (left)");
    drop(pair(&proxy, &server));
    proxy.wait_until_idle();
    let before = sleeps(&proxy);
    // The chance that a worker gets none of them is 3 in 10 to the 14th.
    let pairs: Vec<_> = (0..80).map(|_| pair(&proxy, &server)).collect();
    let after = sleeps(&proxy);
    for (client, upstream) in &pairs {
        exchange(client, upstream);
    }
    let awake = before.iter().zip(&after).filter(|(before, after)| after > before).count();
    assert_eq!(
        (after.len(), awake),
        (3, 3),
        "workers, and those that served (left); sleeps: {before:?} {after:?}"
    );
}

#[test]
fn workers_share_a_unix_listener() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let server = Server::v4();
    let listen = format!("--listen unix:{}", directory.path().join("proxy").display());
    let proxy =
        Launch::to(server.address()).flags(&listen).flags("--workers 2 --no-pin --max-connections 2").start();
    // One seat each: the second session can only be the other worker's.
    let pairs: Vec<_> = (0..2).map(|_| pair(&proxy, &server)).collect();
    for (client, upstream) in &pairs {
        exchange(client, upstream);
    }
}

/// Packets on loopback are received on the CPU that sends them.
fn run_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a CPU of this host");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a CPU of our own");
}

#[test]
fn the_worker_on_the_cpu_of_the_packets_serves_when_that_decides() {
    let own = sched_getaffinity(Pid::from_raw(0)).expect("our own");
    let cpus: Vec<_> = (0..CpuSet::count()).filter(|cpu| own.is_set(*cpu).unwrap_or(false)).collect();
    let [here, there, ..] = cpus[..] else { panic!("this test takes two CPUs, and here is one") };
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--workers 2 --steer cpu --max-connections 4").start();
    // Two seats each: who comes third from one CPU waits, while there are seats on the other.
    run_on(here);
    let first = pair(&proxy, &server);
    let second = pair(&proxy, &server);
    let third = Peer::connect(proxy.address());
    third.send(b"third");
    run_on(there);
    let fourth = pair(&proxy, &server);
    exchange(&fourth.0, &fourth.1);
    server.expect_nobody();
    let fifth = pair(&proxy, &server);
    drop(first);
    let upstream = server.accept();
    upstream.expect(b"third");
    exchange(&third, &upstream);
    exchange(&second.0, &second.1);
    exchange(&fifth.0, &fifth.1);
}
