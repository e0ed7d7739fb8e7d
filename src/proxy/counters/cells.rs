//! The counters of one service, of one of its groups, or of one server of a group, in one worker.
//!
//! What happens before a group is chosen stands in the cells of the service; before a server has accepted, in those of the
//! group. So the cells of a service, of its groups and of their servers never count the same thing twice: their sum is all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::counter::{Bytes, Counter, Gauge, Tally, Times};
use crate::protocol::login::{Leg, Mechanism};
use crate::proxy::record::End;
use crate::words::words;

/// What cells count for, by the names in the settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The service.
    pub service: Arc<str>,
    /// Its group, once one is chosen.
    pub group: Option<Arc<str>>,
    /// The server of that group, once one has accepted.
    pub server: Option<Arc<str>>,
}

words! {
    /// The status of a reply, as far as it is counted.
    pub enum Status {
        /// Switching protocols.
        Informational = "1xx",
        /// Success.
        Success = "2xx",
        /// A redirect, or nothing new.
        Redirect = "3xx",
        /// The request is at fault, or has to log in; or the client left (499).
        Client = "4xx",
        /// The server or the proxy is at fault.
        Server = "5xx",
        /// Any other status.
        Other = "other",
        /// There was no reply.
        None = "none",
    }
}

impl Status {
    /// That of a number as the access log has it.
    pub(in crate::proxy) fn of(status: u16) -> Self {
        match status {
            0 => Self::None,
            100..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::Client,
            500..600 => Self::Server,
            _ => Self::Other,
        }
    }
}

words! {
    /// Why a connection to a server could not be used.
    pub enum Unconnected {
        /// The server refused it, or cannot be reached.
        Refused = "refused",
        /// The server did not accept it, or take the PROXY header, in time.
        TimedOut = "timed-out",
        /// This host has no descriptor or no port left.
        LocalLimit = "local-limit",
        /// The server ended it within the PROXY header.
        Reset = "reset",
        /// The TLS handshake failed or took too long.
        Tls = "tls",
    }
}

words! {
    /// How a TLS handshake went.
    pub enum Handshake {
        /// A complete one.
        Full = "full",
        /// A shorter one, which goes on with an earlier session.
        Resumed = "resumed",
        /// Failed: the connection ended before it, or within it.
        Ended = "ended",
        /// Failed: it took too long.
        TimedOut = "timed-out",
        /// Failed: what came is not TLS.
        NotTls = "not-tls",
        /// Failed: the connection broke.
        Failed = "failed",
        /// Failed: an alert came.
        Alert = "alert",
        /// Failed: there was no certificate, or none that is trusted.
        Certificate = "certificate",
        /// Failed: no version or cipher in common.
        NothingInCommon = "nothing-in-common",
        /// Failed: what came is malformed.
        Malformed = "malformed",
    }
}

words! {
    /// How a client logs in.
    pub enum Login {
        /// NTLM under its own name.
        Ntlm = "ntlm",
        /// NTLM under Negotiate.
        NegotiateNtlm = "negotiate-ntlm",
        /// Kerberos under Negotiate; each ticket is a login.
        Kerberos = "kerberos",
        /// Basic; each request that brings a password is a login.
        Basic = "basic",
    }
}

words! {
    /// How far a login came.
    pub enum Outcome {
        /// The client has sent its first message.
        Begun = "begun",
        /// The server has accepted it.
        Accepted = "accepted",
        /// The server has refused it.
        Refused = "refused",
        /// There was no verdict: the connection ended, the client began anew or asked for something else, or the server
        /// answered neither yes nor no.
        Abandoned = "abandoned",
    }
}

impl From<Mechanism> for Login {
    fn from(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Ntlm => Self::Ntlm,
            Mechanism::NegotiateNtlm => Self::NegotiateNtlm,
            Mechanism::Kerberos => Self::Kerberos,
        }
    }
}

/// See the module docs. The owner of the worker writes; what is written here is never read by it.
#[derive(Debug)]
pub struct Cells {
    key: Key,
    has_requests: AtomicBool,
    /// Connections of clients that were accepted; in the cells of a service only.
    pub accepted: Counter,
    /// Sessions that are here now.
    pub active: Gauge,
    /// Sessions that ended here, by [`End`].
    ended: Tally<{ End::ALL.len() }>,
    /// Bytes from clients to servers.
    pub upstream_bytes: Bytes,
    /// Bytes from servers to clients.
    pub client_bytes: Bytes,
    /// How many of all these bytes went through a pipe.
    pub spliced_bytes: Counter,
    /// Connections that the server accepted.
    pub connected: Counter,
    /// How many of them were opened before their clients came.
    pub warm: Counter,
    /// Connections that it did not accept, or that could not be used.
    unconnected: Tally<{ Unconnected::ALL.len() }>,
    /// From the attempt to connect to the server's accept.
    pub connect_time: Times,
    /// From accepting a client to the first byte from its server.
    pub first_byte_time: Times,
    /// How long clients waited for a place at a server.
    pub queue_time: Times,
    /// Requests that were answered, or could not be.
    pub requests: Counter,
    /// Their replies.
    replies: Tally<{ Status::ALL.len() }>,
    /// From the head of a request to the head of its reply.
    pub reply_head_time: Times,
    logins: [Tally<{ Outcome::ALL.len() }>; Login::ALL.len()],
    /// Durations of the legs of logins.
    legs: [Times; Leg::ALL.len()],
    /// TLS handshakes: of clients in the cells of a service, with servers in theirs.
    handshakes: Tally<{ Handshake::ALL.len() }>,
}

impl Handshake {
    /// Those that did not fail.
    pub const COMPLETED: [Self; 2] = [Self::Full, Self::Resumed];
}

impl Cells {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            has_requests: AtomicBool::new(false),
            accepted: Counter::default(),
            active: Gauge::default(),
            ended: Tally::default(),
            upstream_bytes: Bytes::default(),
            client_bytes: Bytes::default(),
            spliced_bytes: Counter::default(),
            connected: Counter::default(),
            warm: Counter::default(),
            unconnected: Tally::default(),
            connect_time: Times::default(),
            first_byte_time: Times::default(),
            queue_time: Times::default(),
            requests: Counter::default(),
            replies: Tally::default(),
            reply_head_time: Times::default(),
            logins: Default::default(),
            legs: Default::default(),
            handshakes: Tally::default(),
        }
    }

    /// What they count for.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether the service has ever read requests.
    pub fn has_requests(&self) -> bool {
        self.has_requests.load(Ordering::Relaxed)
    }

    /// The service reads requests.
    pub(in crate::proxy) fn note_requests(&self) {
        self.has_requests.store(true, Ordering::Relaxed);
    }

    /// Sessions that ended here with this end.
    pub fn ended(&self, end: End) -> &Counter {
        self.ended.of(end as usize)
    }

    /// Attempts to connect that led to no connection, for this reason.
    pub fn unconnected(&self, cause: Unconnected) -> &Counter {
        self.unconnected.of(cause as usize)
    }

    /// Replies with this status.
    pub fn replies(&self, status: Status) -> &Counter {
        self.replies.of(status as usize)
    }

    /// Logins of this kind that came so far.
    pub fn logins(&self, login: Login, outcome: Outcome) -> &Counter {
        self.logins[login as usize].of(outcome as usize)
    }

    /// Durations of this leg.
    pub fn leg(&self, leg: Leg) -> &Times {
        &self.legs[leg as usize]
    }

    /// Handshakes that went like this.
    pub fn handshakes(&self, handshake: Handshake) -> &Counter {
        self.handshakes.of(handshake as usize)
    }
}
