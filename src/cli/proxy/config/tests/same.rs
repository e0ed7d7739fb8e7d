//! Every flag command line's `--check` prints the file that does the same: all flags, many at a time.

use std::collections::BTreeSet;
use std::path::Path;

use super::{of_file, settings};
use crate::cli::Error;
use crate::cli::proxy::Effective;
use crate::cli::proxy::config::kind::Kind;
use crate::control::Places;
use crate::control::setting::Named;
use crate::protocol::ocsp;

/// Combinations that are tried; most of them are accepted.
const TRIES: usize = 150;

/// A certificate with its key in one file, a list that revokes nothing, and a response about the certificate.
fn write_files(directory: &Path) {
    let mut parameters = rcgen::CertificateParams::new(["a.test".to_owned()]).expect("a name");
    parameters.serial_number = Some(vec![0x12, 0x34].into());
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign, rcgen::KeyUsagePurpose::DigitalSignature];
    let key = rcgen::KeyPair::generate().expect("randomness");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let issuer = rcgen::Issuer::from_params(&parameters, &key);
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2024, 1, 1),
        next_update: rcgen::date_time_ymd(2124, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer).and_then(|list| list.pem()).expect("a list");
    for (name, content) in [
        ("cert.pem", (certificate.pem() + &key.serialize_pem()).into_bytes()),
        ("key.pem", key.serialize_pem().into_bytes()),
        ("crl.pem", list.into_bytes()),
        ("ocsp.der", ocsp::tests::good()),
        ("words", b"secret\n".to_vec()),
    ] {
        std::fs::write(directory.join(name), content).expect("it is written");
    }
}

/// Flags that go together; DIR stands for the directory of the files.
const PIECES: &[&str] = &[
    "--listen=127.0.0.2:0 --backlog=7",
    "--listen=unix:/run/x.sock --unix-mode=0600",
    "--listen=unix:/run/y.sock",
    "--upstream=192.0.2.1:80",
    "--upstream=192.0.2.1:80,weight=3 --upstream=192.0.2.2:81,backup",
    "--upstream=unix:/run/s.sock",
    "--upstream=192.0.2.1:80,max-connections=5 --queue-timeout=7s",
    "--sni-route=a.test=192.0.2.3:443 --sni-route=*.b.test=192.0.2.4:443,weight=2",
    "--sni-route=a.test=192.0.2.3:443 --peek-timeout=7s",
    "--alpn-route=acme-tls/1=192.0.2.5:443",
    "--mode=http",
    "--mode=http --host-route=a.test=192.0.2.6:80 --host-route=b.test/x=192.0.2.7:80",
    "--mode=http --path-route=/api=192.0.2.6:80 --path-route=/=192.0.2.8:80",
    "--mode=http --redirect-to-https",
    "--mode=http --redirect-to-https=8443 --keepalive-timeout=7s",
    "--mode=http --head-timeout=7s --body-timeout=8s",
    "--mode=http --reply-timeout=7m --send-timeout=8ms",
    "--mode=http --keepalive-timeout=1h",
    "--mode=http --head-limit=8KiB --ignore-client-close",
    "--mode=http --forwarded=off",
    "--mode=http --forwarded=append --trust=10.0.0.0/8 --trust=unix:",
    "--mode=http --underscore-headers=pass --trace",
    "--mode=http --upgrade=h2c --upgrade=TLS/1.2",
    "--mode=http --set-host=a.test:8080 --rewrite-redirects",
    "--mode=http --set-header=X-A:b --set-header=X-C:d=e --remove-header=X-D",
    "--mode=http --set-reply-header=X-A:b --remove-reply-header=X-D",
    "--mode=http --on-identity-change=close --log-user --access-log=-",
    "--mode=http --log-format=combined --access-log=/var/log/a.log",
    "--mode=http --tls-cert=DIR/cert.pem --secure-cookies",
    "--mode=http --tls-cert=DIR/cert.pem --tls-client-ca=DIR/cert.pem --client-cert-header=X-Cert",
    "--tls-cert=DIR/cert.pem",
    "--tls-cert=DIR/cert.pem --tls-key=DIR/key.pem --tls-key-password-file=DIR/words",
    "--tls-cert=DIR/cert.pem --tls-ocsp=DIR/ocsp.der",
    "--tls-cert=DIR/cert.pem --tls-client-ca=DIR/cert.pem --tls-client-cert=optional",
    "--tls-cert=DIR/cert.pem --tls-client-ca=DIR/cert.pem --tls-client-crl=DIR/crl.pem",
    "--tls-cert=DIR/cert.pem --tls-min-version=1.3 --tls-resumption=off",
    "--tls-cert=DIR/cert.pem --tls-missing-close-notify=accept",
    "--accept-proxy",
    "--accept-proxy --accept-proxy-from=10.0.0.0/8 --accept-proxy-timeout=9s",
    "--idle-timeout=7s",
    "--allow=10.0.0.0/8 --deny=10.1.0.0/16 --deny=unix:",
    "--connections-per-client=7 --connection-rate-per-client=9/s",
    "--steer=cpu",
    "--splice=never",
    "--splice=always",
    "--tcp-keepalive=off",
    "--tcp-user-timeout=9s",
    "--tcp-fastopen=5 --defer-accept",
    "--send-proxy=v1",
    "--send-proxy=v2",
    "--transparent",
    "--source-address=127.0.0.2 --source-address=127.0.0.3",
    "--balance=least-connections",
    "--balance=random-two",
    "--balance=source-hash",
    "--balance=source-hash --hash-prefix-v6=64",
    "--mode=http --affinity=cookie",
    "--mode=http --affinity=cookie --affinity-cookie=APP --affinity-same-site=strict",
    "--mode=http --affinity=cookie --affinity-same-site=none --affinity-key=DIR/key.pem",
    "--warm=7",
    "--connect-timeout=7s",
    "--connect-budget=9s",
    "--eject-after=0 --eject-time=7s --eject-time-max=8s",
    "--health=tcp --health-interval=7s --health-timeout=8s",
    "--slow-start=7s",
    "--health=http --health-rise=4 --health-fall=5",
    "--health=http-auth --health-path=/x?y --health-host=a.test --health-expect=200-299,401",
    "--upstream-tls --upstream-name=a.test --upstream-ca=DIR/cert.pem",
    "--upstream-tls --upstream-name=a.test --upstream-insecure",
    "--upstream-tls --upstream-name=a.test --upstream-ca=DIR/cert.pem --upstream-cert=DIR/cert.pem",
    "--upstream-tls --upstream-name=a.test --upstream-ca=DIR/cert.pem --upstream-cert=DIR/cert.pem \
     --upstream-key=DIR/key.pem --upstream-key-password-file=DIR/words",
    "--workers=3 --no-pin",
    "--resolver=192.0.2.53 --resolver=[2001:db8::53]:5353 --resolve-timeout=7s",
    "--resolve-interval=7m",
    "--max-connections=77",
    "--ring-entries=512 --spin=5us",
    "--io-uring-without=no-iowait,restrictions --io-uring-without=defer-taskrun",
    "--drain-timeout=7s --drain-delay=8s",
    "--admin=127.0.0.3:0",
    "--admin=unix:/run/z.sock --admin-token-file=DIR/words",
    "--buffer-size=8KiB --buffers=77",
    "--pipe-size=64KiB --pipes=7",
    "--mode=http --peek-memory=64MiB",
    "--access-log=- --log-format=json",
    "--user=iisplice:www-data",
    "--sandbox=log",
];

