//! The server's part: whatever the client prefers, NTLM is chosen.

use subtle::ConstantTimeEq;

use super::TokenError;
use super::token::{Mechanism, NegState, NegTokenInit, NegTokenResp};
use crate::protocol::ntlm::{self, Direction, ExtendedProtection, FileTime, Login, MessageError, NtHash};

/// What the client offered, and whether its choice must be signed.
#[derive(Clone, Debug)]
struct Offer {
    mech_types_der: Vec<u8>,
    /// NTLM was not the client's favourite, so an attacker could have removed that from the list (RFC 4178 section 5).
    mic_required: bool,
}

/// State after NTLM was chosen and before the client has sent an NTLM message.
#[derive(Clone, Debug)]
pub struct AwaitingNegotiate {
    offer: Offer,
}

/// State after the NTLM challenge is sent.
#[derive(Clone, Debug)]
pub struct AwaitingAuthenticate {
    offer: Offer,
    ntlm: ntlm::AwaitingAuthenticate,
}

/// What follows the first token.
#[derive(Clone, Debug)]
pub enum Begun {
    /// Another round, because the client sent ahead a message of another mechanism, or none.
    Negotiating(AwaitingNegotiate),
    /// The challenge.
    Challenged(AwaitingAuthenticate),
}

/// Why a login was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The token does not parse.
    #[error("malformed Negotiate token: {0}")]
    Malformed(#[from] TokenError),
    /// The client does not offer NTLM.
    #[error("the client does not offer NTLM")]
    NoCommonMechanism,
    /// A token without a message where one is expected.
    #[error("the Negotiate token carries no NTLM message")]
    NoMessage,
    /// The list of mechanisms was changed in transit.
    #[error("the signature of the mechanism list is wrong")]
    WrongMechListMic,
    /// The list of mechanisms must be signed, because NTLM was not the client's favourite.
    #[error("the mechanism list must be signed and is not")]
    MissingMechListMic,
    /// The NTLM message inside.
    #[error(transparent)]
    Ntlm(#[from] ntlm::Refusal),
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Self {
        Self::Ntlm(error.into())
    }
}

/// Answers a client's first token. `server_challenge` and `now` are those of [`ntlm::Server::challenge`].
///
/// # Errors
/// See [`Refusal`].
pub fn begin(
    server: &ntlm::Server,
    token: &[u8],
    server_challenge: [u8; 8],
    now: FileTime,
) -> Result<(Begun, Vec<u8>), Refusal> {
    let init = NegTokenInit::parse(token)?;
    if !init.mech_types.iter().any(|mechanism| mechanism == Mechanism::Ntlm) {
        return Err(Refusal::NoCommonMechanism);
    }
    let favourite = init.mech_types.iter().next() == Some(Mechanism::Ntlm);
    let offer = Offer { mech_types_der: init.mech_types.der().to_vec(), mic_required: !favourite };
    match init.mech_token {
        Some(message) if favourite => {
            let (next, reply) = AwaitingNegotiate { offer }.answer(server, message, server_challenge, now)?;
            Ok((Begun::Challenged(next), reply))
        }
        _ => {
            let reply = NegTokenResp {
                state: Some(if favourite { NegState::AcceptIncomplete } else { NegState::RequestMic }),
                supported_mech: Some(Mechanism::Ntlm),
                ..NegTokenResp::default()
            };
            Ok((Begun::Negotiating(AwaitingNegotiate { offer }), reply.to_bytes()))
        }
    }
}

impl AwaitingNegotiate {
    /// Answers a token with a NEGOTIATE message.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn challenge(
        self,
        server: &ntlm::Server,
        token: &[u8],
        server_challenge: [u8; 8],
        now: FileTime,
    ) -> Result<(AwaitingAuthenticate, Vec<u8>), Refusal> {
        let message = NegTokenResp::parse(token)?.response_token.ok_or(Refusal::NoMessage)?;
        self.answer(server, message, server_challenge, now)
    }

    fn answer(
        self,
        server: &ntlm::Server,
        message: &[u8],
        server_challenge: [u8; 8],
        now: FileTime,
    ) -> Result<(AwaitingAuthenticate, Vec<u8>), Refusal> {
        let (ntlm, challenge) = server.challenge(message, server_challenge, now)?;
        let reply = NegTokenResp {
            state: Some(NegState::AcceptIncomplete),
            supported_mech: Some(Mechanism::Ntlm),
            response_token: Some(&challenge),
            mech_list_mic: None,
        };
        Ok((AwaitingAuthenticate { offer: self.offer, ntlm }, reply.to_bytes()))
    }
}

impl AwaitingAuthenticate {
    /// Verifies a token with an AUTHENTICATE message; returns the login and the last token. The server answers the
    /// signature of the list with its own, as RFC 4178 section 5 requires.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn authenticate(
        self,
        token: &[u8],
        hash_of: impl FnOnce(&str, &str) -> Option<NtHash>,
        protection: ExtendedProtection,
    ) -> Result<(Login, Vec<u8>), Refusal> {
        let token = NegTokenResp::parse(token)?;
        let message = token.response_token.ok_or(Refusal::NoMessage)?;
        let login = self.ntlm.authenticate(message, hash_of, protection)?;
        let signed = |direction| login.session.first_signature(direction, &self.offer.mech_types_der);
        let reply_mic = match token.mech_list_mic {
            Some(found) => {
                let expected = signed(Direction::ClientToServer).ok_or(Refusal::WrongMechListMic)?;
                if !bool::from(expected.ct_eq(found)) {
                    return Err(Refusal::WrongMechListMic);
                }
                signed(Direction::ServerToClient)
            }
            None if self.offer.mic_required => return Err(Refusal::MissingMechListMic),
            None => None,
        };
        let reply = NegTokenResp {
            state: Some(NegState::AcceptCompleted),
            mech_list_mic: reply_mic.as_ref().map(|mic| &mic[..]),
            ..NegTokenResp::default()
        };
        Ok((login, reply.to_bytes()))
    }
}
