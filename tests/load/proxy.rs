//! The proxy in HTTP mode as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

/// `iisplice proxy --mode http` on a free port; ends with the test.
pub(crate) struct Proxy {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    pub(crate) fn start(upstream: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
        command.args(["proxy", "--listen=127.0.0.1:0", "--mode=http", "--no-pin", "--upstream", upstream]);
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving listeners=") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the proxy did not start");
        }
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address = line.split_once("listeners=").unwrap().1.split(' ').next().unwrap();
        Self { process, address: address.parse().unwrap() }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
