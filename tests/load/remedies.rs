//! A server that cannot be used at all: the line says why, most likely, and what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use crate::mock::Mock;
use crate::run;

/// The one line with which it gives up.
fn complaint(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    said
}

/// A server that sends these bytes to every client, whatever it asks, and closes.
fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            // It asks first; that it may be gone by now is its own matter.
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(answer);
        }
    });
    address.to_string()
}

#[test]
fn tls_without_a_ca_says_how_to_trust_the_server() {
    let mock = Mock::start(&["--tls"]);
    let url = format!("{}/public/", mock.url);
    let said = complaint(&[&url, "-n1", "-c1"]);
    assert!(said.contains("--ca FILE") && said.contains("--insecure"), "{said}");
    let output = run(&[&url, "-n1", "-c1", "--insecure"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    // A certificate for another name, of an authority that is trusted.
    let made = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let pem = directory.path().join("site.pem").to_str().unwrap().to_owned();
    std::fs::write(&pem, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    let mock = Mock::start(&["--tls-cert", &pem, "--tls-key", &pem]);
    let said = complaint(&[&format!("{}/public/", mock.url), "-n1", "-c1", "--ca", &pem]);
    assert!(
        said.contains("other.test") && said.contains("use a name from the certificate in the URL"),
        "{said}"
    );
}

#[test]
fn the_wrong_scheme_is_named() {
    let mock = Mock::start(&[]);
    let https = mock.url.replace("http://", "https://");
    let said = complaint(&[&https, "-n1", "-c1", "--insecure"]);
    assert!(said.contains("does not speak TLS") && said.contains("use http://"), "{said}");
    let closing = server(b"");
    let said = complaint(&[&format!("https://{closing}/"), "-n1", "-c1", "--insecure"]);
    assert!(said.contains("use http://"), "{said}");

    let mock = Mock::start(&["--tls"]);
    let said = complaint(&[&mock.url.replace("https://", "http://"), "-n1", "-c1"]);
    assert!(said.contains("use https://"), "{said}");
    let alerting = server(&[0x15, 3, 3, 0, 2, 2, 80]);
    let said = complaint(&[&format!("http://{alerting}/"), "-n1", "-c1"]);
    assert!(said.contains("answered with TLS") && said.contains("use https://"), "{said}");
    let resetting = server(b"");
    let said = complaint(&[&format!("http://{resetting}/"), "-n1", "-c1"]);
    assert!(said.contains("use https://"), "{said}");
}
