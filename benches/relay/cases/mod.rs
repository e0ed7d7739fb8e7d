//! The cases: which proxies are loaded, in which way, and which figures are taken.

mod columns;
mod table;

use crate::arms::Variant;
pub(crate) use crate::cases::columns::{Better, Column};
pub(crate) use crate::cases::table::CASES;
use crate::front::Front;
use crate::load::Errand;
use crate::options::ArmName;

/// One load on the proxies that can bear it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The case in one line, for the heading of its table.
    pub(crate) summary: &'static str,
    pub(crate) front: Front,
    pub(crate) work: Work,
    pub(crate) arms: &'static [ArmName],
    pub(crate) variants: &'static [Variant],
    /// Whether proxy and ends run before all other processes.
    pub(crate) realtime: bool,
    /// The figures in the order of the table.
    pub(crate) columns: &'static [Column],
}

/// What loads the proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// The benchmark's own clients, so many for each errand.
    Own(&'static [(Errand, u32)]),
    /// Another program, perhaps beside own clients.
    Generated(Plan),
    /// Connections that do nothing after an exchange.
    Idle(Idle),
    /// So many connections over two workers.
    Spread(u32),
}

/// The kind of idle connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    Tcp,
    Http,
    Tls,
}

/// What a generator does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The scenario of `iisplice load`.
    pub(crate) scenario: Scenario,
    pub(crate) path: &'static str,
    pub(crate) connections: u32,
    pub(crate) rate: Rate,
    /// Bytes of a field that each request has besides the usual ones.
    pub(crate) field_bytes: usize,
    pub(crate) server: ServerKind,
    /// Whether wrk sends the same load after `iisplice load`.
    pub(crate) twice: bool,
    /// Own clients that load the proxy meanwhile.
    pub(crate) beside: &'static [(Errand, u32)],
}

/// What each connection of a generator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Requests without end.
    Steady,
    /// One request, then a new connection.
    OneRequest,
    /// Large bodies.
    Bulk,
    /// A login with NTLM, then a new connection.
    Login,
}

/// How fast a generator goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rate {
    /// A connection sends its next request once it has the reply.
    Closed,
    /// So many a second.
    Fixed(u32),
    /// This share of the highest rate that any peer reached in another case.
    ShareOfBestPeer { case: &'static str, percent: u32 },
}

/// What serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    /// The benchmark's own server.
    Own,
    /// `iisplice mock`, which verifies logins.
    Mock,
    /// nginx with TLS.
    Tls,
}

impl Plan {
    /// Whether its clients log in.
    pub(crate) fn logs_in(&self) -> bool {
        self.scenario == Scenario::Login
    }

    /// The case whose figures it needs.
    pub(crate) fn needs(&self) -> Option<&'static str> {
        match self.rate {
            Rate::ShareOfBestPeer { case, .. } => Some(case),
            Rate::Closed | Rate::Fixed(_) => None,
        }
    }
}

impl Case {
    /// The case with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }

    /// The case that has to run before this one.
    pub(crate) fn needs(&self) -> Option<&'static Self> {
        match self.work {
            Work::Generated(plan) => plan.needs().and_then(Self::named),
            _ => None,
        }
    }

    /// How many connections it opens at most.
    pub(crate) fn connections(&self, idle_connections: u32) -> u32 {
        let own = |errands: &[(Errand, u32)]| errands.iter().map(|(_, count)| count).sum::<u32>();
        match self.work {
            Work::Own(errands) => own(errands),
            Work::Generated(plan) => plan.connections + own(plan.beside),
            Work::Idle(_) => idle_connections,
            Work::Spread(connections) => connections,
        }
    }
}
