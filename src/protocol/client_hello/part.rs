//! A field whose length is known and whose bytes may not all have arrived.

use super::HelloError;

/// Why reading went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The next bytes have not arrived.
    Incomplete,
    /// No further bytes can make this a hello.
    Wrong(HelloError),
}

/// The unread rest of a field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    /// Bytes that have arrived; never longer than the field.
    arrived: &'a [u8],
    length: usize,
}

impl<'a> Part<'a> {
    /// A part without a length of its own.
    pub(super) fn unbounded(arrived: &'a [u8]) -> Self {
        Self { arrived, length: usize::MAX }
    }

    /// The length of the field, whether its bytes have arrived or not.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is left to read or to arrive.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn arrived(&self) -> &'a [u8] {
        self.arrived
    }

    /// All bytes of the field.
    pub(super) fn whole(self) -> Result<&'a [u8], Stop> {
        if self.arrived.len() == self.length { Ok(self.arrived) } else { Err(Stop::Incomplete) }
    }

    /// Splits off a field of this length. Whether it fits into this one is known before its bytes arrive.
    pub(super) fn part(&mut self, length: usize) -> Result<Self, Stop> {
        self.length = self.length.checked_sub(length).ok_or(Stop::Wrong(HelloError::Malformed))?;
        let (arrived, rest) = self.arrived.split_at(length.min(self.arrived.len()));
        self.arrived = rest;
        Ok(Self { arrived, length })
    }

    /// Reads a field preceded by its length in one byte.
    pub(super) fn vector8(&mut self) -> Result<Self, Stop> {
        let length = self.u8()?;
        self.part(length.into())
    }

    /// Reads a field preceded by its length in two bytes.
    pub(super) fn vector16(&mut self) -> Result<Self, Stop> {
        let length = self.u16()?;
        self.part(length.into())
    }

    pub(super) fn u8(&mut self) -> Result<u8, Stop> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Stop> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u24(&mut self) -> Result<usize, Stop> {
        self.array().map(|[high, mid, low]| u32::from_be_bytes([0, high, mid, low]) as usize)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.part(N)?.arrived.first_chunk().copied().ok_or(Stop::Incomplete)
    }
}
