//! The certificate: who signed it, for what name, until when, with what key.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::{config, server_name};
use crate::doctor::site::Id;
use crate::doctor::site::visit::Visit;
use crate::doctor::site::wire::Broke;

/// A certificate that expires sooner is worth a warning.
const NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);
/// Smaller RSA keys are refused by clients.
const RSA_BITS_MIN: usize = 2048;
/// sha1WithRSAEncryption and ecdsa-with-SHA1.
const SHA1: [&str; 2] = ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];

pub(super) fn probe(visit: &mut Visit<'_>, address: SocketAddr, chain: &[CertificateDer<'_>]) {
    let Some(own) = chain.first() else { return };
    names(visit, own);
    if let Ok((_, parsed)) = X509Certificate::from_der(own) {
        dates(visit, &parsed);
        key(visit, &parsed);
    }
    signers(visit, address, chain.len());
}

fn names(visit: &mut Visit<'_>, own: &CertificateDer<'_>) {
    let host = visit.host().to_owned();
    let is_named = server_name(&host).is_some_and(|name| {
        ParsedCertificate::try_from(own)
            .and_then(|parsed| rustls::client::verify_server_name(&parsed, &name))
            .is_ok()
    });
    if is_named {
        visit.fine(Id::CertificateName, format!("the certificate is for {host}"));
        return;
    }
    let named = alternatives(own);
    let named = if named.is_empty() { "no name that counts".to_owned() } else { named.join(", ") };
    visit.broken(
        Id::CertificateName,
        format!("the certificate is not for {host}, but for {named}"),
        "browsers warn their users, and programs refuse to connect",
        "use a name of the certificate, or get a certificate with this name among its subject alternative names",
    );
}

fn alternatives(own: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(own) else { return Vec::new() };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
            x509_parser::extensions::GeneralName::IPAddress(bytes) => match **bytes {
                [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
                _ => {
                    <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())
                }
            },
            _ => None,
        })
        .take(10)
        .collect()
}

fn dates(visit: &mut Visit<'_>, parsed: &X509Certificate<'_>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let renew = "renew the certificate, and check that the server uses the new one";
    if until < now {
        let saw = format!("the certificate expired at {}", date(until));
        visit.broken(Id::CertificateDates, saw, "clients refuse it", renew);
    } else if from > now {
        let saw = format!("the certificate is not valid before {}", date(from));
        visit.broken(Id::CertificateDates, saw, "clients refuse it until then", "check the clocks, or wait");
    } else if until - now < NOTICE.as_secs().cast_signed() {
        let saw = format!("the certificate expires at {}", date(until));
        visit.warn(Id::CertificateDates, saw, "clients refuse it from then on", renew);
    } else {
        visit.fine(Id::CertificateDates, format!("the certificate is valid until {}", date(until)));
    }
}

/// In RFC 3339, as far as humantime can write it.
fn date(seconds_since_1970: i64) -> impl std::fmt::Display {
    const LAST: i64 = 253_402_300_799;
    let seconds = seconds_since_1970.clamp(0, LAST).unsigned_abs();
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn key(visit: &mut Visit<'_>, parsed: &X509Certificate<'_>) {
    let replace =
        "get a certificate with a new key: RSA of 2048 bits or more, or ECDSA P-256, signed with SHA-256";
    let kind = match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < RSA_BITS_MIN => {
            let saw = format!("the key of the certificate has {} bits (RSA)", key.key_size());
            visit.broken(Id::CertificateKey, saw, "clients refuse keys of less than 2048 bits", replace);
            return;
        }
        Ok(PublicKey::RSA(key)) => format!("RSA, {} bits", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA, {} bits", point.key_size()),
        _ => "of another kind than RSA and ECDSA".to_owned(),
    };
    let signature = parsed.signature_algorithm.algorithm.to_id_string();
    if SHA1.contains(&signature.as_str()) && parsed.subject() != parsed.issuer() {
        visit.broken(
            Id::CertificateKey,
            "the certificate is signed with SHA-1",
            "browsers refuse it",
            replace,
        );
        return;
    }
    visit.fine(Id::CertificateKey, format!("the key of the certificate is {kind}"));
}

/// A second handshake, by the rules of a client that trusts what this host does.
fn signers(visit: &mut Visit<'_>, address: SocketAddr, shown: usize) {
    let Some(trusted) = visit.settings.trust.as_ref().and_then(|trust| trust.trusted.clone()) else { return };
    let Ok(config) = config(&trusted, &[b"http/1.1"]) else { return };
    let count = if shown == 1 { "1 certificate".to_owned() } else { format!("{shown} certificates") };
    match visit.open_with(address, &config) {
        // The name is checked after the signatures.
        Ok(_)
        | Err(Broke::Tls(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ))) => visit.fine(Id::CertificateChain, format!("this host trusts the chain of {count}")),
        // Said under the dates.
        Err(Broke::Tls(rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ))) => {}
        Err(Broke::Tls(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))) => visit.broken(
            Id::CertificateChain,
            format!("this host does not trust the chain of {count}"),
            "clients that trust the same authorities refuse it; a server that leaves out an intermediate certificate works \
             in some browsers only",
            "give the site's authority with --ca FILE; if it is a public one, install the intermediate certificates at the \
             server",
        ),
        Err(broke) => visit.broken(
            Id::CertificateChain,
            format!("the chain of {count} is refused: {broke}"),
            "clients that judge as this host does refuse it",
            "replace the certificate that is at fault",
        ),
    }
}
