//! Bytes and their meaning, sans-IO.
//!
//! Nothing in this room reads a socket, a clock or a file, logs, or uses `unsafe`: a message comes in as a
//! slice and goes out as a value, or the other way round. It imports no other room.
//!
//! | module | what it speaks |
//! | --- | --- |
//! | [`client_hello`] | how a TLS connection starts, and which site it is for |
//! | [`credentials`] | files of certificates and keys: what they are, for errors |
//! | [`http1`] | HTTP/1.1 heads and bodies |
//! | [`login`] | the Windows logins of a connection, followed from outside |
//! | [`ntlm`] | NTLM messages and logins, both sides |
//! | [`ocsp`] | what a responder says of a certificate |
//! | [`proxy_protocol`] | the header before a connection that names its client |
//! | [`shell`] | words of commands that a person copies |
//! | [`spnego`] | the `Negotiate` wrapping around NTLM messages |

pub mod client_hello;
pub mod credentials;
mod der;
pub mod http1;
pub mod login;
pub mod ntlm;
pub mod ocsp;
pub mod proxy_protocol;
pub mod shell;
pub mod spnego;

pub use der::DerError;
