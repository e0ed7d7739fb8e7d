//! Observes the logins of one upstream connection: for the log, for the counters, to find symptoms of trouble, and to refuse a
//! second user before the server sees the request.

use std::cell::RefCell;
use std::time::Instant;

use super::refusal::Refusal;
use crate::protocol::http1::response::ResponseHead;
use crate::protocol::login::{Asked, Exchange, Follower, Mechanism, Reply, Side, Step};
use crate::proxy::counters::Logins;
use crate::proxy::session::facts::Session;
use crate::proxy::settings::Http;
use crate::proxy::survey::LoginState;

/// What an exchange was to the login of its connection.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) step: Step,
    pub(super) mechanism: Option<Mechanism>,
    /// The user logged in during the exchange, if the log names users.
    pub(super) user: Option<Box<str>>,
}

/// See the module docs.
pub(super) struct Watch<'a> {
    session: &'a Session,
    http: &'a Http,
    follower: RefCell<Follower>,
    logins: Logins,
}

impl<'a> Watch<'a> {
    pub(super) fn new(session: &'a Session, http: &'a Http) -> Self {
        Self { session, http, follower: RefCell::new(Follower::new()), logins: Logins::default() }
    }

    /// Learns the user from the connection that the client has used before this one: a client connection has one user,
    /// whichever server is logged in to.
    pub(super) fn learn_user(&self, before: &Self) {
        if let Some(user) = before.follower.borrow().identity() {
            self.follower.borrow_mut().learn_identity(user);
        }
    }

    /// Whether a request may be sent to the server. With `close_on_identity_change`, a request that names a user
    /// other than the connection's may not.
    pub(super) fn admit(&self, asked: &Asked) -> Result<(), Refusal> {
        if !self.http.close_on_identity_change {
            return Ok(());
        }
        match self.follower.borrow_mut().refuse_second_user(asked) {
            None => Ok(()),
            Some(change) => {
                self.session.context().counters.identity_changes().increase();
                Err(Refusal::IdentityChange(Box::new(change)))
            }
        }
    }

    /// Notes the reply to a request; its head arrived at `now`.
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
        let is_unnamed = asked.is_unnamed();
        let mut follower = self.follower.borrow_mut();
        let exchange = follower.answered(asked, reply, now);
        self.count(&exchange, is_unnamed, head.status);
        if let Some(change) = exchange.identity_change {
            tracing::warn!(
                client = %self.session.client_address(),
                connection = format_args!("{:016x}", self.session.id()),
                from = ?change.from,
                to = ?change.to,
                "two users on one client connection; a proxy in front of this one multiplexes users"
            );
        }
        let user = follower.ran_as().filter(|_| self.http.log_user);
        let state = match follower.mechanism() {
            _ if follower.is_within_login() => LoginState::LoggingIn,
            Some(_) => LoginState::LoggedIn,
            None => LoginState::Anonymous,
        };
        self.session.set_login(state, follower.mechanism(), user);
        let user = user.map(Box::from);
        Seen { step: exchange.step, mechanism: exchange.mechanism, user }
    }

    fn count(&self, exchange: &Exchange, is_unnamed: bool, status: u16) {
        let counters = &self.session.context().counters;
        self.session.count(|cells| self.logins.note(cells, exchange.step, exchange.mechanism, status));
        if let Some((leg, took)) = exchange.leg {
            counters.leg(leg).record(took);
            self.session.count(|cells| cells.leg(leg).record(took));
        }
        match (exchange.step, exchange.mechanism) {
            (Step::Type3Ok | Step::KerberosOk, Some(mechanism)) => counters.logins(mechanism).increase(),
            (Step::Type3Refused | Step::KerberosRefused, _) => counters.refused_logins().increase(),
            _ => {}
        }
        if let Some(symptom) = exchange.symptom {
            self.session.count_symptom(symptom);
        }
        if is_unnamed {
            counters.unnamed_requests().increase();
        }
        if exchange.identity_change.is_some() {
            counters.identity_changes().increase();
        }
    }

    /// The user logged in during a request that got no reply, if the log names users.
    pub(super) fn user_of_unanswered(&self, asked: &Asked) -> Option<Box<str>> {
        self.follower.borrow().runs_as(asked).filter(|_| self.http.log_user).map(Box::from)
    }

    /// Whether the next message of a login is the client's: on another connection the login would start over.
    pub(super) fn is_within_login(&self) -> bool {
        self.follower.borrow().is_within_login()
    }

    /// Notes the end of the connection, which this side ended first.
    pub(super) fn ended(self, by: Side) {
        if let Some(symptom) = self.follower.into_inner().ended(by) {
            self.session.count_symptom(symptom);
        }
    }
}
