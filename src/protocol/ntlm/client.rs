//! The client's part of a login.

use super::av_pairs::{AV_FLAG_MIC, AvId, AvPairs, AvPairsBuilder};
use super::ntlmv2::{ResponseKey, rc4_apply};
use super::{
    Authenticate, Challenge, ChannelBindings, FileTime, Flags, MessageError, NtHash, SessionKey, Version,
    authenticate,
};

/// What this client supports; the same as browsers, without the LM session key.
const OFFERED: Flags = Flags::UNICODE
    .with(Flags::OEM)
    .with(Flags::REQUEST_TARGET)
    .with(Flags::SIGN)
    .with(Flags::NTLM)
    .with(Flags::ALWAYS_SIGN)
    .with(Flags::EXTENDED_SESSION_SECURITY)
    .with(Flags::TARGET_INFO)
    .with(Flags::VERSION)
    .with(Flags::KEY_128)
    .with(Flags::KEY_EXCHANGE)
    .with(Flags::KEY_56);

/// The NEGOTIATE message of every login: it contains nothing about the user.
const NEGOTIATE: [u8; 40] = {
    let mut bytes = *b"NTLMSSP\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let flags = OFFERED.0.to_le_bytes();
    let version = Version::WINDOWS_10.0;
    let mut i = 0;
    while i < 8 {
        if i < 4 {
            bytes[12 + i] = flags[i];
        }
        bytes[32 + i] = version[i];
        i += 1;
    }
    bytes
};

/// The pairs that only the client may set.
const CLIENT_PAIRS: [u16; 3] = [AvId::Flags as u16, AvId::TargetName as u16, AvId::ChannelBindings as u16];

/// A user with the proof of the password. The expensive part of a login, the password's hash, is computed once, here.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    domain: String,
    user: String,
    key: ResponseKey,
}

impl Credentials {
    /// Credentials with a `domain`, which may be empty: for a local account, or for a user given as `user@dns.domain`.
    pub fn new(domain: &str, user: &str, password: &str) -> Self {
        let key = NtHash::of_password(password).response_key(user, domain);
        Self { domain: domain.to_owned(), user: user.to_owned(), key }
    }

    /// The domain as it is sent.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The user's name as it is sent.
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// Omits the key.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}\\{})", self.domain, self.user)
    }
}

/// A login that has not started.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    credentials: &'c Credentials,
    workstation: &'c str,
    target_name: Option<&'c str>,
    channel_bindings: Option<ChannelBindings>,
}

impl<'c> Client<'c> {
    /// A login as this user.
    pub fn new(credentials: &'c Credentials) -> Self {
        Self { credentials, workstation: "", target_name: None, channel_bindings: None }
    }

    /// Names the client's host. Servers only log it.
    #[must_use]
    pub fn workstation(self, name: &'c str) -> Self {
        Self { workstation: name, ..self }
    }

    /// Sets the SPN of the server that the client intends to reach: `HTTP/web.corp.test`.
    #[must_use]
    pub fn target_name(self, spn: &'c str) -> Self {
        Self { target_name: Some(spn), ..self }
    }

    /// Binds the login to the TLS connection it runs over (Extended Protection).
    #[must_use]
    pub fn channel_bindings(self, bindings: ChannelBindings) -> Self {
        Self { channel_bindings: Some(bindings), ..self }
    }

    /// Starts the login: returns the state that waits for the answer, and the message to send.
    pub fn negotiate(self) -> (AwaitingChallenge<'c>, &'static [u8]) {
        (AwaitingChallenge { client: self }, &NEGOTIATE)
    }
}

/// Randomness for one login. Reuse is only as bad as a predictable client challenge.
#[derive(Clone, Copy)]
pub struct ClientRandom {
    /// Part of the proof.
    pub client_challenge: [u8; 8],
    /// The key of the session, sent encrypted.
    pub session_key: [u8; 16],
}

/// State after NEGOTIATE is sent.
#[derive(Clone, Copy, Debug)]
pub struct AwaitingChallenge<'c> {
    client: Client<'c>,
}

/// State after the client has answered. The server gives its verdict outside of NTLM.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The AUTHENTICATE message to send.
    pub message: Vec<u8>,
    /// Signs further messages, if any.
    pub session: SessionKey,
}

