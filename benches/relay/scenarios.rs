//! The scenarios and the columns of their reports.

use std::fmt;

use clap::ValueEnum;

/// The load on a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Scenario {
    /// 8 streams from the server to the client
    Bulk,
    /// 64 connections, each sending 200 B and receiving 1 KB repeatedly
    Small,
    /// Connections with one exchange each, 64 at a time
    Connect,
    /// The 64 small connections beside the 8 streams
    Mixed,
    /// Thousands of idle connections
    Idle,
}

/// One figure of a scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// The name in the JSON, with its unit last.
    pub(crate) key: &'static str,
    /// The heading in the table.
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
    /// Whether the report shows a range and a ratio to nginx.
    pub(crate) compared: bool,
}

/// Utilisation of the two cores. If the load core is near 100 %, the load is the bottleneck.
const BUSY: [Column; 2] =
    [plain("proxy_core_busy_percent", "proxy core %", 0), plain("load_core_busy_percent", "load core %", 0)];
const ERRORS: Column = plain("errors", "errors", 0);

const BULK: &[Column] = &[
    compared("bulk_gb_per_s", "GB/s", 2),
    compared("proxy_cpu_s_per_gb", "CPU s/GB", 3),
    BUSY[0],
    BUSY[1],
    ERRORS,
];
const SMALL: &[Column] = &[
    compared("requests_per_s", "requests/s", 0),
    compared("proxy_cpu_us_per_request", "CPU us/request", 2),
    compared("p50_us", "p50 us", 0),
    compared("p99_us", "p99 us", 0),
    BUSY[0],
    BUSY[1],
    ERRORS,
];
const CONNECT: &[Column] = &[
    compared("connections_per_s", "connections/s", 0),
    compared("proxy_cpu_us_per_connection", "CPU us/connection", 1),
    BUSY[0],
    BUSY[1],
    ERRORS,
];
const MIXED: &[Column] = &[
    compared("p50_us", "small p50 us", 0),
    compared("p99_us", "small p99 us", 0),
    compared("requests_per_s", "small requests/s", 0),
    compared("bulk_gb_per_s", "bulk GB/s", 2),
    BUSY[0],
    BUSY[1],
    ERRORS,
];
const IDLE: &[Column] = &[
    compared("bytes_per_connection", "bytes/connection", 0),
    compared("bytes_per_connection_second_use", "after a second use", 0),
    ERRORS,
];

impl Scenario {
    /// The figures of the scenario in the order of the table.
    pub(crate) fn columns(self) -> &'static [Column] {
        match self {
            Self::Bulk => BULK,
            Self::Small => SMALL,
            Self::Connect => CONNECT,
            Self::Mixed => MIXED,
            Self::Idle => IDLE,
        }
    }

    /// The scenario in one line, for the heading of its table.
    pub(crate) fn summary(self) -> &'static str {
        match self {
            Self::Bulk => "8 streams, server to client",
            Self::Small => "64 connections, 200 B request, 1 KB reply, closed loop",
            Self::Connect => "connect, 200 B request, 1 KB reply, close; 64 at a time",
            Self::Mixed => "64 small connections beside 8 streams",
            Self::Idle => "growth of the proxy's memory per idle connection",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bulk => "bulk",
            Self::Small => "small",
            Self::Connect => "connect",
            Self::Mixed => "mixed",
            Self::Idle => "idle",
        })
    }
}

const fn compared(key: &'static str, title: &'static str, decimals: usize) -> Column {
    Column { key, title, decimals, compared: true }
}

const fn plain(key: &'static str, title: &'static str, decimals: usize) -> Column {
    Column { key, title, decimals, compared: false }
}
