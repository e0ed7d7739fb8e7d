//! The container: its layout runs without anything else, and its profile lets the binary work and do little more.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use nix::unistd::geteuid;
use seccompiler::{BpfProgram, TargetArch, apply_filter, compile_from_json};
use serde_json::{Value, json};

use super::{BINARY, await_that, program, read, repository, run, said};

/// What the profile allows, in the words of the compiler of filters.
fn allowed() -> Vec<Value> {
    let profile: Value = serde_json::from_str(&read("deploy/container/seccomp.json")).expect("it is JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO", "what is not named is denied");
    let mut rules = Vec::new();
    for rule in profile["syscalls"].as_array().expect("a list") {
        if rule["action"] != "SCMP_ACT_ALLOW" {
            continue;
        }
        let conditions: Vec<Value> = rule["args"].as_array().into_iter().flatten().map(condition).collect();
        for name in rule["names"].as_array().expect("a list") {
            let mut one = json!({ "syscall": name });
            if !conditions.is_empty() {
                one["args"] = conditions.clone().into();
            }
            rules.push(one);
        }
    }
    rules
}

fn condition(argument: &Value) -> Value {
    let (op, value) = match argument["op"].as_str() {
        Some("SCMP_CMP_EQ") => (json!("eq"), &argument["value"]),
        Some("SCMP_CMP_MASKED_EQ") => (json!({ "masked_eq": argument["value"] }), &argument["valueTwo"]),
        other => panic!("{other:?} is not known here"),
    };
    json!({ "index": argument["index"], "type": "dword", "op": op, "val": value })
}

/// Runs a command whose calls are filtered: what `rules` does not allow fails as in a container.
fn filtered(rules: &[Value], mut command: Command) -> Output {
    let clone3 = json!({ "syscall": "clone3" });
    let all = [rules, std::slice::from_ref(&clone3)].concat();
    let filters = json!({
        // Its flags are in memory; the profile has it fail as if the kernel had none.
        "clone3": { "mismatch_action": "allow", "match_action": { "errno": 38 }, "filter": [clone3] },
        "profile": { "mismatch_action": { "errno": 1 }, "match_action": "allow", "filter": all },
    });
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("it is known");
    let compiled: BTreeMap<String, BpfProgram> = compile_from_json(filters.to_string().as_bytes(), arch)
        .expect("every call has a number")
        .into_iter()
        .collect();
    // A filter is for a thread and what it starts.
    let running = thread::spawn(move || {
        for filter in compiled.values() {
            apply_filter(filter).expect("the kernel takes it");
        }
        command.output().expect("it runs")
    });
    running.join().expect("it ends")
}

/// The demo has a server, the proxy and clients that log in.
pub(super) fn profile() {
    let demo = || {
        let mut demo = Command::new(BINARY);
        demo.args(["demo", "--duration", "300ms"]);
        demo
    };
    let rules = allowed();
    let output = filtered(&rules, demo());
    assert!(output.status.success(), "{}", said(&output));

    // As container platforms have it: then nothing serves, and the reason is said.
    let without: Vec<_> = rules.iter().filter(|rule| rule["syscall"] != "io_uring_setup").cloned().collect();
    assert_eq!(without.len() + 1, rules.len());
    let output = filtered(&without, demo());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("io_uring"), "{}", said(&output));

    for denied in
        ["ptrace", "bpf", "mount", "unshare", "setns", "init_module", "keyctl", "perf_event_open", "reboot"]
    {
        assert!(rules.iter().all(|rule| rule["syscall"] != denied), "{denied} is allowed");
    }
}

/// As the image has it: another root, the user of the image, no shell. The health check says that it serves.
pub(super) fn layout() {
    if !geteuid().is_root() {
        eprintln!("deploy: SKIPPED: only root can change the root of a process");
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let laid = run(Command::new(repository("deploy/container/rootfs")).arg(BINARY).arg(root.path()), b"");
    assert!(laid.status.success(), "{}", said(&laid));
    for shell in ["bin/sh", "usr/bin/sh", "bin/bash"] {
        assert!(!root.path().join(shell).exists(), "{shell}");
    }
    // Other users than root have to get to it.
    run(Command::new("chmod").arg("755").arg(root.path()), b"");
    let inside = |arguments: &[&str]| {
        let mut command = program("chroot");
        command.arg("--userspec=65532:65532").arg(root.path()).arg("/usr/bin/iisplice").args(arguments);
        command
    };
    let checked =
        run(inside(&["proxy", "--check", "--config", "/etc/iisplice/iisplice.toml"]).current_dir("/"), b"");
    assert!(checked.status.success(), "{}", said(&checked));
    let mut proxy = inside(&[
        "proxy",
        "--workers",
        "1",
        "--listen",
        "unix:/run/iisplice/listen",
        "--upstream",
        "127.0.0.1:9",
        "--admin",
        "unix:/run/iisplice/admin.sock",
    ])
    .spawn()
    .expect("it runs");
    let is_there = |path: &str| Path::new(path).exists();
    let socket = root.path().join("run/iisplice/admin.sock").display().to_string();
    await_that(|| is_there(&socket));
    let healthy = run(&mut inside(&["status"]), b"");
    proxy.kill().expect("it runs");
    proxy.wait().expect("it is our child");
    assert_eq!(healthy.status.code(), Some(0), "{}", said(&healthy));
    // What the image says is what was tried.
    let file = read("deploy/container/Containerfile");
    for line in
        ["FROM scratch", "USER 65532:65532", "STOPSIGNAL SIGTERM", "CMD [\"/usr/bin/iisplice\", \"status\"]"]
    {
        assert!(file.contains(line), "the Containerfile has no {line}");
    }
}