/// Why a challenge was not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's fault.
    #[error("the server's NTLM challenge is damaged: {0}")]
    BadChallenge(#[source] MessageError),
    /// The client's fault: a name that is too long, or that the server's character set cannot express.
    #[error("the NTLM answer cannot be built: {0}")]
    CannotAnswer(#[source] MessageError),
}

impl AwaitingChallenge<'_> {
    /// Answers the CHALLENGE message `challenge`. `now` is used only if the server did not send its own time.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn authenticate(
        self,
        challenge: &[u8],
        random: &ClientRandom,
        now: FileTime,
    ) -> Result<Answered, ClientError> {
        let parsed = Challenge::parse(challenge).map_err(ClientError::BadChallenge)?;
        self.answer(&parsed, challenge, random, now).map_err(ClientError::CannotAnswer)
    }

    fn answer(
        self,
        challenge: &Challenge<'_>,
        challenge_bytes: &[u8],
        random: &ClientRandom,
        now: FileTime,
    ) -> Result<Answered, MessageError> {
        let client = self.client;
        let key = client.credentials.key;
        let server_time = match &challenge.target_info {
            Some(pairs) => pairs.timestamp()?,
            None => None,
        };
        // MS-NLMP 3.1.5.1.2: a server that sends its time gets a MIC and no LM response.
        let with_mic = server_time.is_some();
        let pairs = client.pairs_to_prove(challenge.target_info.as_ref(), with_mic)?;
        let temp = temp(server_time.unwrap_or(now), random.client_challenge, &pairs);
        let proof = key.proof(challenge.server_challenge, &temp);
        let nt_response = [&proof[..], &temp].concat();
        let lm_response = if with_mic {
            [0; 24]
        } else {
            key.lm_response(challenge.server_challenge, random.client_challenge)
        };

        let mut flags = OFFERED.common_with(challenge.flags);
        if flags.has(Flags::UNICODE) {
            flags = flags.without(Flags::OEM);
        }
        // A key is exchanged for signing (MS-NLMP 3.1.5.1.2); without it, servers differ in what they expect.
        if !flags.has(Flags::SIGN) {
            flags = flags.without(Flags::KEY_EXCHANGE);
        }
        let base_key = key.session_base_key(&proof);
        let (session, encrypted_session_key) = if flags.has(Flags::KEY_EXCHANGE) {
            let mut encrypted = random.session_key;
            rc4_apply(&base_key, &mut encrypted);
            (SessionKey::new(random.session_key, flags), encrypted.to_vec())
        } else {
            (SessionKey::new(base_key, flags), Vec::new())
        };
        let mut message = Authenticate {
            flags,
            lm_response: &lm_response,
            nt_response: &nt_response,
            domain: client.credentials.domain.clone(),
            user: client.credentials.user.clone(),
            workstation: client.workstation.to_owned(),
            encrypted_session_key: &encrypted_session_key,
            version: Some(Version::WINDOWS_10),
            mic: with_mic.then_some([0; 16]),
        }
        .to_bytes()?;
        if with_mic {
            let mic = session.message_mic(&NEGOTIATE, challenge_bytes, &message);
            message[authenticate::MIC..authenticate::MIC + mic.len()].copy_from_slice(&mic);
        }
        Ok(Answered { message, session })
    }
}

impl Client<'_> {
    /// The server's pairs, with those that the client adds to its proof. A pair from the server under an id that only
    /// the client may set is left out, because the first of two counts.
    fn pairs_to_prove(
        &self,
        server_pairs: Option<&AvPairs<'_>>,
        with_mic: bool,
    ) -> Result<Vec<u8>, MessageError> {
        let mut builder = AvPairsBuilder::default();
        let mut av_flags = if with_mic { AV_FLAG_MIC } else { 0 };
        if let Some(pairs) = server_pairs {
            av_flags |= pairs.flags()? & !AV_FLAG_MIC;
            for (id, value) in pairs.iter().filter(|(id, _)| !CLIENT_PAIRS.contains(id)) {
                builder.add(id, value)?;
            }
        }
        if av_flags != 0 {
            builder.add(AvId::Flags as u16, &av_flags.to_le_bytes())?;
        }
        if let Some(spn) = self.target_name {
            builder.add_text(AvId::TargetName, spn)?;
        }
        if let Some(bindings) = &self.channel_bindings {
            builder.add(AvId::ChannelBindings as u16, bindings.as_bytes())?;
        }
        Ok(builder.finish())
    }
}

/// `temp` of MS-NLMP 3.3.2: everything that the client's proof covers.
pub(super) fn temp(time: FileTime, client_challenge: [u8; 8], pairs: &[u8]) -> Vec<u8> {
    let mut temp = Vec::with_capacity(32 + pairs.len());
    temp.extend_from_slice(&[1, 1, 0, 0, 0, 0, 0, 0]);
    temp.extend_from_slice(&time.0.to_le_bytes());
    temp.extend_from_slice(&client_challenge);
    temp.extend_from_slice(&[0; 4]);
    temp.extend_from_slice(pairs);
    temp.extend_from_slice(&[0; 4]);
    temp
}
