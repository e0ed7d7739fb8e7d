//! What keeps the proxy from serving is one clear line, and exit code 1, or 2 where an argument is to be changed.

use std::fs;
use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use tempfile::TempDir;

use crate::support::{Launch, Server, pair};

/// The one line with which it gives up; all of `parts` are in it.
fn expect_complaint(launch: Launch, parts: &[&str]) {
    expect_end(launch, 1, parts);
}

fn expect_end(launch: Launch, expected: i32, parts: &[&str]) {
    let (code, said) = launch.fail();
    assert_eq!(code, Some(expected), "exit code (left); said: {said:?}");
    let [line] = &said[..] else { panic!("expected one line, not {said:?}") };
    for part in parts {
        assert!(line.contains(part), "expected {part:?} in: {line}");
    }
}

/// Where a system call fails, as in a container whose profile forbids it.
fn where_call_fails(call: i64, errno: i32, parts: &'static [&'static str]) {
    where_it_fails(call, vec![], errno, move || expect_complaint(Launch::to("127.0.0.1:9"), parts));
}

/// Where `io_uring_register(2)` does not know an operation, as in an older kernel.
fn where_rings_cannot_register(operation: u64, then: impl FnOnce() + Send + 'static) {
    let is_it = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, operation);
    let rule = SeccompRule::new(vec![is_it.expect("there is a second argument")]);
    let rules = vec![rule.expect("one condition")];
    where_it_fails(libc::SYS_io_uring_register, rules, libc::EINVAL, then);
}

