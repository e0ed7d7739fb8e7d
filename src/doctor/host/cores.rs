//! Cores: those that the workers are pinned to, and how much of them the control group allows.

use super::readings::Readings;
use super::wanted::Wanted;
use super::{Finding, Findings, Id};

pub(super) fn judge(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    quota(readings, wanted, found);
}

/// Workers that share less time than a core each are stopped in the middle of their work until the next period.
pub(super) fn quota(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    let id = Id::Cores.as_str();
    let (workers, cpus) = (wanted.workers, readings.cpus);
    let setting = (wanted.named)("workers");
    let threads = if readings.has_smt { ", two threads a core (SMT)" } else { "" };
    match readings.quota {
        Some(quota) if quota < workers as f64 => {
            let fitting = (quota.floor() as usize).max(1);
            found.add(Finding::warning(
                id,
                format!("{workers} workers share a quota of {quota:.2} CPUs (cpu.max of the control group)"),
                "when it is used up all of them stand still until the next period, up to 100 ms: that is the tail of the \
                 latencies",
                format!("set {setting} to {fitting}, or raise the quota (CPUQuota=, docker run --cpus, limits.cpu)"),
            ));
        }
        _ if workers > cpus => found.add(Finding::warning(
            id,
            format!("{workers} workers for {cpus} CPUs"),
            "workers that share a core wait for each other",
            format!("set {setting} to {cpus}"),
        )),
        _ => found.add(Finding::fine(id, format!("{workers} workers for {cpus} CPUs{threads}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{only, wanted};
    use super::*;
    use crate::doctor::Severity::{Fine, Warning};

    #[test]
    fn workers_are_judged_by_cpus_and_quota() {
        let with = |cpus, quota, has_smt| {
            let mut found = Findings::default();
            judge(&Readings { cpus, quota, has_smt, ..Readings::default() }, &wanted(), &mut found);
            found
        };
        only(&with(2, None, false), Id::Cores, Fine, &["2 workers for 2 CPUs"]);
        only(&with(2, Some(2.0), true), Id::Cores, Fine, &["SMT"]);
        only(
            &with(2, Some(1.5), false),
            Id::Cores,
            Warning,
            &["quota of 1.50 CPUs", "set --workers to 1", "CPUQuota="],
        );
        only(&with(1, None, false), Id::Cores, Warning, &["2 workers for 1 CPUs"]);
    }
}
