//! The probes of one URL, on their way: how they reach it, what they sent, what they found.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use url::{Host, Position, Url};

use super::budget::Budget;
use super::login::{Binding, Scheme, ServerFacts};
use super::reply::Reply;
use super::wire::{Broke, Wire};
use super::{Id, Settings, tls};
use crate::doctor::{Finding, Findings};
use crate::words::counted;

const USER_AGENT: &str = concat!("iisplice-doctor/", env!("CARGO_PKG_VERSION"));

/// The probes of one URL.
pub(super) struct Visit<'s> {
    pub(super) settings: &'s Settings,
    pub(super) url: &'s Url,
    /// Whose name it asks for: an address past the proxy serves the site under the site's name.
    named: &'s Url,
    pub(super) budget: &'s Budget,
    pub(super) findings: Findings,
    /// How the user can log in past the proxy, where that was tried.
    pub(super) works_directly: Option<(Scheme, Binding)>,
    /// Where to, and how, once that is known.
    pub(super) way: Option<Way>,
    /// What earlier probes saw.
    pub(super) seen: Seen,
    /// When the probes give up.
    pub(super) until: Instant,
    connections: Cell<u32>,
    requests: Cell<u32>,
}

/// An address that answers.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) address: SocketAddr,
    /// For `https`: accepts any certificate, because what is wrong with it is a finding of its own.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// What one probe leaves to the next.
#[derive(Default)]
pub(super) struct Seen {
    /// The server's certificate in DER.
    pub(super) certificate: Option<Vec<u8>>,
    /// The first reply to a request without a login.
    pub(super) anonymous: Option<Reply>,
    /// What the server says about itself, and when it said so.
    pub(super) server: Option<(ServerFacts, SystemTime)>,
    /// A connection that is logged in.
    pub(super) held: Option<Wire>,
    /// The login schemes that were tried.
    pub(super) tried: Vec<Scheme>,
    /// The reply to the first login that was accepted.
    pub(super) logged_in: Option<Reply>,
    /// Replies to requests without a login, while a connection was logged in.
    pub(super) during: Vec<Result<Reply, Broke>>,
    /// How the user can log in; nothing if no login was accepted.
    pub(super) works: Option<(Scheme, Binding)>,
    /// Whether a connection of another client was handed out.
    pub(super) has_leaked: bool,
}

impl Seen {
    /// Whether the page asks for a login by this scheme.
    pub(super) fn offers(&self, scheme: Scheme) -> bool {
        self.anonymous.as_ref().is_some_and(|reply| reply.status == 401 && reply.offers(scheme.name()))
    }
}

impl<'s> Visit<'s> {
    pub(super) fn new(settings: &'s Settings, url: &'s Url, budget: &'s Budget, until: Instant) -> Self {
        let is_address = |url: &Url| !matches!(url.host(), Some(Host::Domain(_)));
        let named = if is_address(url) && !is_address(&settings.url) { &settings.url } else { url };
        Self {
            settings,
            url,
            named,
            budget,
            findings: Findings::default(),
            works_directly: None,
            way: None,
            seen: Seen::default(),
            until,
            connections: Cell::new(0),
            requests: Cell::new(0),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// As a certificate or a resolver has it: an IPv6 address has brackets in a URL only.
    pub(super) fn host(&self) -> &str {
        self.named.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// What is resolved: the host of the URL.
    pub(super) fn address_name(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        // Both schemes have a usual one.
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// A TCP connection.
    pub(super) fn connect(&self, address: SocketAddr) -> Result<Wire, Broke> {
        self.connections.set(self.connections.get() + 1);
        Wire::connect(address, self.settings.timeout)
    }

    /// A connection that requests can be sent on, with TLS if the URL says so.
    pub(super) fn open(&self) -> Result<Wire, Broke> {
        let Some(way) = &self.way else { return Err(Broke::Closed) };
        let wire = self.connect(way.address)?;
        match &way.tls {
            Some((config, name)) => wire.encrypt(config, name),
            None => Ok(wire),
        }
    }

    /// The same over TLS of another kind.
    pub(super) fn open_with(&self, address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Wire, Broke> {
        let name = tls::server_name(self.host()).ok_or(Broke::Closed)?;
        self.connect(address)?.encrypt(config, &name)
    }

    /// Sends a request and reads its reply.
    pub(super) fn request(&self, wire: &mut Wire, request: &[u8]) -> Result<Reply, Broke> {
        self.requests.set(self.requests.get() + 1);
        wire.exchange(request)
    }

    /// A request for the page without a login, on a connection of its own.
    pub(super) fn ask_anonymously(&self) -> Result<Reply, Broke> {
        let mut wire = self.open()?;
        self.request(&mut wire, &self.get(&[]))
    }

    /// The bytes of a `GET` for the page, with these lines.
    pub(super) fn get(&self, lines: &[String]) -> Vec<u8> {
        self.head("GET", self.path(), lines)
    }

    /// The bytes of a `POST` to the page.
    pub(super) fn post(&self, lines: &[String], body: &[u8]) -> Vec<u8> {
        let mut lines = lines.to_vec();
        lines.push(format!("Content-Length: {}", body.len()));
        lines.push("Content-Type: application/octet-stream".to_owned());
        let mut request = self.head("POST", self.path(), &lines);
        request.extend_from_slice(body);
        request
    }

    pub(super) fn head(&self, method: &str, path: &str, lines: &[String]) -> Vec<u8> {
        let authority = &self.named[Position::BeforeHost..Position::AfterPort];
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n"
        );
        for line in lines {
            head.extend([line, "\r\n"]);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// What is asked for.
    pub(super) fn path(&self) -> &str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }

    pub(super) fn fine(&mut self, id: Id, saw: impl AsRef<str>) {
        self.findings.add(Finding::fine(id.as_str(), saw));
    }

    pub(super) fn warn(&mut self, id: Id, saw: impl AsRef<str>, why: impl AsRef<str>, fix: impl AsRef<str>) {
        self.findings.add(Finding::warning(id.as_str(), saw, why, fix));
    }

    pub(super) fn broken(
        &mut self,
        id: Id,
        saw: impl AsRef<str>,
        why: impl AsRef<str>,
        fix: impl AsRef<str>,
    ) {
        self.findings.add(Finding::broken(id.as_str(), saw, why, fix));
    }

    /// What was sent, for people.
    pub(super) fn sent(&self) -> String {
        format!(
            "{}: {}, {}",
            self.url,
            counted(self.connections.get().into(), "connection", "connections"),
            counted(self.requests.get().into(), "request", "requests"),
        )
    }
}
