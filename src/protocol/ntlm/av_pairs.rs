//! AV pairs (MS-NLMP 2.2.2.1): id u16, length u16, value, up to an end mark.

use super::wire::{text_from_utf16le, utf16le};
use super::{FileTime, MessageError};

/// The meaning of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum AvId {
    /// The server's `NetBIOS` name.
    NbComputerName = 1,
    /// The server's `NetBIOS` domain.
    NbDomainName = 2,
    /// The server's DNS name.
    DnsComputerName = 3,
    /// The server's DNS domain.
    DnsDomainName = 4,
    /// The server's DNS forest.
    DnsTreeName = 5,
    /// Bits, see [`AV_FLAG_MIC`].
    Flags = 6,
    /// The server's time, 8 bytes.
    Timestamp = 7,
    /// Data about the client's host, for a server on the same host.
    SingleHost = 8,
    /// The SPN that the client believes it talks to.
    TargetName = 9,
    /// MD5 over the channel bindings, 16 bytes; all zero means none.
    ChannelBindings = 10,
}

/// In the pair [`AvId::Flags`]: the AUTHENTICATE message carries a MIC.
pub const AV_FLAG_MIC: u32 = 0x2;

const END: u16 = 0;
const PAIR_HEAD_LEN: usize = 4;

/// A list of AV pairs that was validated up to its end mark, so no pair reaches outside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AvPairs<'a> {
    /// Up to and including the end mark.
    bytes: &'a [u8],
}

impl<'a> AvPairs<'a> {
    /// Reads a list; bytes after its end mark are not part of it.
    ///
    /// # Errors
    /// [`MessageError::BadAvPairs`] if a pair reaches past the end or the end mark is missing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut rest = bytes;
        loop {
            let (id, value, after) = split_pair(rest).ok_or(MessageError::BadAvPairs)?;
            rest = after;
            if id == END {
                // The end mark has no value. One with a value indicates a damaged list.
                if !value.is_empty() {
                    return Err(MessageError::BadAvPairs);
                }
                let len = bytes.len() - rest.len();
                return Ok(Self { bytes: &bytes[..len] });
            }
        }
    }

    /// The list as received, with its end mark.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The pairs in their order, including unknown ids, without the end mark.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (id, value, after) = split_pair(rest)?;
            rest = after;
            (id != END).then_some((id, value))
        })
    }

    /// The first value with this id.
    pub fn get(&self, id: AvId) -> Option<&'a [u8]> {
        self.iter().find(|&(found, _)| found == id as u16).map(|(_, value)| value)
    }

    /// The bits of [`AvId::Flags`]; none if the pair is missing.
    ///
    /// # Errors
    /// [`MessageError::BadAvPairs`] when its value is not 4 bytes.
    pub fn flags(&self) -> Result<u32, MessageError> {
        self.fixed(AvId::Flags).map(|value| value.map_or(0, u32::from_le_bytes))
    }

    /// The time in [`AvId::Timestamp`].
    ///
    /// # Errors
    /// [`MessageError::BadAvPairs`] when its value is not 8 bytes.
    pub fn timestamp(&self) -> Result<Option<FileTime>, MessageError> {
        Ok(self.fixed(AvId::Timestamp)?.map(|value| FileTime(u64::from_le_bytes(value))))
    }

    /// The hash in [`AvId::ChannelBindings`]; `None` for the all-zero hash, which means "no bindings".
    ///
    /// # Errors
    /// [`MessageError::BadAvPairs`] when its value is not 16 bytes.
    pub fn channel_bindings(&self) -> Result<Option<[u8; 16]>, MessageError> {
        Ok(self.fixed(AvId::ChannelBindings)?.filter(|hash| *hash != [0; 16]))
    }

    /// The text of a pair that is a name.
    ///
    /// # Errors
    /// [`MessageError::BadText`] when it is not UTF-16.
    pub fn text(&self, id: AvId) -> Result<Option<String>, MessageError> {
        self.get(id).map(|value| text_from_utf16le(value, "AV pair")).transpose()
    }

    fn fixed<const N: usize>(&self, id: AvId) -> Result<Option<[u8; N]>, MessageError> {
        self.get(id).map(|value| value.try_into().map_err(|_| MessageError::BadAvPairs)).transpose()
    }
}

/// A list of AV pairs under construction.
#[derive(Clone, Default, Debug)]
pub struct AvPairsBuilder {
    bytes: Vec<u8>,
}

impl AvPairsBuilder {
    /// Adds a pair.
    ///
    /// # Errors
    /// [`MessageError::TooLong`] for a value over 65,535 bytes.
    pub fn add(&mut self, id: u16, value: &[u8]) -> Result<(), MessageError> {
        let len = u16::try_from(value.len()).map_err(|_| MessageError::TooLong { field: "AV pair" })?;
        self.bytes.extend_from_slice(&id.to_le_bytes());
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// Adds a pair that is a name.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_text(&mut self, id: AvId, text: &str) -> Result<(), MessageError> {
        self.add(id as u16, &utf16le(text))
    }

    /// Ends the list; the bytes parse as [`AvPairs`].
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; PAIR_HEAD_LEN]);
        self.bytes
    }
}

/// The id and value of the first pair, and what follows it.
fn split_pair(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<PAIR_HEAD_LEN>()?;
    let id = u16::from_le_bytes([head[0], head[1]]);
    let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
    let (value, rest) = rest.split_at_checked(len)?;
    Some((id, value, rest))
}
