//! Names at start and when settings are read again: what cannot be resolved is an error within a bounded time.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use nix::sys::signal::Signal;

use super::{CHANGED, Host, OFTEN};
use crate::support::{Dns, Launch, exchange, refusing, wait_until};

#[test]
fn a_name_that_does_not_resolve_at_start_is_an_error() {
    let dns = Dns::new();
    dns.set("empty.test", &[]);
    dns.set("iis.test", &["127.0.0.1"]);
    dns.set_service("_none._tcp.test", &[(0, 0, 0, ".")]);
    dns.set_service("_gone._tcp.test", &[(0, 0, 80, "gone.test")]);
    for (server, reason) in [
        ("gone.test:80", "there is no such name"),
        ("empty.test:80", "the name has no address"),
        ("srv://_http._tcp.test", "there is no such name"),
        ("srv://_none._tcp.test", "its SRV record says that the service is not available"),
        (
            "srv://_gone._tcp.test",
            "cannot resolve gone.test, which its SRV record names: there is no such name",
        ),
    ] {
        let (code, said) =
            Launch::to("iis.test:80").flags(&format!("--upstream {server} {}", dns.flag())).fail();
        assert_eq!(code, Some(1), "{server}: {said:?}");
        let expected = format!(
            "iisplice: --upstream {server}: cannot resolve the name: {reason}; give an IP address, or fix the name service"
        );
        assert_eq!(said, [expected], "{server}");
    }
}

#[test]
fn dns_servers_that_fail_or_are_silent_are_passed_over_and_the_first_one_that_knows_decides() {
    let [silent, failing, good, other] = [(); 4].map(|()| Dns::new());
    let host = Host::of(2);
    silent.be_silent(true);
    for record_type in [RecordType::A, RecordType::AAAA] {
        failing.fail("iis.test", record_type, ResponseCode::ServFail);
    }
    good.set("iis.test", &["127.0.0.1", "::ffff:127.0.0.1"]);
    other.set("iis.test", &["127.0.0.2"]);
    let (_held, refusing) = refusing();
    let mut launch = host.launch(&silent, "").flags(&format!("--resolver {refusing}"));
    for dns in [&failing, &good, &other] {
        launch = launch.flags(&dns.flag());
    }
    let proxy = launch.start();
    assert_eq!(host.counts(&proxy, 2), [2, 0]);
    let line = proxy.wait_to_say("serving listeners=");
    assert!(line.contains(&format!("iis.test:{0}(127.0.0.1:{0})", host.port)), "an address once: {line}");
    assert_eq!(other.queries("iis.test"), 0);
}

#[test]
fn a_start_does_not_wait_for_ever() {
    let dns = Dns::new();
    dns.be_silent(true);
    let mut launch = Launch::to("iis.test:80").flags(&dns.flag()).flags("--resolve-timeout 500ms");
    for number in 0..40 {
        launch = launch.flags(&format!("--upstream iis{number}.test:80"));
    }
    let (code, said) = launch.fail();
    assert_eq!(code, Some(1));
    assert!(
        said[0].starts_with("iisplice: --upstream iis.test:80: cannot resolve the name: no "),
        "{said:?}"
    );
}

#[test]
fn a_reload_that_waits_for_a_name_changes_nothing_and_does_not_wait_for_ever() {
    let (dns, host) = (Dns::new(), Host::of(2));
    dns.set("iis.test", &["127.0.0.1"]);
    let proxy = host.launch(&dns, "").flags("--resolve-timeout 500ms").start();
    let (client, _, upstream) = host.client(proxy.address());
    dns.be_silent(true);
    for times in 1..=2 {
        proxy.signal(Signal::SIGHUP);
        let lines = proxy.wait_to_say_times("cannot reload settings; keeping those in force", times);
        assert!(lines[times - 1].contains("cannot resolve the name: no "), "{lines:?}");
        exchange(&client, &upstream);
        assert_eq!(host.counts(&proxy, 2), [2, 0]);
    }
    dns.be_silent(false);
    dns.set("iis.test", &["127.0.0.2"]);
    proxy.signal(Signal::SIGHUP);
    let line = proxy.wait_to_say("settings reloaded;");
    assert!(line.contains("has other addresses"), "{line}");
    assert_eq!(host.counts(&proxy, 2), [0, 2]);
    exchange(&client, &upstream);
}

#[test]
fn names_change_between_and_during_reloads() {
    let (dns, host) = (Dns::new(), Host::of(3));
    dns.set("iis.test", &["127.0.0.1"]);
    let proxy = host.launch(&dns, "").flags(OFTEN).start();
    let (client, _, upstream) = host.client(proxy.address());
    for round in 0..6 {
        dns.set("iis.test", &[["127.0.0.2", "127.0.0.3"][round % 2]]);
        proxy.signal(Signal::SIGHUP);
    }
    wait_until("the last answer to be used", || host.client(proxy.address()).1 == 3);
    dns.set("iis.test", &["127.0.0.1", "127.0.0.2"]);
    let before = proxy.said(CHANGED).len();
    proxy.wait_to_say_times(CHANGED, before + 1);
    wait_until("the answer after that to be used", || host.counts(&proxy, 2) == [1, 1, 0]);
    exchange(&client, &upstream);
}
