//! The settings of a mock, validated by the caller: no text that needs checking.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::protocol::ntlm::NtHash;

/// A mock IIS site.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The addresses it listens on; port 0 takes a free one.
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
    /// Most verifications at once, over all threads.
    pub verify_concurrency: Option<usize>,
    /// The server challenge of every login, instead of a random one. The time in Type 2 is then also fixed, so that
    /// recorded logins can be replayed byte for byte.
    pub fixed_challenge: Option<[u8; 8]>,
    /// Longest time that a connection may be idle.
    pub idle_timeout: Duration,
    /// Most bytes of a request's head.
    pub header_limit_bytes: usize,
    /// Faults injected on purpose, and how often.
    pub faults: Faults,
    /// Offset of the clock in the `Date` header.
    pub date_skew: Skew,
    /// Offset of the clock in the NTLM challenge.
    pub ntlm_time_skew: Skew,
}

impl Settings {
    /// A site with the defaults of IIS, for these accounts, on plain HTTP.
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

/// TLS, and what can be required only with it.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate.
    pub certificate: CertificateSource,
    /// Channel bindings.
    pub extended_protection: Protection,
}

/// The source of the certificate.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// Created at start, for the addresses of the listeners and `localhost`.
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
    /// Bindings are ignored.
    Off,
    /// Bindings are verified if sent.
    Allow,
    /// Bindings must be sent and are verified.
    Require,
}

/// A login scheme.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    /// `Negotiate`: SPNEGO or bare NTLM messages.
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
    /// Adds `DOMAIN\user`; `domain` may be empty. Of two with the same name, the first counts.
    pub fn add(&mut self, domain: &str, user: &str, password: &str) {
        let name = if domain.is_empty() { user.to_owned() } else { format!("{domain}\\{user}") };
        let hash = NtHash::of_password(password);
        self.list.push(Account { domain: domain.to_owned(), user: user.to_owned(), name, hash });
    }

    /// Whether there is no account.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The domain of the first account, which the site reports as its own.
    pub(super) fn first_domain(&self) -> Option<&str> {
        self.list.iter().map(|account| &*account.domain).find(|domain| !domain.is_empty())
    }

    /// The name and the password's hash of the account that a client means by `user` and `domain`: case is ignored,
    /// `user@domain` may be in one field, and the domain may be absent.
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

/// Faults injected on purpose: probabilities from 0 to 1.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Faults {
    /// The connection closes instead of an answer to the last message of a login.
    pub close_in_handshake: f64,
    /// The connection is reset instead of a reply.
    pub reset: f64,
    /// The reply's body takes two seconds.
    pub slow_body: f64,
    /// The reply, and with it the connection, ends halfway.
    pub truncate: f64,
}

/// The offset of a clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skew {
    /// Ahead by this much.
    Ahead(Duration),
    /// Behind by this much.
    Behind(Duration),
}

impl Default for Skew {
    fn default() -> Self {
        Self::Ahead(Duration::ZERO)
    }
}

impl Skew {
    /// The time that the clock shows at `time`.
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
