//! The certificates that clients are shown, as answers list them.

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::view::View;
use crate::control::certificates::Served;
use crate::control::tls::validity::{date, now, printable};

/// The certificates of a service.
#[derive(Debug)]
pub(in crate::control) struct Shown {
    service: Arc<str>,
    certificates: Vec<(CertificateDer<'static>, PathBuf)>,
}

impl Shown {
    /// Those of a service where TLS ends.
    pub(in crate::control) fn of(served: &Served) -> Option<Self> {
        let terminated = served.terminated.as_ref()?;
        let files = terminated.files.iter().cloned();
        let certificates = std::iter::zip(terminated.leaves.iter().cloned(), files).collect();
        Some(Self { service: Arc::clone(&served.service.name), certificates })
    }
}

/// A certificate.
#[derive(Debug, Serialize)]
pub(super) struct CertificateRow {
    service: String,
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
        let rows = |shown: &Shown| {
            let row = |(der, file): &(CertificateDer<'_>, PathBuf)| Self::of(&shown.service, der, file);
            shown.certificates.iter().filter_map(row).collect::<Vec<_>>()
        };
        view.certificates.iter().flat_map(rows).collect()
    }

    fn of(service: &str, der: &[u8], file: &std::path::Path) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let until = validity.not_after.timestamp();
        Some(Self {
            service: service.to_owned(),
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
