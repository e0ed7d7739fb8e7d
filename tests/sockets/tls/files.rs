//! Files that are not the PEM that a flag wants: each is recognised, and the command that is printed makes PEM of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Identity, Launch};

/// A directory whose name needs quotes, with all kinds of files in it, made by openssl.
struct Files {
    directory: TempDir,
}

const PASSWORD: &str = "secret";

impl Files {
    fn make() -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("it's a ").tempdir().expect("a directory");
        let files = Self { directory };
        if Command::new("openssl").arg("version").output().is_err() {
            println!("skipped: no openssl on this host");
            return None;
        }
        fs::create_dir(files.path("a directory")).expect("ours");
        fs::write(files.path("empty"), "").expect("ours");
        for line in [
            "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=a.test -days 90",
            "x509 -in cert.pem -outform DER -out cert.der",
            "pkey -in key.pem -outform DER -out key.der",
            "rsa -in key.pem -traditional -outform DER -out key.pkcs1.der",
            "pkcs8 -topk8 -in key.pem -passout pass:secret -out key.encrypted",
            "pkcs8 -topk8 -in key.pem -passout pass:secret -outform DER -out key.encrypted.der",
            "rsa -in key.pem -traditional -aes128 -passout pass:secret -out key.legacy",
            "pkcs12 -export -in cert.pem -inkey key.pem -passout pass:secret -out site.pfx",
            "crl2pkcs7 -nocrl -certfile cert.pem -out cert.p7b",
            "crl2pkcs7 -nocrl -certfile cert.pem -outform DER -out cert.p7b.der",
            "req -new -key key.pem -subj /CN=a.test -out request.csr",
            "req -new -key key.pem -subj /CN=a.test -outform DER -out request.der",
            "x509 -in cert.pem -trustout -out trusted.crt",
            "pkey -in key.pem -pubout -out public.pem",
            "base64 -in cert.der -out cert.b64",
        ] {
            files.openssl(line);
        }
        let utf16: Vec<u8> = fs::read_to_string(files.path("cert.pem"))
            .expect("text")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        fs::write(files.path("cert.utf16"), [&b"\xff\xfe"[..], &utf16].concat()).expect("ours");
        Some(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, line: &str) {
        let command =
            Command::new("openssl").args(line.split(' ')).current_dir(self.directory.path()).output();
        let output = command.expect("openssl is there");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The one line with which a proxy with these flags gives up.
    fn refused(&self, flags: &[(&str, &str)]) -> String {
        let mut launch = Launch::to("127.0.0.1:9");
        for (flag, file) in flags {
            launch = launch.argument(flag);
            if !file.is_empty() {
                launch = launch.argument(self.path(file).to_str().expect("text"));
            }
        }
        let (code, said) = launch.fail();
        assert_eq!(code, Some(2), "{flags:?}: {said:?}");
        let [line] = &said[..] else { panic!("{flags:?}: not one line: {said:?}") };
        line.clone()
    }
}

/// Runs the command in a line as written, except for the password, which cannot be typed here.
fn carry_out(line: &str, output: &Path) {
    let command = line.split('`').nth(1).unwrap_or_else(|| panic!("no command in: {line}"));
    let with_password = match command.split_once(" -out ") {
        Some((before, after)) if ["pkcs12", "pkey", "pkcs8"].iter().any(|name| before.contains(name)) => {
            format!("{before} -passin pass:{PASSWORD} -out {after}")
        }
        _ => command.to_owned(),
    };
    let run = Command::new("sh").args(["-c", &with_password]).output().expect("there is a shell");
    assert!(run.status.success(), "{with_password}: {}", String::from_utf8_lossy(&run.stderr));
    assert!(output.exists(), "{with_password}: {} was to be made", output.display());
}

#[test]
fn what_can_be_converted_is_by_the_command_that_is_printed() {
    let Some(files) = Files::make() else { return };
    let (cert, key, ca, upstream_ca) = ("--tls-cert", "--tls-key", "--tls-client-ca", "--upstream-ca");
    for (flag, file, what) in [
        (cert, "cert.der", "a certificate in DER"),
        (cert, "cert.p7b", "a PKCS#7 file"),
        (cert, "cert.p7b.der", "a PKCS#7 file"),
        (cert, "trusted.crt", "TRUSTED CERTIFICATE"),
        (cert, "cert.b64", "in base64 without its BEGIN and END lines"),
        (cert, "cert.utf16", "UTF-16"),
        (cert, "site.pfx", "a PKCS#12 file (PFX)"),
        (key, "site.pfx", "a PKCS#12 file (PFX)"),
        (key, "key.der", "a private key in DER"),
        (key, "key.pkcs1.der", "a private key in DER"),
        (key, "key.encrypted", "the private key is encrypted"),
        (key, "key.encrypted.der", "the private key is encrypted"),
        (key, "key.legacy", "the private key is encrypted"),
        (ca, "cert.der", "a certificate in DER"),
        (ca, "cert.p7b", "a PKCS#7 file"),
        (ca, "site.pfx", "a PKCS#12 file (PFX)"),
        (upstream_ca, "cert.der", "a certificate in DER"),
        (upstream_ca, "cert.p7b.der", "a PKCS#7 file"),
        (upstream_ca, "site.pfx", "a PKCS#12 file (PFX)"),
    ] {
        let flags = |file: &'static str| match flag {
            "--tls-cert" => vec![(cert, file), (key, "key.pem")],
            "--tls-key" => vec![(cert, "cert.pem"), (key, file)],
            "--tls-client-ca" => vec![(cert, "cert.pem"), (key, "key.pem"), (ca, file)],
            _ => vec![("--upstream-tls", ""), (upstream_ca, file)],
        };
        let line = files.refused(&flags(file));
        assert!(line.contains(flag) && line.contains(what), "{flag} {file}: {line}");
        let output = files.path(&format!("{file}.pem"));
        carry_out(&line, &output);
        let converted = fs::read(&output).expect("it was made");
        fs::write(files.path("converted"), converted).expect("ours");
        fs::remove_file(output).expect("ours");
        let mut launch = Launch::to("127.0.0.1:9");
        for (flag, file) in flags("converted") {
            launch = launch.argument(flag);
            if !file.is_empty() {
                launch = launch.argument(files.path(file).to_str().expect("text"));
            }
        }
        launch.start();
    }
    // One file of it serves for both, as the line says.
    carry_out(&files.refused(&[(cert, "site.pfx")]), &files.path("site.pfx.pem"));
    Launch::to("127.0.0.1:9")
        .argument(cert)
        .argument(files.path("site.pfx.pem").to_str().expect("text"))
        .start();
}

