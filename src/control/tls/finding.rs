//! What is wrong with a server's TLS, and which setting would be right.

use std::io;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::validity::{date, printable};
use crate::control::setting::setting;
use crate::protocol::shell::quoted;
use crate::upstream::Server;
use crate::uring::Address;

/// Names of a certificate that are shown.
const NAMES_MAX: usize = 8;

/// Why connections to a server will fail.
#[derive(Debug)]
pub(super) enum Finding {
    /// It does not accept connections.
    Unreachable(io::Error),
    /// It accepts them and says nothing.
    Silent,
    /// It closes them within the handshake.
    Closed,
    /// What it says is not TLS.
    NotTls,
    /// It does not have the name that it is asked for.
    UnknownName,
    /// It ends the handshake with another alert.
    Refused(AlertDescription),
    /// Its certificate is for these names.
    WrongName(Vec<String>),
    /// Its certificate is signed by itself, or by an authority that is not trusted.
    Untrusted { is_self_signed: bool },
    /// Its certificate expired then, in seconds since 1970.
    Expired(i64),
    /// Its certificate is not valid before then.
    NotYetValid(i64),
    /// Anything else, in the library's words.
    Failed(String),
}

impl Finding {
    /// A failure of the socket during the handshake.
    pub(super) fn of_socket(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Self::Closed
            }
            _ => Self::Failed(error.to_string()),
        }
    }

    /// A handshake that failed.
    pub(super) fn of_handshake(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => Self::NotTls,
            rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => Self::UnknownName,
            rustls::Error::AlertReceived(alert) => Self::Refused(alert),
            other => Self::Failed(other.to_string()),
        }
    }

    /// A certificate that is not accepted.
    pub(super) fn of_certificate(error: rustls::Error, certificate: &CertificateDer<'_>) -> Self {
        let parsed = X509Certificate::from_der(certificate).ok().map(|(_, parsed)| parsed);
        let is_self_signed = parsed.as_ref().is_some_and(|parsed| parsed.subject() == parsed.issuer());
        let validity = parsed.as_ref().map(|parsed| parsed.validity());
        match error {
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::WrongName(parsed.as_ref().map(names).unwrap_or_default()),
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => Self::Expired(validity.map_or(0, |validity| validity.not_after.timestamp())),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => Self::NotYetValid(validity.map_or(0, |validity| validity.not_before.timestamp())),
            // A self-signed certificate that is marked as an authority, say.
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(_))) if is_self_signed => {
                Self::Untrusted { is_self_signed }
            }
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Self::Untrusted { is_self_signed },
            other => Self::Failed(other.to_string()),
        }
    }

    /// The line for an operator. `name` is what the server was asked for.
    pub(super) fn line(&self, server: &Server, name: &ServerName<'_>, timeout: Duration) -> String {
        let asked = name.to_str();
        let seconds = timeout.as_secs();
        match self {
            Self::Unreachable(error) => format!(
                "cannot connect to the server to check its TLS: {error}; connections to it will fail until it accepts \
                 them: start it, or correct its address"
            ),
            Self::Silent => format!(
                "the server did not answer the TLS handshake within {seconds} s; connections to it will fail: give its \
                 TLS port, or leave {} out if it speaks plain HTTP",
                setting("upstream-tls")
            ),
            Self::Closed => format!(
                "the server closed the connection during the TLS handshake; connections to it will fail: give its TLS \
                 port, and with {} a name that it has a certificate for (asked for: {asked})",
                setting("upstream-name")
            ),
            Self::NotTls => format!(
                "the server does not speak TLS; connections to it will fail: give its TLS port, or leave {} out",
                setting("upstream-tls")
            ),
            Self::UnknownName => format!(
                "the server does not know the name {asked}; connections to it will fail: give a name that it has a \
                 certificate for with {}",
                setting("upstream-name")
            ),
            Self::Refused(alert) => format!(
                "the server refused the TLS handshake with the alert {alert:?}; connections to it will fail: check its \
                 TLS versions, and give a client certificate that it accepts with {} if it requires one",
                setting("upstream-cert")
            ),
            Self::WrongName(names) => {
                let (names, first) = match names.first() {
                    // A name that stands for many cannot be asked for.
                    Some(first) if !first.starts_with("*.") => (names.join(", "), &**first),
                    Some(_) => (names.join(", "), "NAME"),
                    None => ("no name".to_owned(), "NAME"),
                };
                format!(
                    "the server's certificate is for {names}, not for {asked}; connections to it will fail: add {}",
                    setting("upstream-name").of(first)
                )
            }
            Self::Untrusted { is_self_signed } => {
                let what =
                    if *is_self_signed { "is self-signed" } else { "is signed by an unknown authority" };
                let whose = if *is_self_signed { "this" } else { "that authority's" };
                let ca = setting("upstream-ca").of("FILE");
                let save = saving(server, &asked);
                format!(
                    "the server's certificate {what}; connections to it will fail: give {whose} certificate with \
                     {ca}{save}"
                )
            }
            Self::Expired(at) => format!(
                "the server's certificate expired at {}; connections to it will fail: renew it on the server",
                date(*at)
            ),
            Self::NotYetValid(at) => format!(
                "the server's certificate is not valid before {}; connections to it will fail until then: check the \
                 clocks of both hosts",
                date(*at)
            ),
            Self::Failed(reason) => {
                format!("the TLS handshake with the server failed: {reason}; connections to it will fail")
            }
        }
    }
}

/// How to get the certificate that a server shows into a file.
fn saving(server: &Server, name: &str) -> String {
    match server.address() {
        Address::Ip(address) => format!(
            " (after checking it, save it with `openssl s_client -connect {} -servername {} </dev/null | openssl x509 -out \
             FILE`)",
            quoted(&address.to_string()),
            quoted(name)
        ),
        Address::Unix(_) => String::new(),
    }
}

/// The names that a certificate is for: the alternative ones, else the common one.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<String> = alternative
        .map(|extension| {
            extension.value.general_names.iter().filter_map(general_name).take(NAMES_MAX).collect()
        })
        .unwrap_or_default();
    if !names.is_empty() {
        return names;
    }
    let common = certificate.subject().iter_common_name();
    common.filter_map(|name| name.as_str().ok()).map(printable).take(NAMES_MAX).collect()
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
            let v6 = || <[u8; 16]>::try_from(*bytes).map(|bytes| std::net::Ipv6Addr::from(bytes).to_string());
            v4.or_else(|_| v6()).ok()
        }
        _ => None,
    }
}
