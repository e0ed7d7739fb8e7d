//! What stands for a server in a cookie.

/// Characters of a value, two for each byte of a digest that it has: no two servers of a group have the same.
const TOKEN_BYTES: usize = 16;

/// What the cookie says: it stands for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; TOKEN_BYTES]);

impl Token {
    pub(super) fn new(digits: [u8; TOKEN_BYTES]) -> Self {
        Self(digits)
    }

    /// What a cookie of a client says, if that can be one.
    pub fn of_cookie(value: &[u8]) -> Option<Self> {
        value.try_into().ok().map(Self)
    }

    /// As the cookie has it.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}
