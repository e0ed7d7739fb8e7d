//! Many reloads while clients log in, each on a connection of its own.

use std::process::{Child, Command, Stdio};

use super::*;

/// Reloads of a test; `IISPLICE_RELOADS` asks for more.
const RELOADS: usize = 40;

/// A command of the binary, ended with this.
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

/// A site with logins, and its address.
fn site(directory: &Path) -> (Running, String) {
    let log = directory.join("mock.log");
    let written = fs::File::create(&log).expect("a file");
    let mut command = iisplice(&["mock", "--listen=127.0.0.1:0", "--user=CORP\\alice:secret"]);
    let mock = Running(command.stderr(written).spawn().expect("the binary was built"));
    let address = wait_for("the mock to listen", || {
        let said = fs::read_to_string(&log).ok()?;
        let (_, address) = said.split_once("mock IIS on http://")?;
        address.split_once('\n').map(|(address, _)| address.to_owned())
    });
    (mock, address)
}

#[test]
fn no_login_fails_over_many_reloads() {
    let reloads =
        std::env::var("IISPLICE_RELOADS").ok().and_then(|number| number.parse().ok()).unwrap_or(RELOADS);
    let file = File::new("");
    let (_mock, site) = site(file.directory.path());
    let [stream, http, extra] = [free(), free(), free()];
    // What comes and goes beside what is always there: a listener, time-outs, groups, the mode, the log.
    let text = |nth: usize| {
        let (group, other) = if nth.is_multiple_of(2) { ("one", "two") } else { ("two", "one") };
        let timeout = 60 + nth % 2;
        let (more, log) = match nth % 4 {
            0 => (format!(", \"{extra}\""), "a.log"),
            1 => (String::new(), "a.log"),
            2 => (String::new(), "b.log"),
            _ => (format!(", \"{extra}\""), "b.log"),
        };
        format!(
            r#"
                access-log = "{}"
                drain-timeout = "{timeout}s"
                [service.stream]
                listen = ["{stream}"{more}]
                idle-timeout = "{timeout}s"
                upstream = "{group}"
                [service.http]
                listen = "{http}"
                mode = "http"
                reply-timeout = "{timeout}s"
                upstream = "{other}"
                [group.{group}]
                servers = "{site}"
                connect-timeout = "{timeout}s"
                [group.{other}]
                servers = "{site}"
            "#,
            file.beside(log).display()
        )
    };
    file.write(&text(0));
    let mut proxy = Launch::by_file(&file.path).logs_by_file().flags("--workers 2 --no-pin").start();
    // Once all workers serve.
    reload(&proxy);
    let descriptors = proxy.descriptors();
    let memory_before = proxy.memory();
    let (results, failures) = (file.beside("load.json"), file.beside("load.log"));
    let urls = [&stream, &http].map(|address| format!("http://{address}/whoami"));
    let mut command = iisplice(&["load", &urls[0], &urls[1], "--auth=ntlm", "--user=CORP\\alice:secret"]);
    command.args([
        "--scenario=login",
        "--verify-identity",
        "--connections=8",
        "--threads=1",
        "--duration=1h",
    ]);
    command.arg("--warmup=0s").arg("--json").arg(&results);
    command.stderr(fs::File::create(&failures).expect("a file"));
    let mut load = Running(command.spawn().expect("the binary was built"));
    wait_until("the first logins", || {
        fs::read_to_string(file.beside("a.log")).is_ok_and(|log| log.len() > 1000)
    });
    for nth in 1..=reloads {
        file.reload(&proxy, &text(nth));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(load.0.id() as i32), Signal::SIGINT)
        .expect("our child");
    load.0.wait().expect("our child");
    let printed = fs::read_to_string(&results).unwrap_or_else(|error| {
        panic!("no results: {error}: {}", fs::read_to_string(&failures).unwrap_or_default())
    });
    let result: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let counts = &result["counts"];
    let memory = proxy.memory() >> 10;
    println!("{reloads} reloads, {} KiB before, {memory} KiB after: {counts}", memory_before >> 10);
    assert!(counts["errors"].as_object().is_some_and(serde_json::Map::is_empty), "{counts}");
    assert!(counts["logins"].as_u64().is_some_and(|logins| logins as usize > reloads), "{counts}");
    let bad: Vec<_> = ["WARN", "ERROR"].iter().flat_map(|level| proxy.said(level)).collect();
    assert!(bad.is_empty(), "{bad:?}");
    file.reload(&proxy, &text(0));
    wait_until("no descriptor to be left", || proxy.descriptors() == descriptors);
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    assert!(proxy.said("stopped; ")[0].contains("log_lines_dropped=0"));
}
