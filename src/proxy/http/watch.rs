//! The logins of one connection as they go by: for the log, for the counters, and for saying what is wrong.

use std::cell::RefCell;
use std::time::Instant;

use crate::protocol::http1::response::ResponseHead;
use crate::protocol::login::{Asked, Follower, Mechanism, Reply, Side, Step};
use crate::proxy::session::Session;

/// What an exchange was to the login.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) step: Step,
    pub(super) mechanism: Option<Mechanism>,
    /// The connection has become somebody else's.
    pub(super) identity_changed: bool,
}

/// See the module's head.
pub(super) struct Watch<'a> {
    session: &'a Session,
    follower: RefCell<Follower>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session, follower: RefCell::new(Follower::new()) }
    }

    /// A request got this reply, whose head came at `now`.
    pub(super) fn answered(
        &self,
        asked: Asked,
        head: &ResponseHead<'_, '_>,
        closes: bool,
        now: Instant,
    ) -> Seen {
        let reply = Reply {
            status: head.status,
            www_authenticate: head.values("www-authenticate"),
            persistent_auth: head.values("persistent-auth").next(),
            closes,
        };
        let exchange = self.follower.borrow_mut().answered(asked, reply, now);
        let counters = &self.session.worker().counters;
        if let Some((leg, took)) = exchange.leg {
            counters.leg(leg).record(took);
        }
        if let (Step::Type3Ok | Step::KerberosOk, Some(mechanism)) = (exchange.step, exchange.mechanism) {
            counters.logins(mechanism).increase();
        }
        if let Some(symptom) = exchange.symptom {
            self.session.count_symptom(symptom);
        }
        let identity_changed = exchange.identity_change.is_some();
        if let Some(change) = exchange.identity_change {
            tracing::warn!(
                client = %self.session.client_address(),
                connection = format_args!("{:016x}", self.session.id()),
                from = ?change.from,
                to = ?change.to,
                "two users on one client connection: somebody before this proxy shares connections between users"
            );
        }
        Seen { step: exchange.step, mechanism: exchange.mechanism, identity_changed }
    }

    /// The next message of a login is the client's: on another connection the login would begin anew.
    pub(super) fn is_within_login(&self) -> bool {
        self.follower.borrow().is_within_login()
    }

    /// Who is logged in, as far as it was seen.
    pub(super) fn user(&self) -> Option<Box<str>> {
        self.follower.borrow().identity().map(Box::from)
    }

    /// The connection has ended, by this side first.
    pub(super) fn ended(self, by: Side) {
        if let Some(symptom) = self.follower.into_inner().ended(by) {
            self.session.count_symptom(symptom);
        }
    }
}
