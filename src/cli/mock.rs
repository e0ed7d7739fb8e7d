//! `iisplice mock`.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Error;
use super::address::Unresolved;
use super::quantity::{duration, number, size};
use super::text_file;
use crate::control::limits::Host;
use crate::mock::settings::{Accounts, CertificateSource, Faults, Protection, Provider, Settings, Skew, Tls};
use crate::uring::Address;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The flags of `iisplice mock`; the bracket at the end of a text is the IIS setting that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
pub struct MockArgs {
    /// Address to listen on: HOST:PORT or [IPv6]:PORT, port 0 for a free one; repeatable
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", help_heading = "Addresses")]
    listen: Vec<Unresolved>,
    /// Use TLS, with a certificate created at start [default: off]
    #[arg(long, help_heading = "TLS", conflicts_with = "tls_cert")]
    tls: bool,
    /// Use TLS, with the certificate chain in this PEM file
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in a PEM file
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// When logins must be bound to the TLS connection [IIS: extendedProtection tokenChecking]
    #[arg(long, value_name = "WHEN", default_value = "off", help_heading = "TLS")]
    extended_protection: WhenToProtect,

    /// Account that may log in, as 'DOMAIN\user:password'; repeatable
    #[arg(long, value_name = "ACCOUNT", help_heading = "Logins", required_unless_present = "users")]
    user: Vec<GivenAccount>,
    /// File of accounts that may log in, one per line; empty lines and lines with # are ignored
    #[arg(long, value_name = "FILE", help_heading = "Logins")]
    users: Option<PathBuf>,
    /// Login schemes, in the order offered [IIS: windowsAuthentication providers]
    #[arg(
        long,
        value_name = "SCHEMES",
        default_value = "negotiate,ntlm",
        value_delimiter = ',',
        help_heading = "Logins"
    )]
    providers: Vec<GivenProvider>,
    /// Require a login for every request [default: off] [IIS: authPersistSingleRequest]
    #[arg(long, help_heading = "Logins")]
    auth_persist_single_request: bool,
    /// Delay of each login verification, like that of a distant domain controller
    #[arg(long, value_name = "DURATION", default_value = "0", help_heading = "Logins", value_parser = duration(Duration::ZERO..=HOUR))]
    verify_delay: Duration,
    /// Maximum number of concurrent login verifications [default: unlimited] [Netlogon: MaxConcurrentApi]
    #[arg(long, value_name = "N", help_heading = "Logins", value_parser = number(1..=1_000_000))]
    verify_concurrency: Option<u32>,
    /// Send this challenge, 16 hexadecimal digits, in every login, so that recorded logins can be replayed [default:
    /// random]
    #[arg(long, value_name = "HEX", help_heading = "Logins", value_parser = challenge)]
    fixed_challenge: Option<[u8; 8]>,

    /// Longest time that a connection may be idle [IIS: connectionTimeout]
    #[arg(long, value_name = "DURATION", default_value = "120s", help_heading = "Limits", value_parser = duration(MILLISECOND..=DAY))]
    idle_timeout: Duration,
    /// Maximum size of a request's head; larger ones are answered with 400 [HTTP.sys: MaxRequestBytes]
    #[arg(long, value_name = "SIZE", default_value = "16KiB", help_heading = "Limits", value_parser = size(256..=16 * 1024 * 1024))]
    header_limit: u32,

    /// Fault to inject, and its probability (0 to 1): close-in-handshake, reset, slow-body or truncate, as in
    /// reset=0.01; repeatable
    #[arg(long, value_name = "NAME=PROBABILITY", help_heading = "Faults")]
    fault: Vec<GivenFault>,
    /// Offset of the clock in the Date header, such as 5m or -5m
    #[arg(long, value_name = "DURATION", default_value = "0", help_heading = "Faults", allow_hyphen_values = true, value_parser = skew)]
    date_skew: Skew,
    /// Offset of the clock in NTLM challenges, such as 5m or -5m
    #[arg(long, value_name = "DURATION", default_value = "0", help_heading = "Faults", allow_hyphen_values = true, value_parser = skew)]
    ntlm_time_skew: Skew,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WhenToProtect {
    Off,
    Allow,
    Require,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GivenProvider {
    Negotiate,
    Ntlm,
}

/// `DOMAIN\user:password`.
#[derive(Clone)]
struct GivenAccount {
    domain: String,
    user: String,
    password: String,
}

/// Omits the password.
impl std::fmt::Debug for GivenAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\\{}", self.domain, self.user)
    }
}

