//! Logins that work, and each way in which they do not.

use std::sync::atomic::Ordering;

use iisplice::mock::settings::{CertificateSource, Faults, Protection, Tls};

use crate::run::doctor;
use crate::script::{Script, UNAUTHORIZED, challenge};
use crate::site::{ALICE, Site};

#[test]
fn both_logins_work_and_last() {
    let report = Site::with(|_| ()).doctor(&[]);
    report.has("login-ntlm", "fine", r"CORP\alice logs in by NTLM: 200; the reply names CORP\alice");
    report.has("login-negotiate", "fine", r"CORP\alice logs in by NTLM in Negotiate: 200");
    report.has("persistence", "fine", "5 requests on its connection need no other one");
    report.has("persistent-auth", "fine", "Persistent-Auth: true");
    report.has("server-connection", "fine", "do not meet");
    assert_eq!(report.json["sent"][1], r"4 logins as CORP\alice, none of them failed");
}

#[test]
fn without_a_user_logins_go_as_far_as_the_challenge() {
    let site = Site::with(|_| ());
    let report = doctor(&[&site.url()]);
    report.has("login-ntlm", "fine", "without --user no login was tried");
    report.has("login-negotiate", "fine", "without --user no login was tried");
    report.has("server-names", "fine", "NetBIOS: MOCKIIS in CORP; DNS: mockiis.corp.test in corp.test");
    assert!(report.all("persistence").is_empty());
}

#[test]
fn a_wrong_password_fails_once() {
    let site = Site::with(|_| ());
    let report = doctor(&[&site.url(), "--user", r"CORP\alice:wrong"]);
    report.has("login-ntlm", "broken", r"CORP\alice is refused by NTLM");
    report.has(
        "login-negotiate",
        "warning",
        "no login by NTLM in Negotiate was tried, because one has failed",
    );
    assert_eq!(report.json["sent"][1], r"1 login as CORP\alice, which failed");
    assert_eq!(report.exit_code, Some(2));
}

#[test]
fn whatever_a_server_does_no_more_than_one_proof_fails() {
    let refuse = |head: &str| challenge(head).unwrap_or_else(|| UNAUTHORIZED.to_owned());
    let close = |head: &str| match challenge(head) {
        Some(challenge) => challenge,
        None if head.contains("Authorization") => String::new(),
        None => UNAUTHORIZED.to_owned(),
    };
    let fail = |head: &str| match challenge(head) {
        Some(challenge) => challenge,
        None if head.contains("Authorization") => "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
        None => UNAUTHORIZED.to_owned(),
    };
    let answers: [fn(&str) -> String; 3] = [refuse, close, fail];
    for (answer, saw) in answers.into_iter().zip(["is refused", "got no reply", "is answered with 503"]) {
        let script = Script::start(move |head, _| answer(head));
        let report = doctor(&[&[script.url().as_str()], &ALICE[..]].concat());
        report.has("login-ntlm", "broken", saw);
        assert_eq!(script.proofs.load(Ordering::Relaxed), 1, "{saw}");
    }
}

#[test]
fn ntlm_that_is_switched_off_costs_no_login() {
    let script = Script::always(UNAUTHORIZED);
    let report = doctor(&[&[script.url().as_str()], &ALICE[..]].concat());
    report.has("login-ntlm", "broken", "the first message of NTLM is answered with 401 and no challenge");
    report.has("login-negotiate", "broken", "NTLM in Negotiate is answered with 401 and no challenge");
    assert_eq!(script.proofs.load(Ordering::Relaxed), 0);
}

#[test]
fn a_challenge_that_ends_its_connection() {
    let script = Script::start(|head, _| match challenge(head) {
        Some(challenge) => challenge.replace("Content-Length", "Connection: close\r\nContent-Length"),
        None => UNAUTHORIZED.to_owned(),
    });
    let report = doctor(&[&[script.url().as_str()], &ALICE[..]].concat());
    report.has("login-ntlm", "broken", "the challenge of NTLM comes with the end of its connection");
    assert_eq!(script.proofs.load(Ordering::Relaxed), 0);
}

#[test]
fn a_connection_that_ends_in_mid_handshake() {
    let faults = Faults { close_in_handshake: 1.0, ..Faults::default() };
    let report = Site::with(|settings| settings.faults = faults).doctor(&[]);
    report.has("login-ntlm", "broken", "the proof of NTLM got no reply: the connection was closed");
}

#[test]
fn a_login_for_one_request_only() {
    let report = Site::with(|settings| settings.single_request = true).doctor(&[]);
    report.has("persistence", "broken", "5 of 5 requests after a login need another one");
    report.has("persistent-auth", "warning", "Persistent-Auth: false");
}

fn protected(protection: Protection) -> Site {
    Site::with(|settings| {
        settings.tls =
            Some(Tls { certificate: CertificateSource::SelfSigned, extended_protection: protection });
    })
}

#[test]
fn extended_protection_is_told_by_two_logins_at_most() {
    for (protection, saw) in
        [(Protection::Off, "off: "), (Protection::Allow, "allow: "), (Protection::Require, "require: ")]
    {
        let report = protected(protection).doctor(&[]);
        report.has("login-ntlm", "fine", "bound to the certificate");
        report.has("extended-protection", "fine", saw);
    }
}

#[test]
fn without_a_binding_first_protection_that_is_required_refuses_the_first_login() {
    let report = protected(Protection::Allow).doctor(&["--bind-later"]);
    report.has("login-ntlm", "fine", r"CORP\alice logs in by NTLM: 200");
    report.has("extended-protection", "fine", "allow: ");
    let report = protected(Protection::Require).doctor(&["--bind-later"]);
    report.has("login-ntlm", "broken", r"CORP\alice is refused by NTLM");
}

#[test]
fn negotiate_without_ntlm_is_no_fault_of_the_way() {
    use base64::Engine as _;
    use iisplice::protocol::spnego::{NegState, NegTokenResp};
    let no = NegTokenResp { state: Some(NegState::Reject), ..NegTokenResp::default() }.to_bytes();
    let no = base64::prelude::BASE64_STANDARD.encode(no);
    let refused =
        format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate {no}\r\nContent-Length: 0\r\n\r\n");
    let asked = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n";
    let script =
        Script::start(
            move |head, _| {
                if head.contains("Authorization") { refused.clone() } else { asked.to_owned() }
            },
        );
    let report = doctor(&[&[script.url().as_str()], &ALICE[..]].concat());
    report.has("login-negotiate", "warning", "Negotiate takes no NTLM");
    assert_eq!(script.proofs.load(Ordering::Relaxed), 0);
}
