//! A host that denies `io_uring`, as a container's seccomp profile does: one line with the call that failed and the remedy.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

const PROXY: [&str; 3] = ["proxy", "--listen=127.0.0.1:0", "--upstream=127.0.0.1:9"];

/// A command where every such system call fails with `errno`.
fn where_call_fails_with(call: i64, errno: i32, flags: &[&str]) -> Output {
    let arch: TargetArch = std::env::consts::ARCH.try_into().expect("an architecture that seccompiler knows");
    let rules = BTreeMap::from([(call, vec![])]);
    let denied = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).expect("a valid filter");
    let filter: BpfProgram = filter.try_into().expect("a program that is short enough");
    let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    // A filter belongs to the thread that sets it and to the processes that this thread starts.
    let run = move || {
        apply_filter(&filter).expect("no privilege is needed after no_new_privs");
        Command::new(env!("CARGO_BIN_EXE_iisplice")).args(flags).output().expect("it starts")
    };
    thread::spawn(run).join().expect("it does not panic")
}

fn where_setup_fails_with(errno: i32, flags: &[&str]) -> Output {
    where_call_fails_with(libc::SYS_io_uring_setup, errno, flags)
}

fn proxy_where_setup_fails_with(errno: i32) -> Output {
    where_setup_fails_with(errno, &PROXY)
}

fn line(output: &Output) -> &str {
    let said = std::str::from_utf8(&output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "not one line: {said}");
    said
}

#[test]
fn a_profile_that_forbids_it_is_named_with_the_sysctl_that_may_too() {
    let output = proxy_where_setup_fails_with(libc::EPERM);
    let said = line(&output);
    assert!(said.contains("io_uring is not permitted") && said.contains("seccomp"), "{said}");
    assert!(said.contains("kernel.io_uring_disabled"), "{said}");
    assert!(said.contains("io_uring_setup failed with EPERM"), "{said}");
}

#[test]
fn a_profile_that_hides_it_is_named() {
    let output = proxy_where_setup_fails_with(libc::ENOSYS);
    let said = line(&output);
    assert!(said.contains("io_uring is missing") && said.contains("seccomp"), "{said}");
    assert!(said.contains("io_uring_setup failed with ENOSYS"), "{said}");
}

#[test]
fn a_kernel_without_what_is_needed_is_told_the_floor() {
    let output = proxy_where_setup_fails_with(libc::EINVAL);
    let said = line(&output);
    assert!(said.contains("is too old") && said.contains("Linux 6.1 or newer"), "{said}");
    assert!(said.contains("io_uring_setup failed with EINVAL"), "{said}");
}

#[test]
fn a_later_call_that_is_denied_is_named_and_the_kernel_is_not_blamed() {
    for (call, name) in
        [(libc::SYS_io_uring_enter, "io_uring_enter"), (libc::SYS_io_uring_register, "io_uring_register")]
    {
        for (errno, errno_name) in [
            (libc::EPERM, "EPERM"),
            (libc::EACCES, "EACCES"),
            (libc::ENOSYS, "ENOSYS"),
            (libc::EINVAL, "EINVAL"),
        ] {
            for command in [&PROXY[..], &["demo"]] {
                let output = where_call_fails_with(call, errno, command);
                let said = line(&output);
                assert!(said.contains("io_uring_setup works and"), "{said}");
                assert!(said.contains(name) && said.contains(&format!("failed with {errno_name}")), "{said}");
                assert!(said.contains("seccomp") && said.contains("SystemCallFilter="), "{said}");
                assert!(!said.contains("too old") && !said.contains("io_uring_disabled"), "{said}");
            }
        }
    }
}

/// The load generator needs a ring too.
#[test]
fn every_command_says_it_as_the_proxy_does() {
    let site = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", site.local_addr().expect("bound"));
    for command in [&["demo"][..], &["load", &url]] {
        let output = where_setup_fails_with(libc::EPERM, command);
        let said = line(&output);
        assert!(said.contains("io_uring is not permitted") && said.contains("seccomp"), "{said}");
        assert_eq!(output.stdout, b"", "nothing was measured");
        let output = where_call_fails_with(libc::SYS_io_uring_enter, libc::EPERM, command);
        let said = line(&output);
        assert!(said.contains("io_uring_enter failed with EPERM"), "{said}");
    }
}

#[test]
fn the_doctor_finds_it_with_the_command_that_helps() {
    let output = where_setup_fails_with(libc::EPERM, &["doctor", "--host", "--json"]);
    let report = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{report}");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    let ring = findings.iter().find(|finding| finding["id"] == "host-io-uring").expect("a finding");
    assert_eq!(ring["severity"], "broken");
    for part in ["io_uring_setup failed with EPERM", "a seccomp filter is in force"] {
        assert!(ring["saw"].as_str().is_some_and(|saw| saw.contains(part)), "{ring}");
    }
    assert!(ring["fix"].as_str().is_some_and(|fix| fix.contains("seccomp=")), "{ring}");
    assert!(findings.len() > 5, "the rest is looked at all the same: {report}");
}
