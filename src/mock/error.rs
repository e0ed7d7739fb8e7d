//! Why a mock does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a mock does not start; all of it is about this host or its files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}; give an address of this host and a free port")]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// The kernel's words.
        reason: io::Error,
    },
    /// A thread or its ring.
    #[error(
        "cannot start a worker on io_uring: {0}; see sysctl kernel.io_uring_disabled and the limit on locked memory \
         (ulimit -l)"
    )]
    Worker(io::Error),
    /// A file with the certificate or its key.
    #[error("cannot read {path}: {reason}; give PEM files, the chain in one and the key in the other")]
    PemFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: rustls::pki_types::pem::Error,
    },
    /// The chain file has no certificate.
    #[error("{0} has no certificate in it; give the PEM file with the chain")]
    NoCertificate(PathBuf),
    /// The certificate and the key do not go together, or are of a kind that is not supported.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// A certificate could not be made.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// The certificate allows no channel bindings.
    #[error("extended protection cannot be used with this certificate: {0}")]
    Bindings(#[from] crate::protocol::ntlm::CertificateError),
}
