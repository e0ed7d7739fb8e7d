//! What the start says of certificates: the dates of those that clients see, and what the servers' TLS is like.

use std::fs;

use nix::sys::signal::Signal;
use rcgen::date_time_ymd;

use super::Bed;
use crate::support::{Identity, Launch, TlsPeer, refusing};

/// A certificate that is valid until so many days from now.
fn valid_for(bed: &Bed, file: &str, days: i64) -> Identity {
    Identity::with(bed.directory.path(), file, &["front.test"], |parameters| {
        let now = std::time::SystemTime::now();
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after =
            (now + std::time::Duration::from_secs(days.unsigned_abs() * 24 * 3600 + 3600)).into();
    })
}

#[test]
fn a_certificate_that_expires_soon_warns_at_start_and_at_each_reload() {
    let bed = Bed::new();
    let later = valid_for(&bed, "later", 15);
    let proxy = Launch::to("127.0.0.1:9").flags(&later.flags()).start();
    proxy.wait_to_say("TLS is terminated here");
    assert!(proxy.said("expires at").is_empty() && proxy.said("WARN").is_empty());

    let soon = valid_for(&bed, "soon", 13);
    let proxy = Launch::to("127.0.0.1:9").flags(&soon.flags()).start();
    let line = proxy.wait_to_say("in 13 days");
    for part in
        ["WARN", "--tls-cert", soon.certificate.to_str().expect("text"), "expires at 20", "CN=soon", "SIGHUP"]
    {
        assert!(line.contains(part), "expected {part:?} in: {line}");
    }
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say_times("in 13 days", 2);
    // It ends with the renewal.
    fs::copy(&later.certificate, &soon.certificate).expect("ours");
    fs::copy(&later.key, &soon.key).expect("ours");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say_times("certificates reloaded", 2);
    assert_eq!(proxy.said("in 13 days").len(), 2);

    let future = Identity::with(bed.directory.path(), "future", &["front.test"], |parameters| {
        (parameters.not_before, parameters.not_after) =
            (date_time_ymd(2100, 1, 1), date_time_ymd(2101, 1, 1));
    });
    let proxy = Launch::to("127.0.0.1:9").flags(&future.flags()).start();
    assert!(proxy.wait_to_say("is not valid before 2100-01-01").contains("WARN"));
}

/// A bridge to the server of `bed`, which is asked for as `flags` say.
fn bridge(bed: &Bed, flags: &str) -> crate::support::Proxy {
    bed.terminated().flags("--upstream-tls").flags(flags).start()
}

#[test]
fn the_check_of_a_servers_tls_warns_of_each_fault_with_the_flag_that_would_be_right() {
    let bed = Bed::new();
    let ca = |identity: &Identity| format!("--upstream-ca {}", identity.certificate.display());
    let expect = |proxy: &crate::support::Proxy, parts: &[&str]| {
        let line = proxy.wait_to_say(parts[0]);
        for part in parts.iter().chain(&["WARN", bed.server.address()]) {
            assert!(line.contains(part), "expected {part:?} in: {line}");
        }
    };
    let serve = |identity: &Identity| TlsPeer::serve(bed.server.accept(), &identity.server(None));

    // A wrong name: the right one is in the line.
    let proxy = bridge(&bed, &ca(&bed.back));
    let _server = serve(&bed.back);
    expect(&proxy, &["certificate is for back.test, not for 127.0.0.1", "--upstream-name back.test"]);
    // What was found is no reason not to compare.
    proxy.wait_to_say("Extended Protection (channel binding) will fail");

    // An authority that is not known.
    let proxy = bridge(&bed, &format!("--upstream-name front.test {}", ca(&bed.back)));
    let _server = serve(&bed.front);
    expect(
        &proxy,
        &["self-signed", "--upstream-ca FILE", "openssl s_client -connect", "-servername front.test"],
    );
    proxy.wait_to_say("Extended Protection works");

    // Expired.
    let expired = Identity::with(bed.directory.path(), "expired", &["back.test"], |parameters| {
        parameters.not_before = date_time_ymd(2019, 1, 1);
        parameters.not_after = date_time_ymd(2020, 1, 1);
    });
    let proxy = bridge(&bed, &format!("--upstream-name back.test {}", ca(&expired)));
    let _server = serve(&expired);
    expect(&proxy, &["certificate expired at 2020-01-01", "renew it on the server"]);

    // No TLS.
    let proxy = bridge(&bed, &ca(&bed.back));
    let plain = bed.server.accept();
    plain.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    expect(&proxy, &["does not speak TLS", "--upstream-tls"]);

    // Closed in the handshake.
    let proxy = bridge(&bed, &ca(&bed.back));
    bed.server.accept().finish();
    expect(&proxy, &["closed the connection during the TLS handshake", "--upstream-name"]);

    // Silent.
    let proxy = bridge(&bed, &ca(&bed.back));
    let silent = bed.server.accept();
    expect(&proxy, &["did not answer the TLS handshake within 3 s", "--upstream-tls"]);
    drop(silent);

    // No protocol in common.
    let proxy = bridge(&bed, &ca(&bed.back));
    let refused = bed.server.accept();
    refused.send(&[0x15, 3, 3, 0, 2, 2, 70]);
    expect(&proxy, &["refused the TLS handshake with the alert ProtocolVersion"]);
    let proxy = bridge(&bed, &ca(&bed.back));
    let refused = bed.server.accept();
    refused.send(&[0x15, 3, 3, 0, 2, 2, 112]);
    expect(&proxy, &["does not know the name 127.0.0.1", "--upstream-name"]);

    // Nothing listens.
    let (_port, nowhere) = refusing();
    let flags = format!("{} --upstream-tls {}", bed.front.flags(), ca(&bed.back));
    let proxy = Launch::to(&nowhere).flags(&flags).start();
    let line = proxy.wait_to_say("cannot connect to the server to check its TLS");
    assert!(line.contains("WARN") && line.contains("refused") && line.contains(&nowhere), "{line}");
}

#[test]
fn a_sound_server_and_one_whose_certificate_does_not_count_warn_of_nothing() {
    let bed = Bed::new();
    let proxy = bed.with_back(Launch::to(bed.server.address()).flags(&bed.back.flags())).start();
    let _server = bed.accept_tls();
    proxy.wait_to_say("Extended Protection works");
    assert!(proxy.said("WARN").is_empty());
    let proxy = bridge(&bed, "--upstream-insecure");
    let _server = TlsPeer::serve(bed.server.accept(), &bed.front.server(None));
    proxy.wait_to_say("Extended Protection works");
    assert_eq!(proxy.said("WARN").len(), 1, "of --upstream-insecure alone");
}
