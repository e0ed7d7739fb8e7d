//! The user a connection belongs to: login state that is stored in the connection only.

use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::pause::pause;
use super::settings::Provider;
use super::site::Site;
use super::stream::End;
use crate::protocol::ntlm::{self, ExtendedProtection, FileTime, Login, NtHash};
use crate::protocol::spnego;

/// The time in Type 2 with a fixed challenge: 2024-01-01.
const FIXED_TIME: FileTime = FileTime(133_485_408_000_000_000);

/// A user who proved the password on this connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// The account's name, `DOMAIN\user`.
    pub(super) user: String,
    pub(super) provider: Provider,
}

/// The state of the login on a connection.
#[derive(Default)]
pub(super) enum LoginState {
    /// No login yet.
    #[default]
    Anonymous,
    /// The client must send its next message.
    Handshake(Provider, Handshake),
    /// Logged in.
    LoggedIn(Identity),
}

/// The message that the client must send next.
pub(super) enum Handshake {
    /// A bare Type 3.
    Ntlm(ntlm::AwaitingAuthenticate),
    /// A Type 1 inside SPNEGO.
    Negotiating(spnego::AwaitingNegotiate),
    /// A Type 3 inside SPNEGO.
    Spnego(spnego::AwaitingAuthenticate),
}

/// What an `Authorization` header leads to.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Another round: the value of `WWW-Authenticate`.
    GoOn(String),
    /// Accepted: the value of `WWW-Authenticate`, if a last token must be sent.
    In(Option<String>),
    /// Refused, with the reason.
    Refused(String),
    /// The scheme is not one of those offered.
    OtherScheme,
    /// It is not base64.
    Malformed,
    /// The connection must be closed without an answer.
    Fault,
}

impl LoginState {
    /// The user, if there is one.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match self {
            Self::LoggedIn(identity) => Some(identity),
            Self::Anonymous | Self::Handshake(..) => None,
        }
    }

    /// Advances the login by the value of an `Authorization` header. Earlier state is dropped: a new login on a
    /// connection ends the old one.
    pub(super) async fn authorize(&mut self, value: &[u8], site: &Site) -> Result<Verdict, End> {
        let before = std::mem::take(self);
        let Some((provider, token)) = split(value, &site.settings.providers) else {
            return Ok(Verdict::OtherScheme);
        };
        let Ok(token) = BASE64_STANDARD.decode(token) else { return Ok(Verdict::Malformed) };
        let begins = ntlm::is_message(&token) && token.get(8) == Some(&1);
        match before {
            Self::Handshake(same, handshake) if same == provider && !begins => {
                self.go_on(provider, handshake, &token, site).await
            }
            _ => self.begin(provider, &token, site),
        }
    }

    fn begin(&mut self, provider: Provider, token: &[u8], site: &Site) -> Result<Verdict, End> {
        let (server_challenge, now) = challenge_and_time(site)?;
        let begun = if provider == Provider::Ntlm || ntlm::is_message(token) {
            site.ntlm
                .challenge(token, server_challenge, now)
                .map(|(next, reply)| (Handshake::Ntlm(next), reply))
                .map_err(|error| error.to_string())
        } else {
            spnego::begin(&site.ntlm, token, server_challenge, now)
                .map(|(next, reply)| match next {
                    spnego::Begun::Negotiating(next) => (Handshake::Negotiating(next), reply),
                    spnego::Begun::Challenged(next) => (Handshake::Spnego(next), reply),
                })
                .map_err(|refusal| refusal.to_string())
        };
        Ok(match begun {
            Ok((next, reply)) => {
                *self = Self::Handshake(provider, next);
                Verdict::GoOn(header_value(provider, &reply))
            }
            Err(reason) => Verdict::Refused(reason),
        })
    }

    async fn go_on(
        &mut self,
        provider: Provider,
        handshake: Handshake,
        token: &[u8],
        site: &Site,
    ) -> Result<Verdict, End> {
        if let Handshake::Negotiating(awaiting) = handshake {
            let (server_challenge, now) = challenge_and_time(site)?;
            return Ok(match awaiting.challenge(&site.ntlm, token, server_challenge, now) {
                Ok((next, reply)) => {
                    *self = Self::Handshake(provider, Handshake::Spnego(next));
                    Verdict::GoOn(header_value(provider, &reply))
                }
                Err(refusal) => Verdict::Refused(refusal.to_string()),
            });
        }
        if site.settings.faults.closes_handshake() {
            return Ok(Verdict::Fault);
        }
        let protection = site.tls.as_ref().map_or(ExtendedProtection::Off, |tls| tls.protection);
        let verified = verify(handshake, token, site, protection).await?;
        Ok(match verified {
            Ok((user, last_token)) => {
                *self = Self::LoggedIn(Identity { user, provider });
                Verdict::In(last_token.map(|token| header_value(provider, &token)))
            }
            Err(reason) => Verdict::Refused(reason),
        })
    }
}

/// Verifies a message as a domain controller would: it takes time and serves only a few at once.
async fn verify(
    handshake: Handshake,
    token: &[u8],
    site: &Site,
    protection: ExtendedProtection,
) -> Result<Result<(String, Option<Vec<u8>>), String>, End> {
    // The semaphore is never closed.
    let _turn = match &site.verify_turns {
        Some(turns) => turns.acquire().await.ok(),
        None => None,
    };
    pause(site.settings.verify_delay).await?;
    let mut account = None;
    let hash_of = |user: &str, domain: &str| -> Option<NtHash> {
        let (name, hash) = site.settings.accounts.find(user, domain)?;
        account = Some(name.to_owned());
        Some(hash)
    };
    let outcome: Result<(Login, Option<Vec<u8>>), String> = match handshake {
        Handshake::Ntlm(awaiting) => awaiting
            .authenticate(token, hash_of, protection)
            .map(|login| (login, None))
            .map_err(|refusal| refusal.to_string()),
        Handshake::Spnego(awaiting) => awaiting
            .authenticate(token, hash_of, protection)
            .map(|(login, last)| (login, Some(last)))
            .map_err(|refusal| refusal.to_string()),
        Handshake::Negotiating(_) => Err("an NTLM message is missing".to_owned()),
    };
    Ok(outcome.map(|(login, last)| (account.unwrap_or(login.user), last)))
}

/// The offered scheme, and what follows it.
fn split<'v>(value: &'v [u8], providers: &[Provider]) -> Option<(Provider, &'v [u8])> {
    let at = value.iter().position(|&byte| byte == b' ')?;
    let (scheme, token) = value.split_at(at);
    let provider =
        providers.iter().find(|provider| scheme.eq_ignore_ascii_case(provider.name().as_bytes()))?;
    Some((*provider, token.trim_ascii()))
}

fn header_value(provider: Provider, token: &[u8]) -> String {
    format!("{} {}", provider.name(), BASE64_STANDARD.encode(token))
}

fn challenge_and_time(site: &Site) -> Result<([u8; 8], FileTime), End> {
    if let Some(fixed) = site.settings.fixed_challenge {
        return Ok((fixed, FIXED_TIME));
    }
    let mut challenge = [0; 8];
    getrandom::fill(&mut challenge).map_err(std::io::Error::other)?;
    Ok((challenge, FileTime::from_system_time(site.settings.ntlm_time_skew.shown_at(SystemTime::now()))))
}
