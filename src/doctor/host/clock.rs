//! The clock: logs, certificates and Kerberos tickets are judged by it.

use std::time::Duration;

use super::readings::Readings;
use super::{Finding, Findings, Id};

/// The kernel's bound grows by 500 ppm while nothing corrects the clock, and stops here: from then on it counts as
/// not synchronised. Its flag `STA_UNSYNC` also means that the clock of the mainboard is not set, so it does not tell.
const UNSYNCHRONISED: Duration = Duration::from_secs(16);

pub(super) fn judge(readings: &Readings, found: &mut Findings) {
    let id = Id::Clock.as_str();
    let Some(clock) = readings.clock else { return };
    let error_ms = clock.error_max.as_millis();
    if clock.error_max < UNSYNCHRONISED {
        found.add(Finding::fine(id, format!("the clock is synchronised, within {error_ms} ms")));
        return;
    }
    found.add(Finding::warning(
        id,
        "the clock is not synchronised",
        "lines of the log cannot be matched with those of IIS, certificates are judged by a wrong date, and doctor cannot tell \
         whether the servers' clocks are right (Kerberos allows 5 minutes)",
        "timedatectl set-ntp true; chronyc tracking (in a virtual machine or container: of its host)",
    ));
}

#[cfg(test)]
mod tests {
    use super::super::testing::only;
    use super::*;
    use crate::doctor::Severity::{Fine, Warning};
    use crate::uring::Clock;

    #[test]
    fn a_clock_that_nothing_corrects_is_a_warning() {
        let with = |error_max| {
            let mut found = Findings::default();
            judge(&Readings { clock: Some(Clock { error_max }), ..Readings::default() }, &mut found);
            found
        };
        only(&with(Duration::from_millis(12)), Id::Clock, Fine, &["within 12 ms"]);
        only(&with(Duration::from_secs(16)), Id::Clock, Warning, &["timedatectl set-ntp true"]);
    }
}
