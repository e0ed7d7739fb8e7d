//! How often something happened to the servers of one name, whatever addresses the name has had: these numbers only grow.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::login::Symptom;

/// What is counted for a server's name in a group. All its addresses share it, and so do those of later settings: a name
/// that loses an address loses none of what that counted.
#[derive(Debug, Default)]
pub struct Incidents {
    symptoms: [AtomicU64; Symptom::ALL.len()],
    state_changes: AtomicU64,
    ejections: AtomicU64,
}

impl Incidents {
    /// How often a symptom was seen.
    pub fn symptoms(&self, symptom: Symptom) -> u64 {
        self.symptoms[symptom as usize].load(Ordering::Relaxed)
    }

    /// How often checks found an address up after it was down, or down.
    pub fn state_changes(&self) -> u64 {
        self.state_changes.load(Ordering::Relaxed)
    }

    /// How often an address was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    pub(super) fn count_symptom(&self, symptom: Symptom) {
        self.symptoms[symptom as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_state_change(&self) {
        self.state_changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_ejection(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }
}
