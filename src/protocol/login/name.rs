//! The name in an `Authorization`: the user a request is for, as far as the client says so in clear text.
//!
//! Names are read as leniently as any server might read them, so that an odd form cannot hide a second user on a
//! connection. They prove nothing.

use super::token;
use crate::protocol::ntlm::Names;
use crate::protocol::spnego::Carried;

/// Active Directory allows at most 1,024 characters, for a user principal name, and no control characters.
const ACCOUNT_BYTES_MAX: usize = 1024;

/// What a Type 3 begins with.
const TYPE3: &[u8] = b"NTLMSSP\0\x03\0\0\0";

/// Whether an account can have this name. A name that no account can have is never shown, but still counts as
/// different.
pub(super) fn is_of_account(name: &str) -> bool {
    name.len() <= ACCOUNT_BYTES_MAX && !name.contains(char::is_control)
}

/// Whether both names are the same text, ignoring case.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.chars().flat_map(char::to_lowercase).eq(other.chars().flat_map(char::to_lowercase))
}

/// The user that the Type 3 in a token names, as `DOMAIN\user`, or as sent if without a domain. `None` for the
/// anonymous user, and if there is no Type 3 with a user in it.
///
/// The token is NTLM's or SPNEGO's. If its lengths fit neither, the token is searched for the message: some servers
/// still read SPNEGO in forms that DER does not allow.
pub(super) fn in_token(token: &[u8]) -> Option<Box<str>> {
    let enclosed = Carried::message(token).and_then(Names::of_authenticate);
    let names = Names::of_authenticate(token).or(enclosed).or_else(|| {
        let start = token.windows(TYPE3.len()).position(|bytes| bytes == TYPE3)?;
        Names::of_authenticate(&token[start..])
    })?;
    let Names { domain, user } = names;
    match (&*domain, &*user) {
        (_, "") => None,
        ("", user) => clip(user),
        (domain, user) => clip(&format!("{domain}\\{user}")),
    }
}

/// The user of Basic (RFC 7617): what precedes the colon, as UTF-8 if valid, otherwise as Latin-1.
pub(super) fn of_basic(credentials: &[u8]) -> Option<Box<str>> {
    let decoded = token::decode(credentials);
    let user = decoded.split(|&byte| byte == b':').next()?;
    clip(&text(user))
}

/// The user of Digest (RFC 7616 section 3.4): `username`, or `username*` with percent-encoded characters.
pub(super) fn of_digest(parameters: &[u8]) -> Option<Box<str>> {
    split_parameters(parameters).find_map(|item| {
        let at = item.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (item[..at].trim_ascii(), item[at + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"username") {
            clip(&text(&unquoted(value)))
        } else if name.eq_ignore_ascii_case(b"username*") {
            let value = value.splitn(3, |&byte| byte == b'\'').last()?;
            clip(&text(&percent_decoded(value)))
        } else {
            None
        }
    })
}

/// Splits at commas outside quotes; a backslash quotes the byte after it (RFC 9110 section 5.6.4).
fn split_parameters(parameters: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut in_quotes, mut is_quoted) = (false, false);
    parameters.split(move |&byte| {
        let was_quoted = std::mem::replace(&mut is_quoted, false);
        match byte {
            b'"' if !was_quoted => in_quotes = !in_quotes,
            b'\\' => is_quoted = in_quotes && !was_quoted,
            _ => {}
        }
        byte == b',' && !in_quotes
    })
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// A value without its quotes and without the backslashes that quote single characters.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(quoted) = value.strip_prefix(b"\"") else { return value.to_vec() };
    let mut quoted = quoted.strip_suffix(b"\"").unwrap_or(quoted).iter().copied();
    let mut out = Vec::with_capacity(quoted.len());
    while let Some(byte) = quoted.next() {
        out.push(if byte == b'\\' { quoted.next().unwrap_or(byte) } else { byte });
    }
    out
}

fn percent_decoded(value: &[u8]) -> Vec<u8> {
    let digit = |at: usize| char::from(*value.get(at)?).to_digit(16);
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    out
}

/// The name as it is stored: a name too long for an account is cut to a length that still shows that.
fn clip(name: &str) -> Option<Box<str>> {
    let end = (0..=name.len().min(2 * ACCOUNT_BYTES_MAX)).rev().find(|&at| name.is_char_boundary(at))?;
    (!name.is_empty()).then(|| name[..end].into())
}
