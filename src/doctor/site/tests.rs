//! Findings that take more than a URL to show.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::visit::Visit;
use super::{Settings, Trust, probe, tls};
use crate::control;
use crate::doctor::{Finding, Severity};
use crate::mock::settings::{Accounts, CertificateSource, Protection, Tls};
use crate::mock::{self, Mock};

fn start(tls: bool) -> (Mock, SocketAddr) {
    let mut accounts = Accounts::default();
    accounts.add("CORP", "alice", "secret");
    let mut settings = mock::settings::Settings::new(vec!["127.0.0.1:0".parse().unwrap()], accounts);
    settings.tls = tls
        .then_some(Tls { certificate: CertificateSource::SelfSigned, extended_protection: Protection::Off });
    let mock = mock::start(settings).unwrap();
    let address = mock.addresses()[0];
    (mock, address)
}

fn settings(url: &str) -> Settings {
    let any = control::tls::Trust { ca: None, is_insecure: true, ca_flag: "", insecure_flag: "" };
    Settings {
        url: url.parse().unwrap(),
        compare: None,
        user: None,
        binds_later: false,
        identity_header: None,
        posts: false,
        idle_probe: Duration::ZERO,
        slow_path: None,
        websocket_path: None,
        trust: Some(Trust { any: control::tls::verifier(any).unwrap(), trusted: None }),
        timeout: Duration::from_secs(20),
    }
}

fn of_id<'f>(findings: &'f [Finding], id: &str) -> Option<&'f Finding> {
    findings.iter().find(|finding| finding.id == id)
}

#[test]
fn addresses_of_one_name_with_different_certificates() {
    let ((_one, first), (_other, second)) = (start(true), start(true));
    let settings = settings(&format!("https://{first}/"));
    let budget = Budget::new(None);
    let mut visit = Visit::new(&settings, &settings.url, &budget, Instant::now() + Duration::from_secs(60));
    for address in [first, first] {
        assert!(tls::probe(&mut visit, address).is_some());
    }
    assert!(of_id(&visit.findings.findings, "certificate-same").is_none());
    assert!(tls::probe(&mut visit, second).is_some());
    let found = of_id(&visit.findings.findings, "certificate-same").expect("they differ");
    assert_eq!(found.severity, Severity::Warning);
    assert!(found.saw.starts_with(&format!("{second} shows another certificate")), "{found:?}");
}

#[test]
fn probes_that_take_too_long_end() {
    let (_mock, address) = start(false);
    let settings = settings(&format!("http://{address}/whoami"));
    let budget = Budget::new(None);
    let mut visit = Visit::new(&settings, &settings.url, &budget, Instant::now());
    probe(&mut visit);
    let found = of_id(&visit.findings.findings, "time").expect("time is up");
    assert!(found.saw.contains("the first reply and what follows it was not probed"), "{found:?}");
    assert!(of_id(&visit.findings.findings, "protected").is_none());
}
