//! What a request brings: its `Authorization`.

use std::hash::BuildHasher;
use std::time::Instant;

use super::Mechanism;
use super::name;
use super::token::{self, Beginning, Scheme};
use crate::protocol::ntlm::MessageType;
use crate::protocol::spnego::Carried;

/// A request, as far as the login is concerned. It is kept with the exchange until the reply comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub(super) at: Instant,
    pub(super) presented: Presented,
    /// The user it names; see `name.rs`.
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
    /// A request with these `Authorization` values whose head arrived at `now`. There should be at most one; of
    /// several, the first that belongs to Windows Authentication counts.
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

    /// Adds the host and target: a Type 3 belongs to a Type 1 that asked for the same.
    ///
    /// A site may need a login in one place and none in another, where a server answers 200 to a Type 3 without
    /// examining it. The query does not count. `keys` must be unknown to clients, which could otherwise search for two
    /// places with the same number.
    #[must_use]
    pub fn for_place(self, keys: &impl BuildHasher, host: Option<&[u8]>, target: &[u8]) -> Self {
        if !matches!(self.presented, Presented::Type1(_) | Presented::Type3(_)) {
            return self;
        }
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        // 32 bits are enough, and keep an exchange small.
        Self { place: keys.hash_one((host, path)) as u32, ..self }
    }

    /// Whether it brings credentials without a readable name: a Kerberos ticket is encrypted, and only the server can
    /// read a bearer token.
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
        // The message may come late in a token, or in an unknown form.
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
