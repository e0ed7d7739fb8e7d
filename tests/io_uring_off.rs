//! A host where `io_uring` is not to be had, as a container's seccomp profile makes it: one line with the mend.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// A command where every `io_uring_setup(2)` fails with `errno`.
fn where_setup_fails_with(errno: i32, flags: &'static [&'static str]) -> Output {
    let arch: TargetArch = std::env::consts::ARCH.try_into().expect("an architecture that seccompiler knows");
    let rules = BTreeMap::from([(libc::SYS_io_uring_setup, vec![])]);
    let denied = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).expect("a valid filter");
    let filter: BpfProgram = filter.try_into().expect("a program that is short enough");
    // A filter belongs to the thread that sets it and to the processes that this thread starts.
    let run = move || {
        apply_filter(&filter).expect("no privilege is needed after no_new_privs");
        Command::new(env!("CARGO_BIN_EXE_iisplice")).args(flags).output().expect("it starts")
    };
    thread::spawn(run).join().expect("it does not panic")
}

fn proxy_where_setup_fails_with(errno: i32) -> Output {
    where_setup_fails_with(errno, &["proxy", "--listen=127.0.0.1:0", "--upstream=127.0.0.1:9"])
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
}

#[test]
fn a_profile_that_hides_it_is_named() {
    let output = proxy_where_setup_fails_with(libc::ENOSYS);
    let said = line(&output);
    assert!(said.contains("io_uring is missing") && said.contains("seccomp"), "{said}");
}

#[test]
fn a_kernel_without_what_is_needed_is_told_the_floor() {
    let output = proxy_where_setup_fails_with(libc::EINVAL);
    let said = line(&output);
    assert!(said.contains("is too old") && said.contains("Linux 6.1 or newer"), "{said}");
}

#[test]
fn the_demo_says_it_as_the_proxy_does() {
    let output = where_setup_fails_with(libc::EPERM, &["demo"]);
    let said = line(&output);
    assert!(said.contains("io_uring is not permitted") && said.contains("seccomp"), "{said}");
    assert_eq!(output.stdout, b"", "nothing was measured");
}
