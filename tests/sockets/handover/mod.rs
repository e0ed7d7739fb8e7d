//! A new process takes over: clients notice nothing, and the old one serves what it has to its end.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::admin::{Admin, start};
use crate::support::{Launch, PATIENCE, Peer, Proxy, Server, exchange, pair, wait_for, wait_until};

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

/// A server that sends back what it gets.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    if client.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A message there and back.
fn talk(client: &mut (impl Read + Write)) -> std::io::Result<()> {
    client.write_all(b"hello")?;
    let mut answer = [0; 5];
    client.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(client)
}
