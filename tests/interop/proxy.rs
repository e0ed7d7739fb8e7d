//! The proxy under test, as a process.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{Bed, Scheme, Site};
use crate::server::Server;

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running `iisplice proxy` with one listener, ended when this is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    server: Server,
    child: Child,
    log: PathBuf,
}

impl Proxy {
    /// Starts it and waits until it listens. The variable `INTEROP_PROXY` names another program to start
    /// in its place, with the same arguments.
    pub(crate) fn start(bed: &Bed, options: &[&str]) -> Self {
        let program =
            env::var_os("INTEROP_PROXY").unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_iisplice")));
        let address = bed.free_address();
        let mut command = Command::new(program);
        command.args(["proxy", "--listen", &address.to_string()]).args(options);
        Self::run(command, address, bed)
    }

    /// Runs a command that listens on `address`.
    pub(crate) fn run(mut command: Command, address: SocketAddr, bed: &Bed) -> Self {
        let log = bed.client_directory().join("log");
        let output = File::create(&log).expect("the bed's directory is writable");
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor is free"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", command.get_program().display()));
        let mut proxy = Self { address, server: bed.server, child, log };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = proxy.child.try_wait().expect("the child is ours") {
                panic!("the proxy ended at once with {status}: {command:?}");
            }
            assert!(
                Instant::now() < deadline,
                "the proxy does not listen after {START_TIMEOUT:?}: {command:?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
        proxy
    }

    /// The server behind it.
    pub(crate) fn site(&self, scheme: Scheme) -> Site {
        self.site_by(scheme, "through the proxy")
    }

    /// The server behind it, and how it is reached.
    pub(crate) fn site_by(&self, scheme: Scheme, way: &'static str) -> Site {
        Site { server: self.server, scheme, address: self.address, way }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("What the proxy said:\n{log}");
        }
    }
}
