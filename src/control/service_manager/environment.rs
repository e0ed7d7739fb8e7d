//! What the service manager says of itself, in variables of the environment.

use std::env;
use std::ffi::OsString;
use std::process;
use std::time::Duration;

use super::address::NotifyAddress;

/// See the module docs.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// Where it listens, if it wants to be told.
    pub(super) notify_socket: Option<NotifyAddress>,
    /// How long it waits for a word before it takes the process for dead (`WatchdogSec=`), if it does.
    pub(super) watchdog: Option<Duration>,
    /// How many descriptors it keeps over a restart (`FileDescriptorStoreMax=`).
    pub(super) store_max: usize,
}

impl Environment {
    /// That of this process.
    pub(super) fn of_this_process() -> Self {
        Self::read(|name| env::var_os(name), process::id())
    }

    /// What `variable` says to the process with this id. What makes no sense is left out, and said.
    fn read(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let number = |name| {
            let text = variable(name).filter(|text| !text.is_empty())?;
            let number = text.to_str().and_then(|text| text.parse::<u64>().ok());
            if number.is_none() {
                tracing::warn!(value = ?text, "{name} in the environment is no number; ignoring it");
            }
            number
        };
        let notify_socket = variable("NOTIFY_SOCKET").filter(|text| !text.is_empty()).and_then(|text| {
            let address = NotifyAddress::parse(&text);
            if address.is_err() {
                tracing::warn!(value = ?text, "NOTIFY_SOCKET in the environment is no address; telling the service manager nothing");
            }
            address.ok()
        });
        // The process that it names can be another one, which passed its environment on (sd_watchdog_enabled(3)).
        let is_watched = number("WATCHDOG_PID").is_none_or(|named| named == u64::from(pid));
        let period = number("WATCHDOG_USEC").filter(|period| *period > 0);
        let watchdog = period.filter(|_| is_watched && notify_socket.is_some()).map(Duration::from_micros);
        let store_max = number("FDSTORE").filter(|_| notify_socket.is_some()).unwrap_or_default();
        Self { notify_socket, watchdog, store_max: usize::try_from(store_max).unwrap_or(usize::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog(variables: &[(&str, &str)]) -> Option<Duration> {
        let variable = |name: &str| {
            let all = [("NOTIFY_SOCKET", "/run/notify")];
            let found = variables.iter().rev().chain(&all).find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Environment::read(variable, 17).watchdog
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_is_named() {
        let period = ("WATCHDOG_USEC", "3000000");
        assert_eq!(watchdog(&[]), None);
        assert_eq!(watchdog(&[period]), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(&[period, ("WATCHDOG_PID", "17")]), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(&[period, ("WATCHDOG_PID", "18")]), None);
        assert_eq!(watchdog(&[period, ("NOTIFY_SOCKET", "")]), None, "there is nothing to tell");
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        for period in ["", "0", "-1", "3s", "99999999999999999999999"] {
            assert_eq!(watchdog(&[("WATCHDOG_USEC", period)]), None, "{period}");
        }
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "3000000"), ("NOTIFY_SOCKET", "notify")]), None);
    }
}
