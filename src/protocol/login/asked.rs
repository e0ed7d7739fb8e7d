//! What a request brings: its `Authorization`.

use std::time::Instant;

use super::Mechanism;
use super::token::{self, Beginning, Scheme};
use crate::protocol::ntlm::{self, Authenticate, MessageType};
use crate::protocol::spnego::{Carried, NegTokenInit, NegTokenResp};

/// A Type 3 with its names and AV pairs takes some 500 to 1,500 bytes. Of one over 64 KiB the user is not read.
const TYPE3_DIGITS_MAX: usize = 64 * 1024 / 3 * 4;

/// Nor is a name that no account has: Active Directory stops at 1,024 characters, for a user principal name, and allows
/// no control characters.
const IDENTITY_BYTES_MAX: usize = 1024;

/// A request, as far as the login goes. It is kept with the exchange until the reply comes, so that requests sent ahead
/// of their replies are no different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub(super) at: Instant,
    pub(super) presented: Presented,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Presented {
    Nothing,
    Type1(Mechanism),
    Type3(Mechanism, Option<Box<str>>),
    Kerberos,
    Basic,
    Other,
}

impl Asked {
    /// A request with these `Authorization` values whose head came at `now`. There should be one at most; of several the
    /// first counts that belongs to Windows Authentication.
    pub fn new<'a>(authorization: impl IntoIterator<Item = &'a [u8]>, now: Instant) -> Self {
        let mut presented = Presented::Nothing;
        for value in authorization {
            match Presented::by(value) {
                Some(windows) => return Self { at: now, presented: windows },
                None if presented == Presented::Nothing => presented = Presented::by_another_scheme(value),
                None => {}
            }
        }
        Self { at: now, presented }
    }
}

impl Presented {
    fn by(value: &[u8]) -> Option<Self> {
        let (scheme, token) = token::split_scheme(value);
        let scheme = Scheme::of_name(scheme)?;
        Some(match Beginning::of(token).carried(scheme) {
            Some(Carried::Ntlm(MessageType::Negotiate)) => Self::Type1(scheme.of_ntlm()),
            Some(Carried::Ntlm(MessageType::Authenticate)) => Self::Type3(scheme.of_ntlm(), identity(token)),
            Some(Carried::Kerberos) => Self::Kerberos,
            Some(Carried::Ntlm(MessageType::Challenge)) | None => Self::Other,
        })
    }

    fn by_another_scheme(value: &[u8]) -> Self {
        let (scheme, _) = token::split_scheme(value);
        if scheme.eq_ignore_ascii_case(b"Basic") { Self::Basic } else { Self::Other }
    }
}

/// Whom a Type 3 names, as `DOMAIN\user`, or as it is without a domain. `None` for the anonymous user.
fn identity(token: &[u8]) -> Option<Box<str>> {
    if token.len() > TYPE3_DIGITS_MAX {
        return None;
    }
    let token = token::decode(token)?;
    let message = if ntlm::is_message(&token) {
        &token[..]
    } else {
        let later = NegTokenResp::parse(&token).ok().and_then(|token| token.response_token);
        later.or_else(|| NegTokenInit::parse(&token).ok()?.mech_token)?
    };
    let Authenticate { domain, user, .. } = Authenticate::parse(message).ok()?;
    let identity = match (&*domain, &*user) {
        (_, "") => return None,
        ("", user) => user.to_owned(),
        (domain, user) => format!("{domain}\\{user}"),
    };
    let is_name = identity.len() <= IDENTITY_BYTES_MAX && !identity.contains(char::is_control);
    is_name.then(|| identity.into())
}
