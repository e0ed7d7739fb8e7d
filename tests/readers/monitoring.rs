//! What monitoring reads: `/metrics` by Python's parser; the alert rules, and the queries of the dashboard, by promtool.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::files::{Bench, load, read_json, run};
use crate::python::script;

/// A proxy in front of a site; ended when this is dropped.
struct Proxy {
    child: Child,
    address: String,
    admin: String,
}

impl Proxy {
    fn before(site: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
        command.args(["proxy", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--mode", "http"]);
        command.args(["--workers", "2", "--no-pin", "--upstream", site]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary was built");
        let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut word = |name: &str| {
            let line = said.find(|line| line.as_ref().is_ok_and(|line| line.contains(name)));
            let line = line.unwrap_or_else(|| panic!("no {name}")).expect("text");
            let (_, rest) = line.split_once(name).expect("it was found by this");
            rest.split(' ').next().unwrap_or_default().to_owned()
        };
        let (address, admin) = (word("listeners="), word("address="));
        // So that it never waits for a reader.
        std::thread::spawn(move || said.for_each(drop));
        Self { child, address, admin }
    }

    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(&self.admin).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("text");
        let (head, text) = reply.split_once("\r\n\r\n").expect("a reply");
        assert!(head.contains(" 200 "), "{head}");
        text.to_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every line is a sample of a family whose type Python knows.
pub(crate) fn metrics() {
    let bench = Bench::new();
    let proxy = Proxy::before(bench.site());
    let options = "-n20 -c2 --auth ntlm --user CORP\\alice:secret --scenario login --quiet";
    run(&mut load(&proxy.address, options));
    let text = proxy.metrics();
    let file = bench.path("metrics.txt");
    fs::write(&file, &text).expect("a file");
    let output = script("read_metrics.py", &[&file]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let families: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    let families = families.as_object().expect("families by name");
    let samples: u64 = families.values().filter_map(|family| family["samples"].as_u64()).sum();
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples, lines as u64);
    for (name, kind) in [
        ("iisplice_build", "info"),
        ("iisplice_connections_accepted", "counter"),
        ("iisplice_connections_active", "gauge"),
        ("iisplice_login_leg_seconds", "histogram"),
        ("process_start_time_seconds", "gauge"),
    ] {
        assert_eq!(families[name]["type"], kind, "{name}");
    }
}

pub(crate) fn promtool_missing() -> Option<String> {
    let output = Command::new("promtool").arg("--version").output();
    let is_there = output.is_ok_and(|output| output.status.success());
    (!is_there).then(|| "promtool (Debian package prometheus)".to_owned())
}

fn monitoring(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring").join(name)
}

fn check_rules(path: &Path) {
    let output = Command::new("promtool").args(["check", "rules"]).arg(path).output().expect("promtool");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("SUCCESS"), "{said}");
}

/// promtool accepts the rules.
pub(crate) fn rules() {
    check_rules(&monitoring("alerts.yml"));
}

/// promtool accepts each query of the dashboard, as a rule.
pub(crate) fn dashboard() {
    let dashboard = read_json(&monitoring("grafana.json"));
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut count = 0;
    for target in targets {
        let query = target["expr"].as_str().expect("a query").replace("$__rate_interval", "5m");
        let _ = writeln!(rules, "      - record: query:{count}\n        expr: {}", Value::from(query));
        count += 1;
    }
    assert!(count > 30, "{count} queries");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rules.yml");
    fs::write(&file, rules).expect("a file");
    check_rules(&file);
}
