//! SPNEGO tokens (RFC 4178, MS-SPNG), which `Negotiate` carries, with NTLM as the mechanism inside.
//!
//! This module reads and writes the two kinds of tokens, and carries NTLM through them for client and server. It must
//! never search a token for what looks like an NTLM message: a signature (mechListMIC) may follow one. It does not do
//! Kerberos, whose messages it passes through as bytes.
//!
//! ```text
//! client                                                     server
//! Client::negotiate          -- Init [NTLM] + Type 1    -->  begin
//!                           (<- Resp "NTLM, please"     --   AwaitingNegotiate
//!                            -- Resp Type 1             -->    ::challenge)
//! AwaitingChallenge          <- Resp Type 2             --   AwaitingAuthenticate
//!   ::authenticate           -- Resp Type 3, signature  -->    ::authenticate -> Login or Refusal
//! AwaitingResult::finish     <- Resp "done", signature  --
//! ```
//!
//! The round in brackets happens when the client preferred another mechanism. Clients also send bare NTLM messages
//! under `Negotiate`: check [`ntlm::is_message`](super::ntlm::is_message) first. Code that only observes uses
//! [`Carried`]. Start with `token.rs`.

mod carried;
mod client;
mod server;
#[cfg(test)]
mod tests;
mod token;

use super::der::DerError;

pub use carried::Carried;
pub use client::{AwaitingChallenge, AwaitingResult, Client, ClientError};
pub use server::{AwaitingAuthenticate, AwaitingNegotiate, Begun, Refusal, begin};
pub use token::{MechTypes, Mechanism, NegState, NegTokenInit, NegTokenResp, mech_types_der, neg_token_init};

/// What is wrong with a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Its elements are damaged.
    #[error("the token is damaged: {0}")]
    Der(#[from] DerError),
    /// A GSS token of another mechanism.
    #[error("a GSS token, but not of SPNEGO")]
    NotSpnego,
    /// The first token has no list of mechanisms.
    #[error("no list of mechanisms")]
    NoMechTypes,
    /// The state is not one of the four.
    #[error("an unknown negotiation state")]
    BadState,
}
