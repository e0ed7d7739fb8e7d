//! Leaks: a stranger who is taken for a user.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::run::doctor;
use crate::script::{Script, UNAUTHORIZED, challenge};
use crate::site::{ALICE, Site};

const ALICES_PAGE: &str = "HTTP/1.1 200 OK\r\nX-User: CORP\\alice\r\nContent-Length: 0\r\n\r\n";

#[test]
fn connections_of_their_own_are_anonymous() {
    let report = Site::with(|_| ()).doctor(&[]);
    report.has("fresh-connection", "fine", "4 new connections are anonymous");
    report.has("leak", "fine", "are anonymous");
}

#[test]
fn whoever_comes_after_a_login_gets_its_page() {
    let is_logged_in = AtomicBool::new(false);
    let script = Script::start(move |head, _| {
        if let Some(challenge) = challenge(head) {
            return challenge;
        }
        is_logged_in.fetch_or(head.contains("Authorization: "), Ordering::Relaxed);
        let reply = if is_logged_in.load(Ordering::Relaxed) { ALICES_PAGE } else { UNAUTHORIZED };
        reply.to_owned()
    });
    let report = doctor(&[&[script.url().as_str()], &ALICE[..]].concat());
    report.has("fresh-connection", "fine", "");
    report.has(
        "leak",
        "broken",
        "LEAK: after a login, 8 of 8 requests WITHOUT A LOGIN on new connections are served",
    );
    assert_eq!(report.exit_code, Some(2));
}

#[test]
fn whoever_comes_gets_the_page_of_somebody_who_came_before() {
    // Every second connection to the server is logged in: a pool that others have used.
    let script = Script::start(|_, connection| {
        let reply = if connection % 2 == 0 { ALICES_PAGE } else { UNAUTHORIZED };
        reply.to_owned()
    });
    let report = doctor(&[&script.url(), "--identity-header", "x-user"]);
    report.has(
        "fresh-connection",
        "broken",
        r"LEAK: a request WITHOUT A LOGIN on a new connection is answered as CORP\alice",
    );
    let report = doctor(&[&script.url()]);
    report.has("fresh-connection", "broken", "requests WITHOUT A LOGIN on new connections are served");
}

#[test]
fn a_connection_that_is_logged_in_turns_into_somebody_elses() {
    let logged_in = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let bobs_page = ALICES_PAGE.replace("alice", "bob");
    let script = Script::start(move |head, connection| {
        let mut logged_in = logged_in.lock().expect("no answer panics");
        if let Some(challenge) = challenge(head) {
            return challenge;
        }
        if head.contains("Authorization: ") {
            logged_in.insert(connection);
            return ALICES_PAGE.to_owned();
        }
        if logged_in.contains(&connection) { bobs_page.clone() } else { UNAUTHORIZED.to_owned() }
    });
    let report = doctor(&[&[script.url().as_str(), "--identity-header=X-User"], &ALICE[..]].concat());
    report.has(
        "leak",
        "broken",
        r"LEAK: a request on the connection of CORP\alice is answered AS ANOTHER USER, CORP\bob",
    );
    assert_eq!(report.exit_code, Some(2));
}

#[test]
fn whoever_comes_after_a_login_gets_the_refusal_of_its_user() {
    let is_logged_in = AtomicBool::new(false);
    let script = Script::start(move |head, _| {
        if let Some(challenge) = challenge(head) {
            return challenge;
        }
        is_logged_in.fetch_or(head.contains("Authorization: "), Ordering::Relaxed);
        let forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        let reply = if is_logged_in.load(Ordering::Relaxed) { forbidden } else { UNAUTHORIZED };
        reply.to_owned()
    });
    let report = doctor(&[&[script.url().as_str()], &ALICE[..]].concat());
    report.has(
        "leak",
        "broken",
        "LEAK: after a login, 8 of 8 requests WITHOUT A LOGIN on new connections are served",
    );
}
