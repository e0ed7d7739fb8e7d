//! What the probes may spend on a user: one failing login, because accounts lock out.
//!
//! The credentials are in here and nowhere else, so no proof of the password can be made without the budget. A proof
//! counts as a failed login from the moment it is made until the server has accepted it: whatever becomes of the
//! connection, there is no second one.

use std::cell::Cell;

use crate::protocol::ntlm::Credentials;

/// A user, and whether a login has failed.
#[derive(Debug)]
pub(super) struct Budget {
    user: Option<Credentials>,
    is_spent: Cell<bool>,
    proofs: Cell<u32>,
}

/// A proof that the server has not accepted yet.
#[derive(Debug)]
#[must_use]
pub(super) struct Pending<'b>(&'b Budget);

impl Budget {
    pub(super) fn new(user: Option<Credentials>) -> Self {
        Self { user, is_spent: Cell::new(false), proofs: Cell::new(0) }
    }

    /// Whether there is a user to log in as, and no login has failed.
    pub(super) fn is_left(&self) -> bool {
        self.user.is_some() && !self.is_spent.get()
    }

    /// Whether there is a user at all.
    pub(super) fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// The name of the user.
    pub(super) fn user(&self) -> Option<String> {
        self.user.as_ref().map(|user| match user.domain() {
            "" => user.user().to_owned(),
            domain => format!("{domain}\\{}", user.user()),
        })
    }

    /// Proofs made.
    pub(super) fn proofs(&self) -> u32 {
        self.proofs.get()
    }

    /// Has a proof made; nothing if there is no user, if a login has failed, or while another proof is pending.
    pub(super) fn prove<T>(&self, prove: impl FnOnce(&Credentials) -> T) -> Option<(Pending<'_>, T)> {
        let user = self.user.as_ref()?;
        if self.is_spent.replace(true) {
            return None;
        }
        self.proofs.set(self.proofs.get() + 1);
        Some((Pending(self), prove(user)))
    }
}

impl Pending<'_> {
    /// The server has accepted it.
    pub(super) fn accepted(self) {
        self.0.is_spent.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(Some(Credentials::new("CORP", "alice", "secret")))
    }

    #[test]
    fn accepted_logins_cost_nothing() {
        let budget = budget();
        for _ in 0..5 {
            let (pending, user) = budget.prove(|user| user.user().to_owned()).expect("nothing is spent");
            assert_eq!(user, "alice");
            pending.accepted();
        }
        assert!(budget.is_left());
        assert_eq!(budget.proofs(), 5);
    }

    #[test]
    fn after_one_login_that_was_not_accepted_there_is_no_other() {
        let budget = budget();
        // Refused, without an answer, forgotten: it is all the same.
        assert!(budget.prove(|_| ()).is_some());
        assert!(!budget.is_left());
        assert!(budget.prove(|_| -> () { unreachable!("a second proof is made") }).is_none());
        assert_eq!(budget.proofs(), 1);
    }

    #[test]
    fn there_is_no_second_proof_while_one_is_pending() {
        let budget = budget();
        let (pending, ()) = budget.prove(|_| ()).expect("nothing is spent");
        assert!(budget.prove(|_| ()).is_none());
        pending.accepted();
        assert!(budget.prove(|_| ()).is_some());
    }

    #[test]
    fn without_a_user_there_is_no_login() {
        let budget = Budget::new(None);
        assert!(!budget.is_left() && budget.prove(|_| ()).is_none());
    }
}
