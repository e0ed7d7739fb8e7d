//! What passes on the way to a site, and for how long.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use iisplice::mock::settings::Faults;

use crate::run::doctor;
use crate::script::{Script, UNAUTHORIZED};
use crate::site::{ALICE, Site};

#[test]
fn headers_as_large_as_a_ticket() {
    let report = Site::with(|_| ()).doctor(&[]);
    report.has("request-head", "fine", "a Kerberos ticket of 48 KB passes");
    let report = Site::with(|settings| settings.header_limit_bytes = 16 * 1024).doctor(&[]);
    report.has(
        "request-head",
        "warning",
        "one of 12 KB passes, one of 24 KB is answered with 400 by Microsoft-HTTPAPI/2.0",
    );
    let report = Site::with(|settings| settings.header_limit_bytes = 4096).doctor(&[]);
    report.has("request-head", "warning", "as a Kerberos ticket, one of 4 KB is answered with 400");
}

#[test]
fn a_body_that_meets_a_401() {
    let report = Site::with(|_| ()).doctor(&[]);
    report.has("body-401", "fine", "a POST of 1 MB without a login is answered with 401");
    report.has("expect-continue", "fine", "answered with 100");
    assert!(report.all("post").is_empty(), "nothing is posted with a login: {report:?}");
    Site::with(|_| ()).doctor(&["--post"]).has("post", "fine", "with a login is answered with 200");
}

#[test]
fn a_body_that_is_too_large() {
    let script = Script::start(|head, _| {
        let too_large = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
        if head.starts_with("POST") { too_large.to_owned() } else { UNAUTHORIZED.to_owned() }
    });
    let report = doctor(&[&script.url()]);
    report.has("body-401", "broken", "answered with 413");
}

#[test]
fn a_server_that_closes_while_the_body_is_on_its_way() {
    let script =
        Script::start(
            |head, _| {
                if head.starts_with("POST") { String::new() } else { UNAUTHORIZED.to_owned() }
            },
        );
    let report = doctor(&[&script.url()]);
    report.has("body-401", "broken", "a POST of 1 MB without a login gets no reply");
    // The script reads bodies to their end before it answers, so one that waits for 100 waits for ever.
    report.has("expect-continue", "warning", "Expect: 100-continue is not answered");
}

#[test]
fn an_expectation_that_a_proxy_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut buffer = vec![0; 128 * 1024];
                while let Ok(read) = stream.read(&mut buffer)
                    && read > 0
                {
                    let expects = String::from_utf8_lossy(&buffer[..read]).contains("100-continue");
                    let failed = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
                    if stream.write_all(if expects { failed } else { UNAUTHORIZED }.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    doctor(&[&format!("http://{address}/")]).has("expect-continue", "warning", "answered with 417");
}

#[test]
fn idle_connections() {
    let site = Site::with(|settings| settings.idle_timeout = Duration::from_millis(700));
    let report = doctor(&[&[site.url().as_str()], &ALICE[..], &["--idle-probe=20s"]].concat());
    report.has("idle", "warning", "an idle connection is closed after ");
    let report = Site::with(|_| ()).doctor(&["--idle-probe=300ms"]);
    report.has("idle", "fine", "works after 300.0 ms without a request");
    assert!(Site::with(|_| ()).doctor(&[]).all("idle").is_empty());
}

#[test]
fn a_slow_reply_as_it_is_made_or_in_one_piece() {
    let slow = Faults { slow_body: 1.0, ..Faults::default() };
    let site = Site::with(|settings| settings.faults = slow);
    // Without a login: with it every reply would be as slow.
    let report = doctor(&[&site.url(), "--slow-path=/public/bytes/1000"]);
    report.has("buffering", "fine", "arrives as it is made");
    let report = Site::with(|_| ()).doctor(&["--slow-path=/slow/1500"]);
    report.has("buffering", "warning", "the slow reply of /slow/1500 arrives in one piece");
    let report = Site::with(|_| ()).doctor(&["--slow-path=/nothing"]);
    report.has("buffering", "warning", "/nothing is answered with 404");
}

#[test]
fn a_websocket_behind_the_login() {
    let report = Site::with(|_| ()).doctor(&["--websocket-path=/ws"]);
    report.has("websocket", "fine", "/ws upgrades to WebSocket behind a login");
    let report = Site::with(|_| ()).doctor(&["--websocket-path=/whoami"]);
    report.has("websocket", "broken", "/whoami does not upgrade to WebSocket behind a login: 200");
}

#[test]
fn a_proxy_header_from_anybody() {
    Site::with(|_| ()).doctor(&[]).has("proxy-header", "fine", "a PROXY header is answered with 400");
    let script = Script::always(UNAUTHORIZED);
    doctor(&[&script.url()]).has("proxy-header", "warning", "a PROXY header from this host is accepted");
}
