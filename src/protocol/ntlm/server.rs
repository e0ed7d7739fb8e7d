//! The server's part of a login.

use subtle::ConstantTimeEq;

use super::av_pairs::{AvId, AvPairs, AvPairsBuilder};
use super::ntlmv2::rc4_apply;
use super::{
    Authenticate, Challenge, ChannelBindings, FileTime, Flags, MessageError, Negotiate, NtHash, NtResponse,
    NtlmV2Response, SessionKey, Version, authenticate,
};

/// What the server grants if the client asks for it.
const GRANTED: Flags = Flags::REQUEST_TARGET
    .with(Flags::SIGN)
    .with(Flags::ALWAYS_SIGN)
    .with(Flags::EXTENDED_SESSION_SECURITY)
    .with(Flags::KEY_128)
    .with(Flags::KEY_EXCHANGE)
    .with(Flags::KEY_56);

/// The server: what it says about itself when it answers NEGOTIATE messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// `NetBIOS` domain, `CORP`; also the target name.
    pub nb_domain: String,
    /// `NetBIOS` name, `WEB`.
    pub nb_computer: String,
    /// DNS domain, `corp.test`.
    pub dns_domain: String,
    /// DNS name, `web.corp.test`.
    pub dns_computer: String,
}

/// State after CHALLENGE is sent.
#[derive(Clone, Debug)]
pub struct AwaitingAuthenticate {
    server_challenge: [u8; 8],
    /// Both messages so far, as sent over the wire: the MIC covers them.
    negotiate: Vec<u8>,
    challenge: Vec<u8>,
}

impl Server {
    /// Answers a NEGOTIATE message. `server_challenge` must be random and fresh; `now` is sent in the message and makes
    /// clients send a MIC.
    ///
    /// # Errors
    /// What does not parse, or a message that offers no character set.
    pub fn challenge(
        &self,
        negotiate: &[u8],
        server_challenge: [u8; 8],
        now: FileTime,
    ) -> Result<(AwaitingAuthenticate, Vec<u8>), MessageError> {
        let offered = Negotiate::parse(negotiate)?.flags;
        // MS-NLMP 3.2.5.1.1: UNICODE if both are offered; with neither the token is invalid.
        let charset = match (offered.has(Flags::UNICODE), offered.has(Flags::OEM)) {
            (true, _) => Flags::UNICODE,
            (false, true) => Flags::OEM,
            (false, false) => return Err(MessageError::NoCharset),
        };
        let pairs = self.target_info(now)?;
        let challenge = Challenge {
            flags: offered
                .common_with(GRANTED)
                .with(charset)
                .with(Flags::NTLM)
                .with(Flags::TARGET_TYPE_DOMAIN),
            target_name: self.nb_domain.clone(),
            server_challenge,
            target_info: Some(AvPairs::parse(&pairs)?),
            version: offered.has(Flags::VERSION).then_some(Version::WINDOWS_10),
        }
        .to_bytes()?;
        let next = AwaitingAuthenticate {
            server_challenge,
            negotiate: negotiate.to_vec(),
            challenge: challenge.clone(),
        };
        Ok((next, challenge))
    }

    fn target_info(&self, now: FileTime) -> Result<Vec<u8>, MessageError> {
        let mut pairs = AvPairsBuilder::default();
        pairs.add_text(AvId::NbDomainName, &self.nb_domain)?;
        pairs.add_text(AvId::NbComputerName, &self.nb_computer)?;
        pairs.add_text(AvId::DnsDomainName, &self.dns_domain)?;
        pairs.add_text(AvId::DnsComputerName, &self.dns_computer)?;
        pairs.add_text(AvId::DnsTreeName, &self.dns_domain)?;
        pairs.add(AvId::Timestamp as u16, &now.0.to_le_bytes())?;
        Ok(pairs.finish())
    }
}

/// The server's requirements for channel bindings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExtendedProtection {
    /// Bindings are ignored.
    Off,
    /// A client that sends bindings must send these.
    Allow(ChannelBindings),
    /// Every client must send these.
    Require(ChannelBindings),
}

/// A proven login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// The domain, as sent.
    pub domain: String,
    /// The user's name, as sent.
    pub user: String,
    /// The client's host, as claimed.
    pub workstation: String,
    /// The SPN of the server that the client intended to reach.
    pub target_name: Option<String>,
    /// Whether a MIC was sent (and verified).
    pub has_mic: bool,
    /// Signs further messages.
    pub session: SessionKey,
}

