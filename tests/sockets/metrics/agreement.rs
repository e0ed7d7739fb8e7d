//! `/metrics`, the access log and what `iisplice load` counted say the same: to the connection, the login and the byte.

use std::collections::BTreeMap;
use std::process::Command;

use iisplice::mock::settings::{Accounts, Settings};
use iisplice::mock::{self, Mock};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::Metrics;
use crate::admin::start;
use crate::support::{Identity, Launch, Proxy, wait_until};

/// Logins of a load; it makes one more before it begins.
const LOGINS: u64 = 20;

fn site() -> Mock {
    let mut accounts = Accounts::default();
    accounts.add("CORP", "alice", "secret");
    let listeners = vec!["127.0.0.1:0".parse().expect("an address")];
    mock::start(Settings::new(listeners, accounts)).expect("a mock")
}

/// Logs in [`LOGINS`] times, each on a connection of its own: what it counted.
pub(super) fn load(url: &str, auth: &str, flags: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.args(["load", url, "--auth", auth, "--user", r"CORP\alice:secret", "--scenario", "login"]);
    command.args(["--requests", &LOGINS.to_string(), "-c4", "-t1", "--warmup", "0s", "--json", "-"]);
    let output = command.args(flags).output().expect("iisplice can be run");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    result["counts"].clone()
}

fn number(counts: &Value, name: &str) -> u64 {
    counts[name].as_u64().unwrap_or_else(|| panic!("no {name}: {counts}"))
}

/// The sum of a field over all lines of the access log.
fn logged(proxy: &Proxy, lines: u64, field: &str) -> u64 {
    proxy.records(lines as usize).iter().map(|line| line.bytes(field)).sum()
}

fn wait_for_ends(admin: &crate::admin::Admin, connections: u64) -> Metrics {
    let ended = || Metrics::of(admin).sum("iisplice_connections_ended_total", &[]);
    wait_until("all connections to end", || ended() == connections);
    Metrics::of(admin)
}

#[test]
fn of_streams() {
    let site = site();
    let (proxy, admin) = start(Launch::to(&site.addresses()[0].to_string()).flags("--workers 2 --no-pin"));
    let counts = load(&format!("http://{}/whoami", proxy.address()), "ntlm", &[]);
    let connections = LOGINS + 1;
    let metrics = wait_for_ends(&admin, connections);
    assert_eq!(number(&counts, "connects"), LOGINS);
    for name in ["iisplice_connections_accepted_total", "iisplice_upstream_connections_total"] {
        assert_eq!(metrics.sum(name, &[]), connections, "{name}");
    }
    assert_eq!(metrics.sum("iisplice_worker_connections_accepted_total", &[]), connections);
    assert_eq!(metrics.sum("iisplice_connect_seconds_count", &[]), connections);
    assert_eq!(metrics.sum("iisplice_first_byte_seconds_count", &[]), connections);
    for (name, counted, field) in [
        ("iisplice_to_upstream_bytes_total", "sent_bytes", "to_upstream_bytes"),
        ("iisplice_to_client_bytes_total", "received_bytes", "to_client_bytes"),
    ] {
        let bytes = metrics.sum(name, &[]);
        assert_eq!(bytes, logged(&proxy, connections, field), "{name} and the access log");
        // The login before the run is not in what the load counts.
        let before = proxy.record().bytes(field);
        assert_eq!(bytes, number(&counts, counted) + before, "{name} and {counts}");
    }
    let mut ends = BTreeMap::new();
    for line in proxy.records(connections as usize) {
        *ends.entry(line.get("end").to_owned()).or_default() += 1;
    }
    assert_eq!(metrics.by("iisplice_connections_ended_total", "end"), ends);
    assert_eq!(metrics.count("iisplice_logins_begun_total", &[]), 0, "a stream is not looked into");
}

#[test]
fn of_requests_and_logins() {
    let site = site();
    let flags = "--mode http --workers 2 --no-pin";
    let (proxy, admin) = start(Launch::to(&site.addresses()[0].to_string()).flags(flags));
    let url = format!("http://{}/whoami", proxy.address());
    let mut logins = BTreeMap::new();
    for (auth, mechanism) in [("ntlm", "ntlm"), ("negotiate", "negotiate-ntlm")] {
        let counts = load(&url, auth, &[]);
        logins.insert(mechanism.to_owned(), number(&counts, "logins") + 1);
    }
    let connections = 2 * (LOGINS + 1);
    let metrics = wait_for_ends(&admin, connections);
    assert_eq!(metrics.sum("iisplice_connections_accepted_total", &[]), connections);
    for name in ["iisplice_logins_begun_total", "iisplice_logins_accepted_total"] {
        assert_eq!(metrics.by(name, "mechanism"), logins, "{name}");
    }
    for name in ["iisplice_logins_refused_total", "iisplice_logins_abandoned_total"] {
        assert_eq!(metrics.by(name, "mechanism"), BTreeMap::new(), "{name}");
    }
    let requests = 3 * connections;
    assert_eq!(metrics.sum("iisplice_requests_total", &[]), requests);
    assert_eq!(metrics.sum("iisplice_reply_head_seconds_count", &[]), requests);
    let of_legs = |leg| metrics.sum("iisplice_login_leg_seconds_count", &[("leg", leg)]);
    assert_eq!(["anonymous-401", "type1-type2", "type3-final"].map(of_legs), [connections; 3]);
    for (name, field) in [
        ("iisplice_to_upstream_bytes_total", "request_bytes"),
        ("iisplice_to_client_bytes_total", "reply_bytes"),
    ] {
        assert_eq!(metrics.sum(name, &[]), logged(&proxy, requests, field), "{name} and the access log");
    }
    let mut statuses = BTreeMap::new();
    for line in proxy.records(requests as usize) {
        *statuses.entry(format!("{}xx", &line.get("status")[..1])).or_default() += 1;
    }
    assert_eq!(metrics.by("iisplice_replies_total", "status"), statuses);
}

