//! The few DER pieces that SPNEGO is made of: tag, definite length, value.

use super::TokenError;

/// Splits the first element off: its tag, its value, what follows it. Lengths longer than need be are accepted, for
/// real clients write them; indefinite ones are not.
pub(super) fn split(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), TokenError> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>().ok_or(TokenError::Truncated)?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) =
                rest.split_at_checked(usize::from(first & 0x0f)).ok_or(TokenError::Truncated)?;
            (digits.iter().fold(0, |len, &digit| len << 8 | usize::from(digit)), rest)
        }
        _ => return Err(TokenError::BadLength),
    };
    let (value, rest) = rest.split_at_checked(len).ok_or(TokenError::Truncated)?;
    Ok((tag, value, rest))
}

/// Splits the first element off, which must have this tag.
pub(super) fn expect(tag: u8, bytes: &[u8]) -> Result<(&[u8], &[u8]), TokenError> {
    match split(bytes)? {
        (found, value, rest) if found == tag => Ok((value, rest)),
        (found, ..) => Err(TokenError::UnexpectedTag { expected: tag, found }),
    }
}

/// The value of the one element that `bytes` consists of.
pub(super) fn only(tag: u8, bytes: &[u8]) -> Result<&[u8], TokenError> {
    match expect(tag, bytes)? {
        (value, []) => Ok(value),
        _ => Err(TokenError::TrailingBytes),
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
