//! A scheme and its token, as in both `Authorization` and `WWW-Authenticate` (RFC 9110 section 11.4).

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD_INDIFFERENT};

use super::Mechanism;
use crate::protocol::ntlm::MessageType;
use crate::protocol::spnego::Carried;

/// Enough for the lists of mechanisms that clients send, and the beginning of the message after it.
const BEGINNING_BYTES: usize = 192;
const BEGINNING_DIGITS: usize = BEGINNING_BYTES / 3 * 4;

/// As lenient as a server might be: padding may be missing, and the last digit may have unused bits set.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, PAD_INDIFFERENT.with_decode_allow_trailing_bits(true));

/// The schemes of Windows Authentication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    Ntlm,
    /// `Negotiate`, and `Nego2`, which some servers also offer.
    Negotiate,
}

/// Splits a scheme from what follows it.
pub(super) fn split_scheme(credentials: &[u8]) -> (&[u8], &[u8]) {
    let credentials = credentials.trim_ascii();
    let end = credentials.iter().position(u8::is_ascii_whitespace).unwrap_or(credentials.len());
    let (scheme, rest) = credentials.split_at(end);
    (scheme, rest.trim_ascii_start())
}

impl Scheme {
    pub(super) fn of_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"NTLM") {
            Some(Self::Ntlm)
        } else if name.eq_ignore_ascii_case(b"Negotiate") || name.eq_ignore_ascii_case(b"Nego2") {
            Some(Self::Negotiate)
        } else {
            None
        }
    }

    /// The mechanism, if what the token carries is NTLM.
    pub(super) fn of_ntlm(self) -> Mechanism {
        match self {
            Self::Ntlm => Mechanism::Ntlm,
            Self::Negotiate => Mechanism::NegotiateNtlm,
        }
    }
}

/// The decoded beginning of a token.
pub(super) struct Beginning {
    bytes: [u8; BEGINNING_BYTES],
    length: usize,
}

impl Beginning {
    /// Decodes the beginning of a token in base64; empty if it is not base64.
    pub(super) fn of(token: &[u8]) -> Self {
        let mut bytes = [0; BEGINNING_BYTES];
        let digits = digits(token, BEGINNING_DIGITS);
        let length = BASE64.decode_slice(whole_bytes(&digits), &mut bytes).unwrap_or(0);
        Self { bytes, length }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// What the token carries, if that is recognised. Under `NTLM` only NTLM counts.
    pub(super) fn carried(&self, scheme: Scheme) -> Option<Carried> {
        match scheme {
            Scheme::Ntlm => MessageType::in_beginning(self.bytes()).map(Carried::Ntlm),
            Scheme::Negotiate => Carried::in_beginning(self.bytes()),
        }
    }
}

/// Decodes a token up to the first byte that is not base64.
pub(super) fn decode(token: &[u8]) -> Vec<u8> {
    BASE64.decode(whole_bytes(&digits(token, usize::MAX))).unwrap_or_default()
}

/// The digits of a token as a lenient server accepts them, `max` at most: blanks are skipped, and anything else, such as
/// padding, ends them.
fn digits(token: &[u8], max: usize) -> Cow<'_, [u8]> {
    let begin = &token[..token.len().min(max)];
    let end = begin.iter().position(|&byte| !DIGITS[byte as usize]).unwrap_or(begin.len());
    if begin.get(end).is_some_and(u8::is_ascii_whitespace) {
        let digits = token.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        return digits.take_while(|&byte| DIGITS[byte as usize]).take(max).collect();
    }
    Cow::Borrowed(&begin[..end])
}

/// Whether each byte is a digit of base64.
const DIGITS: [bool; 256] = {
    let mut digits = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        digits[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'+' | b'/');
        byte += 1;
    }
    digits
};

/// Drops a single last digit, which has only six bits of a byte.
fn whole_bytes(digits: &[u8]) -> &[u8] {
    if digits.len() % 4 == 1 { &digits[..digits.len() - 1] } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_has_the_same_digits_with_and_without_blanks() {
        let plain = b"QUJDREVGR0hJSktM".repeat(40);
        for (blanks, at) in
            [(&b" "[..], 0), (b"\r\n\t", 5), (b" ", 255), (b" ", 256), (b" ", 257), (b"\n", 639)]
        {
            let with_blanks = [&plain[..at], blanks, &plain[at..]].concat();
            assert_eq!(Beginning::of(&with_blanks).bytes(), Beginning::of(&plain).bytes(), "at {at}");
            assert_eq!(decode(&with_blanks), decode(&plain), "at {at}");
        }
        assert_eq!(Beginning::of(&plain).bytes(), &b"ABCDEFGHIJKL".repeat(16)[..]);
    }

    #[test]
    fn what_is_no_digit_ends_a_token() {
        for (token, expected) in [
            (&b"QUJD"[..], &b"ABC"[..]),
            (b"QUJDRA==", b"ABCD"),
            (b"QUJDRA", b"ABCD"),
            (b"QUJDR", b"ABC"),
            (b"QU JD,QUJD", b"ABC"),
            (b"QUJD,QUJD", b"ABC"),
            (b"QUJD=QUJD", b"ABC"),
            (b"QUJD\xffQUJD", b"ABC"),
            (b" ", b""),
            (b"=", b""),
            (b"", b""),
        ] {
            assert_eq!(decode(token), expected, "{}", token.escape_ascii());
            assert_eq!(Beginning::of(token).bytes(), expected, "{}", token.escape_ascii());
        }
    }
}
