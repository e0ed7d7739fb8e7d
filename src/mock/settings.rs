//! What a mock is told: validated by whoever makes it, nothing here is text to be checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::protocol::ntlm::NtHash;

/// A mock IIS site.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub listeners: Vec<SocketAddr>,
    /// Threads, each with its own runtime and listening sockets; at least one.
    pub threads: usize,
    /// TLS on all listeners.
    pub tls: Option<Tls>,
    /// Who may log in.
    pub accounts: Accounts,
    /// The schemes in the order in which they are offered; never empty.
    pub providers: Vec<Provider>,
    /// `authPersistSingleRequest`: a login counts for one request.
    pub single_request: bool,
    /// How long each verification of a login takes.
    pub verify_delay: Duration,
    /// How many verifications may go on at once, over all threads.
    pub verify_concurrency: Option<usize>,
    /// The server challenge of every login, in place of a random one. The time in Type 2 is then fixed too, so that
    /// recorded logins can be replayed byte for byte.
    pub fixed_challenge: Option<[u8; 8]>,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// Bytes that a request's head may have.
    pub header_limit_bytes: usize,
    /// What goes wrong on purpose, and how often.
    pub faults: Faults,
    /// What the clock of the `Date` header is off by.
    pub date_skew: Skew,
    /// What the clock of the NTLM challenge is off by.
    pub ntlm_time_skew: Skew,
}

impl Settings {
    /// A site as IIS has it out of the box, for these accounts, on plain HTTP.
    pub fn new(listeners: Vec<SocketAddr>, accounts: Accounts) -> Self {
        Self {
            listeners,
            threads: 1,
            tls: None,
            accounts,
            providers: vec![Provider::Negotiate, Provider::Ntlm],
            single_request: false,
            verify_delay: Duration::ZERO,
            verify_concurrency: None,
            fixed_challenge: None,
            idle_timeout: Duration::from_secs(120),
            header_limit_bytes: 16 * 1024,
            faults: Faults::default(),
            date_skew: Skew::default(),
            ntlm_time_skew: Skew::default(),
        }
    }
}

/// TLS, and what can only be demanded with it.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate.
    pub certificate: CertificateSource,
    /// Channel bindings.
    pub extended_protection: Protection,
}

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// Made at start, for the addresses of the listeners and `localhost`.
    SelfSigned,
    /// Read from PEM files at start.
    Files {
        /// The chain, the server's own certificate first.
        chain: PathBuf,
        /// The private key.
        key: PathBuf,
    },
}

/// Extended Protection, `tokenChecking` in IIS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// Bindings are not looked at.
    Off,
    /// Bindings that are sent must be right.
    Allow,
    /// Right bindings must be sent.
    Require,
}

/// A way to log in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    /// `Negotiate`: SPNEGO or plain NTLM messages.
    Negotiate,
    /// `NTLM`.
    Ntlm,
}

impl Provider {
    /// The scheme's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Negotiate => "Negotiate",
            Self::Ntlm => "NTLM",
        }
    }
}

/// Who may log in.
#[derive(Clone, Default, Debug)]
pub struct Accounts {
    list: Vec<Account>,
}

#[derive(Clone, Debug)]
struct Account {
    domain: String,
    user: String,
    /// As `/whoami` shows it.
    name: String,
    hash: NtHash,
}

impl Accounts {
    /// Adds `DOMAIN\user`; `domain` may be empty. Of two with the same name the first counts.
    pub fn add(&mut self, domain: &str, user: &str, password: &str) {
        let name = if domain.is_empty() { user.to_owned() } else { format!("{domain}\\{user}") };
        let hash = NtHash::of_password(password);
        self.list.push(Account { domain: domain.to_owned(), user: user.to_owned(), name, hash });
    }

    /// Whether nobody may log in.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The domain of the first account, the one the site says it is in.
    pub(super) fn first_domain(&self) -> Option<&str> {
        self.list.iter().map(|account| &*account.domain).find(|domain| !domain.is_empty())
    }

    /// The name and the password's hash of the account that a client means by `user` and `domain`: case does not
    /// matter, `user@domain` may be in one, and a client may leave the domain out.
    pub(super) fn find(&self, user: &str, domain: &str) -> Option<(&str, NtHash)> {
        let (user, domain) = match user.split_once('@') {
            Some((user, suffix)) if domain.is_empty() => (user, suffix.split('.').next().unwrap_or_default()),
            _ => (user, domain),
        };
        let same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
        self.list
            .iter()
            .find(|account| {
                same(&account.user, user)
                    && (domain.is_empty() || domain == "." || same(&account.domain, domain))
            })
            .map(|account| (&*account.name, account.hash))
    }
}

/// What goes wrong on purpose: probabilities from 0 to 1.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Faults {
    /// The connection is closed in place of an answer to the last message of a login.
    pub close_in_handshake: f64,
    /// The connection is reset in place of a reply.
    pub reset: f64,
    /// The reply's body takes two seconds.
    pub slow_body: f64,
    /// The reply ends, and with it the connection, halfway.
    pub truncate: f64,
}

/// What a clock is off by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skew {
    /// It is ahead by this much.
    Ahead(Duration),
    /// It is behind by this much.
    Behind(Duration),
}

impl Default for Skew {
    fn default() -> Self {
        Self::Ahead(Duration::ZERO)
    }
}

impl Skew {
    /// What the clock shows at `time`.
    pub(super) fn shown_at(self, time: SystemTime) -> SystemTime {
        match self {
            Self::Ahead(by) => time.checked_add(by),
            Self::Behind(by) => time.checked_sub(by),
        }
        .unwrap_or(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_by_all_the_names_clients_use() {
        let mut accounts = Accounts::default();
        accounts.add("CORP", "alice", "one");
        accounts.add("LAB", "alice", "two");
        accounts.add("", "bob", "three");
        let name = |user, domain| accounts.find(user, domain).map(|(name, _)| name);
        for (user, domain, expected) in [
            ("alice", "CORP", Some("CORP\\alice")),
            ("ALICE", "corp", Some("CORP\\alice")),
            ("alice", "LAB", Some("LAB\\alice")),
            ("alice", "", Some("CORP\\alice")),
            ("alice@lab.test", "", Some("LAB\\alice")),
            ("alice", "OTHER", None),
            ("bob", "", Some("bob")),
            ("bob", ".", Some("bob")),
            ("bob", "CORP", None),
            ("mallory", "CORP", None),
        ] {
            assert_eq!(name(user, domain), expected, "{domain}\\{user}");
        }
    }
}
