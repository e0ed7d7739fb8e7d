//! Type 2, CHALLENGE (MS-NLMP 2.2.1.2): the server identifies itself and asks for a proof.

use super::av_pairs::AvPairs;
use super::wire::{Builder, Reader};
use super::{Flags, MessageError, Version};

const TYPE: u32 = 2;
const TARGET_NAME: usize = 12;
const FLAGS: usize = 20;
const SERVER_CHALLENGE: usize = 24;
const TARGET_INFO: usize = 40;
const VERSION: usize = 48;
const HEAD_LEN: usize = 56;

/// A CHALLENGE message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge<'a> {
    /// What the server agreed to. The bits that announce optional parts follow from those parts when the message is
    /// built.
    pub flags: Flags,
    /// The server's domain or name.
    pub target_name: String,
    /// The random bytes that the client's answer is computed over.
    pub server_challenge: [u8; 8],
    /// What the server says about itself; the client's proof covers it.
    pub target_info: Option<AvPairs<'a>>,
    /// The server's version.
    pub version: Option<Version>,
}

impl<'a> Challenge<'a> {
    /// Reads a message. A server that sends no AV pairs may end it after the challenge (32 bytes).
    ///
    /// # Errors
    /// What does not parse.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let reader = Reader::open(bytes, TYPE)?;
        let flags = Flags(reader.u32_at(FLAGS, "flags")?);
        let target_name = flags.charset().decode(reader.field(TARGET_NAME, "target name")?, "target name")?;
        let server_challenge = reader.array_at(SERVER_CHALLENGE, "server challenge")?;
        let target_info = if flags.has(Flags::TARGET_INFO) {
            match reader.field(TARGET_INFO, "target info")? {
                // Some servers set the flag and send none.
                [] => None,
                bytes => {
                    let pairs = AvPairs::parse(bytes)?;
                    // The pairs that an answer depends on must have the right size.
                    pairs.flags()?;
                    pairs.timestamp()?;
                    Some(pairs)
                }
            }
        } else {
            None
        };
        let version = reader.version(VERSION, flags)?;
        Ok(Self { flags, target_name, server_challenge, target_info, version })
    }

    /// Writes the message.
    ///
    /// # Errors
    /// A part that is too long for its field, or a target name that the negotiated character set cannot express.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MessageError> {
        let mut flags = self.flags.without(Flags::TARGET_INFO).without(Flags::VERSION);
        let mut builder = Builder::new(TYPE, HEAD_LEN);
        let target_name = flags.charset().encode(&self.target_name, "target name")?;
        builder.field(TARGET_NAME, &target_name, "target name")?;
        builder.put(SERVER_CHALLENGE, &self.server_challenge);
        if let Some(pairs) = &self.target_info {
            flags = flags.with(Flags::TARGET_INFO);
            builder.field(TARGET_INFO, pairs.as_bytes(), "target info")?;
        }
        if let Some(version) = self.version {
            flags = flags.with(Flags::VERSION);
            builder.put(VERSION, &version.0);
        }
        builder.put(FLAGS, &flags.0.to_le_bytes());
        Ok(builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ntlm::av_pairs::AvPairsBuilder;

    #[test]
    fn a_flag_for_target_info_without_any_is_a_challenge_without_any() {
        let pairs = AvPairsBuilder::default().finish();
        let challenge = Challenge {
            flags: Flags::UNICODE,
            target_name: "CORP".into(),
            server_challenge: [7; 8],
            target_info: Some(AvPairs::parse(&pairs).unwrap()),
            version: None,
        };
        let mut bytes = challenge.to_bytes().unwrap();
        bytes[TARGET_INFO..TARGET_INFO + 4].fill(0);
        let read = Challenge::parse(&bytes).unwrap();
        assert!(read.flags.has(Flags::TARGET_INFO) && read.target_info.is_none(), "{read:?}");
    }
}
