//! NTLM messages and logins (MS-NLMP), for client and server.
//!
//! This module turns bytes into messages and messages into bytes, and takes a login through its three messages. It must
//! never read a clock or a source of randomness (both are arguments), and never send or accept anything but `NTLMv2`.
//! Transport over HTTP or SPNEGO is up to the caller ([`spnego`](super::spnego)).
//!
//! ```text
//! client                                                     server
//! Client::negotiate          -- Type 1, negotiate.rs    -->  Server::challenge
//! AwaitingChallenge          <-- Type 2, challenge.rs   --   AwaitingAuthenticate
//!   ::authenticate           -- Type 3, authenticate.rs -->    ::authenticate -> Login or Refusal
//! ```
//!
//! A state consumes itself and returns the next one, so a message cannot be answered twice or out of order. Start with
//! `client.rs`; `ntlmv2.rs` has all the arithmetic; `wire.rs` and `av_pairs.rs` are the encodings.

mod authenticate;
mod av_pairs;
mod challenge;
mod channel_bindings;
mod client;
mod flags;
mod names;
mod negotiate;
mod ntlmv2;
mod server;
#[cfg(test)]
mod tests;
mod wire;

use std::time::{SystemTime, UNIX_EPOCH};

pub use authenticate::{Authenticate, NtResponse, NtlmV2Response};
pub use av_pairs::{AV_FLAG_MIC, AvId, AvPairs, AvPairsBuilder};
pub use challenge::Challenge;
pub use channel_bindings::{CertificateError, ChannelBindings};
pub use client::{Answered, AwaitingChallenge, Client, ClientError, ClientRandom, Credentials};
pub use flags::{Flags, Version};
pub use names::Names;
pub use negotiate::Negotiate;
pub use ntlmv2::{Direction, NtHash, SessionKey};
pub use server::{AwaitingAuthenticate, ExtendedProtection, Login, Refusal, Server};

/// Whether a token is a bare NTLM message, which clients also send under `Negotiate`, without SPNEGO.
pub fn is_message(token: &[u8]) -> bool {
    token.starts_with(wire::SIGNATURE)
}

/// Which of the three messages this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageType {
    /// Type 1, NEGOTIATE.
    Negotiate,
    /// Type 2, CHALLENGE.
    Challenge,
    /// Type 3, AUTHENTICATE.
    Authenticate,
}

impl MessageType {
    /// The type of the message that begins with these bytes; twelve are enough.
    pub fn in_beginning(message: &[u8]) -> Option<Self> {
        match message.strip_prefix(wire::SIGNATURE)?.first_chunk()? {
            [1, 0, 0, 0] => Some(Self::Negotiate),
            [2, 0, 0, 0] => Some(Self::Challenge),
            [3, 0, 0, 0] => Some(Self::Authenticate),
            _ => None,
        }
    }
}

/// A point in time as Windows counts it: 100 ns since 1601-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileTime(pub u64);

impl FileTime {
    /// Converts a time from the Unix epoch on; earlier times become the epoch.
    pub fn from_system_time(time: SystemTime) -> Self {
        const UNIX_EPOCH_TICKS: u64 = 116_444_736_000_000_000;
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        // 64 bits of ticks last until the year 60,056.
        Self(UNIX_EPOCH_TICKS.saturating_add((since_epoch.as_nanos() / 100) as u64))
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// The signature is not `NTLMSSP\0`.
    #[error("no NTLM signature")]
    NotNtlm,
    /// A message of another type than expected.
    #[error("message type is {found}, expected {expected}")]
    WrongType {
        /// The expected type.
        expected: u32,
        /// The type found.
        found: u32,
    },
    /// The message ends before this fixed part.
    #[error("the message ends before its {what}")]
    Truncated {
        /// The part.
        what: &'static str,
    },
    /// A field points outside the message.
    #[error("the field {field} points outside the message")]
    FieldOutOfBounds {
        /// The field.
        field: &'static str,
    },
    /// A name is not text in the negotiated character set.
    #[error("the {field} is not text in the negotiated character set")]
    BadText {
        /// The field.
        field: &'static str,
    },
    /// The list of AV pairs is damaged.
    #[error("the list of AV pairs is damaged")]
    BadAvPairs,
    /// The NT response is neither empty nor `NTLMv1` nor `NTLMv2`.
    #[error("the NT response is of an unknown kind")]
    BadNtResponse,
    /// The AV flags announce a MIC where there is payload.
    #[error("payload overlaps the message integrity code")]
    MicOverlapsPayload,
    /// Neither Unicode nor OEM names are offered.
    #[error("no character set is offered")]
    NoCharset,
    /// A part does not fit into 64 KiB (when writing).
    #[error("the {field} is too long for an NTLM message")]
    TooLong {
        /// The part.
        field: &'static str,
    },
}
