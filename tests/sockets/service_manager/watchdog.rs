//! The watchdog, which the workers' own turns feed.

use std::fs;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::Manager;
use crate::admin::Admin;
use crate::support::{Launch, Proxy, Server, exchange, pair, wait_until};

/// A thread of another process that stands still, as if it never came back from what it does; until this is dropped.
struct Stalled(Pid);

impl Stalled {
    /// Stalls the thread of this name; `None` where this host does not allow that.
    fn new(proxy: &Proxy, name: &str) -> Option<Self> {
        let tasks = proxy.process().tasks().expect("our child").filter_map(Result::ok);
        let is_it = |tid: i32| {
            let comm = fs::read_to_string(format!("/proc/{}/task/{tid}/comm", proxy.process().pid));
            comm.is_ok_and(|comm| comm.trim() == name)
        };
        let tid = tasks.map(|task| task.tid).find(|tid| is_it(*tid)).expect("a thread of this name");
        let thread = Pid::from_raw(tid);
        match ptrace::seize(thread, Options::empty()) {
            Err(Errno::EPERM) => return None,
            seized => seized.expect("a thread of our child"),
        }
        ptrace::interrupt(thread).expect("it is ours");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        Some(Self(thread))
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = ptrace::detach(self.0, None);
    }
}

#[test]
fn an_idle_and_a_busy_proxy_feed_it_and_one_with_a_stuck_worker_does_not() {
    let (manager, server) = (Manager::new(), Server::v4());
    let flags = "--workers 2 --no-pin --admin 127.0.0.1:0";
    let launch = Launch::to(server.address()).flags(flags).environment("WATCHDOG_USEC", "2000000");
    let proxy = manager.of(launch).start();
    let admin = Admin::of(&proxy);
    for _ in 0..3 {
        manager.wait("WATCHDOG=1");
    }
    let (client, upstream) = pair(&proxy, &server);
    for _ in 0..3 {
        let mut fed = false;
        wait_until("a busy proxy to feed it", || {
            exchange(&client, &upstream);
            manager.socket.set_nonblocking(true).expect("a socket");
            fed |= manager.next().is_some_and(|told| told.has("WATCHDOG=1"));
            fed
        });
    }
    manager.socket.set_nonblocking(false).expect("a socket");

    let Some(stalled) = Stalled::new(&proxy, "worker-1") else {
        println!("this host does not let one process stop a thread of another: no stuck worker");
        return;
    };
    let line = proxy.wait_to_say("worker is stuck: it takes no turn; not feeding the watchdog");
    assert!(line.contains("worker=1"), "{line}");
    while manager.next().is_some() {}
    let unfed = manager.all_until("STATUS=");
    assert!(unfed.iter().all(|told| !told.has("WATCHDOG")), "{unfed:?}");
    let status = unfed.last().expect("it was waited for").get("STATUS");
    assert!(status.contains("worker 1 has taken no turn for "), "{status}");
    let health = admin.get("/healthz");
    assert_eq!((health.status, health.body.trim()), (503, "{\"alive\":false}"));
    let ready = admin.get("/readyz");
    assert!(ready.status == 503 && ready.body.contains("worker 1 has taken no turn for "), "{ready:?}");
    let stuck = |worker: &str| {
        let name = format!("iisplice_worker_stuck_seconds{{worker=\"{worker}\"}} ");
        let metrics = admin.get("/metrics").body;
        let line = metrics.lines().find(|line| line.starts_with(&name)).expect("a metric").to_owned();
        line[name.len()..].parse::<f64>().expect("a number")
    };
    assert!(stuck("1") > 0.9, "{}", stuck("1"));
    assert_eq!(proxy.said("worker is stuck").iter().filter(|line| line.contains("worker=1")).count(), 1);

    drop(stalled);
    proxy.wait_to_say("worker takes turns again worker=1");
    manager.wait("WATCHDOG=1");
    wait_until("health to come back", || admin.get("/healthz").status == 200);
}

#[test]
fn workers_that_have_ended_count_no_longer_and_those_of_another_process_never() {
    let (manager, server) = (Manager::new(), Server::v4());
    let launch = Launch::to(server.address())
        .flags("--workers 2 --no-pin --drain-timeout 1h")
        .environment("WATCHDOG_USEC", "1000000");
    let proxy = manager.of(launch).start();
    let _pair = pair(&proxy, &server);
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    manager.wait("STOPPING=1");
    // The worker without a connection ends at once.
    let workers = || {
        let tasks = proxy.process().tasks().expect("our child").filter_map(Result::ok);
        tasks.filter(|task| task.stat().is_ok_and(|stat| stat.comm.starts_with("worker"))).count()
    };
    wait_until("one worker to end", || workers() == 1);
    for _ in 0..4 {
        manager.wait("WATCHDOG=1");
    }
    assert!(manager.all_until("EXTEND_TIMEOUT_USEC=").iter().all(|told| !told.has("ERRNO")));

    let other = Manager::new();
    let launch = Launch::to(server.address()).environment("WATCHDOG_USEC", "40000");
    let _proxy = other.of(launch.environment("WATCHDOG_PID", "1")).start();
    other.wait("READY=1");
    for told in std::iter::from_fn(|| other.next()) {
        assert!(!told.has("WATCHDOG"), "{told:?}");
    }
}
