//! The figures of cases: their names, and which direction is better.

/// One figure of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// The name in the JSON, with its unit last.
    pub(crate) key: &'static str,
    /// The heading in the table.
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
    /// What the report compares; `None` for what it only shows.
    pub(crate) better: Option<Better>,
}

impl Column {
    /// Whether the floor is the least that a proxy can have in it: CPU and the usual time. A rate is often the ends', and the
    /// longest times are the host's.
    pub(crate) fn has_floor(&self) -> bool {
        self.better == Some(Better::Less) && (self.key == "p50_us" || self.key.starts_with("proxy_cpu_"))
    }
}

/// Which values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
}

const RATE: Column = more("requests_per_s", "requests/s", 0);
const CPU: Column = less("proxy_cpu_us_per_request", "CPU us/request", 2);
const P50: Column = less("p50_us", "p50 us", 0);
const P99: Column = less("p99_us", "p99 us", 0);
const GB_PER_S: Column = more("bulk_gb_per_s", "GB/s", 2);
const CPU_PER_GB: Column = less("proxy_cpu_s_per_gb", "CPU s/GB", 3);
const WRK_RATE: Column = shown("wrk_requests_per_s", "wrk: requests/s", 0);
const WRK_CPU: Column = shown("wrk_proxy_cpu_us_per_request", "wrk: CPU us/request", 2);
const WRK_P50: Column = shown("wrk_p50_us", "wrk: p50 us", 0);

/// Requests and replies in a closed loop.
pub(crate) const EXCHANGES: &[Column] = &[RATE, CPU, P50, P99];
/// The same by two generators.
pub(crate) const EXCHANGES_TWICE: &[Column] = &[RATE, CPU, P50, P99, WRK_RATE, WRK_CPU, WRK_P50];
/// Requests at a given rate.
pub(crate) const AT_RATE: &[Column] = &[CPU, P50, P99, shown("requests_per_s", "requests/s", 0)];
/// Endless streams.
pub(crate) const BULK: &[Column] = &[GB_PER_S, CPU_PER_GB];
/// Small messages beside streams at full speed.
pub(crate) const MIXED: &[Column] =
    &[P50, P99, more("requests_per_s", "small requests/s", 0), more("bulk_gb_per_s", "bulk GB/s", 2)];
/// Small messages at a given rate beside streams at a given rate.
pub(crate) const HELD: &[Column] = &[
    P50,
    P99,
    less("proxy_cpu_s_per_s", "CPU s/s", 3),
    shown("requests_per_s", "small requests/s", 0),
    shown("bulk_gb_per_s", "bulk GB/s", 2),
];
/// Connections of one exchange.
pub(crate) const CONNECTIONS: &[Column] = &[
    more("connections_per_s", "connections/s", 0),
    less("proxy_cpu_us_per_connection", "CPU us/connection", 1),
    less("p50_us", "p50 us, connect to reply", 0),
    less("p99_us", "p99 us", 0),
];
/// Logins in a closed loop.
pub(crate) const LOGINS: &[Column] = &[
    more("logins_per_s", "logins/s", 0),
    less("proxy_cpu_us_per_login", "CPU us/login", 1),
    less("p50_us", "p50 us, whole login", 0),
    less("p99_us", "p99 us", 0),
];
/// Logins at a given rate.
pub(crate) const LOGINS_AT_RATE: &[Column] = &[
    less("proxy_cpu_us_per_login", "CPU us/login", 1),
    less("p50_us", "p50 us from intended start", 0),
    less("p99_us", "p99 us", 0),
    shown("logins_per_s", "logins/s", 0),
];
/// Memory of idle connections.
pub(crate) const IDLE: &[Column] = &[
    less("bytes_per_connection", "bytes/connection", 0),
    less("bytes_per_connection_second_use", "after a second use", 0),
];
/// How evenly workers share connections.
pub(crate) const SPREAD: &[Column] =
    &[less("busiest_worker_times_its_share", "busiest worker, x its share", 2)];

const fn less(key: &'static str, title: &'static str, decimals: usize) -> Column {
    Column { key, title, decimals, better: Some(Better::Less) }
}

const fn more(key: &'static str, title: &'static str, decimals: usize) -> Column {
    Column { key, title, decimals, better: Some(Better::More) }
}

const fn shown(key: &'static str, title: &'static str, decimals: usize) -> Column {
    Column { key, title, decimals, better: None }
}
