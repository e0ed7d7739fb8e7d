//! `iisplice doctor` before servers and proxies that are not our own: it finds what each of them does, and nothing else.
//! The ways here are the rows of the table in docs/doctor.md.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::bed::{ALICE, Bed, Scheme, Site};
use crate::proxy::Proxy;
use crate::server::Server;
use crate::tls::every_way;
use crate::{at_every_door, pooling};

/// What the doctor printed.
struct Report {
    exit_code: Option<i32>,
    json: Value,
    of: String,
}

/// Probes a site as alice, with other arguments.
fn doctor(bed: &Bed, site: &Site, arguments: &[&str]) -> Report {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.args(["doctor", "--json", "--timeout", "20s", "--user", &ALICE.ntlm_name()]);
    command.args(["--password", ALICE.password, "--identity-header", "X-User"]);
    command.arg("--ca").arg(bed.certificate()).args(arguments);
    command.arg(url(site));
    let output = command.output().expect("iisplice can be run");
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{site}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    Report { exit_code: output.status.code(), json, of: site.to_string() }
}

fn url(site: &Site) -> String {
    format!("{}://{}{}", site.scheme, site.address, site.server.page())
}

impl Report {
    /// The worst finding with this id: its severity and what was seen.
    fn finding(&self, id: &str) -> Option<(&str, &str)> {
        let rank = |severity: &str| ["fine", "warning", "broken"].iter().position(|word| *word == severity);
        let findings = self.json["findings"].as_array().expect("a list").iter();
        let text = |finding: &'_ Value, key: &str| finding[key].as_str().map(str::len);
        findings
            .filter(|finding| finding["id"] == id && text(finding, "saw").is_some())
            .map(|finding| {
                (finding["severity"].as_str().expect("a word"), finding["saw"].as_str().expect("text"))
            })
            .max_by_key(|(severity, _)| rank(severity))
    }

    #[track_caller]
    fn has(&self, id: &str, severity: &str, text: &str) {
        let found = self.finding(id);
        assert!(
            found.is_some_and(|(found, saw)| found == severity && saw.contains(text)),
            "{}: {id} is {found:?}, and not {severity}: {text}: {:#}",
            self.of,
            self.json
        );
    }

    fn broken(&self) -> Vec<&str> {
        let findings = self.json["findings"].as_array().expect("a list").iter();
        findings
            .filter(|finding| finding["severity"] == "broken")
            .filter_map(|finding| finding["id"].as_str())
            .collect()
    }

    fn changes(&self) -> Vec<&str> {
        self.json["changes"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|change| change["id"].as_str())
            .collect()
    }
}

/// A site where each client has connections of its own.
fn is_sound(bed: &Bed, site: &Site) {
    let report = doctor(bed, site, &[]);
    assert_eq!(report.broken(), <[&str; 0]>::default(), "{site}: {:#}", report.json);
    assert_eq!(report.exit_code, Some(1), "{site}: an address has no Kerberos ticket: {:#}", report.json);
    report.has("login-ntlm", "fine", "logs in by NTLM");
    report.has("login-negotiate", "fine", "logs in by NTLM in Negotiate");
    report.has("persistence", "fine", "need no other one");
    report.has("fresh-connection", "fine", "are anonymous");
    report.has("leak", "fine", "are anonymous");
    report.has("server-connection", "fine", "do not meet");
    report.has("body-401", "fine", "answered with 401");
    let kerberos = if site.server == Server::Apache { "fine" } else { "warning" };
    report.has("kerberos", kerberos, "");
    if site.scheme == Scheme::Https {
        report.has("certificate-chain", "fine", "trusts");
        report.has("certificate-dates", "warning", "expires at");
        report.has("http2", "fine", "not offered");
    }
}

/// Directly, and through iisplice in each mode.
pub(crate) fn sound_sites(server: Server) {
    let bed = Bed::start(server);
    at_every_door(&bed, |site| is_sound(&bed, site));
}

