//! Whether a slow reply arrives as it is made, or in one piece at its end.

use std::time::Duration;

use crate::doctor::site::persistence::logged_in;
use crate::doctor::site::visit::Visit;
use crate::doctor::site::{Id, seconds};

/// Of a faster reply nothing can be told.
const SLOW: Duration = Duration::from_millis(500);

pub(in crate::doctor::site) fn probe(visit: &mut Visit<'_>) {
    let Some(path) = visit.settings.slow_path.clone() else { return };
    let wire = match logged_in(visit) {
        Some(wire) => Ok(wire),
        None => visit.open(),
    };
    let reply = wire.and_then(|mut wire| {
        wire.set_timeout(visit.settings.timeout.max(Duration::from_secs(20)));
        visit.request(&mut wire, &visit.head("GET", &path, &[]))
    });
    let reply = match reply {
        Ok(reply) if reply.status < 400 => reply,
        Ok(reply) => return unknown(visit, format!("{path} is answered with {}", reply.status)),
        Err(broke) => return unknown(visit, format!("{path} gets no reply: {broke}")),
    };
    // The first piece came with the head, and may be empty.
    let pieces: Vec<_> = reply.pieces.iter().filter(|(_, bytes)| *bytes > 0).collect();
    let (Some((first, _)), Some((last, _))) = (pieces.first(), pieces.last()) else {
        return unknown(visit, format!("{path} has an empty reply"));
    };
    if *last < SLOW {
        return unknown(visit, format!("{path} is complete after {}", seconds(*last)));
    }
    if *first * 5 > *last * 4 {
        visit.warn(
            Id::Buffering,
            format!("the slow reply of {path} arrives in one piece, after {}", seconds(*last)),
            "a proxy holds replies until they are complete: progress, events and downloads stall",
            "turn buffering of replies off in the proxy (nginx: proxy_buffering off), or the application sends at the end only: \
             see --compare",
        );
        return;
    }
    visit.fine(
        Id::Buffering,
        format!(
            "the slow reply of {path} arrives as it is made: from {} to {}",
            seconds(*first),
            seconds(*last)
        ),
    );
}

fn unknown(visit: &mut Visit<'_>, saw: String) {
    visit.warn(
        Id::Buffering,
        saw,
        "nothing can be told about buffering",
        "give the path of a page that takes some seconds, and sends as it goes",
    );
}
