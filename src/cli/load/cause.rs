//! Why the server could not be used at all, most likely, and what to do.

use rustls::CertificateError;

use super::Error;
use crate::load::{Failure, LoadError};

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match &error {
            LoadError::Target { url, failure } => match remedy(url.starts_with("https:"), failure) {
                Some(remedy) => Self::Target { error, remedy },
                None => Self::Load(error),
            },
            _ => Self::Load(error),
        }
    }
}

fn remedy(is_https: bool, failure: &Failure) -> Option<&'static str> {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
    };
    Some(match failure {
        Failure::Tls(rustls::Error::InvalidCertificate(error)) => match error {
            NotValidForName | NotValidForNameContext { .. } => {
                "use a name from the certificate in the URL, or add --insecure"
            }
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
                "renew the server's certificate, check the clocks, or add --insecure"
            }
            _ => {
                "this host does not trust the server's certificate: give its authority, or the certificate itself, with \
                 --ca FILE, or add --insecure"
            }
        },
        Failure::Tls(rustls::Error::InvalidMessage(_)) => {
            "the server does not speak TLS at this port: use http://, or give its TLS port"
        }
        Failure::Tls(rustls::Error::AlertReceived(_)) => {
            "the server refused the TLS handshake: check the name in the URL and the server's TLS versions"
        }
        Failure::SpeaksTls => {
            "use https:// (with --ca FILE or --insecure if this host does not trust the certificate)"
        }
        Failure::Closed | Failure::Io(_) if is_https => "if this port speaks plain HTTP, use http://",
        Failure::Closed | Failure::Io(_) => "if this port speaks TLS, use https://",
        Failure::TimedOut if is_https => "raise --timeout, or use http:// if this port speaks plain HTTP",
        Failure::TimedOut => "raise --timeout, or check that the server answers",
        Failure::Connect { cause, .. } if cause.kind() == std::io::ErrorKind::ConnectionRefused => {
            "check the address, and that the server is running"
        }
        Failure::LoginRefused(_) => "check the user and the password",
        Failure::SchemeNotOffered(_) => "choose another --auth, or enable this one on the server",
        _ => return None,
    })
}
