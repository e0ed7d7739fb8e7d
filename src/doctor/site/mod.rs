//! A site as its users reach it: every probe of a URL.
//!
//! ```text
//! Settings -> run -> Visit (a URL, its addresses, what was sent to it)
//!                     |-> reach      names, addresses, TCP
//! Findings <----------'
//! ```
//!
//! Every connection, request and login goes through the visit, which counts them for "sent". Each wait has a time-out.

mod id;
mod reach;
mod sent;

use std::time::Duration;

use url::Url;

pub use id::Id;
use sent::Sent;

use super::Findings;

/// What to probe, and how.
#[derive(Debug)]
pub struct Settings {
    /// The site, `http` or `https`, with a host.
    pub url: Url,
    /// Longest wait for a name, a connect or a reply.
    pub timeout: Duration,
}

/// Probes the site.
pub fn run(settings: &Settings) -> Findings {
    let mut visit =
        Visit { settings, url: &settings.url, sent: Sent::default(), findings: Findings::default() };
    reach::probe(&mut visit);
    let Visit { sent, mut findings, .. } = visit;
    findings.sent = sent.lines(&settings.url);
    findings
}

/// The probes of one URL, on their way.
struct Visit<'s> {
    settings: &'s Settings,
    url: &'s Url,
    sent: Sent,
    findings: Findings,
}

impl Visit<'_> {
    /// As a certificate or a resolver has it: an IPv6 address has brackets in a URL only.
    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        // Both schemes have a usual one.
        self.url.port_or_known_default().unwrap_or_default()
    }
}

/// A duration for people.
fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}
