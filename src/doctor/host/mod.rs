//! This machine, before or while it serves: kernel, limits, network, clock.
//!
//! ```text
//! /proc, /sys, limits, tries --> Readings --.
//! settings or defaults ------> Wanted ------+--> kernel, resources, network, cores, clock --> Findings
//! ```
//!
//! The doctor judges all of it; the start of the proxy logs the findings that [`at_start`] has, from the same functions.
//! What a finding tells to do is a command, or the line of a unit. Start with [`findings`].

mod cgroup;
mod clock;
mod cores;
mod files;
mod id;
mod kernel;
mod memory;
mod network;
mod readings;
mod resources;
#[cfg(test)]
mod testing;
mod wanted;

pub use files::Files;
pub use id::Id;
pub use memory::memory_bytes;
pub use readings::{Granted, Readings};
pub use resources::descriptors;
pub use wanted::Wanted;

use super::{Finding, Findings, Severity};

/// All that is found.
pub fn findings(readings: &Readings, wanted: &Wanted) -> Findings {
    let mut found = Findings::default();
    kernel::judge(readings, &mut found);
    resources::judge(readings, wanted, &mut found);
    network::judge(readings, wanted, &mut found);
    cores::judge(readings, wanted, &mut found);
    clock::judge(readings, &mut found);
    found
}

/// What a start has to warn of: what its settings ask for, and do not get here.
pub fn at_start(readings: &Readings, wanted: &Wanted) -> Vec<Finding> {
    let mut found = Findings::default();
    resources::granted_pipes(readings, wanted, &mut found);
    network::backlog(readings, wanted, &mut found);
    cores::quota(readings, wanted, &mut found);
    if wanted.connections.is_some() {
        found.add(descriptors(wanted));
        network::ports(readings, wanted, &mut found);
        network::conntrack(readings, wanted, &mut found);
    }
    found.findings.retain(|finding| finding.severity > Severity::Fine);
    found.findings
}
