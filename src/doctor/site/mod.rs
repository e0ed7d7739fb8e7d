//! A site as its users reach it: every probe of a URL.
//!
//! ```text
//! Settings -> run -> Visit (a URL: its way, what was sent, what earlier probes saw)
//!                     |-> reach        name, addresses, TCP
//!                     |-> tls          handshake, versions, certificate, ALPN
//!                     |-> http         the first reply: does it ask for a login?
//!                     |-> way          what proxies show of themselves
//!                     |-> providers    what it offers, and in which order
//!                     |-> identity     are new connections anonymous?
//!                     |-> logins       real ones
//!                     |-> persistence  does a login last, on its own connection?
//!                     |-> clock, names
//!                     |-> limits       headers, bodies, idle connections, WebSocket ...
//!                     |-> protection   must a login be bound to the connection?
//! Findings <----------'
//! ```
//!
//! A probe is a function that takes the visit and adds findings. Every connection and request goes through the visit,
//! which counts them, and every proof of a password through the `budget`, which makes at most one that fails.
//! `wire.rs` waits, within time-outs; `login.rs` is the three messages.

mod budget;
mod clock;
mod compare;
mod http;
mod id;
mod identity;
mod limits;
mod login;
mod logins;
mod names;
mod persistence;
mod protection;
mod providers;
mod reach;
mod reply;
#[cfg(test)]
mod tests;
mod tls;
mod unseen;
mod visit;
mod way;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::ServerCertVerifier;
use url::Url;

pub use id::Id;

use super::Findings;
use crate::protocol::ntlm::Credentials;
use budget::Budget;
use login::Scheme;
use visit::Visit;

/// All probes of a site together begin no later than this after the first.
const TIME_MAX: Duration = Duration::from_secs(45);

/// What to probe, and how.
#[derive(Debug)]
pub struct Settings {
    /// The site, `http` or `https`, with a host.
    pub url: Url,
    /// The same site past the proxy, to compare with.
    pub compare: Option<Url>,
    /// Who logs in.
    pub user: Option<Credentials>,
    /// Logins are bound to the TLS connection only once one without a binding was accepted.
    pub binds_later: bool,
    /// The header of replies that names the user, instead of a JSON body.
    pub identity_header: Option<String>,
    /// Whether a body may be sent with a login, which the application behind it sees.
    pub posts: bool,
    /// How long a connection is left idle, to see whether it is closed; zero: not at all.
    pub idle_probe: Duration,
    /// A page that takes some seconds.
    pub slow_path: Option<String>,
    /// A page that upgrades to WebSocket.
    pub websocket_path: Option<String>,
    /// For `https`.
    pub trust: Option<Trust>,
    /// Longest wait for a name, a connect, a handshake or a reply.
    pub timeout: Duration,
}

/// What verifies the site's certificate.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Accepts any certificate.
    pub any: Arc<dyn ServerCertVerifier>,
    /// Accepts what clients trust; nothing if that is not to be judged.
    pub trusted: Option<Arc<dyn ServerCertVerifier>>,
}

/// Probes the site.
pub fn run(settings: &Settings) -> Findings {
    let budget = Budget::new(settings.user.clone());
    let mut here = Visit::new(settings, &settings.url, &budget, Instant::now() + TIME_MAX);
    let Some(compare) = &settings.compare else {
        probe(&mut here);
        protection::probe(&mut here);
        return report(here, &budget);
    };
    let mut direct = Visit::new(settings, compare, &budget, Instant::now() + TIME_MAX);
    probe(&mut direct);
    // A login that works there and not here is the proxy's doing.
    here.works_directly = direct.seen.works;
    here.until = Instant::now() + TIME_MAX;
    probe(&mut here);
    // It may spend the budget: last, and where the proxy changes nothing.
    if budget.is_left() {
        protection::probe(&mut direct);
    }
    if budget.is_left() {
        protection::probe(&mut here);
    }
    compare::certificates(&mut here, &direct);
    let changes = compare::changes(&here.findings, &direct.findings);
    let sent_there = direct.sent();
    let mut findings = report(here, &budget);
    findings.changes = Some(changes);
    findings.sent.insert(1, sent_there);
    findings
}

fn report(mut visit: Visit<'_>, budget: &Budget) -> Findings {
    let sent = visit.sent();
    let mut findings = std::mem::take(&mut visit.findings);
    findings.sent.push(sent);
    findings.sent.extend(logins_sent(budget));
    if visit.seen.offers(Scheme::Negotiate) || visit.seen.offers(Scheme::Ntlm) {
        let facts = visit.seen.server.as_ref().map(|(facts, _)| facts);
        findings.commands = unseen::commands(visit.host(), visit.port(), facts);
    }
    findings
}

/// A probe of a site that answers.
type Probe = fn(&mut Visit<'_>);

/// In their order: each finds what the next needs.
const PROBES: [(&str, Probe); 19] = [
    ("the first reply", http::probe),
    ("the way", way::probe),
    ("providers", providers::probe),
    ("new connections", identity::fresh),
    ("logins", logins::first),
    ("connections during a login", identity::during_login),
    ("persistence", persistence::probe),
    ("connections after a login", identity::after_login),
    ("the other login", logins::second),
    ("Kerberos", providers::kerberos),
    ("clocks", clock::probe),
    ("names", names::probe),
    ("large headers", limits::head::probe),
    ("bodies", limits::body::probe),
    ("slow replies", limits::buffering::probe),
    ("WebSocket", limits::websocket::probe),
    ("PROXY headers", limits::proxy_header::probe),
    ("two logins at once", persistence::two_at_once),
    ("idle connections", limits::idle::probe),
];

fn probe(visit: &mut Visit<'_>) {
    let addresses = reach::probe(visit);
    let ways = addresses.into_iter().filter_map(|address| tls::probe(visit, address)).collect::<Vec<_>>();
    visit.way = ways.into_iter().next();
    if visit.way.is_none() {
        return;
    }
    for (name, probe) in PROBES {
        if Instant::now() > visit.until {
            let saw = format!("the site is slow: {name} and what follows it was not probed");
            let why = "users wait as long";
            visit.warn(Id::Time, saw, why, "find out why the site answers slowly, or raise --timeout");
            return;
        }
        probe(visit);
        if visit.seen.anonymous.is_none() {
            return;
        }
    }
}

fn logins_sent(budget: &Budget) -> Option<String> {
    let user = budget.user()?;
    let failed = if budget.is_left() { "none of them failed" } else { "one of them failed" };
    Some(match budget.proofs() {
        0 => format!("no login as {user}"),
        1 if budget.is_left() => format!("1 login as {user}, which did not fail"),
        1 => format!("1 login as {user}, which failed"),
        proofs => format!("{proofs} logins as {user}, {failed}"),
    })
}

/// A duration for people.
fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}
