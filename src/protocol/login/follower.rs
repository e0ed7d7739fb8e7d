//! The logins of a connection, exchange by exchange.

use std::time::{Duration, Instant};

use super::asked::{Asked, Presented};
use super::challenge::Challenge;
use super::{Leg, Mechanism, Step, Symptom};

/// How far the logins of one connection are. It begins with the connection.
#[derive(Debug, Default)]
pub struct Follower {
    /// A Type 2 was the last reply.
    is_type3_due: bool,
    /// A message of a login was the last reply, and the next one is the client's.
    is_within_login: bool,
    login: Option<Login>,
}

/// The last login that was accepted.
#[derive(Debug)]
struct Login {
    mechanism: Mechanism,
    /// The last one that was named: a Kerberos login names nobody.
    identity: Option<Box<str>>,
    /// Whether it holds, as far as is known: nobody has asked for another one since.
    holds: bool,
}

/// The head of a final reply.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a, I> {
    /// The status; not an interim one, except 101.
    pub status: u16,
    /// The values of `WWW-Authenticate`; looked at only if the status is 401.
    pub www_authenticate: I,
    /// The value of `Persistent-Auth`.
    pub persistent_auth: Option<&'a [u8]>,
    /// Whether the connection ends after this reply.
    pub closes: bool,
}

/// Who ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The client.
    Client,
    /// The upstream.
    Upstream,
}

/// What a request and its reply were to the login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// What it was.
    pub step: Step,
    /// How the client logs in, if this exchange is part of a login.
    pub mechanism: Option<Mechanism>,
    /// The leg of the login that it was, and how long it took.
    pub leg: Option<(Leg, Duration)>,
    /// What is wrong with it; of several things the one that explains the others.
    pub symptom: Option<Symptom>,
    /// That the connection has become somebody else's.
    pub identity_change: Option<IdentityChange>,
}

/// Two identities on one connection, as the clients sent them: `DOMAIN\user`.
///
/// Upper and lower case count as the same. One account under two names, `CORP\alice` and `alice@corp.example`, does not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentityChange {
    /// Who was logged in.
    pub from: Box<str>,
    /// Who is now.
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

/// What a reply says to who tries to log in.
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
            400 | 503 => Self::Unknown,
            _ => Self::Accepted,
        }
    }
}

impl Follower {
    /// Of a connection on which nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who is logged in, as the client named it: the last one who was accepted. `None` for Kerberos, which names nobody.
    pub fn identity(&self) -> Option<&str> {
        self.login.as_ref()?.identity.as_deref()
    }