impl FromStr for GivenAccount {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "give DOMAIN\\user:password (quoted for the shell)";
        let (name, password) = text.split_once(':').ok_or(WANTED)?;
        let (domain, user) = name.split_once('\\').unwrap_or(("", name));
        if user.is_empty() || user.contains('\\') {
            return Err(WANTED);
        }
        Ok(Self { domain: domain.to_owned(), user: user.to_owned(), password: password.to_owned() })
    }
}

#[derive(Debug, Clone, Copy)]
struct GivenFault {
    name: FaultName,
    probability: f64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FaultName {
    CloseInHandshake,
    Reset,
    SlowBody,
    Truncate,
}

impl FromStr for GivenFault {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "give NAME=PROBABILITY, with one of close-in-handshake, reset, slow-body and truncate, \
                and a number from 0 to 1";
        let (name, probability) = text.split_once('=').ok_or(WANTED)?;
        let name = FaultName::from_str(name, false).map_err(|_| WANTED)?;
        let probability = probability.parse().map_err(|_| WANTED)?;
        if (0.0..=1.0).contains(&probability) { Ok(Self { name, probability }) } else { Err(WANTED) }
    }
}

fn challenge(text: &str) -> Result<[u8; 8], &'static str> {
    // `from_str_radix` would accept a sign.
    if text.len() == 16
        && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        && let Ok(challenge) = u64::from_str_radix(text, 16)
    {
        return Ok(challenge.to_be_bytes());
    }
    Err("give 16 hexadecimal digits, such as 0123456789abcdef")
}

fn skew(text: &str) -> Result<Skew, &'static str> {
    let (unsigned, make): (_, fn(Duration) -> Skew) = match text.strip_prefix('-') {
        Some(rest) => (rest, Skew::Behind),
        None => (text.strip_prefix('+').unwrap_or(text), Skew::Ahead),
    };
    let year = DAY * 366;
    match duration(Duration::ZERO..=year)(unsigned) {
        Ok(by) => Ok(make(by)),
        Err(_) => Err("give a duration such as 5m, or -5m for a clock that is behind, up to a year"),
    }
}

impl MockArgs {
    /// Settings for this host, with a thread for each of its CPUs. Reads the file of users; resolves names, which can
    /// take seconds.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn settings(self, host: &Host) -> Result<Settings, Error> {
        let listeners = listeners(&self.listen)?;
        let accounts = self.accounts()?;
        let tls = self.tls()?;
        Ok(Settings {
            threads: host.cpus.len(),
            tls,
            providers: self
                .providers
                .iter()
                .map(|provider| match provider {
                    GivenProvider::Negotiate => Provider::Negotiate,
                    GivenProvider::Ntlm => Provider::Ntlm,
                })
                .collect(),
            single_request: self.auth_persist_single_request,
            verify_delay: self.verify_delay,
            verify_concurrency: self.verify_concurrency.map(|number| number as usize),
            fixed_challenge: self.fixed_challenge,
            idle_timeout: self.idle_timeout,
            header_limit_bytes: self.header_limit as usize,
            faults: faults(&self.fault),
            date_skew: self.date_skew,
            ntlm_time_skew: self.ntlm_time_skew,
            ..Settings::new(listeners, accounts)
        })
    }

    fn accounts(&self) -> Result<Accounts, Error> {
        let mut accounts = Accounts::default();
        for account in &self.user {
            accounts.add(&account.domain, &account.user, &account.password);
        }
        if let Some(path) = &self.users {
            read_accounts(path, &mut accounts)?;
        }
        Ok(accounts)
    }

    fn tls(&self) -> Result<Option<Tls>, Error> {
        let certificate = match (&self.tls_cert, &self.tls_key) {
            (Some(chain), Some(key)) => CertificateSource::Files { chain: chain.clone(), key: key.clone() },
            _ if self.tls => CertificateSource::SelfSigned,
            _ if self.extended_protection != WhenToProtect::Off => return Err(Error::ProtectionWithoutTls),
            _ => return Ok(None),
        };
        let extended_protection = match self.extended_protection {
            WhenToProtect::Off => Protection::Off,
            WhenToProtect::Allow => Protection::Allow,
            WhenToProtect::Require => Protection::Require,
        };
        Ok(Some(Tls { certificate, extended_protection }))
    }
}

