//! The proxy's own certificates, as answers list them.

use serde::Serialize;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::view::View;
use crate::control::certificates::Owner;
use crate::control::tls::validity::{date, now, printable};
use crate::upstream::OwnCertificate;

/// A certificate.
#[derive(Debug, Serialize)]
pub(super) struct CertificateRow {
    /// Who sees it: clients, or servers that ask for one.
    side: &'static str,
    service: Option<String>,
    group: Option<String>,
    file: String,
    /// What clients know the site by: DNS names and addresses.
    names: Vec<String>,
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
    seconds_left: i64,
}

impl CertificateRow {
    pub(super) fn all(view: &View) -> Vec<Self> {
        view.certificates.iter().filter_map(|(owner, own)| Self::of(owner, own)).collect()
    }

    fn of(owner: &Owner, OwnCertificate { leaf, file }: &OwnCertificate) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let validity = certificate.validity();
        let until = validity.not_after.timestamp();
        Some(Self {
            side: owner.side(),
            service: owner.service().map(str::to_owned),
            group: owner.group().map(str::to_owned),
            file: file.display().to_string(),
            names: names(&certificate),
            subject: printable(&certificate.subject().to_string()),
            issuer: printable(&certificate.issuer().to_string()),
            not_before: date(validity.not_before.timestamp()).to_string(),
            not_after: date(until).to_string(),
            seconds_left: until - now(),
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}