#[test]
fn of_tls() {
    let site = site();
    let directory = TempDir::new().expect("a directory for temporary files");
    let identity = Identity::make(directory.path(), "front", &["127.0.0.1"]);
    let launch = Launch::to(&site.addresses()[0].to_string()).flags(&identity.flags());
    let (proxy, admin) = start(launch.flags("--mode http"));
    let url = format!("https://{}/whoami", proxy.address());
    load(&url, "ntlm", &["--ca", &identity.certificate.display().to_string()]);
    let connections = LOGINS + 1;
    let metrics = wait_for_ends(&admin, connections);
    assert_eq!(metrics.sum("iisplice_tls_handshakes_total", &[("side", "client")]), connections);
    assert_eq!(metrics.sum("iisplice_tls_handshake_failures_total", &[]), 0);
    assert_eq!(metrics.sum("iisplice_logins_accepted_total", &[("mechanism", "ntlm")]), connections);
    let requests = 3 * connections;
    for (name, field) in [
        ("iisplice_to_upstream_bytes_total", "request_bytes"),
        ("iisplice_to_client_bytes_total", "reply_bytes"),
    ] {
        assert_eq!(metrics.sum(name, &[]), logged(&proxy, requests, field), "{name} and the access log");
    }
    assert_eq!(metrics.count("iisplice_certificate_not_after_seconds", &[("service", "default")]), 1);
    assert!(metrics.sum("iisplice_certificate_not_after_seconds", &[]) > 1_700_000_000);
}

#[test]
fn over_reloads() {
    let site = site();
    let directory = TempDir::new().expect("a directory for temporary files");
    let file = directory.path().join("proxy.toml");
    let write = |service: &str| {
        let text = format!(
            "admin = \"127.0.0.1:0\"\n[service.stays]\nlisten = \"127.0.0.1:0\"\nupstream = \"iis\"\n\
             [service.{service}]\nlisten = \"127.0.0.2:0\"\nupstream = \"iis\"\n\
             [group.iis]\nservers = [\"{}\"]\n",
            site.addresses()[0]
        );
        std::fs::write(&file, text).expect("it is written");
    };
    write("goes");
    let proxy = Launch::by_file(&file).start();
    let admin = crate::admin::Admin::of(&proxy);
    let each = LOGINS + 1;
    for listener in proxy.listeners() {
        load(&format!("http://{listener}/whoami"), "ntlm", &[]);
    }
    let before = wait_for_ends(&admin, 2 * each);
    let reload = |service, times| {
        write(service);
        proxy.signal(Signal::SIGHUP);
        proxy.wait_to_say_times("settings reloaded", times);
        Metrics::of(&admin)
    };
    let accepted = |metrics: &Metrics, service| {
        metrics.sum("iisplice_connections_accepted_total", &[("service", service)])
    };
    let metrics = reload("comes", 1);
    assert_eq!(metrics.count("iisplice_connections_accepted_total", &[("service", "goes")]), 0);
    assert_eq!(["stays", "comes"].map(|name| accepted(&metrics, name)), [each, 0]);
    assert_eq!(metrics.sum("iisplice_worker_connections_accepted_total", &[]), 2 * each, "of the process");
    load(&format!("http://{}/whoami", proxy.address()), "ntlm", &[]);
    wait_for_ends(&admin, 2 * each);
    let metrics = reload("goes", 2);
    assert_eq!(["stays", "goes"].map(|name| accepted(&metrics, name)), [2 * each, each], "it goes on");
    let bytes = |metrics: &Metrics| metrics.sum("iisplice_to_upstream_bytes_total", &[("service", "goes")]);
    assert_eq!(bytes(&metrics), bytes(&before));
    assert_eq!(bytes(&metrics) * 3, metrics.sum("iisplice_to_upstream_bytes_total", &[]));
}
