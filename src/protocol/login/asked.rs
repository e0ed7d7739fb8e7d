//! What a request brings: its `Authorization`.

use std::hash::BuildHasher;
use std::time::Instant;

use super::Mechanism;
use super::name;
use super::token::{self, Beginning, Scheme};
use crate::protocol::ntlm::MessageType;
use crate::protocol::spnego::Carried;

/// A request, as far as the login goes. It is kept with the exchange until the reply comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub(super) at: Instant,
    pub(super) presented: Presented,
    /// Whom it names; see `name.rs`.
    pub(super) name: Option<Box<str>>,
    /// What it asks for, as a number.
    pub(super) place: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presented {
    Nothing,
    Type1(Mechanism),
    Type3(Mechanism),
    Kerberos,
    Basic,
    Other,
}

impl Asked {
    /// A request with these `Authorization` values whose head came at `now`. There should be one at most; of several the
    /// first counts that belongs to Windows Authentication.
    pub fn new<'a>(authorization: impl IntoIterator<Item = &'a [u8]>, now: Instant) -> Self {
        let mut first = None;
        for value in authorization {
            let (scheme, token) = token::split_scheme(value);
            if let Some(scheme) = Scheme::of_name(scheme) {
                let (presented, name) = windows(scheme, token);
                return Self { at: now, presented, name, place: 0 };
            }
            first = first.or(Some((scheme, token)));
        }
        let (presented, name) = match first {
            None => (Presented::Nothing, None),
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Basic") => {
                (Presented::Basic, name::of_basic(token))
            }
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Digest") => {
                (Presented::Other, name::of_digest(token))
            }
            Some(_) => (Presented::Other, None),
        };
        Self { at: now, presented, name, place: 0 }
    }

    /// The same, for what is at this host and target: a Type 3 belongs to a Type 1 that asked for the same.
    ///
    /// A site may need a login in one place and none in another, where a server answers 200 to a Type 3 that it does not look
    /// at. What comes behind a question mark counts for nothing. `keys` are not to be known to clients, who could look for
    /// two places of one number.
    #[must_use]
    pub fn for_place(self, keys: &impl BuildHasher, host: Option<&[u8]>, target: &[u8]) -> Self {
        if !matches!(self.presented, Presented::Type1(_) | Presented::Type3(_)) {
            return self;
        }
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        // Half of it is enough, and leaves an exchange as small as it is.
        Self { place: keys.hash_one((host, path)) as u32, ..self }
    }

    /// Whether it brings credentials without a name that can be read: a Kerberos ticket is encrypted, a bearer's token is its
    /// server's.
    pub fn is_unnamed(&self) -> bool {
        self.name.is_none() && !matches!(self.presented, Presented::Nothing | Presented::Type1(_))
    }
}

fn windows(scheme: Scheme, token: &[u8]) -> (Presented, Option<Box<str>>) {
    match Beginning::of(token).carried(scheme) {
        Some(Carried::Ntlm(MessageType::Authenticate)) => {
            (Presented::Type3(scheme.of_ntlm()), name::in_token(&token::decode(token)))
        }
        Some(carried) => (presented(scheme, carried), None),
        // The message may come late in a token, or in a form that is not known here.
        None => {
            let token = token::decode(token);
            let presented = match Carried::in_beginning(&token) {
                Some(carried) if scheme == Scheme::Negotiate => presented(scheme, carried),
                _ => Presented::Other,
            };
            (presented, name::in_token(&token))
        }
    }
}

fn presented(scheme: Scheme, carried: Carried) -> Presented {
    match carried {
        Carried::Ntlm(MessageType::Negotiate) => Presented::Type1(scheme.of_ntlm()),
        Carried::Ntlm(MessageType::Authenticate) => Presented::Type3(scheme.of_ntlm()),
        Carried::Ntlm(MessageType::Challenge) => Presented::Other,
        Carried::Kerberos => Presented::Kerberos,
    }
}
