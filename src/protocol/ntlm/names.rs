//! The names in a Type 3, read without judging it: the user it names, even in a message that [`Authenticate`] refuses.
//!
//! This is for comparing and counting, never for granting access. To detect a second user, a reader must see the name
//! wherever a server might: in the OEM code page, in the short form of NT 4 without flags, after an invalid NT
//! response.
//!
//! [`Authenticate`]: super::Authenticate

use super::authenticate::{DOMAIN, FLAGS, LM_RESPONSE, NT_RESPONSE, USER, WORKSTATION};
use super::wire::Reader;
use super::{Flags, MessageType};

/// The user that a Type 3 names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    /// The user's domain; empty if the message has none that is readable.
    pub domain: String,
    /// The user; empty for the anonymous user.
    pub user: String,
}

impl Names {
    /// Reads the two fields by their offsets. `None` if the message is not a Type 3, or its user field points outside
    /// it.
    ///
    /// Names that the flags declare as UTF-16 are read as such if they are valid. Bytes in the OEM code page, which the
    /// message does not identify, are read as UTF-8 if valid, otherwise as Latin-1.
    pub fn of_authenticate(message: &[u8]) -> Option<Self> {
        if MessageType::in_beginning(message) != Some(MessageType::Authenticate) {
            return None;
        }
        let reader = Reader::unchecked(message);
        let is_unicode = has_flags(reader)
            && reader.u32_at(FLAGS, "flags").is_ok_and(|flags| Flags(flags).has(Flags::UNICODE));
        let user = reader.field(USER, "user").ok()?;
        let domain = reader.field(DOMAIN, "domain").unwrap_or_default();
        Some(Self { domain: text(domain, is_unicode), user: text(user, is_unicode) })
    }
}

/// Whether the flags are present: the short form ends before them, and has payload in their place.
fn has_flags(reader: Reader<'_>) -> bool {
    [LM_RESPONSE, NT_RESPONSE, DOMAIN, USER, WORKSTATION]
        .into_iter()
        .filter_map(|offset| reader.field_start(offset, "payload").ok()?)
        .all(|start| start >= FLAGS + size_of::<u32>())
}

fn text(bytes: &[u8], is_unicode: bool) -> String {
    let (units, rest) = bytes.as_chunks::<2>();
    // No name contains a NUL: one in the place of a high byte means UTF-16, whatever the flags say.
    let has_high_zero = units.iter().any(|&[_, high]| high == 0);
    if rest.is_empty() && (is_unicode || has_high_zero) {
        let units: Vec<u16> = units.iter().copied().map(u16::from_le_bytes).collect();
        return String::from_utf16_lossy(&units);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}
