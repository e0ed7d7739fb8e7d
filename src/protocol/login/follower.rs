//! The logins of a connection, exchange by exchange.

use std::time::{Duration, Instant};

use super::asked::{Asked, Presented};
use super::challenge::{Challenge, Challenges};
use super::name;
use super::{Leg, Mechanism, Step, Symptom};

/// The state of the logins of one connection, from its start.
#[derive(Debug, Default)]
pub struct Follower {
    /// Set if the last reply was a Type 2.
    type3_due: Option<Due>,
    /// Whether a Type 2 has passed and no Type 3 since.
    is_type2_open: bool,
    /// Whether the last reply was a message of a login, so that the client must send the next one.
    is_within_login: bool,
    login: Option<Login>,
    /// The user named last and not refused.
    identity: Option<Box<str>>,
    login_of_identity: Covers,
}

/// What the Type 3 that answers a Type 2 must match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Due {
    mechanism: Mechanism,
    /// See [`Asked::for_place`].
    place: u32,
}

/// Which requests run under the NTLM login of the identity that was named last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Covers {
    #[default]
    None,
    /// Only the one that was answered last.
    Last,
    /// That, and the next one if it brings no `Authorization`.
    Next,
}

impl Covers {
    /// The last request was covered. `kept` is whether the server keeps the login, which holds unless it says
    /// otherwise.
    fn last(kept: bool) -> Self {
        if kept { Self::Next } else { Self::Last }
    }
}

/// The last accepted login.
#[derive(Clone, Copy, Debug)]
struct Login {
    mechanism: Mechanism,
    /// Whether the login holds, as far as is known: no other login was requested since.
    holds: bool,
}

/// The head of a final reply.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a, I> {
    /// The status; never that of an interim reply other than 101.
    pub status: u16,
    /// The values of `WWW-Authenticate`; read only if the status is 401.
    pub www_authenticate: I,
    /// The value of `Persistent-Auth`.
    pub persistent_auth: Option<&'a [u8]>,
    /// Whether the connection closes after this reply.
    pub closes: bool,
}

/// Which end closed a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The client.
    Client,
    /// The server.
    Upstream,
    /// The proxy: one of its own time-outs, or its shutdown. Neither client nor server is at fault.
    Proxy,
}

/// What a request and its reply meant for the login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// The kind of exchange.
    pub step: Step,
    /// How the client logs in, if this exchange is part of a login.
    pub mechanism: Option<Mechanism>,
    /// The leg of the login and its duration.
    pub leg: Option<(Leg, Duration)>,
    /// What is wrong with it; of several symptoms, the one that explains the others.
    pub symptom: Option<Symptom>,
    /// Set if the connection now belongs to another user.
    pub identity_change: Option<IdentityChange>,
}

/// Two identities on one connection, as the client sent them: `DOMAIN\user`.
///
/// They are compared as text, ignoring case. One account under two names, `CORP\alice` and `alice@corp.example`, counts
/// as two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentityChange {
    /// The user the connection belongs to.
    pub from: Box<str>,
    /// The user that follows.
    pub to: Box<str>,
}

impl Exchange {
    fn new(step: Step) -> Self {
        Self { step, mechanism: None, leg: None, symptom: None, identity_change: None }
    }

    fn by(self, mechanism: Mechanism) -> Self {
        Self { mechanism: Some(mechanism), ..self }
    }

    fn took(self, leg: Leg, duration: Duration) -> Self {
        Self { leg: Some((leg, duration)), ..self }
    }

    fn symptom(self, symptom: impl Into<Option<Symptom>>) -> Self {
        Self { symptom: symptom.into(), ..self }
    }
}

/// What a reply means for a client that tries to log in.
#[derive(Clone, Copy)]
enum Verdict {
    Accepted,
    Refused,
    GoOn,
    Unknown,
}

impl Verdict {
    fn of(status: u16, challenge: Challenge) -> Self {
        match status {
            401 if challenge >= Challenge::Token => Self::GoOn,
            401 => Self::Refused,
            // From HTTP.sys or a gateway, before any site has examined the request.
            400 | 408 | 411 | 413 | 414 | 417 | 431 | 501..=505 => Self::Unknown,
            _ => Self::Accepted,
        }
    }
}

/// What a Type 3 follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    /// The Type 2 that it answers.
    Type2,
    /// A Type 2, but with another request in between, under another scheme, or for another place.
    Type2Before,
    /// No Type 2 that is still unanswered.
    Nothing,
}

impl Follower {
    /// The state of a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// The user of this connection: the one named last in credentials of NTLM, Basic or Digest that were not refused.
    /// `None` for Kerberos, which names no user, and for a Type 3 that no Type 2 preceded.
    ///
    /// This is for detecting a second user, and only as reliable as what clients claim. For the verified user see
    /// [`ran_as`](Self::ran_as).
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// Learns the user of another connection of the same client, which counts for a second user as one of this
    /// connection does, as long as no user of this one is known.
    pub fn learn_identity(&mut self, user: &str) {
        self.identity.get_or_insert_with(|| user.into());
    }

