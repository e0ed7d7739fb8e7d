//! The frame that all three messages share: signature, type, and fields that point into a payload
//! (MS-NLMP 2.2.1). Everything is little-endian.

use super::{Flags, MessageError, Version};

pub(super) const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

/// The bytes of one received message, read by offset. Nothing is copied; nothing outside the slice is reachable.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the signature and the message type.
    pub(super) fn open(bytes: &'a [u8], expected_type: u32) -> Result<Self, MessageError> {
        if !SIGNATURE.starts_with(&bytes[..bytes.len().min(SIGNATURE.len())]) {
            return Err(MessageError::NotNtlm);
        }
        let reader = Self { bytes };
        let found = reader.u32_at(8, "message type")?;
        if found != expected_type {
            return Err(MessageError::WrongType { expected: expected_type, found });
        }
        Ok(reader)
    }

    /// Wraps bytes of any kind, to be read by offset.
    pub(super) fn unchecked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn len(self) -> usize {
        self.bytes.len()
    }

    pub(super) fn array_at<const N: usize>(
        self,
        offset: usize,
        what: &'static str,
    ) -> Result<[u8; N], MessageError> {
        self.bytes
            .get(offset..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .ok_or(MessageError::Truncated { what })
    }

    pub(super) fn u32_at(self, offset: usize, what: &'static str) -> Result<u32, MessageError> {
        self.array_at(offset, what).map(u32::from_le_bytes)
    }

    /// The version field at `offset`, if the flags announce it.
    pub(super) fn version(self, offset: usize, flags: Flags) -> Result<Option<Version>, MessageError> {
        if flags.has(Flags::VERSION) {
            self.array_at(offset, "version").map(|v| Some(Version(v)))
        } else {
            Ok(None)
        }
    }

    /// The payload that the field at `offset` points to. An empty field may point anywhere: real clients set its offset
    /// to zero.
    pub(super) fn field(self, offset: usize, what: &'static str) -> Result<&'a [u8], MessageError> {
        let len = usize::from(u16::from_le_bytes(self.array_at(offset, what)?));
        let start = self.u32_at(offset + 4, what)? as usize;
        if len == 0 {
            return Ok(&[]);
        }
        start
            .checked_add(len)
            .and_then(|end| self.bytes.get(start..end))
            .ok_or(MessageError::FieldOutOfBounds { field: what })
    }

    /// Where the payload of the field at `offset` starts, if it has one.
    pub(super) fn field_start(
        self,
        offset: usize,
        what: &'static str,
    ) -> Result<Option<usize>, MessageError> {
        let len = u16::from_le_bytes(self.array_at(offset, what)?);
        let start = self.u32_at(offset + 4, what)? as usize;
        Ok((len > 0).then_some(start))
    }
}

/// A message under construction: a head of fixed size, then payloads in the order they are added.
pub(super) struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    pub(super) fn new(message_type: u32, head_len: usize) -> Self {
        let mut bytes = vec![0; head_len];
        bytes[..8].copy_from_slice(SIGNATURE);
        bytes[8..12].copy_from_slice(&message_type.to_le_bytes());
        Self { bytes }
    }

    pub(super) fn put(&mut self, offset: usize, value: &[u8]) {
        self.bytes[offset..offset + value.len()].copy_from_slice(value);
    }

    /// Appends `payload` and points the field at `offset` to it.
    pub(super) fn field(
        &mut self,
        offset: usize,
        payload: &[u8],
        what: &'static str,
    ) -> Result<(), MessageError> {
        let len = u16::try_from(payload.len()).map_err(|_| MessageError::TooLong { field: what })?;
        // At most six fields of 64 KiB each: the offset fits.
        let start = self.bytes.len() as u32;
        self.put(offset, &len.to_le_bytes());
        self.put(offset + 2, &len.to_le_bytes());
        self.put(offset + 4, &start.to_le_bytes());
        self.bytes.extend_from_slice(payload);
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Encodes a name as UTF-16LE.
pub(super) fn utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Decodes UTF-16LE. Half a character or an unpaired surrogate is an error: a name that two systems would read
/// differently must not be looked up.
pub(super) fn text_from_utf16le(bytes: &[u8], field: &'static str) -> Result<String, MessageError> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(MessageError::BadText { field });
    }
    char::decode_utf16(units.iter().copied().map(u16::from_le_bytes))
        .collect::<Result<String, _>>()
        .map_err(|_| MessageError::BadText { field })
}

/// The encoding of names in a message: UTF-16LE if UNICODE was negotiated, otherwise the "OEM" code page, of which only
/// the ASCII part means the same everywhere.
#[derive(Clone, Copy)]
pub(super) enum Charset {
    Utf16,
    Oem,
}

impl Charset {
    pub(super) fn encode(self, text: &str, field: &'static str) -> Result<Vec<u8>, MessageError> {
        match self {
            Self::Utf16 => Ok(utf16le(text)),
            Self::Oem if text.is_ascii() => Ok(text.as_bytes().to_vec()),
            Self::Oem => Err(MessageError::BadText { field }),
        }
    }

    pub(super) fn decode(self, bytes: &[u8], field: &'static str) -> Result<String, MessageError> {
        match self {
            Self::Utf16 => text_from_utf16le(bytes, field),
            Self::Oem if bytes.is_ascii() => Ok(bytes.iter().map(|&b| char::from(b)).collect()),
            Self::Oem => Err(MessageError::BadText { field }),
        }
    }
}