fn faults(given: &[GivenFault]) -> Faults {
    let mut faults = Faults::default();
    for fault in given {
        match fault.name {
            FaultName::CloseInHandshake => faults.close_in_handshake = fault.probability,
            FaultName::Reset => faults.reset = fault.probability,
            FaultName::SlowBody => faults.slow_body = fault.probability,
            FaultName::Truncate => faults.truncate = fault.probability,
        }
    }
    faults
}

fn read_accounts(path: &Path, accounts: &mut Accounts) -> Result<(), Error> {
    let text = text_file::read(path).map_err(|error| match error.kind() {
        // Not UTF-8.
        ErrorKind::InvalidData => Error::UsersFile { path: path.to_owned(), reason: error.to_string() },
        _ => Error::Unreadable { flag: "--users", path: path.to_owned(), source: error },
    })?;
    for (nth, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let account: GivenAccount = line.parse().map_err(|reason: &str| Error::UsersFile {
            path: path.to_owned(),
            reason: format!("line {} is not an account; {reason}", nth + 1),
        })?;
        accounts.add(&account.domain, &account.user, &account.password);
    }
    if accounts.is_empty() {
        return Err(Error::UsersFile {
            path: path.to_owned(),
            reason: "the file contains no account; write lines such as DOMAIN\\user:password".to_owned(),
        });
    }
    Ok(())
}

