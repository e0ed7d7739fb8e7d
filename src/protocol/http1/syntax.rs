//! Bytes of HTTP's grammar (RFC 9110 section 5.6, RFC 9112 section 5).

/// [`is_token`] of each byte: a look at a table instead of comparisons.
const TOKENS: [bool; 256] = {
    let mut tokens = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        tokens[byte] = matches!(byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
            | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    tokens
};

/// Whether names and tokens may contain this byte (`tchar`).
pub(super) const fn is_token(byte: u8) -> bool {
    TOKENS[byte as usize]
}

/// Whether this is a blank, the only white space within a line.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether a field's value may contain this byte: any but control characters.
pub(super) const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether all bytes are text. It looks at all of them without a branch for each, which takes several at a time.
pub(super) fn is_all_text(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, &byte| all & is_text(byte))
}

/// The text without blanks at both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}
