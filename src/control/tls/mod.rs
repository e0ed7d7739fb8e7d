//! TLS on the slow path: certificates, keys and trust from PEM files, and a check of the servers' certificates.
//!
//! The configuration for workers is built here, complete and checked, and then swapped in: they never see a file.

mod client_trust;
mod comparison;
mod files;
mod finding;
mod identity;
mod key;
mod side;
mod staple;
mod termination;
mod trust;
pub(super) mod validity;
mod verifiers;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

pub use client_trust::ClientTrust;
pub use comparison::Comparison;
pub use identity::{CertificateFiles, show_to_servers};
pub use termination::{Terminated, Termination};
pub use trust::{Trust, client_config, config_by, verifier};
pub use validity::Expiry;

use super::{advice_on, exit_code_of_file};
use crate::protocol::shell::quoted_path;

/// The only protocol offered on either side (ALPN): HTTP/2 carries no Windows Authentication.
const ALPN: &[u8] = b"http/1.1";

/// A file that does not contain what a flag needs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{flag} {}: cannot be read: {source}; {}", path.display(), advice_on(path, .source))]
    Unreadable {
        /// With its dashes.
        flag: &'static str,
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has nothing in it that is wanted.
    #[error("{flag} {}: {reason}; {wanted}", path.display())]
    File {
        /// With its dashes.
        flag: &'static str,
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What would be right.
        wanted: String,
    },
    /// The key's file in place of the certificate's, and the other way round.
    #[error("{cert_flag} {certificate} is a private key and {key_flag} {key} a certificate; give {cert_flag} {key} \
             {key_flag} {certificate}", certificate = quoted_path(certificate), key = quoted_path(key))]
    Swapped {
        /// With its dashes.
        cert_flag: &'static str,
        /// As given.
        certificate: PathBuf,
        /// With its dashes.
        key_flag: &'static str,
        /// As given.
        key: PathBuf,
    },
    /// A key that does not match the certificate.
    #[error("{key_flag} {}: this key does not belong to {cert_flag} {}; give that certificate's key, and keys in the order \
        of the certificates", key.display(), certificate.display())]
    Mismatch {
        /// With its dashes.
        cert_flag: &'static str,
        /// As given.
        certificate: PathBuf,
        /// With its dashes.
        key_flag: &'static str,
        /// As given.
        key: PathBuf,
    },
    /// This host trusts no authority.
    #[error("this host has no trusted certificates; give {ca} FILE or {insecure}")]
    NoRoots {
        /// The flag that names a file of them.
        ca: &'static str,
        /// The flag that turns verification off.
        insecure: &'static str,
    },
    /// A configuration that rustls does not support.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Error {
    /// 2 where the command line names a wrong file, 1 where this host is at fault.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreadable { source, .. } => exit_code_of_file(source),
            Self::File { .. } | Self::Swapped { .. } | Self::Mismatch { .. } => ExitCode::from(2),
            Self::NoRoots { .. } | Self::Rustls(_) => ExitCode::FAILURE,
        }
    }
}
