//! The proxy's own certificate towards servers, and keys with a pass phrase.

use std::process::Command;

use super::*;

/// Encrypts the key of an identity; false without openssl.
fn encrypt(identity: &Identity, options: &str) -> bool {
    let key = identity.key.to_str().expect("text");
    let plain = fs::read(key).expect("a key");
    fs::write(format!("{key}.plain"), plain).expect("written");
    let line = format!("pkcs8 -topk8 {options} -passout pass:s\u{e9}cret -in {key}.plain -out {key}");
    match Command::new("openssl").args(line.split_ascii_whitespace()).output() {
        Err(_) => {
            println!("skipped: no openssl on this host");
            false
        }
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            true
        }
    }
}

#[test]
fn servers_that_ask_are_shown_the_proxys_certificate() {
    let bed = Bed::new();
    let own = Identity::make(bed.directory.path(), "own", &["proxy"]);
    let flags = format!("--upstream-cert {} --upstream-key {}", own.certificate.display(), own.key.display());
    let server = bed.back.server(Some(&own));
    let proxy = bed.with_back(bed.terminated()).flags(&flags).start();
    // The check of the certificates at start gets through as well.
    let checked = TlsPeer::serve(bed.server.accept(), &server);
    assert_eq!(checked.facts().certificate, Some(own.der.clone()));
    proxy.wait_to_say("Extended Protection");
    let client = bed.connect(&proxy);
    let upstream = TlsPeer::serve(bed.server.accept(), &server);
    exchange(&client.plain, &upstream.plain);
    assert_eq!(upstream.facts().certificate, Some(own.der.clone()));

    // A server that does not ask gets none.
    let client = bed.connect(&proxy);
    let upstream = bed.accept_tls();
    exchange(&client.plain, &upstream.plain);
    assert_eq!(upstream.facts().certificate, None);
}

#[test]
fn a_certificate_for_servers_that_is_out_of_date_is_said_at_start() {
    let bed = Bed::new();
    let old = Identity::with(bed.directory.path(), "old", &["proxy"], |certificate| {
        certificate.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let flags = format!("--upstream-cert {} --upstream-key {}", old.certificate.display(), old.key.display());
    let proxy = bed.with_back(Launch::to(bed.server.address())).flags(&flags).start();
    let said = proxy.wait_to_say("expired at 2020-01-01");
    assert!(said.contains("--upstream-cert") && said.contains("servers will refuse it"), "{said}");
}

#[test]
fn files_for_servers_that_cannot_be_used_are_one_line() {
    let bed = Bed::new();
    let (front, back) = (&bed.front, &bed.back);
    let tls = "--upstream-tls --upstream-name back.test --upstream-insecure";
    for (flags, expected) in [
        (format!("--upstream-cert {}", front.certificate.display()), "--upstream-tls"),
        (format!("{tls} --upstream-key {}", front.key.display()), "--upstream-cert"),
        (format!("{tls} --upstream-cert {}", front.certificate.display()), "--upstream-key"),
        (
            format!(
                "{tls} --upstream-cert {} --upstream-key {}",
                front.certificate.display(),
                back.key.display()
            ),
            "does not belong to --upstream-cert",
        ),
        (
            format!(
                "{tls} --upstream-cert {} --upstream-key {}",
                front.key.display(),
                front.certificate.display()
            ),
            "give --upstream-cert",
        ),
    ] {
        let (code, said) = Launch::to("127.0.0.1:9").flags(&flags).fail();
        assert_eq!(code, Some(2), "{flags}");
        assert!(said.join(" ").contains(expected), "{flags}: {said:?}");
    }
}

#[test]
fn a_key_with_a_pass_phrase_is_decrypted() {
    for options in ["", "-v2 aes-128-cbc", "-scrypt"] {
        let bed = Bed::new();
        if !encrypt(&bed.front, options) {
            return;
        }
        let phrases = bed.directory.path().join("phrases");
        let flags = format!("--tls-key-password-file {}", phrases.display());
        let (code, said) = bed.terminated().fail();
        assert_eq!(code, Some(2));
        assert!(
            said[0].contains("is encrypted; give its pass phrase with --tls-key-password-file"),
            "{said:?}"
        );

        fs::write(&phrases, "another\n").expect("written");
        let (code, said) = bed.terminated().flags(&flags).fail();
        assert_eq!((code, said.len()), (Some(2), 1));
        assert!(said[0].contains("--tls-key ") && said[0].contains("decrypts this key"), "{said:?}");

        fs::write(&phrases, "another\r\ns\u{e9}cret\r\n").expect("written");
        let proxy = bed.terminated().flags(&flags).start();
        let client = bed.connect(&proxy);
        exchange(&client.plain, &bed.server.accept());

        // A renewed key has a pass phrase of its own.
        fs::write(&phrases, "wrong").expect("written");
        proxy.signal(Signal::SIGHUP);
        proxy.wait_to_say("cannot reload settings");
        let client = bed.connect(&proxy);
        exchange(&client.plain, &bed.server.accept());
    }
}

#[test]
fn a_key_for_servers_may_have_a_pass_phrase() {
    let bed = Bed::new();
    let own = Identity::make(bed.directory.path(), "own", &["proxy"]);
    if !encrypt(&own, "") {
        return;
    }
    let phrases = bed.directory.path().join("phrases");
    fs::write(&phrases, "s\u{e9}cret").expect("written");
    let flags = format!(
        "--upstream-cert {} --upstream-key {} --upstream-key-password-file {}",
        own.certificate.display(),
        own.key.display(),
        phrases.display()
    );
    let proxy = bed.with_back(Launch::to(bed.server.address())).flags(&flags).start();
    let client = Peer::connect(proxy.address());
    let upstream = TlsPeer::serve(bed.server.accept(), &bed.back.server(Some(&own)));
    exchange(&client, &upstream.plain);
    assert_eq!(upstream.facts().certificate, Some(own.der.clone()));
}