/// What is required of logins is seen directly, and past a proxy that shows the same certificate.
pub(crate) fn protection(server: Server) {
    let bed = Bed::start(server);
    // Apache verifies no bindings.
    let saw = if server == Server::Apache { "off: " } else { "allow: " };
    let site = bed.site(Scheme::Https);
    doctor(&bed, &site, &[]).has("extended-protection", "fine", saw);
    every_way(&bed, |site| {
        if site.scheme == Scheme::Https && !site.way.contains("where TLS ends") {
            doctor(&bed, site, &[]).has("extended-protection", "fine", saw);
        }
    });
}

/// nginx with its keep-alive to servers: a client that comes after a login is taken for its user.
pub(crate) fn pool_of_nginx(server: Server) {
    let bed = Bed::start(server);
    let proxy = pooling::start(&bed);
    let report = doctor(&bed, &proxy.site(Scheme::Http), &["--compare", &url(&bed.site(Scheme::Http))]);
    report.has("leak", "broken", "LEAK: after a login, ");
    assert_eq!(report.exit_code, Some(2), "{:#}", report.json);
    assert!(report.changes().contains(&"leak"), "{:#}", report.json);
}

/// nginx without: every message of a login reaches another connection of the server.
pub(crate) fn nginx_without_keep_alive(server: Server) {
    let bed = Bed::start(server);
    let proxy = pooling::start_without_keep_alive(&bed);
    let site = proxy.site(Scheme::Http);
    let report = doctor(&bed, &site, &["--compare", &url(&bed.site(Scheme::Http))]);
    report.has("login-ntlm", "broken", "past the proxy NTLM is accepted");
    report.has(
        "login-negotiate",
        "warning",
        "no login by NTLM in Negotiate was tried, because one has failed",
    );
    assert_eq!(report.exit_code, Some(2), "{:#}", report.json);
    // Without the comparison the cause is open.
    let report = doctor(&bed, &site, &[]);
    report.has("login-ntlm", "broken", "is refused by NTLM");
}

/// `HAProxy` in HTTP mode keeps a connection with a login for the client that began it.
pub(crate) fn haproxy(server: Server) {
    let bed = Bed::start(server);
    let proxy = start_haproxy(&bed);
    let site = proxy.site(Scheme::Http);
    is_sound(&bed, &site);
    let report = doctor(&bed, &site, &["--compare", &url(&bed.site(Scheme::Http))]);
    for id in ["login-ntlm", "login-negotiate", "leak", "persistence", "providers", "kerberos"] {
        assert!(!report.changes().contains(&id), "{id}: {:#}", report.json);
    }
}

fn start_haproxy(bed: &Bed) -> Proxy {
    let address = bed.free_address();
    let settings = format!(
        "global\n  maxconn 200\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen web\n  bind {address}\n  server web {}\n",
        bed.site(Scheme::Http).address
    );
    let path = bed.client_directory().join("haproxy.cfg");
    fs::write(&path, settings).expect("the bed's directory is writable");
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(path);
    Proxy::run(command, address, bed)
}

/// A server of another time: TLS 1.0, and an RSA key of 1024 bits.
pub(crate) fn old_tls_and_a_small_key() {
    let bed = Bed::start(Server::Apache);
    let directory = bed.client_directory();
    let [key, certificate] =
        ["key.pem", "certificate.pem"].map(|name| directory.join(name).display().to_string());
    let request = ["req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "90", "-subj", "/CN=old.test"];
    let made = Command::new("openssl")
        .args(request)
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl can be run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let address = bed.free_address();
    let mut command = Command::new("openssl");
    command.args([
        "s_server",
        "-quiet",
        "-www",
        "-accept",
        &address.to_string(),
        "-cert",
        &certificate,
        "-key",
        &key,
    ]);
    command.args(["-min_protocol", "TLSv1", "-cipher", "ALL:@SECLEVEL=0"]);
    let server = Proxy::run(command, address, &bed);
    let report = doctor(&bed, &server.site(Scheme::Https), &[]);
    report.has("tls-versions", "warning", "TLS 1.1 is on");
    report.has("certificate-key", "broken", "1024 bits (RSA)");
    report.has("certificate-chain", "broken", "");
    report.has("certificate-name", "broken", "for no name that counts");
}
