//! The sandbox from outside: every thread is in it, and its settings. That it lets a proxy do its work all other tests show,
//! because it is on in all of them.

use std::fs;
use std::net::TcpStream;
use std::thread;

use nix::sys::signal::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use tempfile::TempDir;

use crate::support::{Launch, Proxy, Server, exchange, pair, wait_until};

/// Runs the test where this call comes to this, for the test and for what it starts.
fn where_a_call_comes_to(call: i64, action: SeccompAction, test: impl FnOnce() + Send + 'static) {
    // A filter is inherited by what its thread starts, and stays with this thread (seccomp(2)).
    let filtered = thread::spawn(move || {
        let architecture = std::env::consts::ARCH.try_into().expect("seccomp knows it");
        let filter = SeccompFilter::new([(call, vec![])].into(), SeccompAction::Allow, action, architecture);
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a valid filter");
        seccompiler::apply_filter(&program).expect("filters are allowed to everybody");
        test();
    });
    if let Err(panic) = filtered.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The values of a field of every thread's `/proc/PID/task/TID/status`.
fn of_threads(proxy: &Proxy, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.process().pid)).expect("it runs");
    let value = |entry: Result<fs::DirEntry, _>| {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::trim));
        line.map(str::to_owned)
    };
    tasks.filter_map(value).collect()
}

#[test]
fn every_thread_has_the_filter_and_none_can_open_a_ring() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--workers 2 --admin 127.0.0.1:0").start();
    let said = proxy.wait_to_say("serving listeners=");
    assert!(said.contains(" sandbox=seccomp,rings"), "{said}");
    let _served = pair(&proxy, &server);
    let all = of_threads(&proxy, "Seccomp");
    assert!(all.len() > 4 && all.iter().all(|mode| mode == "2"), "{all:?}");
    assert!(of_threads(&proxy, "NoNewPrivs").iter().all(|set| set == "1"));
    // What starts its successor has none but those that the test has.
    let pid = proxy.process().pid;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    let starter = children.split_whitespace().next().expect("a starter");
    let status = fs::read_to_string(format!("/proc/{starter}/status")).expect("it runs");
    let own = fs::read_to_string("/proc/self/status").expect("this process runs");
    let mode = |status: &str| status.lines().find(|line| line.starts_with("Seccomp:")).map(str::to_owned);
    assert_eq!(mode(&status), mode(&own));
    // That of all calls, and that of io_uring_setup.
    wait_until("further rings to be denied", || {
        of_threads(&proxy, "Seccomp_filters")
            .iter()
            .all(|filters| filters.parse::<u32>().is_ok_and(|count| count >= 2))
    });
}

#[test]
fn a_sandbox_that_is_off_is_none_and_takes_a_restart() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let file = directory.path().join("iisplice.toml");
    let write = |mode: &str| {
        let settings = format!(
            "sandbox = \"{mode}\"\naccess-log = \"off\"\n[service.s]\nlisten = \"127.0.0.1:0\"\nupstream = \"g\"\n[group.g]\n\
             servers = [\"127.0.0.1:9\"]\n"
        );
        fs::write(&file, settings).expect("a file");
    };
    write("off");
    let proxy = Launch::by_file(&file).logs_by_file().start();
    let said = proxy.wait_to_say("serving listeners=");
    assert!(said.contains(" sandbox=off") && !said.contains("restrictions"), "{said}");
    // Something before the test may have a filter.
    let own = fs::read_to_string("/proc/self/status").expect("this process runs");
    if own.contains("Seccomp:\t0") {
        assert!(of_threads(&proxy, "Seccomp").iter().all(|mode| mode == "0"));
    }
    write("on");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("sandbox (runs with off, set to on)");
    let said = Launch::to("127.0.0.1:9").flags("--sandbox log").start().wait_to_say("serving listeners=");
    assert!(said.contains(" sandbox=seccomp-log,rings"), "{said}");
}

#[test]
fn a_call_that_is_trapped_while_it_serves_ends_it_and_is_named() {
    where_a_call_comes_to(libc::SYS_accept4, SeccompAction::Trap, || {
        let mut proxy = Launch::to("127.0.0.1:9").start();
        let _client = TcpStream::connect(proxy.address());
        let line = format!(
            "iisplice: the sandbox does not allow accept4 (system call {}); the process ends",
            libc::SYS_accept4
        );
        proxy.wait_to_say(&line);
        assert_eq!(proxy.exit_code(), Some(128 + libc::SIGSYS));
    });
}

#[test]
fn where_calls_cannot_be_filtered_it_warns_once_and_serves() {
    for missing in [libc::ENOSYS, libc::EPERM] {
        let action = SeccompAction::Errno(missing.cast_unsigned());
        where_a_call_comes_to(libc::SYS_seccomp, action, || {
            let server = Server::v4();
            let proxy = Launch::to(server.address()).start();
            assert!(proxy.wait_to_say("serving listeners=").contains(" sandbox=rings"));
            assert_eq!(proxy.said("system calls cannot be filtered here").len(), 1);
            let (client, upstream) = pair(&proxy, &server);
            exchange(&client, &upstream);
        });
    }
}
