//! Ways to choose a server of a group: a file each, and a line in the table below.
//!
//! An algorithm sees the servers that may be chosen and what it wants to know of them, and names one. It must never lend
//! a server, and knows no connection but the one that it chooses for.

mod algorithm;
mod least_connections;
mod load;
mod random_two;
mod rank;
mod round_robin;
mod source_hash;

use std::fmt;

pub(super) use algorithm::{Algorithm, Beginning, Candidates, Tried, Wanted};

/// A way to choose servers, by its name in the settings.
#[derive(Clone, Copy)]
pub struct Balance {
    name: &'static str,
    begin: fn(&Beginning<'_>) -> Box<dyn Algorithm>,
}

impl Balance {
    /// All of them; the first one is the default.
    pub const ALL: [Self; 4] = [
        Self { name: "round-robin", begin: round_robin::begin },
        Self { name: "least-connections", begin: least_connections::begin },
        Self { name: "random-two", begin: random_two::begin },
        Self { name: "source-hash", begin: source_hash::begin },
    ];

    /// The algorithm of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|balance| balance.name == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The state of one worker for one group.
    pub(super) fn begin(self, with: &Beginning<'_>) -> Box<dyn Algorithm> {
        (self.begin)(with)
    }
}

impl Default for Balance {
    fn default() -> Self {
        Self::ALL[0]
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Balance {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Balance {}
