//! What a 401 brings: its `WWW-Authenticate`.

use super::Mechanism;
use super::token::{self, Beginning, Scheme};
use crate::protocol::ntlm::MessageType;
use crate::protocol::spnego::{Carried, NegState, NegTokenResp};

/// What a 401 offers under each scheme.
#[derive(Clone, Copy, Default)]
pub(super) struct Challenges {
    ntlm: Challenge,
    negotiate: Challenge,
}

impl Challenges {
    /// Reads these header values: each is a list, and there may be several.
    pub(super) fn of<'a>(www_authenticate: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut challenges = Self::default();
        for item in www_authenticate.into_iter().flat_map(items) {
            let (scheme, token) = token::split_scheme(item);
            let Some(scheme) = Scheme::of_name(scheme) else { continue };
            let place = match scheme {
                Scheme::Ntlm => &mut challenges.ntlm,
                Scheme::Negotiate => &mut challenges.negotiate,
            };
            *place = Challenge::of(scheme, token).max(*place);
        }
        challenges
    }

    /// The most significant of all.
    pub(super) fn best(self) -> Challenge {
        self.ntlm.max(self.negotiate)
    }

    /// What the 401 means for a client that logs in with this mechanism: a token under the other scheme starts that one
    /// again.
    pub(super) fn to(self, mechanism: Mechanism) -> Challenge {
        let (own, other) = match mechanism {
            Mechanism::Ntlm => (self.ntlm, self.negotiate),
            Mechanism::NegotiateNtlm | Mechanism::Kerberos => (self.negotiate, self.ntlm),
        };
        own.max(other.min(Challenge::Schemes))
    }
}

/// What a 401 offers, in ascending order of significance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Challenge {
    /// No Windows Authentication.
    #[default]
    None,
    /// A new login.
    Schemes,
    /// The next step of `Negotiate`.
    Token,
    /// The next step of NTLM.
    Type2,
}

impl Challenge {
    fn of(scheme: Scheme, token: &[u8]) -> Self {
        let beginning = Beginning::of(token);
        match beginning.carried(scheme) {
            Some(Carried::Ntlm(MessageType::Challenge)) => Self::Type2,
            _ if scheme == Scheme::Ntlm || beginning.bytes().is_empty() => Self::Schemes,
            _ if is_rejection(beginning.bytes()) => Self::Schemes,
            _ => Self::Token,
        }
    }
}

/// Whether this is SPNEGO's rejection. Rejections are short: a token that continues past its beginning is not one.
fn is_rejection(token: &[u8]) -> bool {
    NegTokenResp::parse(token).is_ok_and(|token| token.state == Some(NegState::Reject))
}

/// The items of a list; a comma in a quoted string (a realm's name) does not separate items.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut in_quotes = false;
    value.split(move |&byte| {
        in_quotes ^= byte == b'"';
        byte == b',' && !in_quotes
    })
}
