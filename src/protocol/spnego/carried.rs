//! What a token carries, recognised by its beginning: a Kerberos ticket may take 64 KiB, which need not be decoded only
//! to recognise it.

use super::token::{APPLICATION, KERBEROS, MS_KERBEROS, OCTET_STRING, SPNEGO};
use crate::protocol::der::{self, DerError, OID, SEQUENCE, context};
use crate::protocol::ntlm::MessageType;

/// First byte of a bare Kerberos AP-REQ: APPLICATION 14 (RFC 4120 section 5.5.1).
const AP_REQ: u8 = 0x6e;

/// What a token under `Negotiate` contains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carried {
    /// An NTLM message, inside SPNEGO or bare.
    Ntlm(MessageType),
    /// A Kerberos message, inside SPNEGO, in Kerberos' own GSS frame (RFC 4121 section 4.1) or bare.
    Kerberos,
}

impl Carried {
    /// What the token that begins with these bytes carries, if it is one of the two. After the list of mechanisms that
    /// browsers send, some 100 bytes are enough.
    pub fn in_beginning(token: &[u8]) -> Option<Self> {
        Self::of_message(token).or_else(|| Self::of_message(message_beginning(token).ok()??))
    }

    /// The message in a whole token, by its lengths; if the token is damaged after the message or cut within it, the
    /// part that is there.
    pub fn message(token: &[u8]) -> Option<&[u8]> {
        message_beginning(token).ok()?
    }

    fn of_message(message: &[u8]) -> Option<Self> {
        match MessageType::in_beginning(message) {
            Some(message_type) => Some(Self::Ntlm(message_type)),
            None if is_kerberos(message) => Some(Self::Kerberos),
            None => None,
        }
    }
}

fn is_kerberos(message: &[u8]) -> bool {
    message.first() == Some(&AP_REQ)
        || matches!(gss_frame(message), Ok((mechanism, _)) if [KERBEROS, MS_KERBEROS].contains(&mechanism))
}

/// The mechanism of a GSS frame, and the beginning of its content (RFC 2743 section 3.1).
fn gss_frame(token: &[u8]) -> Result<(&[u8], &[u8]), DerError> {
    der::expect(OID, enter(APPLICATION, token)?)
}

/// The beginning of the message in a token of either kind; `None` if there is no message, or not yet.
fn message_beginning(token: &[u8]) -> Result<Option<&[u8]>, DerError> {
    let fields = match gss_frame(token) {
        Ok((SPNEGO, init)) => enter(context(0), init)?,
        _ => enter(context(1), token)?,
    };
    let mut rest = enter(SEQUENCE, fields)?;
    while !rest.is_empty() {
        let (tag, value, after) = der::split_beginning(rest)?;
        if tag == context(2) {
            return enter(OCTET_STRING, value).map(Some);
        }
        rest = after;
    }
    Ok(None)
}

/// The beginning of the value of the first element, which must have this tag.
fn enter(expected: u8, bytes: &[u8]) -> Result<&[u8], DerError> {
    match der::split_beginning(bytes)? {
        (tag, value, _) if tag == expected => Ok(value),
        (found, ..) => Err(DerError::UnexpectedTag { expected, found }),
    }
}
