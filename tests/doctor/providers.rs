//! What a site offers, and what stands between it and its clients.

use iisplice::mock::settings::Provider;

use crate::run::doctor;
use crate::script::{Script, UNAUTHORIZED};
use crate::site::Site;

#[test]
fn the_usual_providers_in_the_usual_order() {
    let report = Site::with(|_| ()).doctor(&[]);
    report.has("providers", "fine", "the site offers Negotiate, NTLM");
    report.has("provider-order", "fine", "Negotiate is offered before NTLM");
    report.has("kerberos", "warning", "Negotiate is NTLM only");
    report.has("protected", "fine", "401");
    report.has("keep-alive-401", "fine", "leaves the connection open");
}

#[test]
fn ntlm_before_negotiate() {
    let site = Site::with(|settings| settings.providers = vec![Provider::Ntlm, Provider::Negotiate]);
    site.doctor(&[]).has("provider-order", "warning", "NTLM is offered before Negotiate");
}

#[test]
fn a_site_with_other_logins_only() {
    let script = Script::always(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a, NTLM\"\r\nContent-Length: 0\r\n\r\n",
    );
    let report = doctor(&[&script.url()]);
    report.has("providers", "broken", "offers Basic: neither Negotiate nor NTLM");
    report.has("basic", "broken", "Basic is offered without TLS");
    assert_eq!(report.exit_code, Some(2));
}

#[test]
fn a_page_for_everybody() {
    let script = Script::always("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    doctor(&[&script.url()]).has("protected", "warning", "answered with 200");
}

#[test]
fn a_proxy_without_a_server() {
    let script = Script::always("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    doctor(&[&script.url()]).has("protected", "broken", "answered with 502");
}

#[test]
fn a_redirect_to_another_name_and_one_to_the_same() {
    let to = |location: &str| {
        Script::always(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
    };
    let report = doctor(&[&to("https://login.corp.test/").url()]);
    report.has("redirect", "warning", "another name, with 302 to https://login.corp.test/");
    let report = doctor(&[&to("/app/").url()]);
    report.has("protected", "warning", "302 to /app/");
    assert!(report.all("redirect").is_empty(), "{report:?}");
}

#[test]
fn a_server_that_speaks_something_else() {
    let script = Script::always("SSH-2.0-OpenSSH_9\r\n");
    doctor(&[&script.url()]).has("protected", "broken", "not an HTTP/1 reply");
    let script = Script::always("");
    doctor(&[&script.url()]).has("protected", "broken", "the connection was closed instead of an answer");
}

#[test]
fn what_a_proxy_shows_of_itself() {
    let script = Script::always(&UNAUTHORIZED.replace("Content-Length", "Via: 1.1 cache\r\nContent-Length"));
    let report = doctor(&[&script.url()]);
    report.has("via", "warning", "Via: 1.1 cache");
    report.has("http-version", "fine", "HTTP/1.1");
    let script = Script::always(&UNAUTHORIZED.replace("HTTP/1.1", "HTTP/1.0"));
    let report = doctor(&[&script.url()]);
    report.has("http-version", "broken", "HTTP/1.0");
    report.has("keep-alive-401", "warning", "the 401 ends the connection");
    report.has("via", "fine", "");
}
