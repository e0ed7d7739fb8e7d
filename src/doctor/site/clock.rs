//! The server's clocks against this host's: Kerberos refuses tickets that are five minutes off.

use std::time::{Duration, SystemTime};

use super::Id;
use super::visit::Visit;

/// Half of it is warned of.
const NOTICE: Duration = Duration::from_secs(60);
/// The usual limit of a domain ("Maximum tolerance for computer clock synchronization").
const KERBEROS_MAX: Duration = Duration::from_secs(300);

pub(super) fn probe(visit: &mut Visit<'_>) {
    let before = SystemTime::now();
    if let Ok(reply) = visit.ask_anonymously()
        && let Some(date) = reply.header("date").and_then(|date| httpdate::parse_http_date(date).ok())
    {
        // It has no fractions: up to a second behind is none.
        let after = SystemTime::now();
        let skew = if date > after { Skew::between(date, after) } else { Skew::between(date, before) };
        judge(visit, Id::ClockDate, "the clock behind the Date header", skew);
    }
    if let Some((facts, at)) = visit.seen.server.clone()
        && let Some(time) = facts.time
    {
        judge(visit, Id::ClockNtlm, "the clock behind NTLM challenges", Skew::between(time, at));
    }
}

/// By how much a clock differs from this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Skew {
    by: Duration,
    is_ahead: bool,
}

impl Skew {
    fn between(theirs: SystemTime, ours: SystemTime) -> Self {
        match theirs.duration_since(ours) {
            Ok(by) => Self { by, is_ahead: true },
            Err(error) => Self { by: error.duration(), is_ahead: false },
        }
    }
}

fn judge(visit: &mut Visit<'_>, id: Id, clock: &str, skew: Skew) {
    let by = humantime::format_duration(Duration::from_secs(skew.by.as_secs()));
    let side = if skew.is_ahead { "ahead of" } else { "behind" };
    if skew.by < NOTICE {
        visit.fine(id, format!("{clock} agrees with this host's to {}", super::seconds(skew.by)));
        return;
    }
    let saw = format!("{clock} is {by} {side} this host's");
    let fix = "synchronise both with the domain: w32tm /resync there, chronyc makestep or timedatectl here";
    if skew.by < KERBEROS_MAX {
        visit.warn(id, saw, "at five minutes Kerberos refuses every ticket", fix);
    } else {
        visit.broken(
            id,
            saw,
            "Kerberos refuses tickets that are five minutes off, and NTLM answers with an old time fail",
            fix,
        );
    }
}
