//! Real logins over connections that were opened ahead: each is one user's.

use std::fs;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::*;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn iisplice(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn no_login_meets_another_users() {
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let users: Vec<_> = (0..100).map(|nth| format!("CORP\\user{nth}:secret{nth}")).collect();
    fs::write(file("users"), users.join("\n")).expect("it is written");
    let users = format!("--users={}", file("users").display());
    let mut mock = iisplice(&["mock", "--listen=127.0.0.1:0", &users]);
    let _mock =
        Running(mock.stderr(fs::File::create(file("mock")).expect("a file")).spawn().expect("it was built"));
    let site = wait_for("the mock to listen", || {
        let said = fs::read_to_string(file("mock")).ok()?;
        let (_, address) = said.split_once("mock IIS on http://")?;
        address.split_once('\n').map(|(address, _)| address.to_owned())
    });
    for mode in ["stream", "http"] {
        let flags = format!("--warm 16 --workers 2 --no-pin --mode {mode}");
        let proxy = Launch::to(&site).flags(&flags).start();
        let url = format!("http://{}/whoami", proxy.address());
        let json = file(mode);
        let mut load =
            iisplice(&["load", &url, "--auth=ntlm", &users, "--scenario=login", "--verify-identity"]);
        load.args(["--connections=100", "--threads=1", "--requests=600", "--json"]).arg(&json);
        let output = load.output().expect("it was built");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let result: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&json).expect("results")).expect("JSON");
        let counts = &result["counts"];
        assert!(counts["errors"].as_object().is_some_and(serde_json::Map::is_empty), "{counts}");
        assert!(counts["logins"].as_u64().is_some_and(|logins| logins >= 600), "{counts}");
        let warm = wait_for("the log of the logins", || {
            let connects = connects(&proxy, 600);
            Some(connects.iter().filter(|how| *how == "warm").count())
        });
        assert!(warm >= 16, "{warm} of them");
    }
}
