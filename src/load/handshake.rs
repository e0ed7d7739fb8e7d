//! The messages of a login, without its connection: computed for the server's challenge, or recorded.

use std::time::SystemTime;

use super::failure::Failure;
use super::plan::{Proof, Scheme};
use super::recording::Recorded;
use crate::protocol::ntlm::{self, ChannelBindings, ClientRandom, FileTime};
use crate::protocol::spnego;

/// A login that waits for the server's challenge.
pub(super) enum Handshake<'a> {
    Ntlm(ntlm::AwaitingChallenge<'a>),
    Negotiate(spnego::AwaitingChallenge<'a>),
    Recorded(&'a Recorded),
}

/// The client's last token.
pub(super) struct Answer {
    pub token: Vec<u8>,
    /// The state that checks the server's last token, if it can be checked.
    pub awaiting: Option<spnego::AwaitingResult>,
    /// It was recorded for another challenge than the server's.
    pub is_for_another: bool,
}

impl<'a> Handshake<'a> {
    /// Begins the login: returns the state and the first token. `service` and `bindings` become part of a computed
    /// proof; a recorded one keeps its own.
    pub(super) fn begin(
        proof: Proof<'a>,
        service: &'a str,
        bindings: Option<ChannelBindings>,
    ) -> (Self, Vec<u8>) {
        let (scheme, user) = match proof {
            Proof::Recorded(recorded) => return (Self::Recorded(recorded), recorded.type1.clone()),
            Proof::Computed { scheme, user } => (scheme, user),
        };
        let mut client = ntlm::Client::new(user).target_name(service);
        if let Some(bindings) = bindings {
            client = client.channel_bindings(bindings);
        }
        match scheme {
            Scheme::Ntlm => {
                let (state, message) = client.negotiate();
                (Self::Ntlm(state), message.to_vec())
            }
            Scheme::Negotiate => {
                let (state, token) = spnego::Client::new(client).negotiate();
                (Self::Negotiate(state), token)
            }
        }
    }

    /// Answers the server's token.
    pub(super) fn answer(self, challenge: &[u8]) -> Result<Answer, Failure> {
        let (token, awaiting) = match self {
            Self::Recorded(recorded) => {
                let is_for_another = recorded.type2 != challenge;
                return Ok(Answer { token: recorded.type3.clone(), awaiting: None, is_for_another });
            }
            Self::Ntlm(state) => (state.authenticate(challenge, &random(), now())?.message, None),
            Self::Negotiate(state) => {
                let (awaiting, token) = state.authenticate(challenge, &random(), now())?;
                (token, Some(awaiting))
            }
        };
        Ok(Answer { token, awaiting, is_for_another: false })
    }
}

fn random() -> ClientRandom {
    let mut random = ClientRandom { client_challenge: [0; 8], session_key: [0; 16] };
    fastrand::fill(&mut random.client_challenge);
    fastrand::fill(&mut random.session_key);
    random
}

fn now() -> FileTime {
    FileTime::from_system_time(SystemTime::now())
}
