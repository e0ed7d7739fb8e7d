//! Extended Protection: whether a login must be bound to the TLS connection it comes over.
//!
//! Two logins tell: one without a binding, and if that is accepted, one that is bound to a certificate which does not
//! exist. The first that is refused ends it, which is within the budget.

use super::Id;
use super::login::{Binding, Outcome, log_in};
use super::visit::Visit;

pub(super) fn probe(visit: &mut Visit<'_>) {
    if !visit.is_tls() || visit.seen.works.is_none() {
        return;
    }
    if visit.settings.binds_later {
        match attempt(visit, Binding::Certificate) {
            Outcome::Accepted(_) => {}
            Outcome::Refused => {
                visit.broken(
                    Id::ExtendedProtection,
                    "allow, with another certificate than the one shown here: a login without a binding is accepted, one \
                     bound to this certificate is refused",
                    "browsers bind their logins, so their users cannot log in",
                    "show the server's own certificate where TLS ends, or pass TLS through, or turn Extended Protection off \
                     at the server",
                );
                return;
            }
            _ => return unknown(visit),
        }
    }
    match attempt(visit, Binding::None) {
        Outcome::Refused => {
            visit.fine(
                Id::ExtendedProtection,
                "require: a login without a binding is refused, one bound to the certificate shown here is accepted",
            );
        }
        Outcome::Accepted(_) => match attempt(visit, Binding::Another) {
            Outcome::Refused => visit.fine(
                Id::ExtendedProtection,
                "allow: a login bound to another certificate is refused, one without a binding is accepted",
            ),
            Outcome::Accepted(_) => {
                visit.fine(Id::ExtendedProtection, "off: a login is accepted whatever it is bound to");
            }
            _ => unknown(visit),
        },
        _ => unknown(visit),
    }
}

fn attempt(visit: &Visit<'_>, binding: Binding) -> Outcome {
    let Some((scheme, _)) = visit.seen.works else { return Outcome::NotTried };
    match visit.open() {
        Ok(mut wire) => log_in(visit, &mut wire, scheme, binding),
        Err(broke) => Outcome::Broke(broke),
    }
}

fn unknown(visit: &mut Visit<'_>) {
    visit.warn(
        Id::ExtendedProtection,
        "not known: a login has failed before, or had no answer",
        "at most one login fails, because accounts lock out",
        "correct what made the other login fail, and probe again",
    );
}
