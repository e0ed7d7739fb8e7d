//! What surrounds the proxy lets through what its own sandbox does: a call that it makes and that is denied to it would fail, and
//! nothing would name it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{program, read, run, said};

/// The names of the calls that the sandbox lets through.
fn of_the_sandbox() -> BTreeSet<String> {
    let list = read("src/control/sandbox/calls.rs");
    let is_in_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let name = |rest: &str| rest.chars().take_while(|letter| is_in_name(*letter)).collect::<String>();
    let names: BTreeSet<_> = list.split("libc::SYS_").skip(1).map(name).collect();
    assert!(names.len() > 80 && names.contains("io_uring_enter"), "{names:?}");
    names
}

/// The calls of a group of systemd's, and of those in it.
fn of_group(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return [name.to_owned()].into();
    }
    let output = run(program("systemd-analyze").args(["syscall-filter", "--no-pager", name]), b"");
    assert!(output.status.success(), "{name}: {}", said(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let parts = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    parts.flat_map(of_group).collect()
}

pub(super) fn unit() {
    let unit = read("deploy/systemd/iisplice.service");
    let mut allowed = of_group("@default");
    for filter in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let calls = |names: &str| names.split_whitespace().flat_map(of_group).collect::<Vec<_>>();
        match filter.strip_prefix('~') {
            Some(denied) => calls(denied).iter().for_each(|call| _ = allowed.remove(call)),
            None => allowed.extend(calls(filter)),
        }
    }
    let denied: Vec<_> = of_the_sandbox().into_iter().filter(|call| !allowed.contains(call)).collect();
    assert_eq!(denied, [""; 0], "the unit denies what the sandbox lets through");
}

pub(super) fn profile() {
    let profile: Value = serde_json::from_str(&read("deploy/container/seccomp.json")).expect("it is JSON");
    let rules = profile["syscalls"].as_array().expect("a list").iter();
    let rules = rules.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    let allowed: BTreeSet<_> =
        rules.flat_map(|rule| rule["names"].as_array().expect("a list")).filter_map(Value::as_str).collect();
    let denied: Vec<_> = of_the_sandbox().into_iter().filter(|call| !allowed.contains(&**call)).collect();
    assert_eq!(denied, [""; 0], "the profile denies what the sandbox lets through");
}