/// Why a login was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The message does not parse.
    #[error("malformed message: {0}")]
    Malformed(#[from] MessageError),
    /// No user and no proof.
    #[error("anonymous logins are not accepted")]
    Anonymous,
    /// A user without a proof.
    #[error("neither an LM nor an NT response was sent")]
    EmptyResponse,
    /// Only an LM response.
    #[error("only an LM response was sent; NTLMv2 is required")]
    LmOnly,
    /// `NTLMv1`.
    #[error("an NTLMv1 response was sent; NTLMv2 is required")]
    NtlmV1,
    /// The user does not exist.
    #[error("no such user: {domain}\\{user}")]
    UnknownUser {
        /// As sent.
        domain: String,
        /// As sent.
        user: String,
    },
    /// The proof does not match this user's password, or answers another challenge.
    #[error("wrong password for {domain}\\{user}, or an answer to another challenge")]
    WrongPassword {
        /// As sent.
        domain: String,
        /// As sent.
        user: String,
    },
    /// A session key of an invalid length.
    #[error("the session key is {found_bytes} bytes, not 16")]
    BadSessionKey {
        /// The length of what came.
        found_bytes: usize,
    },
    /// One of the three messages was changed in transit.
    #[error("the message integrity code is wrong: one of the three messages was changed in transit")]
    WrongMic,
    /// The client's bindings are those of another TLS connection: TLS ends somewhere else.
    #[error("the channel bindings are those of another certificate")]
    WrongBindings,
    /// The client sent no channel bindings.
    #[error("no channel bindings were sent, and they are required")]
    MissingBindings,
}

impl AwaitingAuthenticate {
    /// Verifies an AUTHENTICATE message over the bytes as received. `hash_of` is called once, for the user and the
    /// domain as sent.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn authenticate(
        self,
        message: &[u8],
        hash_of: impl FnOnce(&str, &str) -> Option<NtHash>,
        protection: ExtendedProtection,
    ) -> Result<Login, Refusal> {
        let parsed = Authenticate::parse(message)?;
        let response = proof_of(&parsed)?;
        let hash = hash_of(&parsed.user, &parsed.domain).ok_or_else(|| Refusal::UnknownUser {
            domain: parsed.domain.clone(),
            user: parsed.user.clone(),
        })?;
        let key = hash.response_key(&parsed.user, &parsed.domain);
        let proof = key.proof(self.server_challenge, response.temp);
        if !bool::from(proof.ct_eq(&response.proof)) {
            return Err(Refusal::WrongPassword { domain: parsed.domain, user: parsed.user });
        }
        let session = session_key(&parsed, key.session_base_key(&proof))?;
        if let Some(mic) = parsed.mic {
            self.check_mic(message, mic, &session)?;
        }
        check_bindings(&response.pairs, protection)?;
        let target_name = response.pairs.text(AvId::TargetName)?;
        Ok(Login {
            domain: parsed.domain,
            user: parsed.user,
            workstation: parsed.workstation,
            target_name,
            has_mic: parsed.mic.is_some(),
            session,
        })
    }

    fn check_mic(&self, message: &[u8], mic: [u8; 16], session: &SessionKey) -> Result<(), Refusal> {
        let mut without_mic = message.to_vec();
        without_mic[authenticate::MIC..authenticate::MIC + mic.len()].fill(0);
        let expected = session.message_mic(&self.negotiate, &self.challenge, &without_mic);
        if bool::from(expected.ct_eq(&mic)) { Ok(()) } else { Err(Refusal::WrongMic) }
    }
}

/// The `NTLMv2` response, or why there is none.
fn proof_of<'a>(message: &Authenticate<'a>) -> Result<NtlmV2Response<'a>, Refusal> {
    if message.flags.has(Flags::ANONYMOUS) {
        return Err(Refusal::Anonymous);
    }
    match NtResponse::parse(message.nt_response)? {
        NtResponse::V2(response) => Ok(response),
        NtResponse::V1 => Err(Refusal::NtlmV1),
        // MS-NLMP 3.2.5.1.2: an anonymous client sends no user, no NT response and one zero byte or nothing for LM.
        NtResponse::Empty if message.lm_response.len() > 1 => Err(Refusal::LmOnly),
        NtResponse::Empty if message.user.is_empty() => Err(Refusal::Anonymous),
        NtResponse::Empty => Err(Refusal::EmptyResponse),
    }
}

fn session_key(message: &Authenticate<'_>, base_key: [u8; 16]) -> Result<SessionKey, Refusal> {
    let encrypted = message.encrypted_session_key;
    // A client that agreed to exchange a key but will not sign anything may leave it out (MS-NLMP 3.1.5.1.2).
    if !message.flags.has(Flags::KEY_EXCHANGE) || encrypted.is_empty() {
        return Ok(SessionKey::new(base_key, message.flags));
    }
    let mut exported: [u8; 16] =
        encrypted.try_into().map_err(|_| Refusal::BadSessionKey { found_bytes: encrypted.len() })?;
    rc4_apply(&base_key, &mut exported);
    Ok(SessionKey::new(exported, message.flags))
}

fn check_bindings(pairs: &AvPairs<'_>, protection: ExtendedProtection) -> Result<(), Refusal> {
    let (expected, required) = match protection {
        ExtendedProtection::Off => return Ok(()),
        ExtendedProtection::Allow(bindings) => (bindings, false),
        ExtendedProtection::Require(bindings) => (bindings, true),
    };
    match pairs.channel_bindings()? {
        Some(found) if bool::from(found.ct_eq(expected.as_bytes())) => Ok(()),
        Some(_) => Err(Refusal::WrongBindings),
        None if required => Err(Refusal::MissingBindings),
        None => Ok(()),
    }
}
