//! Listening sockets: what goes wrong with them.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use tempfile::TempDir;

use crate::reserved;
use crate::support::{Launch, Peer, Proxy, Server};

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
            for part in ["ERROR", &format!("listener {} failed: ", proxy.address()), reason] {
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

/// The permissions of a Unix listener's file.
fn permissions(flags: &str) -> u32 {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("proxy");
    let listen = format!("--listen unix:{} {flags}", path.display());
    let _proxy = Launch::to("127.0.0.1:9").flags(&listen).start();
    path.metadata().expect("it serves").permissions().mode() & 0o7777
}

#[test]
fn unix_sockets_have_the_permissions_that_were_asked_for() {
    assert_eq!(permissions(""), 0o660);
    for (flag, mode) in
        [("--unix-mode 0600", 0o600), ("--unix-mode 666", 0o666), ("--unix-mode 0o770", 0o770)]
    {
        assert_eq!(permissions(flag), mode, "{flag}");
    }
}

#[test]
fn permissions_that_are_none_or_of_nothing_are_refused() {
    for (flags, part) in [
        ("--listen unix:/tmp/never --unix-mode 0888", "octal number"),
        ("--listen unix:/tmp/never --unix-mode 01777", "octal number"),
        ("--listen unix:/tmp/never --unix-mode rw", "octal number"),
        ("--listen 127.0.0.1:0 --unix-mode 0600", "--listen unix:PATH"),
    ] {
        let (code, said) = Launch::to("127.0.0.1:9").flags(flags).fail();
        assert_eq!((code, said.len()), (Some(2), 1), "{flags}: {said:?}");
        assert!(said[0].contains("--unix-mode") && said[0].contains(part), "{flags}: {said:?}");
    }
}

#[test]
fn a_server_that_is_a_listener_of_its_own_is_refused() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("proxy");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("the directory is ours");
    let port = reserved::address().port();
    let (path, link) = (path.display(), link.display());
    for (listen, server) in [
        (format!("127.0.0.1:{port}"), format!("--upstream 127.0.0.1:{port}")),
        (format!("0.0.0.0:{port}"), format!("--upstream 127.0.0.7:{port}")),
        (format!("0.0.0.0:{port}"), format!("--upstream localhost:{port}")),
        (format!("[::]:{port}"), format!("--upstream [::1]:{port}")),
        (format!("0.0.0.0:{port}"), format!("--sni-route web.test=127.0.0.1:{port}")),
        (format!("127.0.0.1:{port}"), format!("--upstream 127.0.0.1:9 --upstream 0.0.0.0:{port}")),
        (format!("unix:{path}"), format!("--upstream unix:{path}")),
        (format!("unix:{path}"), format!("--upstream unix:{link}")),
    ] {
        let flags = format!("--listen {listen} {server}");
        let (code, said) = Launch::by_routes().flags(&flags).fail();
        assert_eq!((code, said.len()), (Some(2), 1), "{flags}: {said:?}");
        assert!(said[0].contains("own listener") && said[0].contains(&listen), "{flags}: {said:?}");
        let (code, checked) = Launch::by_routes().flags(&format!("{flags} --check")).fail();
        assert_eq!((code, checked.len()), (Some(2), 1), "{flags}: {checked:?}");
        assert!(checked[0].contains("own listener"), "{flags}: {checked:?}");
    }
    for (admin, server) in [
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        (format!("unix:{path}"), format!("unix:{link}")),
    ] {
        let flags = format!("--listen 127.0.0.1:0 --admin {admin} --upstream {server}");
        for flags in [&flags, &format!("{flags} --check")] {
            let (code, said) = Launch::by_routes().flags(flags).fail();
            assert_eq!((code, said.len()), (Some(2), 1), "{flags}: {said:?}");
            assert!(said[0].contains("admin endpoint") && said[0].contains(&admin), "{flags}: {said:?}");
        }
    }
    let other = Server::at("127.0.0.1:0");
    Launch::to(other.address()).flags("--listen 0.0.0.0:0").start();
}

#[test]
fn the_start_says_that_a_listener_on_ipv6_does_not_include_ipv4() {
    let proxy = Launch::to("127.0.0.1:9").flags("--listen [::]:0").start();
    let port = proxy.address().rsplit(':').next().expect("a port").to_owned();
    let line = proxy.wait_to_say("accepts IPv6 only");
    assert!(line.contains(&format!("listener [::]:{port}")), "{line}");
    assert!(line.contains(&format!("add --listen 0.0.0.0:{port}")), "{line}");
    let connected = |address: &str| TcpStream::connect(format!("{address}:{port}")).is_ok();
    assert!(connected("[::1]") && !connected("127.0.0.1"), "as the line says");

    // Both on one port are two listeners, in either order.
    for listeners in [["[::]", "0.0.0.0"], ["0.0.0.0", "[::]"]] {
        let port = reserved::address().port();
        let flags = listeners.map(|listener| format!("--listen {listener}:{port}")).join(" ");
        let proxy = Launch::to("127.0.0.1:9").flags(&flags).start();
        let line = proxy.wait_to_say("accepts IPv6 only");
        assert!(line.contains(&format!("IPv4 has its own listener 0.0.0.0:{port}")), "{line}");
        for address in ["[::1]", "127.0.0.1"] {
            assert!(TcpStream::connect(format!("{address}:{port}")).is_ok(), "{address}");
        }
    }
    let proxy = Launch::to("127.0.0.1:9").flags("--listen [::1]:0").start();
    assert!(proxy.said("accepts IPv6 only").is_empty(), "IPv4 is not expected there");
}

#[test]
fn listeners_that_exclude_each_other_are_a_mistake_of_the_command_line() {
    for (flags, expected) in [
        ("--listen 0.0.0.0:81 --listen 127.0.0.1:81", "--listen 0.0.0.0:81 includes --listen 127.0.0.1:81"),
        ("--listen [::1]:81 --listen [::]:81", "--listen [::]:81 includes --listen [::1]:81"),
        ("--listen [::ffff:127.0.0.1]:81", "write 127.0.0.1:81"),
    ] {
        let (code, said) = Launch::to("127.0.0.1:9").flags(flags).fail();
        assert_eq!((code, said.len()), (Some(2), 1), "{flags}: {said:?}");
        assert!(said[0].contains(expected), "{flags}: {said:?}");
    }
    // Another program that takes IPv4 on [::] too.
    let other = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).expect("IPv6");
    other.set_only_v6(false).expect("a socket");
    let at: std::net::SocketAddr = "[::]:0".parse().expect("an address");
    other.bind(&at.into()).and_then(|()| other.listen(1)).expect("a free port");
    let port = other.local_addr().ok().and_then(|at| at.as_socket()).expect("bound").port();
    let (code, said) = Launch::to("127.0.0.1:9").flags(&format!("--listen 0.0.0.0:{port}")).fail();
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains("on [::] with IPv4 included"), "{said:?}");
}
