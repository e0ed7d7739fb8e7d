//! A new process takes over: clients notice nothing, and the old one serves what it has to its end.

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::admin::{Admin, start};
use crate::reserved;
use crate::support::{
    Launch, Peer, Proxy, Server, connect, echo, exchange, failures_during, pair, talk, wait_for, wait_until,
};

mod failures;
mod load;
mod pipes;
mod takeover;
mod unix;

const BINARY: &str = env!("CARGO_BIN_EXE_iisplice");

/// Has the proxy upgraded, and waits until the new process serves: its id.
fn upgrade(proxy: &Proxy, pid: i32) -> i32 {
    let before = proxy.successors().len();
    signal(pid, Signal::SIGUSR2);
    successor(proxy, before)
}

/// Waits for the process that takes over after `before` others: its id.
fn successor(proxy: &Proxy, before: usize) -> i32 {
    wait_for("the new process to serve", || {
        let failed = proxy.said("cannot upgrade");
        assert!(failed.is_empty(), "{failed:?}");
        proxy.successors().get(before).copied()
    })
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it runs");
}

fn own_pid(proxy: &Proxy) -> i32 {
    proxy.process().pid
}

/// Whether a process has ended, or only waits to be waited for.
fn is_gone(pid: i32) -> bool {
    procfs::process::Process::new(pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.state == 'Z')
        || !Path::new(&format!("/proc/{pid}")).exists()
}

fn generations(admin: &Admin) -> Vec<Value> {
    let reply = admin.get("/v1/generations");
    assert_eq!(reply.status, 200, "{reply:?}");
    let value: Value = serde_json::from_str(&reply.body).expect("JSON");
    value["generations"].as_array().expect("a list").clone()
}

/// `iisplice upgrade`.
fn command(admin: &str) -> Output {
    Command::new(BINARY).args(["upgrade", "--admin", admin]).output().expect("it runs")
}
