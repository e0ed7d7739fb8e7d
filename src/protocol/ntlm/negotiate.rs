//! Type 1, NEGOTIATE (MS-NLMP 2.2.1.1): the client says what it supports.

use super::wire::{Builder, Charset, Reader};
use super::{Flags, MessageError, Version};

const TYPE: u32 = 1;
const FLAGS: usize = 12;
const DOMAIN: usize = 16;
const WORKSTATION: usize = 24;
const VERSION: usize = 32;

/// A NEGOTIATE message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Negotiate {
    /// What the client supports. The bits that announce optional parts follow from those parts when the message is
    /// built.
    pub flags: Flags,
    /// The client's domain, always in the OEM code page.
    pub domain: Option<String>,
    /// The client's workstation, always in the OEM code page.
    pub workstation: Option<String>,
    /// The client's version.
    pub version: Option<Version>,
}

impl Negotiate {
    /// Reads a message.
    ///
    /// The shortest form in use ends after the flags (16 bytes); otherwise the two name fields must be complete.
    ///
    /// # Errors
    /// What does not parse. Nothing is guessed.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let reader = Reader::open(bytes, TYPE)?;
        let flags = Flags(reader.u32_at(FLAGS, "flags")?);
        if reader.len() == DOMAIN {
            return Ok(Self { flags, domain: None, workstation: None, version: None });
        }
        let name = |flag, offset, what| {
            let payload = reader.field(offset, what);
            if flags.has(flag) {
                payload.and_then(|bytes| Charset::Oem.decode(bytes, what)).map(Some)
            } else {
                // The content of the field is ignored, but the field must be present.
                reader.field_start(offset, what).map(|_| None)
            }
        };
        let domain = name(Flags::DOMAIN_SUPPLIED, DOMAIN, "domain")?;
        let workstation = name(Flags::WORKSTATION_SUPPLIED, WORKSTATION, "workstation")?;
        let version = reader.version(VERSION, flags)?;
        Ok(Self { flags, domain, workstation, version })
    }

    /// Writes the message.
    ///
    /// # Errors
    /// A name that is not ASCII, or too long for its field.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MessageError> {
        let mut flags = self
            .flags
            .without(Flags::DOMAIN_SUPPLIED)
            .without(Flags::WORKSTATION_SUPPLIED)
            .without(Flags::VERSION);
        let mut builder = Builder::new(TYPE, if self.version.is_some() { VERSION + 8 } else { VERSION });
        if let Some(version) = self.version {
            flags = flags.with(Flags::VERSION);
            builder.put(VERSION, &version.0);
        }
        if let Some(domain) = &self.domain {
            flags = flags.with(Flags::DOMAIN_SUPPLIED);
            builder.field(DOMAIN, &Charset::Oem.encode(domain, "domain")?, "domain")?;
        }
        if let Some(workstation) = &self.workstation {
            flags = flags.with(Flags::WORKSTATION_SUPPLIED);
            let name = Charset::Oem.encode(workstation, "workstation")?;
            builder.field(WORKSTATION, &name, "workstation")?;
        }
        builder.put(FLAGS, &flags.0.to_le_bytes());
        Ok(builder.finish())
    }
}
