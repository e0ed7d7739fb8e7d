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
mod user;
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
    user::judge(readings, wanted, &mut found);
    found
}

/// What a start has to warn of: what its settings ask for, and do not get here.
pub fn at_start(readings: &Readings, wanted: &Wanted) -> Vec<Finding> {
    let mut found = Findings::default();
    resources::granted_pipes(readings, wanted, &mut found);
    network::backlog(readings, wanted, &mut found);
    cores::quota(readings, wanted, &mut found);
    user::judge(readings, wanted, &mut found);
    if wanted.connections.is_some() {
        found.add(descriptors(wanted));
        network::ports(readings, wanted, &mut found);
        network::conntrack(readings, wanted, &mut found);
    }
    found.findings.retain(|finding| finding.severity > Severity::Fine);
    found.findings
}

#[cfg(test)]
mod tests {
    use super::testing::wanted;
    use super::*;

    #[test]
    fn a_start_warns_of_what_the_doctor_finds_and_settings_ask_for() {
        let readings = Readings {
            somaxconn: Some(128),
            quota: Some(0.5),
            cpus: 2,
            ports: Some(1_000),
            conntrack: Some((0, 4096)),
            ..Readings::default()
        };
        let readings = readings.granted(Granted { pipes: 20, bytes: 1 << 20 });
        let ids = |wanted: &Wanted| -> Vec<_> {
            at_start(&readings, wanted).iter().map(|finding| finding.id).collect()
        };
        let always = [Id::Pipes, Id::Backlog, Id::Cores].map(Id::as_str);
        assert_eq!(ids(&wanted()), always);
        let servers = [(([192, 0, 2, 1], 80).into(), None)].into();
        let asked = Wanted { connections: Some(900_000), servers: Some(servers), ..wanted() };
        assert_eq!(ids(&asked)[3..], [Id::Descriptors, Id::Ports, Id::Conntrack].map(Id::as_str));
        let all = findings(&readings, &asked);
        for warned in at_start(&readings, &asked) {
            let same = all.findings.iter().find(|finding| finding.id == warned.id).expect(warned.id);
            assert_eq!((&same.saw, &same.why), (&warned.saw, &warned.why), "the same finding");
        }
    }
}
