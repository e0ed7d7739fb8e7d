//! OCSP responses that are sent with the certificate; openssl is authority, responder and client.

use std::process::{Command, Stdio};

use super::*;

const EXTENSIONS: &str = "subjectAltName=DNS:front.test";

/// A certificate of an authority in a directory; nothing without openssl.
struct Site(TempDir);

impl Site {
    fn make() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            println!("skipped: no openssl on this host");
            return None;
        }
        let site = Self(TempDir::new().expect("a directory"));
        fs::write(site.path("ext"), EXTENSIONS).expect("written");
        for line in [
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 90",
            "req -new -newkey rsa:2048 -nodes -keyout site.key -out site.csr -subj /CN=front.test",
            "x509 -req -in site.csr -CA ca.pem -CAkey ca.key -set_serial 4660 -days 90 -extfile ext -out site.pem",
            "ocsp -issuer ca.pem -cert site.pem -no_nonce -reqout request.der",
        ] {
            site.openssl(line);
        }
        Some(site)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("text").to_owned()
    }

    fn openssl(&self, line: &str) -> String {
        let command = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output();
        let output = command.expect("openssl is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes the responder's answer about the certificate, by its line in the authority's index.
    fn respond(&self, index: &str) {
        fs::write(self.path("index"), format!("{index}\tunknown\t/CN=front.test\n")).expect("written");
        self.openssl(
            "ocsp -index index -rsigner ca.pem -rkey ca.key -CA ca.pem -reqin request.der -respout site.ocsp -ndays 3",
        );
    }

    fn flags(&self) -> String {
        let path = |name| self.path(name);
        format!(
            "--tls-cert {} --tls-key {} --tls-ocsp {}",
            path("site.pem"),
            path("site.key"),
            path("site.ocsp")
        )
    }

    /// What a client that asks for the status gets to see.
    fn status(&self, proxy: &Proxy) -> String {
        let address = proxy.address();
        self.openssl(&format!("s_client -connect {address} -servername front.test -CAfile ca.pem -status"))
    }
}

const GOOD: &str = "V\t400101000000Z\t\t1234";
const REVOKED: &str = "R\t400101000000Z\t250101000000Z\t1234";

#[test]
fn responses_are_stapled_and_reloaded() {
    let Some(site) = Site::make() else { return };
    let server = Server::v4();
    site.respond(GOOD);
    let proxy = Launch::to(server.address()).flags(&site.flags()).start();
    let status = site.status(&proxy);
    assert!(status.contains("Cert Status: good") && status.contains("Serial Number: 1234"), "{status}");

    // What would harm is left out.
    site.respond(REVOKED);
    proxy.signal(Signal::SIGHUP);
    let said = proxy.wait_to_say("says that the certificate is revoked");
    assert!(said.contains("--tls-ocsp"), "{said}");
    proxy.wait_to_say("certificates reloaded");
    assert!(site.status(&proxy).contains("OCSP response: no response sent"));

    site.respond(GOOD);
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say_times("certificates reloaded", 2);
    assert!(site.status(&proxy).contains("Cert Status: good"));

    // A broken file changes nothing.
    fs::write(site.path("site.ocsp"), "no response").expect("written");
    proxy.signal(Signal::SIGHUP);
    let said = proxy.wait_to_say("cannot reload settings");
    assert!(said.contains("it is not an OCSP response in DER"), "{said}");
    assert!(site.status(&proxy).contains("Cert Status: good"));
}

#[test]
fn files_that_are_no_response_for_the_certificate_are_one_line() {
    let Some(site) = Site::make() else { return };
    site.respond(GOOD);
    let front = Identity::make(site.0.path(), "front", &["front.test"]);
    let response = site.path("site.ocsp");
    for (flags, expected) in [
        (format!("{} --tls-ocsp {response}", front.flags()), "it is about another certificate"),
        (
            format!("{} --tls-ocsp {}", front.flags(), site.path("ca.pem")),
            "it is not an OCSP response in DER",
        ),
        (
            format!("{} --tls-ocsp {response} --tls-ocsp {response}", front.flags()),
            "one response per certificate",
        ),
        (format!("--tls-ocsp {response}"), "--tls-cert"),
    ] {
        let (code, said) = Launch::to("127.0.0.1:9").flags(&flags).fail();
        assert_eq!(code, Some(2), "{flags}: {said:?}");
        assert!(said.join(" ").contains(expected), "{flags}: {said:?}");
    }
}
