//! What a 401 brings: its `WWW-Authenticate`.

use super::token::{self, Beginning, Scheme};
use crate::protocol::ntlm::MessageType;
use crate::protocol::spnego::{Carried, NegState, NegTokenResp};

/// The most telling of what a 401 offers; in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Challenge {
    /// No Windows Authentication.
    #[default]
    None,
    /// To begin a login.
    Schemes,
    /// To go on with `Negotiate`.
    Token,
    /// To go on with NTLM.
    Type2,
}

impl Challenge {
    /// Of these header values: each is a list, and there may be several of them.
    pub(super) fn of<'a>(www_authenticate: impl IntoIterator<Item = &'a [u8]>) -> Self {
        www_authenticate.into_iter().flat_map(items).map(Self::of_item).max().unwrap_or_default()
    }

    fn of_item(item: &[u8]) -> Self {
        let (scheme, token) = token::split_scheme(item);
        let Some(scheme) = Scheme::of_name(scheme) else { return Self::None };
        let beginning = Beginning::of(token);
        match beginning.carried(scheme) {
            Some(Carried::Ntlm(MessageType::Challenge)) => Self::Type2,
            _ if scheme == Scheme::Ntlm || beginning.bytes().is_empty() => Self::Schemes,
            _ if is_rejection(beginning.bytes()) => Self::Schemes,
            _ => Self::Token,
        }
    }
}

/// Whether it is SPNEGO's no. Those are short: a token that goes on after its beginning is none.
fn is_rejection(token: &[u8]) -> bool {
    NegTokenResp::parse(token).is_ok_and(|token| token.state == Some(NegState::Reject))
}

/// The items of a list; a comma in a quoted string (a realm's name) is none of the list's.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut in_quotes = false;
    value.split(move |&byte| {
        in_quotes ^= byte == b'"';
        byte == b',' && !in_quotes
    })
}
