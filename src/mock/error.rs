//! Why a mock does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Why a mock does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot listen on the address.
    #[error("cannot listen on {address}: {reason}; give an address of this host and a free port")]
    Listen {
        /// The address as given.
        address: SocketAddr,
        /// The kernel's reason.
        reason: io::Error,
    },
    /// A thread or its runtime did not start.
    #[error(
        "cannot start a worker: {0}; check the limits on threads (ulimit -u) and descriptors (ulimit -n)"
    )]
    Worker(io::Error),
    /// The file with the certificate or its key cannot be read.
    #[error("cannot read {path}: {reason}; give two PEM files, one with the chain and one with the key")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// It is of another kind.
    #[error("cannot read {path}: {what}; {remedy}")]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The chain file has no certificate.
    #[error("{0} contains no certificate; give the PEM file with the chain")]
    NoCertificate(PathBuf),
    /// The certificate and the key do not match, or are of an unsupported kind.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// The self-signed certificate cannot be created.
    #[error("cannot create a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// The certificate has no channel bindings.
    #[error("extended protection cannot be used with this certificate: {0}")]
    Bindings(#[from] crate::protocol::ntlm::CertificateError),
}

impl Error {
    /// 2 where the command line names a wrong file, 1 where this host is at fault.
    pub fn exit_code(&self) -> ExitCode {
        let is_misnamed = match self {
            Self::File { reason, .. } => matches!(
                reason.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
            ),
            Self::WrongFile { .. } | Self::NoCertificate(_) | Self::Certificate(_) | Self::Bindings(_) => {
                true
            }
            Self::Listen { .. } | Self::Worker(_) | Self::SelfSigned(_) => false,
        };
        if is_misnamed { ExitCode::from(2) } else { ExitCode::FAILURE }
    }
}
