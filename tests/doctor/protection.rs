//! Extended Protection behind a proxy: TLS passed through, ended with the same certificate, and with another.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use iisplice::mock::settings::{CertificateSource, Protection, Tls};
use rcgen::{CertificateParams, KeyPair};

use crate::run::{Report, doctor};
use crate::site::{ALICE, Site};

/// Writes a certificate and its key into two files there.
fn make(directory: &Path, file: &str) {
    let key = KeyPair::generate().expect("randomness");
    let made =
        CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name").self_signed(&key).expect("made");
    std::fs::write(directory.join(format!("{file}.pem")), made.pem()).expect("written");
    std::fs::write(directory.join(format!("{file}.key")), key.serialize_pem()).expect("written");
}

/// A site whose certificate is in `server.pem`.
fn site(directory: &Path, protection: Protection) -> Site {
    let certificate =
        CertificateSource::Files { chain: directory.join("server.pem"), key: directory.join("server.key") };
    Site::with(|settings| settings.tls = Some(Tls { certificate, extended_protection: protection }))
}

/// `iisplice proxy` on a free port; ends with the test.
struct Proxy {
    process: Child,
    url: String,
}

impl Proxy {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
        command.args(["proxy", "--listen=127.0.0.1:0", "--workers=1", "--no-pin"]).args(arguments);
        let mut process =
            command.current_dir(directory).stderr(Stdio::piped()).spawn().expect("it was built");
        let mut log = BufReader::new(process.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("serving listeners=") {
            line.clear();
            assert_ne!(log.read_line(&mut line).expect("text"), 0, "the proxy did not start");
        }
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address =
            line.split_once("listeners=").expect("it was found").1.split(' ').next().expect("an address");
        Self { process, url: format!("https://{address}/whoami") }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is found through a proxy that shows this certificate; with none it passes TLS through.
fn through(shown: Option<&str>, protection: Protection, arguments: &[&str]) -> Report {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    make(directory, "server");
    make(directory, "other");
    let site = site(directory, protection);
    let address = site.address.to_string();
    let proxy = match shown {
        None => Proxy::start(directory, &["--upstream", &address]),
        Some(file) => {
            let (certificate, key) = (format!("--tls-cert={file}.pem"), format!("--tls-key={file}.key"));
            let flags =
                ["--upstream", &address, "--upstream-tls", "--upstream-ca=server.pem", &certificate, &key];
            Proxy::start(directory, &flags)
        }
    };
    let direct = site.url();
    let compare: &[&str] = if arguments.contains(&"--compare") { &[&direct] } else { &[] };
    doctor(&[&[proxy.url.as_str(), "--insecure"], &ALICE[..], arguments, compare].concat())
}

#[test]
fn protection_that_is_required_behind_a_proxy_that_passes_tls_through_or_shows_the_same_certificate() {
    for shown in [None, Some("server")] {
        let report = through(shown, Protection::Require, &[]);
        report.has("login-ntlm", "fine", "bound to the certificate");
        report.has("extended-protection", "fine", "require: ");
        let report = through(shown, Protection::Require, &["--compare"]);
        report.has("same-certificate", "fine", "the certificate here is the server's own");
    }
}

#[test]
fn another_certificate_breaks_logins_that_must_be_bound() {
    // Alone it may be the password as well.
    let report = through(Some("other"), Protection::Require, &[]);
    report.has("login-ntlm", "broken", "is refused by NTLM, bound to the certificate shown here");
    // Past the proxy the password is right.
    let report = through(Some("other"), Protection::Require, &["--compare"]);
    report.has(
        "login-ntlm",
        "broken",
        "bound to the certificate shown here; past the proxy NTLM is accepted",
    );
    report.has("same-certificate", "warning", "the certificate here is not the server's own");
}

#[test]
fn another_certificate_where_bindings_are_checked_if_they_come() {
    let report = through(Some("other"), Protection::Allow, &["--bind-later"]);
    report.has("login-ntlm", "fine", r"CORP\alice logs in by NTLM: 200");
    report.has("extended-protection", "broken", "allow, with another certificate than the one shown here");
    let report = through(Some("other"), Protection::Off, &[]);
    report.has("extended-protection", "fine", "off: ");
}
