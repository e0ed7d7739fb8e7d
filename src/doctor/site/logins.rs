//! Real logins: by NTLM, and by NTLM in Negotiate; if there is no user, as far as the challenge.

use std::time::SystemTime;

use super::Id;
use super::login::{Binding, Outcome, Scheme, begin, prove};
use super::visit::Visit;

/// Tries until one is accepted. What follows looks at that login, before another one changes its connection.
pub(super) fn first(visit: &mut Visit<'_>) {
    for scheme in [Scheme::Ntlm, Scheme::Negotiate] {
        if visit.seen.works.is_none() && visit.seen.offers(scheme) {
            log_in(visit, scheme);
        }
    }
}

/// Tries the other one.
pub(super) fn second(visit: &mut Visit<'_>) {
    for scheme in [Scheme::Ntlm, Scheme::Negotiate] {
        if !visit.seen.tried.contains(&scheme) && visit.seen.offers(scheme) {
            log_in(visit, scheme);
        }
    }
}

fn id(scheme: Scheme) -> Id {
    match scheme {
        Scheme::Ntlm => Id::LoginNtlm,
        Scheme::Negotiate => Id::LoginNegotiate,
    }
}

fn log_in(visit: &mut Visit<'_>, scheme: Scheme) {
    visit.seen.tried.push(scheme);
    let binding = match (visit.is_tls(), visit.settings.binds_later) {
        (true, false) => Binding::Certificate,
        _ => Binding::None,
    };
    let mut wire = match visit.open() {
        Ok(wire) => wire,
        Err(broke) => return report(visit, scheme, binding, &Outcome::Broke(broke)),
    };
    let outcome = match begin(visit, &mut wire, scheme) {
        Err(outcome) => outcome,
        Ok(challenged) => {
            if let Some(facts) = challenged.facts() {
                visit.seen.server = Some((facts, SystemTime::now()));
            }
            prove(visit, &mut wire, &challenged, binding, &[], &[])
        }
    };
    report(visit, scheme, binding, &outcome);
    if let Outcome::Accepted(reply) = outcome
        && visit.seen.works.is_none()
    {
        visit.seen.works = Some((scheme, binding));
        visit.seen.held = Some(wire).filter(|wire| wire.is_open);
        visit.seen.logged_in = Some(reply);
    }
}

