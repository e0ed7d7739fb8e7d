//! The logins of one upstream connection as they are counted: each begins once, and ends in one of three ways.

use std::cell::Cell;
use std::sync::Arc;

use super::cells::{Cells, Login, Outcome};
use crate::protocol::login::{Mechanism, Step};

/// Follows the logins of a connection, exchange by exchange. One that is open when this is dropped is abandoned.
#[derive(Default)]
pub(in crate::proxy) struct Logins {
    /// Boxed: a connection is seldom within a login.
    open: Cell<Option<Box<Open>>>,
}

struct Open {
    login: Login,
    /// Where it was begun.
    cells: Arc<Cells>,
}

impl Logins {
    /// Counts an exchange with `status`, of a session whose cells are now `cells`.
    pub(in crate::proxy) fn note(
        &self,
        cells: &Arc<Cells>,
        step: Step,
        mechanism: Option<Mechanism>,
        status: u16,
    ) {
        let login = mechanism.map(Login::from);
        match (step, login) {
            (Step::Type1, Some(login)) => {
                self.end(Outcome::Abandoned);
                self.begin(cells, login);
            }
            (Step::Type1Unanswered, Some(login)) => {
                self.end(Outcome::Abandoned);
                self.begin(cells, login);
                self.end(Outcome::Abandoned);
            }
            (Step::KerberosContinue, Some(login)) => self.go_on(cells, login),
            (Step::Type3Ok | Step::KerberosOk, Some(login)) => self.close(cells, login, Outcome::Accepted),
            (Step::Type3Refused | Step::KerberosRefused, Some(login)) => {
                self.close(cells, login, Outcome::Refused);
            }
            (Step::Other, Some(login)) => self.close(cells, login, Outcome::Abandoned),
            (Step::Basic, _) => {
                self.end(Outcome::Abandoned);
                self.close(cells, Login::Basic, of_basic(status));
            }
            _ => self.end(Outcome::Abandoned),
        }
    }

    fn begin(&self, cells: &Arc<Cells>, login: Login) {
        cells.logins(login, Outcome::Begun).increase();
        self.open.set(Some(Box::new(Open { login, cells: Arc::clone(cells) })));
    }

    /// Begins the login unless it is open.
    fn go_on(&self, cells: &Arc<Cells>, login: Login) {
        match self.open.take() {
            Some(open) if open.login == login => self.open.set(Some(open)),
            other => {
                self.open.set(other);
                self.end(Outcome::Abandoned);
                self.begin(cells, login);
            }
        }
    }

    fn close(&self, cells: &Arc<Cells>, login: Login, outcome: Outcome) {
        self.go_on(cells, login);
        self.end(outcome);
    }

    /// Ends the login that is open, if one is.
    fn end(&self, outcome: Outcome) {
        if let Some(open) = self.open.take() {
            open.cells.logins(open.login, outcome).increase();
        }
    }
}

impl Drop for Logins {
    fn drop(&mut self) {
        self.end(Outcome::Abandoned);
    }
}

/// What a reply to a password means. Statuses that HTTP.sys and gateways send before any site has looked mean nothing.
fn of_basic(status: u16) -> Outcome {
    match status {
        401 => Outcome::Refused,
        400 | 408 | 411 | 413 | 414 | 417 | 431 | 501..=505 => Outcome::Abandoned,
        _ => Outcome::Accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::counters::Key;

    fn counts(cells: &Cells, login: Login) -> [u64; 4] {
        Outcome::ALL.map(|outcome| cells.logins(login, outcome).get())
    }

    fn cells() -> Arc<Cells> {
        Arc::new(Cells::new(Key { service: "web".into(), group: None, server: None }))
    }

    #[test]
    fn each_login_begins_once_and_ends_once() {
        const NTLM: Option<Mechanism> = Some(Mechanism::Ntlm);
        let cells = cells();
        let logins = Logins::default();
        let note = |step, mechanism| logins.note(&cells, step, mechanism, 401);
        note(Step::Challenged, None);
        note(Step::Type1, NTLM);
        note(Step::Type3Ok, NTLM);
        note(Step::None, None);
        assert_eq!(counts(&cells, Login::Ntlm), [1, 1, 0, 0]);
        note(Step::Type1, NTLM);
        note(Step::Type3Refused, NTLM);
        note(Step::Type3Refused, NTLM);
        assert_eq!(counts(&cells, Login::Ntlm), [3, 1, 2, 0], "a refused one was one, whatever came before");
        note(Step::Type1, NTLM);
        note(Step::Type1, NTLM);
        note(Step::Challenged, None);
        note(Step::Type1Unanswered, NTLM);
        note(Step::Type3WithoutType2, NTLM);
        assert_eq!(counts(&cells, Login::Ntlm), [6, 1, 2, 3]);
        let kerberos = Some(Mechanism::Kerberos);
        note(Step::KerberosContinue, kerberos);
        note(Step::KerberosContinue, kerberos);
        note(Step::KerberosOk, kerberos);
        note(Step::KerberosOk, kerberos);
        note(Step::Other, kerberos);
        assert_eq!(counts(&cells, Login::Kerberos), [3, 2, 0, 1]);
        note(Step::Type1, Some(Mechanism::NegotiateNtlm));
        drop(logins);
        assert_eq!(counts(&cells, Login::NegotiateNtlm), [1, 0, 0, 1], "the connection ended");
    }

    #[test]
    fn every_password_is_a_login() {
        let cells = cells();
        let logins = Logins::default();
        for status in [200, 404, 401, 503] {
            logins.note(&cells, Step::Basic, None, status);
        }
        assert_eq!(counts(&cells, Login::Basic), [4, 2, 1, 1]);
    }
}
