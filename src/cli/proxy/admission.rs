//! The flags that say which clients may connect, and how much each may have.

use clap::Args;

use std::time::Duration;

use crate::cli::address::network;
use crate::cli::quantity::{OrOff, number, or_off};
use crate::proxy::settings::{Admission, ClientLimits, Network, Rate};

/// The largest of all numbers here.
const MOST: u32 = 1_000_000;

/// Who may connect; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Clone, Args)]
pub(super) struct AdmissionArgs {
    /// Networks of the clients that may connect; all others are closed at once; repeatable; unix: for Unix sockets
    /// [default: all] [nginx: allow]
    #[arg(long, value_name = "CIDR", help_heading = "Clients", value_parser = network)]
    allow: Vec<Network>,
    /// Networks of clients that may not connect, whatever --allow says; repeatable; unix: for Unix sockets [default:
    /// none] [nginx: deny]
    #[arg(long, value_name = "CIDR", help_heading = "Clients", value_parser = network)]
    deny: Vec<Network>,
    /// Most connections of one client at once, over all workers; further ones are closed at once; a client is an IPv4
    /// address or an IPv6 /64; or off [nginx: limit_conn]
    #[arg(
        long, value_name = "N", default_value = "off", help_heading = "Clients", value_parser = or_off(number(1..=MOST))
    )]
    connections_per_client: OrOff<u32>,
    /// Most new connections of one client, N/s or N/m, over all workers; as many at once, or N/s,burst=M; further ones
    /// are closed at once; or off [nginx: -]
    #[arg(
        long, value_name = "RATE", default_value = "off", help_heading = "Clients", value_parser = or_off(rate)
    )]
    connection_rate_per_client: OrOff<Rate>,
}

impl AdmissionArgs {
    /// Who may connect, if not everybody and as much as they like.
    pub(super) fn admission(&self) -> Option<Box<Admission>> {
        let Self { allow, deny, connections_per_client, connection_rate_per_client } = self.clone();
        let (connections, rate) = (connections_per_client.0, connection_rate_per_client.0);
        let limits = (connections.is_some() || rate.is_some()).then(|| ClientLimits::new(connections, rate));
        let admission = Admission { allow, deny, limits };
        let Admission { allow, deny, limits } = &admission;
        let is_needed = !allow.is_empty() || !deny.is_empty() || limits.is_some();
        is_needed.then(|| Box::new(admission))
    }
}

/// Parses `10/s`, `600/m` and `10/s,burst=20`.
fn rate(text: &str) -> Result<Rate, String> {
    let parse = || {
        let (rate, burst) = match text.split_once(",burst=") {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (count, seconds) = match rate.split_once('/')? {
            (count, "s") => (count, 1),
            (count, "m") => (count, 60),
            _ => return None,
        };
        let count = number(1..=MOST)(count).ok()?;
        let burst = burst.map_or(Some(count), |burst| number(1..=MOST)(burst).ok())?;
        Some(Rate { interval: Duration::from_secs(seconds) / count, burst })
    };
    parse().ok_or_else(|| {
        format!("give a rate such as 10/s, 600/m or 10/s,burst=20, with numbers from 1 to {MOST}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_unit_and_may_have_a_burst() {
        let is = |milliseconds, burst| Ok(Rate { interval: Duration::from_millis(milliseconds), burst });
        assert_eq!(rate("10/s"), is(100, 10));
        assert_eq!(rate("600/m"), is(100, 600));
        assert_eq!(rate("1/m,burst=1"), is(60_000, 1));
        assert_eq!(rate("10/s,burst=20"), is(100, 20));
        assert_eq!(rate("1000000/m").map(|rate| rate.interval), Ok(Duration::from_micros(60)));
        for wrong in [
            "",
            "10",
            "0/s",
            "10/h",
            "/s",
            "10/s,burst=0",
            "10/s,burst=",
            "10/s,20",
            "10/s,burst=2,burst=3",
            "-1/s",
            "1e3/s",
        ] {
            assert_eq!(
                rate(wrong),
                Err("give a rate such as 10/s, 600/m or 10/s,burst=20, with numbers from 1 to 1000000"
                    .to_owned()),
                "{wrong:?}"
            );
        }
    }
}