fn report(visit: &mut Visit<'_>, scheme: Scheme, binding: Binding, outcome: &Outcome) {
    let (id, title) = (id(scheme), scheme.title());
    let user = visit.budget.user().unwrap_or_default();
    match outcome {
        Outcome::Accepted(reply) => {
            let bound = if binding == Binding::Certificate { ", bound to the certificate" } else { "" };
            let named = reply.user(visit.settings.identity_header.as_deref());
            let named = named.map_or_else(String::new, |named| format!("; the reply names {named}"));
            visit.fine(id, format!("{user} logs in by {title}{bound}: {}{named}", reply.status));
        }
        Outcome::Refused => refused(visit, scheme, binding, &user),
        Outcome::NoChallenge(401) => visit.broken(
            id,
            format!("the first message of {title} is answered with 401 and no challenge"),
            "NTLM is switched off there, or the message was taken out or sent to another server on the way",
            "if NTLM is to be off, take the provider NTLM out; if not, check the policy \"Restrict NTLM\" on the server and the \
             domain controllers, and try again past the proxy with --compare",
        ),
        Outcome::NoChallenge(status) => visit.broken(
            id,
            format!("the first message of {title} is answered with {status} and no challenge"),
            "users cannot log in this way",
            "check what answers there: 200 means that the login was not needed, 400 that a header is too large or not passed on",
        ),
        Outcome::NoNtlm => visit.warn(
            id,
            "Negotiate takes no NTLM",
            "only clients with a Kerberos ticket can log in; without one nothing more can be probed here",
            "if that is not meant, check the policy \"Restrict NTLM\" on the server and the domain controllers",
        ),
        Outcome::ClosedWithChallenge => visit.broken(
            id,
            format!("the challenge of {title} comes with the end of its connection"),
            "the proof must come on the connection of the challenge: no login can succeed",
            "turn keep-alive on in the site and in every proxy before it (nginx: proxy_http_version 1.1, and a connection to \
             the server for each client)",
        ),
        Outcome::ClosedAtProof(broke) => visit.broken(
            id,
            format!("the proof of {title} got no reply: {broke}"),
            "the connection is closed in the middle of the login: users are asked again and again",
            "read the log of the proxy and of HTTP.sys (httperr) for the time of this probe",
        ),
        Outcome::Failed(status) => visit.broken(
            id,
            format!("the proof of {title} is answered with {status}"),
            "the login may have been accepted or not: users see an error page",
            "400: raise the limits on headers (MaxFieldLength, MaxRequestBytes, and the proxy's); 5xx: read the log of the \
             server that sent it",
        ),
        Outcome::BadChallenge(reason) => visit.broken(
            id,
            format!("the challenge of {title} cannot be answered: {reason}"),
            "something on the way changes the messages of the login",
            "try again past the proxy with --compare",
        ),
        Outcome::Broke(broke) => visit.broken(
            id,
            format!("a login by {title} got no reply: {broke}"),
            "users cannot log in this way",
            "read the log of the proxy and of the server",
        ),
        Outcome::NotTried if !visit.budget.has_user() => visit.fine(
            id,
            format!("the first message of {title} is answered with a challenge; without --user no login was tried"),
        ),
        Outcome::NotTried => visit.warn(
            id,
            format!("no login by {title} was tried, because one has failed"),
            "accounts lock out: at most one login fails",
            "correct what made the other login fail, and probe again",
        ),
    }
}

fn refused(visit: &mut Visit<'_>, scheme: Scheme, binding: Binding, user: &str) {
    let (id, title) = (id(scheme), scheme.title());
    let works = visit.seen.works.or(visit.works_directly);
    let (saw, why, fix) = match (works, binding) {
        (Some((other, _)), Binding::Certificate) if visit.seen.works.is_none() => (
            format!(
                "{user} is refused by {title}, bound to the certificate shown here; past the proxy {} is accepted",
                other.title()
            ),
            "the password is right: the login is bound to a certificate that is not the server's (Extended Protection), or its \
             messages do not stay on one connection to the server",
            "show the server's own certificate where TLS ends, or pass TLS through; and give each client a connection of its \
             own to the server",
        ),
        (Some((other, _)), _) if visit.seen.works.is_none() => (
            format!("{user} is refused by {title}; past the proxy {} is accepted", other.title()),
            "the password is right: the messages of the login do not stay on one connection to the server",
            "give each client a connection of its own to the server (nginx: no keepalive pool without ntlm; iisplice proxy \
             does by itself)",
        ),
        (Some((other, _)), _) => (
            format!("{user} is refused by {title}, though {} was accepted", other.title()),
            "the password is right: this way of logging in is broken or switched off",
            "check the provider in the site's settings, and the policy \"Restrict NTLM\"",
        ),
        (None, Binding::Certificate) => (
            format!("{user} is refused by {title}, bound to the certificate shown here"),
            "the password or the user's name is wrong, or the login is bound to a certificate that is not the server's \
             (Extended Protection), or its messages do not stay on one connection to the server",
            "check the password; then probe again with --bind-later, which tries without the binding first, or with --compare \
             and the server's own address",
        ),
        (None, _) => (
            format!("{user} is refused by {title}"),
            "the password or the user's name is wrong, or logins must be bound to the TLS connection (Extended Protection), or \
             NTLM is restricted, or the messages do not stay on one connection to the server",
            "check the password, and the server's security log (event 4625 names the reason); probe again with --compare and \
             the server's own address",
        ),
    };
    visit.broken(id, saw, why, fix);
}
