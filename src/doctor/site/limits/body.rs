//! A request's body that meets a 401: the reply must arrive, and `100-continue` must be passed on.

use crate::doctor::site::Id;
use crate::doctor::site::login::{Outcome, begin, prove};
use crate::doctor::site::visit::Visit;

const BODY_BYTES: usize = 1_000_000;

/// Sends bodies without a login only to a page that asks for one, so that no application sees them; with a login only if
/// the settings say so.
pub(in crate::doctor::site) fn probe(visit: &mut Visit<'_>) {
    if visit.seen.anonymous.as_ref().is_none_or(|reply| reply.status != 401) {
        return;
    }
    without_login(visit);
    expecting(visit);
    if visit.settings.posts {
        with_login(visit);
    }
}

fn without_login(visit: &mut Visit<'_>) {
    let request = visit.post(&[], &vec![0; BODY_BYTES]);
    match visit.open().and_then(|mut wire| visit.request(&mut wire, &request)) {
        Ok(reply) if reply.status == 401 => {
            visit.fine(Id::Body, "a POST of 1 MB without a login is answered with 401");
        }
        Ok(reply) if reply.status == 413 => visit.broken(
            Id::Body,
            "a POST of 1 MB is answered with 413",
            "uploads fail",
            "raise the limit: IIS maxAllowedContentLength and uploadReadAheadSize; nginx client_max_body_size",
        ),
        Ok(reply) => visit.warn(
            Id::Body,
            format!("a POST of 1 MB without a login is answered with {}, not 401", reply.status),
            "clients that send the body with their first request cannot log in",
            "check what answers there",
        ),
        Err(broke) => visit.broken(
            Id::Body,
            format!("a POST of 1 MB without a login gets no reply: {broke}"),
            "the 401 is lost when the server closes while the body is on its way: uploads fail before the login",
            "have the proxy read the rest of the body after the reply (nginx: lingering_close always), and IIS take it \
             (uploadReadAheadSize)",
        ),
    }
}

fn expecting(visit: &mut Visit<'_>) {
    let mut lines = vec!["Expect: 100-continue".to_owned()];
    lines.push(format!("Content-Length: {BODY_BYTES}"));
    let head = visit.head("POST", visit.path(), &lines);
    // A final reply without the body is as good as an interim one: the client may then leave it out.
    match visit.open().and_then(|mut wire| wire.continues(&head)) {
        Ok(100) => visit.fine(
            Id::Continue,
            "Expect: 100-continue is answered with 100, and the body is read before the 401",
        ),
        Ok(401) => {
            visit.fine(Id::Continue, "Expect: 100-continue is answered with 401 before the body is sent");
        }
        Ok(417) => visit.warn(
            Id::Continue,
            "Expect: 100-continue is answered with 417",
            "clients that ask before they send a body (WinHTTP, curl, .NET) have to try again without",
            "have the proxy pass Expect on",
        ),
        Ok(status) => visit.warn(
            Id::Continue,
            format!("Expect: 100-continue is answered with {status}"),
            "clients that ask before they send a body do not get the 401 that begins a login",
            "have the proxy pass Expect on",
        ),
        Err(broke) => visit.warn(
            Id::Continue,
            format!("Expect: 100-continue is not answered: {broke}"),
            "clients that ask before they send a body wait, each time, before they log in",
            "have the proxy pass Expect on, or answer it",
        ),
    }
}

fn with_login(visit: &mut Visit<'_>) {
    let Some((scheme, binding)) = visit.seen.works.filter(|_| visit.budget.is_left()) else { return };
    let outcome = match visit.open() {
        Err(broke) => Outcome::Broke(broke),
        Ok(mut wire) => match begin(visit, &mut wire, scheme) {
            Ok(challenged) => prove(visit, &mut wire, &challenged, binding, &[], &vec![0; BODY_BYTES]),
            Err(outcome) => outcome,
        },
    };
    match outcome {
        Outcome::Accepted(reply) if reply.status == 413 => visit.broken(
            Id::Post,
            "a POST of 1 MB with a login is answered with 413",
            "uploads fail",
            "raise the limit: IIS maxAllowedContentLength; nginx client_max_body_size",
        ),
        Outcome::Accepted(reply) => {
            visit.fine(Id::Post, format!("a POST of 1 MB with a login is answered with {}", reply.status));
        }
        other => visit.broken(
            Id::Post,
            format!("a POST of 1 MB with the last message of a login fails: {}", other.in_words()),
            "uploads fail, though pages can be read",
            "have the proxy pass bodies on as they come, and on the connection of the login",
        ),
    }
}
