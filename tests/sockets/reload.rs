//! SIGHUP: the settings are read again, and all of them are taken over or none.

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::reserved;
use crate::support::{
    Identity, Launch, Peer, Proxy, Server, TlsPeer, connect, echo, exchange, failures_during, refusing, talk,
    wait_for, wait_until,
};

mod clients;
mod endurance;
mod listeners;
mod logs;
mod mistakes;
mod sessions;

/// The settings file of a proxy that is told to read it again.
struct File {
    directory: TempDir,
    path: PathBuf,
}

impl File {
    fn new(text: &str) -> Self {
        let directory = TempDir::new().expect("a directory for temporary files");
        let file = Self { path: directory.path().join("iisplice.toml"), directory };
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).expect("it is written");
    }

    fn start(&self) -> Proxy {
        Launch::by_file(&self.path).start()
    }

    /// A path beside the file.
    fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Has the proxy take over a new text; the line that it says then.
    fn reload(&self, proxy: &Proxy, text: &str) -> String {
        self.write(text);
        reload(proxy)
    }

    /// Has the proxy refuse a new text; the line that it says then.
    fn refuse(&self, proxy: &Proxy, text: &str) -> String {
        self.write(text);
        let before = proxy.said("cannot reload").len();
        let reloads = proxy.said("reloaded;").len();
        proxy.signal(Signal::SIGHUP);
        let said = proxy.wait_to_say_times("cannot reload", before + 1);
        assert_eq!((said.len(), proxy.said("reloaded;").len()), (before + 1, reloads), "one line: {said:?}");
        said[before].clone()
    }
}

/// Has the proxy read its settings again; the line that it says then.
fn reload(proxy: &Proxy) -> String {
    let before = proxy.said("reloaded;").len();
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say_times("reloaded;", before + 1)[before].clone()
}

/// A service with listeners, and the group of a server.
fn service(name: &str, listen: &[&str], server: &Server, keys: &str) -> String {
    let address = server.address();
    format!(
        "[service.{name}]\nlisten = {listen:?}\nupstream = \"{name}\"\n{keys}\n[group.{name}]\nservers = \"{address}\"\n"
    )
}

/// An address for a listener.
fn free() -> String {
    reserved::address().to_string()
}

/// A new client of the listener reaches the server.
fn expect_served(address: &str, server: &Server) -> (Peer, Peer) {
    let client = Peer::connect(address);
    client.send(b"first");
    let upstream = server.accept();
    upstream.expect(b"first");
    exchange(&client, &upstream);
    (client, upstream)
}

/// Whether a connection waits at the server, or comes soon.
fn has_waiting(server: &Server) -> bool {
    let mut looked = [PollFd::new(server.listener().as_fd(), PollFlags::POLLIN)];
    poll(&mut looked, 300_u16).is_ok_and(|found| found > 0)
}

fn is_refused(address: &str) -> bool {
    std::net::TcpStream::connect(address).is_err()
}
