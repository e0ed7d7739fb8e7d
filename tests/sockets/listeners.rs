//! Listening sockets: what goes wrong with them.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::support::{Launch, Peer, Proxy};

/// A proxy whose accepting fails.
fn where_accepting_fails(errno: i32, test: impl FnOnce(Proxy) + Send + 'static) {
    // A filter is inherited by what its thread starts, and stays with this thread (seccomp(2)).
    let filtered = thread::spawn(move || {
        let architecture = std::env::consts::ARCH.try_into().expect("seccomp knows it");
        let filter = SeccompFilter::new(
            [(libc::SYS_accept4, vec![])].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            architecture,
        );
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a valid filter");
        seccompiler::apply_filter(&program).expect("filters are allowed to everybody");
        test(Launch::to("127.0.0.1:9").flags("--workers 2 --no-pin").start());
    });
    if let Err(panic) = filtered.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn one_that_fails_for_good_ends_the_process() {
    for (errno, reason) in [(libc::EINVAL, "Invalid argument"), (libc::ENOTSOCK, "non-socket")] {
        where_accepting_fails(errno, move |mut proxy| {
            // It may be reset before it is connected.
            let _client = TcpStream::connect(proxy.address());
            assert_eq!(proxy.exit_code(), Some(1), "exit code (left)");
            let said = proxy.wait_to_say("failed");
            for part in ["ERROR", &format!("the listener {} failed: ", proxy.address()), reason] {
                assert!(said.contains(part), "expected {part:?} in: {said}");
            }
        });
    }
}

#[test]
fn errors_that_say_nothing_of_the_next_client_are_logged_and_tried_again_after_a_pause() {
    for errno in [libc::EPERM, libc::EIO, libc::ECONNABORTED] {
        where_accepting_fails(errno, move |mut proxy| {
            let _client = Peer::connect(proxy.address());
            if errno != libc::ECONNABORTED {
                proxy.wait_to_say("cannot accept a client");
            }
            // For it to see that this goes on.
            thread::sleep(Duration::from_millis(500));
            proxy.expect_sleep();
            assert!(proxy.said("cannot accept").len() <= 12, "pauses become longer");
            proxy.signal(nix::sys::signal::Signal::SIGTERM);
            assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
        });
    }
}