    /// The user under whose NTLM login the last answered request ran: a login of its own, or the connection's.
    pub fn ran_as(&self) -> Option<&str> {
        self.identity().filter(|_| self.login_of_identity != Covers::None)
    }

    /// The user under whose NTLM login this request runs until it has a reply: its own login has no verdict yet.
    pub fn runs_as(&self, asked: &Asked) -> Option<&str> {
        let is_covered = self.login_of_identity == Covers::Next && asked.presented == Presented::Nothing;
        self.identity().filter(|_| is_covered)
    }

    /// How the last accepted login was made.
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.login.map(|login| login.mechanism)
    }

    /// Examines a request before the server does: whether it names another user than the connection's. If so, it must
    /// not be forwarded; that ends a login in progress without fault of client or server.
    pub fn refuse_second_user(&mut self, asked: &Asked) -> Option<IdentityChange> {
        let (from, to) = (self.identity.as_ref()?, asked.name.as_ref()?);
        if name::same(from, to) {
            return None;
        }
        self.type3_due = None;
        Some(IdentityChange { from: from.clone(), to: to.clone() })
    }

    /// Whether the client has yet to answer a login message on this connection: closing it now would break the login.
    pub fn is_within_login(&self) -> bool {
        self.is_within_login
    }

    /// Records that a request got this reply, whose head came at `now`. Replies must be given in their order, which is
    /// that of the requests.
    pub fn answered<'a>(
        &mut self,
        asked: Asked,
        reply: Reply<'_, impl IntoIterator<Item = &'a [u8]>>,
        now: Instant,
    ) -> Exchange {
        let Asked { at, presented, name, place } = asked;
        let Reply { status, www_authenticate, persistent_auth, closes } = reply;
        let type3_due = self.type3_due.take();
        self.is_within_login = false;
        let covered = std::mem::take(&mut self.login_of_identity);
        let kept = !persistent_auth.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"false"));
        if status != 401 && presented == Presented::Nothing {
            if covered == Covers::Next {
                self.login_of_identity = Covers::last(kept);
            }
            return Exchange::new(Step::None);
        }
        let challenges = if status == 401 { Challenges::of(www_authenticate) } else { Challenges::default() };
        self.is_within_login = challenges.best() >= Challenge::Token && !closes;
        let was_type2_open = self.is_type2_open && !matches!(presented, Presented::Type1(_));
        self.is_type2_open = challenges.best() == Challenge::Type2
            || was_type2_open && !matches!(presented, Presented::Type3(_));
        let took = now.saturating_duration_since(at);
        match presented {
            Presented::Nothing => self.challenged(challenges.best(), took),
            Presented::Type1(mechanism) => {
                self.type1(Due { mechanism, place }, challenges.to(mechanism), closes, took)
            }
            Presented::Type3(mechanism) => {
                let follows = match type3_due {
                    Some(due) if due == Due { mechanism, place } => Follows::Type2,
                    _ if was_type2_open => Follows::Type2Before,
                    _ => Follows::Nothing,
                };
                self.type3(
                    mechanism,
                    name,
                    follows,
                    Verdict::of(status, challenges.to(mechanism)),
                    kept,
                    took,
                )
            }
            Presented::Kerberos => {
                self.kerberos(Verdict::of(status, challenges.to(Mechanism::Kerberos)), took)
            }
            Presented::Basic => self.by_another_scheme(Step::Basic, name, status),
            Presented::Other => self.by_another_scheme(Step::Other, name, status),
        }
    }

    /// Records that the connection ended and that `by` closed it first. Requests without a reply got none.
    pub fn ended(self, by: Side) -> Option<Symptom> {
        let symptom = match by {
            Side::Client => Symptom::ClosedByClient,
            Side::Upstream => Symptom::ClosedByUpstream,
            Side::Proxy => return None,
        };
        self.type3_due.map(|_| symptom)
    }

    fn challenged(&mut self, challenge: Challenge, took: Duration) -> Exchange {
        let exchange = Exchange::new(Step::Challenged);
        if challenge == Challenge::None {
            return exchange;
        }
        let forgotten = self.lapse().is_some_and(is_ntlm).then_some(Symptom::LoginNotKept);
        exchange.took(Leg::AnonymousTo401, took).symptom(forgotten)
    }

    fn type1(&mut self, due: Due, challenge: Challenge, closes: bool, took: Duration) -> Exchange {
        let mechanism = due.mechanism;
        if challenge != Challenge::Type2 {
            return Exchange::new(Step::Type1Unanswered).by(mechanism).symptom(Symptom::Type1WithoutType2);
        }
        // The end of the connection is already recorded here and must not be reported twice.
        self.type3_due = (!closes).then_some(due);
        Exchange::new(Step::Type1)
            .by(mechanism)
            .took(Leg::Type1ToType2, took)
            .symptom(closes.then_some(Symptom::ClosedByUpstream))
    }

    fn type3(
        &mut self,
        mechanism: Mechanism,
        name: Option<Box<str>>,
        follows: Follows,
        verdict: Verdict,
        kept: bool,
        took: Duration,
    ) -> Exchange {
        match (verdict, follows) {
            (Verdict::Accepted, Follows::Type2) => {
                self.accepted(mechanism, name, kept).took(Leg::Type3ToFinal, took)
            }
            (Verdict::Accepted, Follows::Type2Before | Follows::Nothing) => {
                // A server that gave a challenge may have accepted this as the answer. It is not certainly a login, but
                // a second user must be detected.
                let identity_change = if follows == Follows::Nothing { None } else { self.belongs_to(name) };
                let exchange = Exchange::new(Step::Type3WithoutType2).by(mechanism);
                Exchange { identity_change, ..exchange.symptom(Symptom::Type3WithoutType2) }
            }
            (Verdict::Refused | Verdict::GoOn, _) => {
                let exchange = self.refused(mechanism).took(Leg::Type3ToFinal, took);
                let is_due = follows == Follows::Type2;
                if is_due { exchange } else { exchange.symptom(Symptom::Type3WithoutType2) }
            }
            (Verdict::Unknown, _) => {
                if self.identity.is_none() && follows != Follows::Nothing {
                    self.belongs_to(name);
                }
                Exchange::new(Step::Other).by(mechanism)
            }
        }
    }

    fn kerberos(&mut self, verdict: Verdict, took: Duration) -> Exchange {
        match verdict {
            Verdict::Accepted => {
                self.login = Some(Login { mechanism: Mechanism::Kerberos, holds: true });
                // A ticket with every request is the Kerberos default of IIS (authPersistNonNTLM) and costs no round
                // trip.
                Exchange::new(Step::KerberosOk).by(Mechanism::Kerberos).took(Leg::KerberosToFinal, took)
            }
            Verdict::Refused => self.refused(Mechanism::Kerberos).took(Leg::KerberosToFinal, took),
            Verdict::GoOn => Exchange::new(Step::KerberosContinue).by(Mechanism::Kerberos),
            Verdict::Unknown => Exchange::new(Step::Other).by(Mechanism::Kerberos),
        }
    }

    fn by_another_scheme(&mut self, step: Step, name: Option<Box<str>>, status: u16) -> Exchange {
        let is_accepted = matches!(Verdict::of(status, Challenge::None), Verdict::Accepted);
        let identity_change = if is_accepted { self.belongs_to(name) } else { None };
        Exchange { identity_change, ..Exchange::new(step) }
    }

    /// Records a successful NTLM login.
    fn accepted(&mut self, mechanism: Mechanism, name: Option<Box<str>>, kept: bool) -> Exchange {
        let before = self.login.replace(Login { mechanism, holds: kept });
        let repeated = before.is_some_and(|login| login.holds && is_ntlm(login.mechanism));
        if name.as_deref().is_some_and(name::is_of_account) {
            self.login_of_identity = Covers::last(kept);
        }
        let identity_change = self.belongs_to(name);
        let symptom = match (kept, repeated) {
            (false, _) => Some(Symptom::LoginNotKept),
            (true, true) => Some(Symptom::LoginRepeated),
            (true, false) => None,
        };
        Exchange { identity_change, ..Exchange::new(Step::Type3Ok).by(mechanism).symptom(symptom) }
    }

    /// Assigns the connection to this user; an unnamed user changes nothing.
    fn belongs_to(&mut self, name: Option<Box<str>>) -> Option<IdentityChange> {
        let to = name.filter(|name| name::is_of_account(name))?;
        match self.identity.replace(to.clone()) {
            Some(from) if !name::same(&from, &to) => Some(IdentityChange { from, to }),
            _ => None,
        }
    }

    fn refused(&mut self, mechanism: Mechanism) -> Exchange {
        self.lapse();
        let (step, symptom) = if is_ntlm(mechanism) {
            (Step::Type3Refused, Symptom::Type3Refused)
        } else {
            (Step::KerberosRefused, Symptom::KerberosRefused)
        };
        Exchange::new(step).by(mechanism).symptom(symptom)
    }

    /// Ends the login that held until now.
    fn lapse(&mut self) -> Option<Mechanism> {
        let login = self.login.as_mut()?;
        std::mem::replace(&mut login.holds, false).then_some(login.mechanism)
    }
}

fn is_ntlm(mechanism: Mechanism) -> bool {
    matches!(mechanism, Mechanism::Ntlm | Mechanism::NegotiateNtlm)
}
