//! A scheme and its token, as in both `Authorization` and `WWW-Authenticate` (RFC 9110 section 11.4).

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
        let (mut bytes, mut beginning) = ([0; BEGINNING_BYTES], [0; BEGINNING_DIGITS]);
        let mut count = 0;
        for (place, digit) in beginning.iter_mut().zip(digits(token)) {
            *place = digit;
            count += 1;
        }
        let length = BASE64.decode_slice(whole_bytes(&beginning[..count]), &mut bytes).unwrap_or(0);
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
    let digits: Vec<u8> = digits(token).collect();
    BASE64.decode(whole_bytes(&digits)).unwrap_or_default()
}

/// The digits of a token as a lenient server accepts them: blanks are skipped, and anything else, such as padding, ends
/// them.
fn digits(token: &[u8]) -> impl Iterator<Item = u8> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    token.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take_while(is_digit)
}

/// Drops a single last digit, which has only six bits of a byte.
fn whole_bytes(digits: &[u8]) -> &[u8] {
    if digits.len() % 4 == 1 { &digits[..digits.len() - 1] } else { digits }
}