    /// How the last login that was accepted was made.
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.login.as_ref().map(|login| login.mechanism)
    }

    /// Whether the client has to answer a message of its login, on this connection: its end would be the login's.
    pub fn is_within_login(&self) -> bool {
        self.is_within_login
    }

    /// A request got this reply, whose head came at `now`. Replies are told in their order, which is that of the requests.
    pub fn answered<'a>(
        &mut self,
        asked: Asked,
        reply: Reply<'_, impl IntoIterator<Item = &'a [u8]>>,
        now: Instant,
    ) -> Exchange {
        let was_type3_due = std::mem::take(&mut self.is_type3_due);
        self.is_within_login = false;
        let took = now.saturating_duration_since(asked.at);
        let Reply { status, www_authenticate, persistent_auth, closes } = reply;
        if status != 401 && asked.presented == Presented::Nothing {
            return Exchange::new(Step::None);
        }
        let challenge = if status == 401 { Challenge::of(www_authenticate) } else { Challenge::None };
        self.is_within_login = challenge >= Challenge::Token && !closes;
        match asked.presented {
            Presented::Nothing => self.challenged(challenge, took),
            Presented::Type1(mechanism) => self.type1(mechanism, challenge, closes, took),
            Presented::Type3(mechanism, identity) => {
                let kept =
                    !persistent_auth.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"false"));
                let exchange = match Verdict::of(status, challenge) {
                    Verdict::Accepted => self.accepted(mechanism, identity, kept),
                    Verdict::Refused | Verdict::GoOn => self.refused(mechanism),
                    Verdict::Unknown => return Exchange::new(Step::Other).by(mechanism),
                };
                let exchange = exchange.took(Leg::Type3ToFinal, took);
                if was_type3_due { exchange } else { exchange.symptom(Symptom::Type3WithoutType2) }
            }
            Presented::Kerberos => match Verdict::of(status, challenge) {
                Verdict::Accepted => {
                    self.accepted(Mechanism::Kerberos, None, true).took(Leg::KerberosToFinal, took)
                }
                Verdict::Refused => self.refused(Mechanism::Kerberos).took(Leg::KerberosToFinal, took),
                Verdict::GoOn => Exchange::new(Step::KerberosContinue).by(Mechanism::Kerberos),
                Verdict::Unknown => Exchange::new(Step::Other).by(Mechanism::Kerberos),
            },
            Presented::Basic => Exchange::new(Step::Basic),
            Presented::Other => Exchange::new(Step::Other),
        }
    }

    /// The connection ended, and `by` was the first to do so. Requests without a reply have got none.
    pub fn ended(self, by: Side) -> Option<Symptom> {
        self.is_type3_due.then_some(match by {
            Side::Client => Symptom::ClosedByClient,
            Side::Upstream => Symptom::ClosedByUpstream,
        })
    }

    fn challenged(&mut self, challenge: Challenge, took: Duration) -> Exchange {
        let exchange = Exchange::new(Step::Challenged);
        if challenge == Challenge::None {
            return exchange;
        }
        let forgotten = self.lapse().is_some_and(is_ntlm).then_some(Symptom::LoginNotKept);
        exchange.took(Leg::AnonymousTo401, took).symptom(forgotten)
    }

    fn type1(
        &mut self,
        mechanism: Mechanism,
        challenge: Challenge,
        closes: bool,
        took: Duration,
    ) -> Exchange {
        if challenge != Challenge::Type2 {
            return Exchange::new(Step::Type1Unanswered).by(mechanism).symptom(Symptom::Type1WithoutType2);
        }
        // The end of the connection is known already, and is not to be told twice.
        self.is_type3_due = !closes;
        Exchange::new(Step::Type1)
            .by(mechanism)
            .took(Leg::Type1ToType2, took)
            .symptom(closes.then_some(Symptom::ClosedByUpstream))
    }

    fn accepted(&mut self, mechanism: Mechanism, identity: Option<Box<str>>, kept: bool) -> Exchange {
        let before = self.login.take();
        let repeated = before.as_ref().is_some_and(|login| login.holds && is_ntlm(login.mechanism));
        let identity_before = before.and_then(|login| login.identity);
        let identity_change = match (&identity_before, &identity) {
            (Some(from), Some(to)) if !same_name(from, to) => {
                Some(IdentityChange { from: from.clone(), to: to.clone() })
            }
            _ => None,
        };
        self.login = Some(Login { mechanism, identity: identity.or(identity_before), holds: kept });
        if !is_ntlm(mechanism) {
            // A ticket with every request is Kerberos as IIS has it by default (authPersistNonNTLM), and costs no
            // round trip.
            return Exchange { identity_change, ..Exchange::new(Step::KerberosOk).by(mechanism) };
        }
        let symptom = match (kept, repeated) {
            (false, _) => Some(Symptom::LoginNotKept),
            (true, true) => Some(Symptom::LoginRepeated),
            (true, false) => None,
        };
        Exchange { identity_change, ..Exchange::new(Step::Type3Ok).by(mechanism).symptom(symptom) }
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

    /// The login that held until now holds no longer.
    fn lapse(&mut self) -> Option<Mechanism> {
        let login = self.login.as_mut()?;
        std::mem::replace(&mut login.holds, false).then_some(login.mechanism)
    }
}

fn is_ntlm(mechanism: Mechanism) -> bool {
    matches!(mechanism, Mechanism::Ntlm | Mechanism::NegotiateNtlm)
}

fn same_name(one: &str, other: &str) -> bool {
    one.chars().flat_map(char::to_lowercase).eq(other.chars().flat_map(char::to_lowercase))
}
