//! Columns of the tables: what each shows, and how its numbers are written.

use super::model::Tone;
use super::text;

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Servers,
    Services,
    Workers,
}

impl Section {
    /// From top to bottom.
    pub(super) const ALL: [Self; 3] = [Self::Servers, Self::Services, Self::Workers];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Servers => "SERVERS",
            Self::Services => "SERVICES",
            Self::Workers => "WORKERS",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        use Column as C;
        match self {
            Self::Servers => &[
                C::Active,
                C::New,
                C::Logins,
                C::FailedLogins,
                C::ConnectMedian,
                C::ConnectP99,
                C::ReplyMedian,
                C::ReplyP99,
                C::Bytes,
                C::Ntlm,
                C::NegotiateNtlm,
                C::Kerberos,
                C::Basic,
                C::Requests,
                C::ServerErrors,
                C::ToServers,
                C::ToClients,
                C::ConnectFailures,
            ],
            Self::Services => &[
                C::Active,
                C::New,
                C::Logins,
                C::FailedLogins,
                C::ConnectMedian,
                C::ConnectP99,
                C::ReplyMedian,
                C::ReplyP99,
                C::Bytes,
                C::Ntlm,
                C::NegotiateNtlm,
                C::Kerberos,
                C::Basic,
                C::Requests,
                C::ServerErrors,
                C::ToServers,
                C::ToClients,
                C::Refused,
            ],
            Self::Workers => {
                &[C::Active, C::New, C::Turns, C::TurnSize, C::TurnTakes, C::Buffers, C::Pipes, C::Shortages]
            }
        }
    }
}

/// How numbers of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Count,
    PerSecond,
    BytesPerSecond,
    /// Of seconds.
    Milliseconds,
    /// Of a whole.
    Share,
}

impl Unit {
    pub(super) fn write(self, value: Option<f64>) -> String {
        let Some(value) = value else { return "-".to_owned() };
        match self {
            Self::Count => text::count(value),
            Self::PerSecond => text::rate(value),
            Self::BytesPerSecond => text::bytes(value),
            Self::Milliseconds => text::milliseconds(value),
            Self::Share => text::share(value),
        }
    }
}

macro_rules! columns {
    ($($(#[doc = $meaning:literal])+ $column:ident = $group:literal, $heading:literal, $width:literal, $unit:ident;)+) => {
        /// A column of numbers. The documentation is what help says of it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Column {
            $($(#[doc = $meaning])+ $column,)+
        }

        impl Column {
            pub(super) const ALL: [Self; [$($width),+].len()] = [$(Self::$column),+];

            /// What columns that belong together have above them; often nothing.
            pub(super) fn group(self) -> &'static str {
                match self {
                    $(Self::$column => $group,)+
                }
            }

            pub(super) fn heading(self) -> &'static str {
                match self {
                    $(Self::$column => $heading,)+
                }
            }

            pub(super) fn width(self) -> usize {
                match self {
                    $(Self::$column => $width,)+
                }
            }

            pub(super) fn unit(self) -> Unit {
                match self {
                    $(Self::$column => Unit::$unit,)+
                }
            }

            pub(super) fn meaning(self) -> &'static str {
                let text = match self {
                    $(Self::$column => concat!($($meaning),+),)+
                };
                text.trim_start()
            }
        }
    };
}

impl Column {
    /// What it means that it is not 0, if that is worth a look.
    pub(super) fn alarm(self) -> Option<Tone> {
        match self {
            Self::FailedLogins | Self::ServerErrors | Self::Shortages => Some(Tone::Warning),
            Self::ConnectFailures | Self::Refused => Some(Tone::Bad),
            _ => None,
        }
    }
}

columns! {
    /// connections that are open; at a server, those that hold a place
    Active = "", "ACTIVE", 6, Count;
    /// new connections a second
    New = "", "NEW/S", 5, PerSecond;
    /// logins accepted a second, by all mechanisms
    Logins = "logins/s", "OK", 5, PerSecond;
    /// logins refused or abandoned a second: where it is as high as OK or higher, clients loop over 401
    FailedLogins = "logins/s", "401S", 5, PerSecond;
    /// half of the connects to servers took no longer, in ms
    ConnectMedian = "conn ms", "P50", 4, Milliseconds;
    /// 99 of 100 connects to servers took no longer, in ms
    ConnectP99 = "conn ms", "P99", 4, Milliseconds;
    /// from a request to the head of its reply, in ms; for streams from the accept to the first byte
    ReplyMedian = "reply ms", "P50", 4, Milliseconds;
    /// the same for 99 of 100
    ReplyP99 = "reply ms", "P99", 4, Milliseconds;
    /// bytes a second, both ways
    Bytes = "", "BYTES/S", 7, BytesPerSecond;
    /// logins accepted a second: NTLM under its own name
    Ntlm = "logins/s", "NTLM", 5, PerSecond;
    /// NTLM under Negotiate
    NegotiateNtlm = "logins/s", "NEGO", 5, PerSecond;
    /// Kerberos under Negotiate
    Kerberos = "logins/s", "KERB", 5, PerSecond;
    /// Basic
    Basic = "logins/s", "BASIC", 5, PerSecond;
    /// requests a second (HTTP mode)
    Requests = "http/s", "REQS", 5, PerSecond;
    /// replies with a status of 500 or above a second (HTTP mode)
    ServerErrors = "http/s", "5XX", 5, PerSecond;
    /// bytes a second to servers
    ToServers = "bytes/s to", "SERVER", 6, BytesPerSecond;
    /// bytes a second to clients
    ToClients = "bytes/s to", "CLIENT", 6, BytesPerSecond;
    /// attempts to connect to the server that failed, a second
    ConnectFailures = "connect", "FAIL/S", 7, PerSecond;
    /// connections of clients that got no server, a second
    Refused = "", "REFUS/S", 7, PerSecond;
    /// turns of the worker's ring a second
    Turns = "", "TURNS", 5, PerSecond;
    /// completions a turn
    TurnSize = "", "SIZE", 5, Count;
    /// how long the current turn has been taking, in ms; over a second the worker is stuck
    TurnTakes = "", "TAKES", 5, Milliseconds;
    /// share of the receive buffers that hold bytes
    Buffers = "", "BUFS", 5, Share;
    /// share of the pipes that move bulk
    Pipes = "", "PIPES", 5, Share;
    /// how often a second a resource had run out
    Shortages = "", "SHORT", 5, PerSecond;
}
