//! What tells whether a row describes the proxy, or the host and the ends.

use super::Report;
use crate::cases::Case;

/// A core that is busy for more of the time is full.
const FULL_PERCENT: f64 = 95.0;
/// An open loop that reaches less of its rate tells of another load.
const REACHED_PERCENT: f64 = 97.0;
/// More of a core went to other programs than noise explains.
const OTHERS_PERCENT: f64 = 10.0;
/// More of a core went to other virtual machines than noise explains.
const STOLEN_PERCENT: f64 = 2.0;

/// The warnings about a row.
pub(super) fn warnings(report: &Report<'_>, case: &Case, arm: &str) -> Vec<String> {
    let median = |key| report.figures.spread(case, arm, key).map(|spread| spread.median);
    let above = |key, limit: f64| median(key).filter(|percent| *percent > limit);
    let mut warnings = Vec::new();
    if above("load_core_busy_percent", FULL_PERCENT).is_some() {
        warnings.push("ends' limit".to_owned());
    }
    if let Some(percent) = median("of_asked_rate_percent").filter(|percent| *percent < REACHED_PERCENT) {
        warnings.push(format!("reached {percent:.0} % of the rate"));
    }
    let taken = [
        (above("others_on_proxy_core_percent", OTHERS_PERCENT), "of the proxy's core"),
        (above("others_on_load_cores_percent", OTHERS_PERCENT), "of a core of the ends"),
        (above("stolen_percent", STOLEN_PERCENT), "of a core for other machines"),
    ];
    let taken =
        taken.iter().filter_map(|(percent, what)| percent.map(|percent| format!("{percent:.0} % {what}")));
    let taken = taken.collect::<Vec<_>>().join(", ");
    if !taken.is_empty() {
        warnings.push(format!("disturbed: others took {taken}"));
    }
    let errors = report.errors(case, arm);
    if errors > 0.0 {
        warnings.push(format!("{errors:.0} errors"));
    }
    warnings
}

/// How busy the cores were: the proxy's (and the proxy's own part of it), then those of the ends.
pub(super) fn cores(report: &Report<'_>, case: &Case, arm: &str) -> String {
    let cores = report.figures.cores_percent(case, arm);
    let of = |cpu: &usize| cores.get(*cpu).map(|percent| format!("{percent:.0}"));
    let own = report
        .figures
        .spread(case, arm, "proxy_cpu_percent")
        .map_or_else(String::new, |spread| format!(" (proxy {:.0})", spread.median));
    let Some(proxy) = of(&report.host.proxy_cpu) else { return "-".to_owned() };
    let ends: Vec<String> = report.host.load_cpus.iter().filter_map(of).collect();
    format!("{proxy}{own} / {}", ends.join(", "))
}
