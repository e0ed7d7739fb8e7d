//! Several workers: each with its own listening sockets, and all of them serve.

use std::time::Instant;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::admin::start;
use crate::metrics::Metrics;
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
    let pairs: Vec<_> = (0..2).map(|_| pair(&proxy, &server)).collect();
    for (client, upstream) in &pairs {
        exchange(client, upstream);
    }
}

#[test]
fn any_worker_takes_any_seat() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--workers 4 --no-pin --max-connections 4").start();
    let held = pair(&proxy, &server);
    // Whichever worker they come to; the chance that none comes to that of the first one is 1 in 100,000.
    for _ in 0..40 {
        drop(pair(&proxy, &server));
    }
    exchange(&held.0, &held.1);
    let mut seated = vec![held];
    // Often enough for all seats to be one worker's.
    for _ in 0..20 {
        while seated.len() < 4 {
            seated.push(pair(&proxy, &server));
        }
        seated.truncate(1);
    }
    drop(seated);
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    assert!(proxy.wait_to_say("stopped").contains("connections=101 "), "all were served");
}

#[test]
fn whichever_worker_clients_wait_at_they_are_served_when_one_leaves_and_it_is_logged() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--workers 4 --no-pin --max-connections 2").start();
    let began = Instant::now();
    let mut seated: Vec<_> = (0..2).map(|_| pair(&proxy, &server)).collect();
    let mut waiting: Vec<_> = (0..30).map(|_| Some(Peer::connect(proxy.address()))).collect();
    for (number, client) in waiting.iter().enumerate() {
        client.as_ref().expect("it waits").send(&[number as u8]);
    }
    proxy.wait_to_say("new clients wait");
    server.expect_no_connection();
    for _ in 0..30 {
        drop(seated.remove(0));
        let upstream = server.accept();
        let mut number = [0];
        assert_eq!(upstream.receive(&mut number).expect("a byte of the client"), 1);
        server.expect_no_connection();
        let client = waiting[usize::from(number[0])].take().expect("each is served once");
        exchange(&client, &upstream);
        seated.push((client, upstream));
    }
    drop(seated);
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    let last = proxy.wait_to_say("stopped");
    assert!(last.contains(" connections=32 ") && last.contains(" limit_reached="), "{last}");
    // At most once a second, and not for each of them.
    let said = proxy.said("new clients wait");
    assert!(said.len() <= 2 + began.elapsed().as_secs() as usize, "{said:#?}");
}

/// Packets on loopback are received on the CPU that sends them.
fn run_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a CPU of this host");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a CPU of our own");
}

#[test]
fn the_worker_on_the_cpu_of_the_packets_serves_when_that_decides() {
    const CLIENTS: u64 = 40;
    let own = sched_getaffinity(Pid::from_raw(0)).expect("our own");
    let cpus: Vec<_> = (0..CpuSet::count()).filter(|cpu| own.is_set(*cpu).unwrap_or(false)).collect();
    let [here, there, ..] = cpus[..] else { panic!("this test takes two CPUs, and here is one") };
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()).flags("--workers 2 --steer cpu"));
    // How many clients each worker accepted of those that came from one CPU.
    let accepted = || {
        let metrics = Metrics::of(&admin);
        ["0", "1"]
            .map(|worker| metrics.sum("iisplice_worker_connections_accepted_total", &[("worker", worker)]))
    };
    let [mut first, mut second] = accepted();
    // However many connections the worker has: the operator has chosen it.
    let mut kept = Vec::new();
    for (cpu, here) in [(here, true), (there, false)] {
        run_on(cpu);
        for _ in 0..CLIENTS {
            kept.push(pair(&proxy, &server));
        }
        *(if here { &mut first } else { &mut second }) += CLIENTS;
        assert_eq!(accepted(), [first, second], "from CPU {cpu}");
    }
}

/// It polls for a short time only, and only after messages that came fast.
#[test]
fn a_worker_that_polls_where_that_is_worth_it_serves_and_sleeps() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--workers 1 --no-pin --spin auto").start();
    let (client, upstream) = pair(&proxy, &server);
    for _ in 0..300 {
        exchange(&client, &upstream);
    }
    proxy.expect_sleep();
}