fn listeners(written: &[Unresolved]) -> Result<Vec<SocketAddr>, Error> {
    let mut listeners = Vec::new();
    for listener in written {
        for address in listener.resolve("listen")? {
            let Address::Ip(address) = address else {
                return Err(Error::ListenPath(listener.to_string()));
            };
            if listeners.contains(&address) && address.port() != 0 {
                return Err(Error::ListenTwice(address.to_string()));
            }
            listeners.push(address);
        }
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, one_line};

    fn settings(arguments: &[&str]) -> Result<Settings, String> {
        let host = Host { cpus: vec![0, 1], descriptors_max: 1024, memory_bytes: None };
        let arguments = ["iisplice", "mock"].iter().chain(arguments);
        let cli = Cli::try_parse_from(arguments).map_err(|error| one_line(&error))?;
        let Command::Mock(arguments) = cli.command else { return Err("another command".to_owned()) };
        arguments.settings(&host).map_err(|error| error.to_string())
    }

    const ALICE: &str = r"CORP\alice:secret";

    #[test]
    fn the_defaults_are_those_of_iis() {
        let settings = settings(&["--user", ALICE]).unwrap();
        assert_eq!(settings.listeners, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(settings.threads, 2);
        assert_eq!(settings.providers, [Provider::Negotiate, Provider::Ntlm]);
        assert_eq!(settings.idle_timeout, Duration::from_secs(120));
        assert_eq!(settings.header_limit_bytes, 16 * 1024);
        assert_eq!(settings.faults, Faults::default());
        assert!(settings.tls.is_none() && !settings.single_request && settings.fixed_challenge.is_none());
    }

    #[test]
    fn every_flag_arrives() {
        let settings = settings(&[
            "--listen=127.0.0.1:0",
            "--listen=[::1]:0",
            "--user=bob:a:b",
            "--providers=ntlm,negotiate",
            "--auth-persist-single-request",
            "--tls",
            "--extended-protection=require",
            "--verify-delay=5ms",
            "--verify-concurrency=2",
            "--fixed-challenge=0123456789abcdef",
            "--idle-timeout=1s",
            "--header-limit=1KiB",
            "--fault=reset=0.5",
            "--fault=slow-body=1",
            "--date-skew=-5m",
            "--ntlm-time-skew=+1h",
        ])
        .unwrap();
        assert_eq!(settings.listeners.len(), 2);
        assert_eq!(settings.providers, [Provider::Ntlm, Provider::Negotiate]);
        assert!(settings.single_request);
        assert_eq!(settings.tls.map(|tls| tls.extended_protection), Some(Protection::Require));
        assert_eq!(settings.verify_delay, Duration::from_millis(5));
        assert_eq!(settings.verify_concurrency, Some(2));
        assert_eq!(settings.fixed_challenge, Some([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]));
        assert_eq!(settings.idle_timeout, Duration::from_secs(1));
        assert_eq!(settings.header_limit_bytes, 1024);
        assert_eq!(settings.faults, Faults { reset: 0.5, slow_body: 1.0, ..Faults::default() });
        assert_eq!(settings.date_skew, Skew::Behind(Duration::from_secs(300)));
        assert_eq!(settings.ntlm_time_skew, Skew::Ahead(HOUR));
    }

    #[test]
    fn a_file_of_users() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let line = settings(&["--users", path.to_str().unwrap()]).map(|_| ());
            line.map_err(|line| line.replace(path.to_str().unwrap(), "FILE"))
        };
        assert_eq!(read("# the lab\n\nCORP\\alice:secret\n  bob:x  \n"), Ok(()));
        for (text, expected) in [
            ("", "--users FILE: the file contains no account; write lines such as DOMAIN\\user:password"),
            (
                "bob:x\nalice",
                "--users FILE: line 2 is not an account; give DOMAIN\\user:password (quoted for the shell)",
            ),
        ] {
            assert_eq!(read(text), Err(expected.to_owned()), "{text:?}");
        }
        let missing = settings(&["--users", "/nowhere/users"]).unwrap_err();
        assert!(missing.starts_with("--users /nowhere/users: cannot be read: No such file"), "{missing}");
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (arguments, expected) in [
            (&[][..], "the following required arguments were not provided: --user <ACCOUNT>"),
            (
                &["--user", r"CORP\alice"],
                r"invalid value 'CORP\alice' for '--user <ACCOUNT>': give DOMAIN\user:password (quoted for the shell)",
            ),
            (
                &["--user", ALICE, "--extended-protection", "allow"],
                "--extended-protection needs TLS; add --tls, or --tls-cert and --tls-key",
            ),
            (
                &["--user", ALICE, "--listen", "unix:/run/mock"],
                "--listen unix:/run/mock: the mock listens on TCP only; give HOST:PORT or [IPv6]:PORT",
            ),
            (
                &["--user", ALICE, "--fixed-challenge", "+123456789abcdef"],
                "invalid value '+123456789abcdef' for '--fixed-challenge <HEX>': give 16 hexadecimal digits, such as \
                 0123456789abcdef",
            ),
            (
                &["--user", ALICE, "--fault", "reset=1.5"],
                "invalid value 'reset=1.5' for '--fault <NAME=PROBABILITY>': give NAME=PROBABILITY, with one of \
                 close-in-handshake, reset, slow-body and truncate, and a number from 0 to 1",
            ),
            (
                &["--user", ALICE, "--date-skew", "-5"],
                "invalid value '-5' for '--date-skew <DURATION>': give a duration such as 5m, or -5m for a clock that is \
                 behind, up to a year",
            ),
        ] {
            assert_eq!(settings(arguments).map(|_| ()), Err(expected.to_owned()), "{arguments:?}");
        }
    }
}
