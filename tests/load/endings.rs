//! Connections that the server ends: which of them are errors, and which a client gets over.

use serde_json::Value;

use crate::site::{PASSWORD, Site};
use crate::{measure, number, run};

fn alice() -> String {
    format!("--user=CORP\\alice:{PASSWORD}")
}

/// A server that drains ends the connection with the next reply, which may be a login's.
#[test]
fn a_request_goes_on_where_the_connection_ends_with_its_login() {
    let site = Site::start();
    // One login is the try before the run, and one the preparation.
    let result = measure(&[&site.url("/ends-four-logins"), "-n10", "-c1", "--auth=ntlm", &alice()]);
    let counts = &result["counts"];
    assert_eq!((&counts["requests"], &counts["logins"]), (&10.into(), &3.into()), "{counts}");
    assert_eq!(counts["errors"], serde_json::json!({}));
}

#[test]
fn a_connection_that_ended_while_it_was_idle_is_no_error() {
    let site = Site::start();
    let result = measure(&[&site.url("/ends-idle"), "-n3", "-c1", "-r2"]);
    let counts = &result["counts"];
    assert_eq!((&counts["requests"], &counts["connects"]), (&3.into(), &2.into()), "{counts}");
    assert_eq!(counts["errors"], serde_json::json!({}));
}

#[test]
fn a_server_that_ends_each_login_fails_requests() {
    let site = Site::start();
    let output = run(&[&site.url("/ends-all-logins"), "-d1s", "-c1", "--auth=ntlm", &alice(), "--json=-"]);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = &result["counts"];
    assert_eq!(counts["requests"], 0, "{counts}");
    assert!(number(&counts["errors"]["closed"]) > 0, "{counts}");
    assert!(number(&counts["logins"]) >= 5 * number(&counts["errors"]["closed"]), "{counts}");
}
