//! What a proxy in between changes.

use iisplice::mock::settings::{CertificateSource, Protection, Tls};

use crate::run::{Report, doctor};
use crate::script::Script;
use crate::site::{ALICE, Site};

fn compared(here: &str, direct: &str, arguments: &[&str]) -> Report {
    doctor(&[&[here, "--compare", direct, "--insecure"], &ALICE[..], arguments].concat())
}

fn changes(report: &Report) -> Vec<&str> {
    let changes = report.json["changes"].as_array().expect("a list");
    changes.iter().map(|change| change["id"].as_str().expect("text")).collect()
}

fn with_tls(protection: Protection) -> Site {
    Site::with(|settings| {
        settings.tls =
            Some(Tls { certificate: CertificateSource::SelfSigned, extended_protection: protection });
    })
}

#[test]
fn the_same_site_twice_has_no_changes() {
    let site = Site::with(|_| ());
    let report = compared(&site.url(), &site.url(), &[]);
    assert_eq!(changes(&report), <[&str; 0]>::default(), "{:#}", report.json);
    assert_eq!(report.json["sent"].as_array().map(Vec::len), Some(3), "{:#}", report.json);
}

#[test]
fn a_smaller_limit_is_a_change() {
    let (here, direct) = (Site::with(|settings| settings.header_limit_bytes = 16 * 1024), Site::with(|_| ()));
    let report = compared(&here.url(), &direct.url(), &[]);
    assert_eq!(changes(&report), ["request-head"], "{:#}", report.json);
    assert_eq!(report.json["changes"][0]["direct"]["severity"], "fine");
    assert_eq!(report.json["changes"][0]["here"]["severity"], "warning");
}

#[test]
fn a_login_that_only_the_proxy_breaks_is_the_proxys_fault() {
    let site = Site::with(|_| ());
    let script = Script::start(|head, _| {
        crate::script::challenge(head).unwrap_or_else(|| crate::script::UNAUTHORIZED.to_owned())
    });
    let report = compared(&script.url(), &site.url(), &[]);
    report.has("login-ntlm", "broken", "is refused by NTLM; past the proxy NTLM is accepted");
    assert!(changes(&report).contains(&"login-ntlm"), "{:#}", report.json);
    assert_eq!(script.proofs.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn another_certificate_matters_where_logins_are_bound_to_it() {
    for (protection, severity, saw) in [
        (Protection::Off, "fine", "does not matter: Extended Protection is off"),
        (Protection::Require, "broken", "the certificate here is not the server's own"),
    ] {
        // Two sites, each with a certificate of its own.
        let (here, direct) = (with_tls(Protection::Off), with_tls(protection));
        let report = compared(&here.url(), &direct.url(), &[]);
        report.has("same-certificate", severity, saw);
    }
    let site = with_tls(Protection::Require);
    compared(&site.url(), &site.url(), &[]).has("same-certificate", "fine", "the server's own");
}

#[test]
fn what_cannot_be_seen_is_printed_as_commands() {
    let site = Site::with(|_| ());
    let report = doctor(&[&site.url().replace("127.0.0.1", "localhost")]);
    let commands = report.json["commands"].to_string();
    for part in [
        "setspn -Q HTTP/localhost",
        "setspn -L MOCKIIS",
        "nltest /sc_verify:corp.test",
        "useKernelMode",
        "useAppPoolCredentials",
        "klist get HTTP/localhost",
        "appcmd list apppool",
        "Get-WebConfigurationProperty",
    ] {
        assert!(commands.contains(part), "no {part} in {commands}");
    }
}
