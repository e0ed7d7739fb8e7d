//! The few DER pieces that SPNEGO tokens and the path to a certificate's signature need: tag, definite length, value
//! (X.690 section 8.1).

/// What is wrong with an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DerError {
    /// The element ends too early.
    #[error("the element ends too early")]
    Truncated,
    /// More than one element where only one is allowed.
    #[error("bytes follow the end of the element")]
    TrailingBytes,
    /// A length in a form that DER does not allow.
    #[error("a length is not in definite form or exceeds 32 bits")]
    BadLength,
    /// An element other than the expected one.
    #[error("tag is {found:#04x}, expected {expected:#04x}")]
    UnexpectedTag {
        /// The expected tag.
        expected: u8,
        /// The tag found.
        found: u8,
    },
}

/// Tag of an ordered list.
pub(super) const SEQUENCE: u8 = 0x30;
/// Tag of an object identifier.
pub(super) const OID: u8 = 0x06;

/// Tag of the explicit field `[n]`.
pub(super) const fn context(n: u8) -> u8 {
    0xa0 | n
}

/// Splits off the first element: its tag, its value, and what follows it. Longer lengths than necessary are accepted,
/// because real clients write them; indefinite ones are not.
pub(super) fn split(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), DerError> {
    let (tag, len, rest) = split_header(bytes)?;
    let (value, rest) = rest.split_at_checked(len).ok_or(DerError::Truncated)?;
    Ok((tag, value, rest))
}

/// Does the same for the beginning of an encoding: the value is cut off where the bytes end.
pub(super) fn split_beginning(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), DerError> {
    let (tag, len, rest) = split_header(bytes)?;
    let (value, rest) = rest.split_at(len.min(rest.len()));
    Ok((tag, value, rest))
}

/// The first element's tag, the length of its value, and what follows these two.
fn split_header(bytes: &[u8]) -> Result<(u8, usize, &[u8]), DerError> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>().ok_or(DerError::Truncated)?;
    match first {
        0..=0x7f => Ok((tag, usize::from(first), rest)),
        0x81..=0x84 => {
            let (digits, rest) =
                rest.split_at_checked(usize::from(first & 0x0f)).ok_or(DerError::Truncated)?;
            Ok((tag, digits.iter().fold(0, |len, &digit| len << 8 | usize::from(digit)), rest))
        }
        _ => Err(DerError::BadLength),
    }
}

/// Splits off the first element, which must have this tag.
pub(super) fn expect(tag: u8, bytes: &[u8]) -> Result<(&[u8], &[u8]), DerError> {
    match split(bytes)? {
        (found, value, rest) if found == tag => Ok((value, rest)),
        (found, ..) => Err(DerError::UnexpectedTag { expected: tag, found }),
    }
}

/// The value of the one element that `bytes` consists of.
pub(super) fn only(tag: u8, bytes: &[u8]) -> Result<&[u8], DerError> {
    match expect(tag, bytes)? {
        (value, []) => Ok(value),
        _ => Err(DerError::TrailingBytes),
    }
}

/// One element.
pub(super) fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = value.len();
    let digits = len.to_be_bytes();
    let significant = &digits[(len.leading_zeros() / 8) as usize..];
    let mut out = Vec::with_capacity(2 + significant.len() + len);
    out.push(tag);
    if len < 0x80 {
        out.push(len as u8);
    } else {
        // At most eight digits.
        out.push(0x80 | significant.len() as u8);
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(value);
    out
}
