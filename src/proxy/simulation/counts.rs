//! What a worker counts is what its access log says: to the session, the request and the byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::proxy::access_log::Entry;
use crate::proxy::counters::{Cells, Counters, Status};
use crate::proxy::record::End;

/// Numbers by server and word.
type Counted = BTreeMap<(Option<String>, &'static str), u64>;

/// Checks the counters of a worker that has ended.
pub(super) fn judge_counts(counters: &Counters, entries: &[Entry]) {
    let cells = counters.all_cells();
    assert_eq!(counters.active().get(), 0, "sessions of a worker that has ended");
    assert!(cells.iter().all(|cells| cells.active.get() == 0), "each session leaves where it is");
    let ended: u64 = cells.iter().flat_map(|cells| End::ALL.map(|end| cells.ended(end).get())).sum();
    let accepted: u64 = cells.iter().map(|cells| cells.accepted.get()).sum();
    assert_eq!((ended, accepted), (counters.accepted().get(), counters.accepted().get()));

    // A session that reads requests has no line of its own.
    let has_requests = cells.iter().any(|cells| cells.has_requests());
    let mut logged = Counted::new();
    let mut add = |server: &Option<Arc<str>>, word, number| {
        *logged.entry((server.as_deref().map(str::to_owned), word)).or_default() += number;
    };
    for entry in entries {
        match entry {
            Entry::Record(_) if has_requests => {}
            Entry::Record(record) => {
                add(&record.upstream, record.end.as_str(), 1);
                add(&record.upstream, "to_upstream_bytes", record.upstream_bytes);
                add(&record.upstream, "to_client_bytes", record.client_bytes);
                add(&record.upstream, "spliced_bytes", record.spliced_bytes);
            }
            Entry::Request(record) => add(&record.upstream, Status::of(record.status).as_str(), 1),
            Entry::Wake => {}
        }
    }
    logged.retain(|_, number| *number > 0);
    assert_eq!(counted(&cells, has_requests), logged, "counted, and logged");
}

/// What cells count that a log of sessions, or of requests, has as well.
fn counted(cells: &[Arc<Cells>], has_requests: bool) -> Counted {
    let mut counted = Counted::new();
    for cells in cells {
        let server = cells.key().server.as_deref().map(str::to_owned);
        let mut add = |word, number| *counted.entry((server.clone(), word)).or_default() += number;
        for status in Status::ALL {
            add(status.as_str(), cells.replies(status).get());
        }
        if has_requests {
            continue;
        }
        for end in End::ALL {
            add(end.as_str(), cells.ended(end).get());
        }
        add("to_upstream_bytes", cells.upstream_bytes.get());
        add("to_client_bytes", cells.client_bytes.get());
        add("spliced_bytes", cells.spliced_bytes.get());
    }
    counted.retain(|_, number| *number > 0);
    counted
}
