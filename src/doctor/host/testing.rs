//! What tests of findings share.

use super::{Findings, Id, Wanted};
use crate::doctor::Severity;
use crate::uring::{FeatureSet, RingOptions, Spin};

/// Two workers with default settings.
pub(super) fn wanted() -> Wanted {
    Wanted {
        workers: 2,
        ring: RingOptions {
            entries: 4096,
            buffers: 1024,
            buffer_bytes: 16 * 1024,
            spin: Spin::NEVER,
            without: FeatureSet::NONE,
        },
        pipes: 128,
        pipe_bytes: 1 << 20,
        connections: None,
        descriptors_a_connection: 2,
        descriptors_reserved: 100,
        descriptors_max: 1 << 20,
        servers: None,
        backlog: 4096,
        stays_root: None,
        named: |name| format!("--{name}"),
    }
}

/// Asserts that there is one finding with this id, of this severity, with these texts.
#[track_caller]
pub(super) fn only(found: &Findings, id: Id, severity: Severity, texts: &[&str]) {
    let all: Vec<_> = found.findings.iter().filter(|finding| finding.id == id.as_str()).collect();
    let [finding] = all[..] else { panic!("{all:?}") };
    assert_eq!(finding.severity, severity, "{finding:?}");
    let all = format!("{}; {}; {}", finding.saw, finding.why, finding.fix);
    for text in texts {
        assert!(all.contains(text), "{text}: {all}");
    }
    if severity > Severity::Fine {
        assert!(!finding.why.is_empty() && !finding.fix.is_empty(), "{finding:?}");
    }
}
