//! Logins that Extended Protection binds to the server's certificate: they get through where clients see that one, and
//! nowhere else. The mock verifies the bindings that `load` sends.

use std::process::Command;

use iisplice::mock::settings::{Accounts, CertificateSource, Protection, Settings, Tls};
use iisplice::mock::{self, Mock};
use tempfile::TempDir;

use crate::support::{Identity, Launch};

/// A site that requires bindings to the certificate of `own`; `other` is another one for the same address.
struct Bed {
    _directory: TempDir,
    own: Identity,
    other: Identity,
    _site: Mock,
    address: String,
}

impl Bed {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory for temporary files");
        let own = Identity::make(directory.path(), "own", &["127.0.0.1"]);
        let other = Identity::make(directory.path(), "other", &["127.0.0.1"]);
        let mut accounts = Accounts::default();
        accounts.add("CORP", "alice", "secret");
        let certificate = CertificateSource::Files { chain: own.certificate.clone(), key: own.key.clone() };
        let tls = Tls { certificate, extended_protection: Protection::Require };
        let listeners = vec!["127.0.0.1:0".parse().expect("an address")];
        let site = mock::start(Settings { tls: Some(tls), ..Settings::new(listeners, accounts) });
        let site = site.expect("a mock");
        let address = site.addresses()[0].to_string();
        Self { _directory: directory, own, other, _site: site, address }
    }

    /// The flags that have the proxy speak TLS to the site.
    fn to_site(&self) -> String {
        format!("--upstream-tls --upstream-ca {}", self.own.certificate.display())
    }
}

/// Logs in for real at `address`, which shows the certificate of `shown`: exit code and what was said.
fn log_in(auth: &str, address: &str, shown: &Identity) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.args(["load", "--auth", auth, "--user", r"CORP\alice:secret", "--verify-identity"]);
    command.args([
        "--scenario",
        "session",
        "--requests",
        "12",
        "--connections",
        "2",
        "--threads",
        "1",
        "--ca",
    ]);
    command.arg(&shown.certificate).arg(format!("https://{address}/whoami"));
    let output = command.output().expect("iisplice can be run");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn expect_logins(launch: Launch, shown: &Identity) {
    let proxy = launch.start();
    for auth in ["ntlm", "negotiate"] {
        let (code, said) = log_in(auth, proxy.address(), shown);
        assert_eq!(code, Some(0), "{auth}: exit code (left): {said}");
    }
}

fn expect_refusals(launch: Launch, shown: &Identity) {
    let proxy = launch.start();
    for auth in ["ntlm", "negotiate"] {
        let (code, said) = log_in(auth, proxy.address(), shown);
        assert_eq!(code, Some(1), "{auth}: exit code (left): {said}");
        assert!(said.contains("refused the login"), "{auth}: {said}");
    }
}

#[test]
fn it_survives_passing_through() {
    let bed = Bed::new();
    expect_logins(Launch::to(&bed.address), &bed.own);
    // Looked at, and left as it is.
    expect_logins(Launch::to(&bed.address).flags("--sni-route other.test=127.0.0.1:9"), &bed.own);
}

#[test]
fn it_survives_a_bridge_with_the_same_certificate() {
    let bed = Bed::new();
    expect_logins(Launch::to(&bed.address).flags(&bed.own.flags()).flags(&bed.to_site()), &bed.own);
}

#[test]
fn it_does_not_survive_a_bridge_with_another_certificate() {
    let bed = Bed::new();
    expect_refusals(Launch::to(&bed.address).flags(&bed.other.flags()).flags(&bed.to_site()), &bed.other);
}

#[test]
fn http_mode_says_what_it_looks_like_when_it_does_not() {
    let bed = Bed::new();
    let launch =
        Launch::to(&bed.address).flags("--mode http").flags(&bed.other.flags()).flags(&bed.to_site());
    let proxy = launch.start();
    for _ in 0..3 {
        let (code, said) = log_in("ntlm", proxy.address(), &bed.other);
        assert_eq!(code, Some(1), "exit code (left): {said}");
    }
    let line = proxy.wait_to_say("symptom=\"type3-refused\"");
    assert!(line.contains("Extended Protection"), "{line}");
}

#[test]
fn it_survives_a_bridge_with_the_same_certificate_in_http_mode() {
    let bed = Bed::new();
    let launch = Launch::to(&bed.address).flags("--mode http").flags(&bed.own.flags()).flags(&bed.to_site());
    expect_logins(launch, &bed.own);
}
