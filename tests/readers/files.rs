//! Something to read: runs of `iisplice load` against the mock.

use std::path::{Path, PathBuf};
use std::process::Command;

use iisplice::mock::settings::{Accounts, Settings};
use iisplice::mock::{self, Mock};
use serde_json::Value;
use tempfile::TempDir;

/// A site to measure, and room for files; both go with it.
pub(crate) struct Bench {
    directory: TempDir,
    _mock: Mock,
    site: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let mut accounts = Accounts::default();
        accounts.add("CORP", "alice", "secret");
        accounts.add("CORP", "bob", "secret");
        let listener = "127.0.0.1:0".parse().expect("an address");
        let mock = mock::start(Settings::new(vec![listener], accounts)).expect("the mock starts");
        let site = mock.addresses()[0].to_string();
        Self { directory: tempfile::tempdir().expect("a directory"), _mock: mock, site }
    }

    /// A file of this name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sessions of two users in an open loop, long enough for two points in time. Every sample is in the log: the run ends
    /// with its last request. Returns the JSON.
    pub(crate) fn measure(&self, outputs: &[(&str, &str)]) -> Value {
        let json = self.path("run.json");
        let options = "--auth ntlm --user CORP\\alice:secret --user CORP\\bob:secret --verify-identity -c4 \
                       --scenario session --requests-per-login 20 -n1000 --rate 500";
        let mut command = self.load(options);
        command.arg("--json").arg(&json);
        for (flag, name) in outputs {
            command.arg(flag).arg(self.path(name));
        }
        run(&mut command);
        read_json(&json)
    }

    /// `iisplice load` with these options, separated by blanks.
    pub(crate) fn load(&self, options: &str) -> Command {
        load(self.site(), options)
    }

    /// The address of the site.
    pub(crate) fn site(&self) -> &str {
        &self.site
    }
}

/// `iisplice load` of what is at this address, with these options, separated by blanks.
pub(crate) fn load(address: &str, options: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    let url = format!("http://{address}/whoami");
    command.arg("load").arg(url).args(options.split_ascii_whitespace());
    command
}

/// Runs to a good end.
pub(crate) fn run(command: &mut Command) {
    run_to(command, 0);
}

/// Runs to this exit code.
pub(crate) fn run_to(command: &mut Command, code: i32) {
    let output = command.output().expect("it can be run");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {complaint}");
}

pub(crate) fn read_json(path: &Path) -> Value {
    let text = std::fs::read(path).expect("it was written");
    serde_json::from_slice(&text).expect("it is JSON")
}

/// This folder.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers")
}
