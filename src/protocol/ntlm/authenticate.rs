//! Type 3, AUTHENTICATE (MS-NLMP 2.2.1.3): the client names the user and proves the password.

use super::av_pairs::{AV_FLAG_MIC, AvPairs};
use super::wire::{Builder, Reader};
use super::{FileTime, Flags, MessageError, Version};

const TYPE: u32 = 3;
pub(super) const LM_RESPONSE: usize = 12;
pub(super) const NT_RESPONSE: usize = 20;
pub(super) const DOMAIN: usize = 28;
pub(super) const USER: usize = 36;
pub(super) const WORKSTATION: usize = 44;
const SESSION_KEY: usize = 52;
pub(super) const FLAGS: usize = 60;
const VERSION: usize = 64;
/// Where the MIC is, if there is one: 16 bytes.
pub(super) const MIC: usize = 72;
const MIC_END: usize = 88;

/// An AUTHENTICATE message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authenticate<'a> {
    /// What client and server agreed on; [`Flags::VERSION`] follows from `version` when the message is built.
    pub flags: Flags,
    /// The LM or `LMv2` response, as received.
    pub lm_response: &'a [u8],
    /// The NT response, as received: the proof covers exactly these bytes.
    pub nt_response: &'a [u8],
    /// The user's domain, as sent (the proof covers it unchanged).
    pub domain: String,
    /// The user's name, as sent.
    pub user: String,
    /// The client's workstation.
    pub workstation: String,
    /// The session key, encrypted under the session base key; empty without key exchange.
    pub encrypted_session_key: &'a [u8],
    /// The client's version.
    pub version: Option<Version>,
    /// The message integrity code over all three messages. It is present exactly if the AV flags of the NT response say
    /// so; without that bit the same bytes are payload or padding.
    pub mic: Option<[u8; 16]>,
}

impl<'a> Authenticate<'a> {
    /// Reads a message. The client chooses where its payload starts: 64, 72 and 88 all occur.
    ///
    /// # Errors
    /// What does not parse.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let reader = Reader::open(bytes, TYPE)?;
        let flags = Flags(reader.u32_at(FLAGS, "flags")?);
        let name = |offset, what| flags.charset().decode(reader.field(offset, what)?, what);
        let nt_response = reader.field(NT_RESPONSE, "NT response")?;
        let has_mic = match NtResponse::parse(nt_response)? {
            NtResponse::V2(response) => response.pairs.flags()? & AV_FLAG_MIC != 0,
            NtResponse::Empty | NtResponse::V1 => false,
        };
        // Payload inside the MIC would be zeroed with it, and the code would not cover it.
        if has_mic && payload_start(reader)? < MIC_END {
            return Err(MessageError::MicOverlapsPayload);
        }
        let mic = if has_mic { Some(reader.array_at(MIC, "MIC")?) } else { None };
        let version = reader.version(VERSION, flags)?;
        Ok(Self {
            flags,
            lm_response: reader.field(LM_RESPONSE, "LM response")?,
            nt_response,
            domain: name(DOMAIN, "domain")?,
            user: name(USER, "user")?,
            workstation: name(WORKSTATION, "workstation")?,
            encrypted_session_key: reader.field(SESSION_KEY, "session key")?,
            version,
            mic,
        })
    }

    /// Writes the message, with its MIC as in the value: to compute one, write zeros first.
    ///
    /// # Errors
    /// A part that is too long for its field, or a name that the negotiated character set cannot express.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MessageError> {
        let charset = self.flags.charset();
        let head_len = if self.mic.is_some() { MIC_END } else { MIC };
        let mut builder = Builder::new(TYPE, head_len);
        let mut flags = self.flags.without(Flags::VERSION);
        if let Some(version) = self.version {
            flags = flags.with(Flags::VERSION);
            builder.put(VERSION, &version.0);
        }
        builder.put(FLAGS, &flags.0.to_le_bytes());
        if let Some(mic) = self.mic {
            builder.put(MIC, &mic);
        }
        builder.field(DOMAIN, &charset.encode(&self.domain, "domain")?, "domain")?;
        builder.field(USER, &charset.encode(&self.user, "user")?, "user")?;
        builder.field(WORKSTATION, &charset.encode(&self.workstation, "workstation")?, "workstation")?;
        builder.field(LM_RESPONSE, self.lm_response, "LM response")?;
        builder.field(NT_RESPONSE, self.nt_response, "NT response")?;
        builder.field(SESSION_KEY, self.encrypted_session_key, "session key")?;
        Ok(builder.finish())
    }
}

/// The lowest offset that a non-empty field points to.
fn payload_start(reader: Reader<'_>) -> Result<usize, MessageError> {
    let mut lowest = usize::MAX;
    for offset in [LM_RESPONSE, NT_RESPONSE, DOMAIN, USER, WORKSTATION, SESSION_KEY] {
        if let Some(start) = reader.field_start(offset, "payload")? {
            lowest = lowest.min(start);
        }
    }
    Ok(lowest)
}

/// The kind of proof in the NT response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NtResponse<'a> {
    /// No proof.
    Empty,
    /// 24 bytes: `NTLMv1`, with or without extended session security.
    V1,
    /// `NTLMv2`.
    V2(NtlmV2Response<'a>),
}

/// An `NTLMv2` response (MS-NLMP 2.2.2.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NtlmV2Response<'a> {
    /// The proof: an HMAC over the server challenge and `temp`.
    pub proof: [u8; 16],
    /// All bytes after the proof, as received.
    pub temp: &'a [u8],
    /// The client's time, or the server's if it sent one.
    pub time: FileTime,
    /// The client's random bytes.
    pub client_challenge: [u8; 8],
    /// The server's AV pairs, with those of the client.
    pub pairs: AvPairs<'a>,
}

impl<'a> NtResponse<'a> {
    /// Reads an NT response.
    ///
    /// # Errors
    /// [`MessageError::BadNtResponse`] if it is neither kind, [`MessageError::BadAvPairs`] if its list is damaged.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        const V1_LEN: usize = 24;
        const TEMP_PAIRS: usize = 28;
        match bytes.len() {
            0 => return Ok(Self::Empty),
            V1_LEN => return Ok(Self::V1),
            _ => {}
        }
        let bad = MessageError::BadNtResponse;
        let (proof, temp) = bytes.split_first_chunk::<16>().ok_or(bad)?;
        let (head, pairs) = temp.split_first_chunk::<TEMP_PAIRS>().ok_or(bad)?;
        // RespType and HiRespType.
        if head[..2] != [1, 1] {
            return Err(bad);
        }
        let u64_at = |at: usize| head[at..].first_chunk::<8>().copied().ok_or(bad);
        Ok(Self::V2(NtlmV2Response {
            proof: *proof,
            temp,
            time: FileTime(u64::from_le_bytes(u64_at(8)?)),
            client_challenge: u64_at(16)?,
            pairs: AvPairs::parse(pairs)?,
        }))
    }
}
