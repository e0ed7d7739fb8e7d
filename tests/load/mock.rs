//! The mock as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// `iisplice mock` on a free port; ends with the test.
pub(crate) struct Mock {
    process: Child,
    pub(crate) url: String,
}

impl Mock {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
        command.args([
            "mock",
            "--listen=127.0.0.1:0",
            "--user=CORP\\alice:secret",
            "--user=CORP\\bob:secret",
        ]);
        let mut process = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("mock IIS on ") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the mock did not start");
        }
        // What else it logs is read away, so that it never waits for us.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let url = line.trim().rsplit_once("mock IIS on ").unwrap().1.to_owned();
        Self { process, url }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
