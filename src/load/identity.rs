//! The identity check: each reply must name the user of its connection; another name is a leak.

use serde::{Deserialize, Serialize};

use crate::protocol::http1::response::ResponseHead;
use crate::protocol::ntlm::Credentials;

use super::plan::IdentitySource;

/// The content that is searched for a name; a body that names a user is short.
const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Leaks that are stored with their names; all are counted.
pub const LEAKS_KEPT_MAX: usize = 100;

/// What the check found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Identities {
    /// Replies that named the right user.
    pub right: u64,
    /// Replies without a name, which prove nothing.
    pub unnamed: u64,
    /// Replies that named another user.
    pub leaked: u64,
    /// The first of those.
    pub leaks: Vec<Leak>,
}

/// A reply that named another user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// The user of its connection.
    pub expected: String,
    /// The user it named.
    pub named: String,
    /// The connection's number.
    pub connection: usize,
    /// The number of the reply on this connection since its login: 0 is the last reply of the login.
    pub reply: u64,
}

impl Identities {
    /// Adds other findings.
    pub fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.unnamed += other.unnamed;
        self.leaked += other.leaked;
        let room = LEAKS_KEPT_MAX.saturating_sub(self.leaks.len());
        self.leaks.extend(other.leaks.iter().take(room).cloned());
    }

    /// Checks a reply that named `named` on a connection of `user`.
    pub(super) fn check(&mut self, user: UserName<'_>, named: Option<&str>, connection: usize, reply: u64) {
        match named {
            None => self.unnamed += 1,
            Some(named) if is_same(user, named) => self.right += 1,
            Some(named) => {
                self.leaked += 1;
                if self.leaks.len() < LEAKS_KEPT_MAX {
                    let (expected, named) = (user.to_string(), named.to_owned());
                    self.leaks.push(Leak { expected, named, connection, reply });
                }
            }
        }
    }
}

/// The name of a user, without the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserName<'a> {
    domain: &'a str,
    user: &'a str,
}

impl<'a> UserName<'a> {
    /// Parses a displayed name.
    pub fn parse(name: &'a str) -> Self {
        let (domain, user) = name.split_once('\\').unwrap_or(("", name));
        Self { domain, user }
    }
}

impl<'a> From<&'a Credentials> for UserName<'a> {
    fn from(credentials: &'a Credentials) -> Self {
        Self { domain: credentials.domain(), user: credentials.user() }
    }
}

/// `DOMAIN\user`, or the name alone without a domain.
impl std::fmt::Display for UserName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.domain.is_empty() {
            f.write_str(self.user)
        } else {
            write!(f, "{}\\{}", self.domain, self.user)
        }
    }
}

/// Whether a name means this user: account names and `NetBIOS` domains ignore case; domains are compared only if
/// both names have one of the same kind, because `CORP` and `corp.example.com` may be the same.
fn is_same(user: UserName<'_>, named: &str) -> bool {
    let (expected_domain, expected_user) = split(user.domain, user.user);
    let (named_domain, named_user) = match named.split_once('\\') {
        Some((domain, user)) => (domain, user),
        None => split("", named),
    };
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    let is_dns = |domain: &str| domain.contains('.');
    let comparable = !expected_domain.is_empty()
        && !named_domain.is_empty()
        && is_dns(expected_domain) == is_dns(named_domain);
    same(expected_user, named_user) && (!comparable || same(expected_domain, named_domain))
}

/// Splits `user@domain` if there is no other domain.
fn split<'a>(domain: &'a str, user: &'a str) -> (&'a str, &'a str) {
    match user.split_once('@') {
        Some((user, dns_domain)) if domain.is_empty() => (dns_domain, user),
        _ => (domain, user),
    }
}

/// Collects the parts of one reply that may name its user.
#[derive(Debug, Default)]
pub(super) struct Witness {
    header: Option<String>,
    content: Vec<u8>,
}

impl Witness {
    /// Takes the head of the reply.
    pub(super) fn see_head(&mut self, head: &ResponseHead<'_, '_>, source: &IdentitySource) {
        self.content.clear();
        self.header = match source {
            IdentitySource::Body => None,
            IdentitySource::Header(name) => {
                head.values(name).next().map(|value| String::from_utf8_lossy(value.trim_ascii()).into_owned())
            }
        };
    }

    /// Takes a piece of the content.
    pub(super) fn see_content(&mut self, piece: &[u8], source: &IdentitySource) {
        if *source == IdentitySource::Body && self.content.len() + piece.len() <= CONTENT_BYTES_MAX {
            self.content.extend_from_slice(piece);
        }
    }

    /// The user that the reply names; `None` if the header is missing or the body is not JSON with a `user`.
    pub(super) fn name(&self, source: &IdentitySource) -> Option<String> {
        #[derive(Deserialize)]
        struct Whoami {
            user: Option<String>,
        }
        let name = match source {
            IdentitySource::Header(_) => self.header.clone(),
            IdentitySource::Body => serde_json::from_slice::<Whoami>(&self.content).ok()?.user,
        };
        name.filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::response::{AnswerTo, read_head};

    fn alice() -> UserName<'static> {
        UserName { domain: "CORP", user: "alice" }
    }

    #[test]
    fn the_same_user_is_known_in_every_way_of_writing() {
        for named in
            ["CORP\\alice", "corp\\ALICE", "alice", "alice@corp.example.com", "corp.example.com\\Alice"]
        {
            assert!(is_same(alice(), named), "{named}");
        }
        let by_upn = UserName::parse("alice@corp.test");
        assert!(is_same(by_upn, "CORP\\alice") && !is_same(by_upn, "alice@other.test"));
    }

    #[test]
    fn another_user_or_domain_is_a_leak() {
        for named in ["CORP\\bob", "OTHER\\alice", "bob", "alice2", "xalice", "alice@x\\bob"] {
            assert!(!is_same(alice(), named), "{named}");
        }
    }

    #[test]
    fn a_leak_keeps_both_names_and_only_the_first_are_kept() {
        let mut found = Identities::default();
        for reply in 0..150 {
            found.check(alice(), Some("CORP\\bob"), 7, reply);
        }
        found.check(alice(), None, 7, 0);
        found.check(alice(), Some("alice"), 7, 0);
        assert_eq!((found.right, found.unnamed, found.leaked), (1, 1, 150));
        assert_eq!(found.leaks.len(), LEAKS_KEPT_MAX);
        let leak =
            Leak { expected: "CORP\\alice".into(), named: "CORP\\bob".into(), connection: 7, reply: 0 };
        assert_eq!(found.leaks[0], leak);
    }

    #[test]
    fn a_name_is_read_from_the_body_or_the_header() {
        let reply = b"HTTP/1.1 200 OK\r\nX-User:  CORP\\bob \r\n\r\n";
        let by_header = IdentitySource::Header("x-user".into());
        let mut witness = Witness::default();
        read_head(reply, AnswerTo::Usual, |head| witness.see_head(head, &by_header)).unwrap();
        assert_eq!(witness.name(&by_header).as_deref(), Some("CORP\\bob"));

        let by_body = IdentitySource::Body;
        for (content, name) in [
            (&br#"{"connection":3,"user":"CORP\\alice"}"#[..], Some("CORP\\alice")),
            (br#"{"user":null}"#, None),
            (br#"{"user":""}"#, None),
            (b"<html>", None),
        ] {
            let mut witness = Witness::default();
            content.chunks(5).for_each(|piece| witness.see_content(piece, &by_body));
            assert_eq!(witness.name(&by_body).as_deref(), name);
        }
    }
}
