//! Flags about affinity, and what does not go together with them.

use super::*;
use crate::protocol::http1::cookie::SameSite;

fn usage(flags: &[&str]) -> String {
    plan_on(&host(), flags).expect_err("flags that contradict").to_string()
}

#[test]
fn affinity_is_off_until_it_is_asked_for() {
    assert!(group(&service(&["--mode=http"])).affinity.is_none());
    let service = service(&["--mode=http", "--affinity=cookie", "--path-route=/api=192.0.2.2:80"]);
    let affinity = |group: &GroupSettings| group.affinity.clone().expect("it was asked for");
    let own = affinity(group(&service));
    assert_eq!((&**own.cookie(), own.same_site()), ("iisplice-37a8eec1", SameSite::Lax));
    let api = service.routes.of_request(None, &Path::of_target(b"/api")).expect("a route");
    assert_ne!(affinity(api).cookie(), own.cookie());
}

#[test]
fn every_flag_of_affinity_reaches_its_setting() {
    for (same_site, expected) in
        [("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)]
    {
        let same_site = format!("--affinity-same-site={same_site}");
        let service = service(&["--mode=http", "--affinity=cookie", "--affinity-cookie=APP", &same_site]);
        let affinity = group(&service).affinity.as_ref().expect("it was asked for");
        assert_eq!((&**affinity.cookie(), affinity.same_site()), ("APP", expected));
    }
}

#[test]
fn affinity_that_cannot_work_is_refused() {
    assert_eq!(
        usage(&["--affinity=cookie"]),
        "--affinity applies to HTTP mode only; add --mode http, or remove it"
    );
    let twice =
        ["--mode=http", "--affinity=cookie", "--affinity-cookie=APP", "--path-route=/api=192.0.2.2:80"];
    assert_eq!(
        usage(&twice),
        "--affinity-cookie APP: the groups /api and default have requests of one host, and each would overwrite the \
         cookie of the other; give them different names, or leave it out"
    );
    // One group, and groups of different hosts.
    service(&["--mode=http", "--affinity=cookie", "--affinity-cookie=APP", "--path-route=/api=192.0.2.1:80"]);
    service(&[
        "--mode=http",
        "--affinity=cookie",
        "--affinity-cookie=APP",
        "--host-route=a.test=192.0.2.2:80",
    ]);
    for (flags, expected) in [
        (&["--affinity-cookie=APP"][..], "--affinity <BY>"),
        (&["--affinity-key=/x"], "--affinity <BY>"),
        (&["--affinity-same-site=none"], "--affinity <BY>"),
        (&["--affinity=ip"], "[possible values: cookie]"),
        (&["--affinity=cookie", "--affinity-cookie=a b"], "give the name of a cookie, such as APP-SERVER"),
        (&["--affinity=cookie", "--affinity-cookie=a=b"], "give the name of a cookie, such as APP-SERVER"),
        (&["--affinity=cookie", "--affinity-cookie="], "give the name of a cookie, such as APP-SERVER"),
    ] {
        let line = refused(flags);
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn a_key_is_a_readable_file_of_enough_bytes() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("key");
    let flag = format!("--affinity-key={}", path.display());
    let flags = ["--mode=http", "--affinity=cookie", flag.as_str()];
    let error = usage(&flags);
    assert!(error.contains("cannot be read: No such file or directory"), "{error}");
    std::fs::write(&path, "too short\r\n\n").expect("it is written");
    let expected = format!(
        "--affinity-key {}: has 9 bytes; give at least 16, such as those of: openssl rand -hex 32",
        path.display()
    );
    assert_eq!(usage(&flags), expected);
    std::fs::write(&path, "x".repeat(5000)).expect("it is written");
    assert!(usage(&flags).contains("cannot be read: "), "no device is read to its end");
    std::fs::write(&path, "sixteen bytes...\n").expect("it is written");
    service(&flags);
}
