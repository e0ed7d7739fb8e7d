//! The client's part: NTLM inside SPNEGO, as a client without Kerberos uses `Negotiate`.

use subtle::ConstantTimeEq;

use super::TokenError;
use super::token::{Mechanism, NegState, NegTokenResp, mech_types_der, neg_token_init};
use crate::protocol::ntlm::{self, ClientRandom, Direction, FileTime, SessionKey};

const MECHANISMS: &[Mechanism<'static>] = &[Mechanism::Ntlm];

/// A login that has not started.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    ntlm: ntlm::Client<'c>,
}

/// State after the first token is sent.
#[derive(Clone, Copy, Debug)]
pub struct AwaitingChallenge<'c> {
    ntlm: ntlm::AwaitingChallenge<'c>,
}

/// State after the proof is sent.
#[derive(Clone, Debug)]
pub struct AwaitingResult {
    session: SessionKey,
}

/// Why a login did not continue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's fault: its token is damaged.
    #[error("the server's Negotiate token is damaged: {0}")]
    BadToken(#[from] TokenError),
    /// The server rejected the negotiation.
    #[error("the server refused the negotiation")]
    Rejected,
    /// The server wants a mechanism other than NTLM.
    #[error("the server chose a mechanism other than NTLM")]
    OtherMechanism,
    /// The token has no NTLM challenge where one is expected.
    #[error("the server's token carries no NTLM challenge")]
    NoChallenge,
    /// The server's signature of the list of mechanisms is wrong.
    #[error("the server's signature of the mechanism list is wrong")]
    WrongMechListMic,
    /// The NTLM message inside.
    #[error(transparent)]
    Ntlm(#[from] ntlm::ClientError),
}

impl<'c> Client<'c> {
    /// A login by this NTLM client.
    pub fn new(ntlm: ntlm::Client<'c>) -> Self {
        Self { ntlm }
    }

    /// Starts the login: returns the state that waits for the answer, and the token to send.
    pub fn negotiate(self) -> (AwaitingChallenge<'c>, Vec<u8>) {
        let (ntlm, message) = self.ntlm.negotiate();
        (AwaitingChallenge { ntlm }, neg_token_init(MECHANISMS, Some(message)))
    }
}

impl AwaitingChallenge<'_> {
    /// Answers the server's token, which must carry a CHALLENGE message.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn authenticate(
        self,
        token: &[u8],
        random: &ClientRandom,
        now: FileTime,
    ) -> Result<(AwaitingResult, Vec<u8>), ClientError> {
        let token = NegTokenResp::parse(token)?;
        if token.state == Some(NegState::Reject) {
            return Err(ClientError::Rejected);
        }
        if token.supported_mech.is_some_and(|mechanism| mechanism != Mechanism::Ntlm) {
            return Err(ClientError::OtherMechanism);
        }
        let challenge = token.response_token.ok_or(ClientError::NoChallenge)?;
        let answered = self.ntlm.authenticate(challenge, random, now)?;
        let mic = answered.session.first_signature(Direction::ClientToServer, &mech_types_der(MECHANISMS));
        let reply = NegTokenResp {
            response_token: Some(&answered.message),
            mech_list_mic: mic.as_ref().map(|mic| &mic[..]),
            ..NegTokenResp::default()
        };
        Ok((AwaitingResult { session: answered.session }, reply.to_bytes()))
    }
}

impl AwaitingResult {
    /// Checks the server's last token, if it sent one with its answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn finish(self, token: &[u8]) -> Result<(), ClientError> {
        let token = NegTokenResp::parse(token)?;
        if token.state == Some(NegState::Reject) {
            return Err(ClientError::Rejected);
        }
        let expected = self.session.first_signature(Direction::ServerToClient, &mech_types_der(MECHANISMS));
        match (token.mech_list_mic, expected) {
            (Some(found), Some(expected)) if !bool::from(expected.ct_eq(found)) => {
                Err(ClientError::WrongMechListMic)
            }
            _ => Ok(()),
        }
    }
}