fn flags_of(arguments: &[String]) -> impl Iterator<Item = &str> {
    arguments.iter().map(|argument| argument[2..].split('=').next().unwrap_or_default())
}

/// Everything of a plan that a start goes by, sorted: maps of names have no order.
fn described(effective: &Effective) -> Vec<String> {
    let mut plan = effective.plan.clone();
    (plan.named, plan.places) = (Named::Flags, Places::default());
    // Of a file it is one of them.
    plan.files.clear();
    // Servers remember when they were made.
    let text = format!("{plan:?}");
    let mut parts = text.split("Instant {");
    let first = parts.next().unwrap_or_default().to_owned();
    let text = parts.fold(first, |text, part| text + part.split_once('}').map_or("", |(_, rest)| rest));
    let mut words: Vec<_> =
        text.split(|c| ",{}[]()".contains(c)).map(|word| word.trim().to_owned()).collect();
    words.sort_unstable();
    words
}

/// Whether the command line is accepted; then its file is compared.
fn compare(arguments: &[String]) -> Result<(), Error> {
    let flags: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let of_flags = settings(&flags)?;
    let again =
        of_file(&of_flags.text, &[]).unwrap_or_else(|error| panic!("{flags:?}: {error}\n{}", of_flags.text));
    assert_eq!(again.text, of_flags.text, "{flags:?}");
    let (again, of_flags) = (described(&again), described(&of_flags));
    let differs = std::iter::zip(&again, &of_flags).find(|(one, other)| one != other);
    assert!(again == of_flags, "{flags:?}: {differs:?}");
    Ok(())
}

#[test]
fn the_file_of_every_flag_command_line_does_the_same() {
    let directory = tempfile::TempDir::new().expect("a directory");
    write_files(directory.path());
    let path = directory.path().to_str().expect("UTF-8");
    let pieces: Vec<Vec<String>> =
        PIECES.iter().map(|piece| piece.split(' ').map(|word| word.replace("DIR", path)).collect()).collect();
    let mut dice = fastrand::Rng::with_seed(7);
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut accepted = 0;
    for number in 0..PIECES.len() + TRIES {
        // Each by itself first, then several.
        let chosen = match number {
            alone if alone < PIECES.len() => vec![alone],
            _ => dice.choose_multiple(0..PIECES.len(), number % 5 + 2),
        };
        let mut arguments = vec!["--listen=127.0.0.1:0".to_owned()];
        for piece in chosen {
            // A flag that is given already may not be repeated.
            let given: BTreeSet<_> = flags_of(&arguments).map(str::to_owned).collect();
            let more = pieces[piece].iter().filter(|argument| {
                !flags_of(std::slice::from_ref(argument)).any(|flag| flag != "listen" && given.contains(flag))
            });
            arguments.extend(more.cloned().collect::<Vec<_>>());
        }
        let has = |flags: &[&str]| flags_of(&arguments).any(|flag| flags.contains(&flag));
        if !has(&["upstream", "sni-route", "alpn-route", "host-route", "path-route", "redirect-to-https"]) {
            arguments.push("--upstream=192.0.2.9:80".to_owned());
        }
        if clap::Parser::try_parse_from(["iisplice", "proxy"].map(str::to_owned).iter().chain(&arguments))
            .is_ok_and(|_: crate::cli::Cli| compare(&arguments).is_ok())
        {
            accepted += 1;
            seen.extend(flags_of(&arguments).map(str::to_owned));
        } else {
            assert!(number >= PIECES.len(), "refused alone: {arguments:?}");
        }
    }
    assert!(accepted > PIECES.len() + TRIES / 4, "{accepted} were accepted");
    let commands = Kind::ALL.map(Kind::command);
    let all = commands.iter().flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_long);
    let missing: Vec<_> = all.filter(|flag| *flag != "servers" && !seen.contains(*flag)).collect();
    assert!(missing.is_empty(), "add flags to the pieces: {missing:?}");
}
