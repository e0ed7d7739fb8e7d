//! Affinity by a cookie: what it is called, and which value stands for which server.
//!
//! A value follows from the server's name and address alone, and from a key if there is one: every worker, every process
//! and every proxy with the same settings gives a server the same value, and needs to remember nothing.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::server::Server;
use super::token::Token;
use crate::protocol::http1::cookie::SameSite;

/// The cookie that names a group's servers to its clients.
#[derive(Clone)]
pub struct Affinity {
    /// What the operator calls it.
    given: Option<Arc<str>>,
    /// What it is called.
    cookie: Arc<str>,
    same_site: SameSite,
    key: Arc<[u8]>,
}

/// What a client's cookies say, in their order.
#[derive(Debug)]
pub struct Named(Box<[Token]>);

impl Named {
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.0.iter().copied()
    }
}

impl FromIterator<Token> for Named {
    fn from_iter<T: IntoIterator<Item = Token>>(tokens: T) -> Self {
        Self(tokens.into_iter().collect())
    }
}

impl Affinity {
    /// A cookie of this name, or of one that every group has for itself. Without a key (empty), who guesses a server's name
    /// and address can see from the value that the guess is right.
    pub fn new(cookie: Option<&str>, same_site: SameSite, key: &[u8]) -> Self {
        let given = cookie.map(Arc::from);
        Self { cookie: given.clone().unwrap_or_default(), given, same_site, key: key.into() }
    }

    /// The same for the group of this name.
    #[must_use]
    pub(super) fn of_group(&self, name: &str) -> Self {
        let of_group = || {
            let [a, b, c, d, ..] = Sha256::digest(name).0;
            format!("iisplice-{:08x}", u32::from_be_bytes([a, b, c, d])).into()
        };
        Self { cookie: self.given.clone().unwrap_or_else(of_group), ..self.clone() }
    }

    /// The name of the cookie.
    pub fn cookie(&self) -> &Arc<str> {
        &self.cookie
    }

    /// Which requests that other sites cause carry it.
    pub fn same_site(&self) -> SameSite {
        self.same_site
    }

    /// What stands for this server of the group.
    pub fn token(&self, server: &Server) -> Token {
        server.token(|| self.compute(server))
    }

    fn compute(&self, server: &Server) -> Token {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        mac.update(format!("{}\0{}", server.name(), server.address()).as_bytes());
        let digest = mac.finalize().into_bytes();
        let digits = format!("{:016x}", digest[..8].iter().fold(0, |all, byte| all << 8 | u64::from(*byte)));
        Token::new(digits.as_bytes().try_into().expect("two digits a byte"))
    }
}

/// The key is a secret.
impl fmt::Debug for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_key = !self.key.is_empty();
        let mut shown = f.debug_struct("Affinity");
        shown.field("cookie", &self.cookie).field("same_site", &self.same_site).field("has_key", &has_key);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::Address;

    fn server(name: &str, number: u8) -> Server {
        Server::new(name, Address::Ip(([192, 0, 2, number], 80).into()), None).expect("an IP address")
    }

    #[test]
    fn a_value_follows_from_name_address_and_key_and_never_changes() {
        let affinity = Affinity::new(None, SameSite::Lax, b"").of_group("default");
        assert_eq!(&**affinity.cookie(), "iisplice-37a8eec1");
        assert_eq!(affinity.token(&server("iis1:80", 1)).as_str(), "0c6bd6e640b3b489");
        let tokens = |key: &[u8]| {
            let affinity = Affinity::new(None, SameSite::Lax, key);
            [("a", 1), ("a", 2), ("b", 1)].map(|(name, number)| affinity.token(&server(name, number)))
        };
        let all: Vec<_> =
            [&b""[..], b"0123456789abcdef", b"0123456789abcdeg"].iter().flat_map(|key| tokens(key)).collect();
        for (nth, token) in all.iter().enumerate() {
            assert!(!all[..nth].contains(token), "{nth} is one before it");
            assert_eq!(Token::of_cookie(token.as_str().as_bytes()), Some(*token));
        }
    }

    #[test]
    fn each_group_has_a_cookie_of_its_own_unless_it_is_given_one() {
        let own = Affinity::new(None, SameSite::Lax, b"");
        let (a, b) = (own.of_group("a"), own.of_group("b"));
        assert_ne!(a.cookie(), b.cookie());
        assert_eq!(a.of_group("b").cookie(), b.cookie());
        assert_eq!(&**Affinity::new(Some("X"), SameSite::Lax, b"").of_group("a").cookie(), "X");
    }

    #[test]
    fn what_is_no_value_is_none() {
        for value in [&b""[..], b"5f1f0f3b0e3ddb1", b"5f1f0f3b0e3ddb123"] {
            assert_eq!(Token::of_cookie(value), None);
        }
        // It stands for no server.
        assert!(Token::of_cookie(&[0xff; 16]).is_some());
    }

    #[test]
    fn a_key_is_not_shown() {
        let affinity = Affinity::new(Some("X"), SameSite::Lax, b"very secret words");
        let shown = format!("{affinity:?}");
        assert!(shown.contains("has_key: true") && !shown.contains("118"), "{shown}");
    }
}