#[test]
fn what_cannot_be_converted_is_named_with_what_would_be_right() {
    let Some(files) = Files::make() else { return };
    fs::write(
        files.path("ssh"),
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAA==\n-----END OPENSSH PRIVATE KEY-----\n",
    )
    .expect("ours");
    let (cert, key, ca) = ("--tls-cert", "--tls-key", "--tls-client-ca");
    for (flags, parts) in [
        (vec![(cert, "request.csr"), (key, "key.pem")], ["certificate request (CSR)", "authority returns"]),
        (vec![(cert, "request.der"), (key, "key.pem")], ["certificate request (CSR)", "authority returns"]),
        (
            vec![(cert, "cert.pem"), (key, "request.csr")],
            ["certificate request (CSR)", "contains no private key"],
        ),
        (vec![(cert, "cert.pem"), (key, "public.pem")], ["a public key", "contains no private key"]),
        (vec![(cert, "cert.pem"), (key, "ssh")], ["an OpenSSH private key", "ssh-keygen -p -m PKCS8"]),
        (vec![(cert, "ssh"), (key, "key.pem")], ["an OpenSSH private key", "contains no certificate"]),
        (vec![(cert, "cert.pem"), (key, "cert.der")], ["a certificate", "contains no private key"]),
        (vec![(cert, "cert.pem"), (key, "empty")], ["the file is empty", "contains no private key"]),
        (vec![(cert, "a directory"), (key, "key.pem")], ["Is a directory", "give a file in it"]),
        (
            vec![(cert, "cert.pem"), (key, "key.pem"), (ca, "key.pem")],
            ["a private key", "contains no certificate"],
        ),
        (vec![("--upstream-tls", ""), ("--upstream-ca", "request.csr")], ["(CSR)", "--upstream-ca"]),
    ] {
        let line = files.refused(&flags);
        assert!(parts.iter().all(|part| line.contains(part)), "expected {parts:?} in: {line}");
    }
    // Swapped: the line has them the right way round.
    for (cert_file, key_file) in
        [("key.pem", "cert.pem"), ("key.encrypted", "cert.pem"), ("key.der", "cert.der")]
    {
        let line = files.refused(&[(cert, cert_file), (key, key_file)]);
        let quoted =
            |file: &str| format!("'{}'", files.path(file).display().to_string().replace('\'', "'\\''"));
        let right = format!("give --tls-cert {} --tls-key {}", quoted(key_file), quoted(cert_file));
        assert!(line.contains(&right), "expected {right:?} in: {line}");
    }
}

#[test]
fn a_chain_in_the_wrong_order_and_a_byte_order_mark() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let own = Identity::make(directory.path(), "own", &["own.test"]);
    let other = Identity::make(directory.path(), "other", &["other.test"]);
    let read = |path: &Path| fs::read_to_string(path).expect("text");
    let both = directory.path().join("both");
    fs::write(&both, read(&other.certificate) + &read(&own.certificate)).expect("ours");
    let flags = format!("--tls-cert {} --tls-key {}", both.display(), own.key.display());
    let (code, said) = Launch::to("127.0.0.1:9").flags(&flags).fail();
    assert_eq!((code, said.len()), (Some(2), 1), "{said:?}");
    assert!(said[0].contains("the key matches certificate 2 of the file"), "{said:?}");
    assert!(said[0].contains("put the server's own certificate first"), "{said:?}");

    // Without its first certificate the chain would begin with the other one.
    fs::write(&both, format!("\u{feff}{}{}", read(&own.certificate), read(&other.certificate)))
        .expect("ours");
    fs::write(&own.key, format!("\u{feff}{}", read(&own.key))).expect("ours");
    Launch::to("127.0.0.1:9").flags(&flags).start();
}