/// Does something where a system call that any of these rules describes fails.
fn where_it_fails(call: i64, rules: Vec<SeccompRule>, errno: i32, then: impl FnOnce() + Send + 'static) {
    // A filter is inherited by what its thread starts, and stays with this thread (seccomp(2)).
    let without_call = thread::spawn(move || {
        let architecture = std::env::consts::ARCH.try_into().expect("seccomp knows it");
        let filter = SeccompFilter::new(
            [(call, rules)].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            architecture,
        );
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a valid filter");
        seccompiler::apply_filter(&program).expect("filters are allowed to everybody");
        then();
    });
    if let Err(panic) = without_call.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn io_uring_that_is_forbidden() {
    where_call_fails(
        libc::SYS_io_uring_setup,
        libc::EPERM,
        &["io_uring is not permitted", "kernel.io_uring_disabled", "seccomp"],
    );
}

#[test]
fn io_uring_that_is_missing() {
    where_call_fails(
        libc::SYS_io_uring_setup,
        libc::ENOSYS,
        &["io_uring is missing", "CONFIG_IO_URING", "seccomp"],
    );
}

#[test]
fn io_uring_that_is_too_old() {
    where_call_fails(libc::SYS_io_uring_setup, libc::EINVAL, &["too old", "6.1"]);
}

/// `IORING_REGISTER_PBUF_RING`.
const REGISTER_BUFFER_RING: u64 = 22;
/// `IORING_REGISTER_RESTRICTIONS`.
const REGISTER_RESTRICTIONS: u64 = 11;

#[test]
fn io_uring_that_lacks_something_names_it() {
    where_rings_cannot_register(REGISTER_BUFFER_RING, || {
        expect_complaint(
            Launch::to("127.0.0.1:9"),
            &["its io_uring lacks IORING_REGISTER_PBUF_RING (Linux 5.19)", "6.1 or newer"],
        );
    });
}

#[test]
fn io_uring_without_what_is_merely_nice_serves() {
    where_rings_cannot_register(REGISTER_RESTRICTIONS, || {
        let server = Server::v4();
        let proxy = Launch::to(server.address()).start();
        pair(&proxy, &server);
        let line = proxy.wait_to_say("serving listeners=");
        assert!(line.contains("defer-taskrun") && !line.contains("restrictions"), "{line}");
        proxy.wait_to_say("the kernel cannot restrict a ring");
    });
}

#[test]
fn a_kernel_without_landlock_serves_and_says_so() {
    where_it_fails(libc::SYS_landlock_create_ruleset, vec![], libc::ENOSYS, || {
        let server = Server::v4();
        let proxy = Launch::to(server.address()).start();
        pair(&proxy, &server);
        let line = proxy.wait_to_say("serving listeners=");
        assert!(line.contains("sandbox=seccomp") && !line.contains("files"), "{line}");
        let said = proxy.said("the kernel has no Landlock; serving without limits on files and ports");
        assert!(said.len() == 1 && said[0].contains("INFO"), "{said:?}");
    });
}

#[test]
fn rings_of_workers_are_restricted_unless_that_is_switched_off() {
    let server = Server::v4();
    for (flags, parts) in [
        ("", &["restrictions pipes="][..]),
        ("--io-uring-without restrictions", &["defer-taskrun io-uring-without=restrictions pipes="]),
    ] {
        let proxy = Launch::to(server.address()).flags(flags).start();
        pair(&proxy, &server);
        let line = proxy.wait_to_say("serving listeners=");
        for part in parts {
            assert!(line.contains(part), "expected {part:?} in: {line}");
        }
        assert!(proxy.said("cannot restrict").is_empty(), "what was asked for is no news");
    }
}

#[test]
fn a_port_that_needs_a_permission() {
    where_call_fails(
        libc::SYS_bind,
        libc::EACCES,
        &["cannot listen on 127.0.0.1:0", "Permission denied", "CAP_NET_BIND_SERVICE"],
    );
}

#[test]
fn a_port_that_is_taken() {
    let other = Server::v4();
    let launch = Launch::to("127.0.0.1:9").flags(&format!("--listen {}", other.address()));
    expect_complaint(
        launch,
        &["cannot listen on", other.address(), "in use", "another process listens there"],
    );
}

#[test]
fn a_port_that_another_proxy_has() {
    let server = Server::v4();
    let other = Launch::to(server.address()).start();
    let launch = Launch::to(server.address()).flags(&format!("--listen {}", other.address()));
    expect_complaint(launch, &["cannot listen on", other.address(), "in use"]);
}

#[test]
fn an_address_that_is_not_this_hosts() {
    // TEST-NET-1 (RFC 5737) is assigned to no host.
    let launch = Launch::to("127.0.0.1:9").flags("--listen 192.0.2.1:0");
    expect_complaint(launch, &["cannot listen on 192.0.2.1:0", "no interface of this host has that address"]);
}

#[test]
fn a_unix_socket_that_another_process_listens_on() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let other = Server::unix(&directory.path().join("taken"));
    let launch = Launch::to("127.0.0.1:9").flags(&format!("--listen {}", other.address()));
    expect_complaint(launch, &["cannot listen on", other.address(), "in use"]);
    assert!(directory.path().join("taken").exists(), "another's socket was removed");
}

#[test]
fn a_file_where_a_unix_socket_is_wanted() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("file");
    fs::write(&path, "precious").expect("the directory is ours");
    let launch = Launch::to("127.0.0.1:9").flags(&format!("--listen unix:{}", path.display()));
    expect_complaint(launch, &["cannot listen on", "in use"]);
    assert_eq!(fs::read_to_string(&path).expect("it is still there"), "precious");
}

#[test]
fn an_access_log_that_cannot_be_written() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("missing").join("log");
    let launch = Launch::to("127.0.0.1:9").flags(&format!("--access-log {}", path.display()));
    expect_end(launch, 2, &["--access-log", path.to_str().expect("text"), "No such file"]);
}

#[test]
fn an_access_log_that_is_a_fifo_without_a_reader() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("the directory is ours");
    let launch = Launch::to("127.0.0.1:9").flags(&format!("--access-log {}", path.display()));
    expect_complaint(
        launch,
        &["--access-log", path.to_str().expect("text"), "a FIFO without a reader", "start its reader before"],
    );
}

#[test]
fn too_few_descriptors() {
    expect_complaint(
        Launch::to("127.0.0.1:9").flags("--max-connections 10").descriptors_max(6),
        &["ulimit -n"],
    );
}
