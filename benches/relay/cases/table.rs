//! All cases.

use super::columns::{
    AT_RATE, BULK, CONNECTIONS, EXCHANGES, EXCHANGES_TWICE, HELD, IDLE, LOGINS, LOGINS_AT_RATE, MIXED, SPREAD,
};
use super::{Case, Idle, Plan, Rate, Scenario, ServerKind, Work};
use crate::arms::Variant;
use crate::front::{Front, LogFormat};
use crate::load::Errand;
use crate::options::ArmName::{
    self, Direct, Floor, Haproxy, HaproxyNever, HaproxySplice, Iisplice, Nginx, Nginx256k, OpSplice,
    TokioUring,
};

const ALL: &[ArmName] =
    &[Direct, Floor, Iisplice, Nginx, Nginx256k, Haproxy, HaproxySplice, TokioUring, OpSplice];
const USUAL: &[ArmName] = &[Direct, Floor, Iisplice, Nginx, Haproxy];
const STREAMS: &[ArmName] = &[Direct, Floor, Iisplice, Nginx, Nginx256k, Haproxy, HaproxySplice];
const HTTP_STREAMS: &[ArmName] = &[Direct, Floor, Iisplice, Nginx, Haproxy, HaproxySplice];
const PROXIES: &[ArmName] = &[Floor, Iisplice, Nginx, Haproxy];
const HTTP_LOGINS: &[ArmName] = &[Direct, Floor, Iisplice, Nginx, Haproxy, HaproxyNever];

const SLEEP: Variant = Variant { of: Iisplice, name: "iisplice --spin 0", settings: &["--spin", "0"] };
const SPIN_AUTO: Variant =
    Variant { of: Iisplice, name: "iisplice --spin auto", settings: &["--spin", "auto"] };
const SPIN: Variant = Variant { of: Iisplice, name: "iisplice --spin 200us", settings: &["--spin", "200us"] };
const BUSY_POLLING: Variant =
    Variant { of: Haproxy, name: "haproxy busy-polling", settings: &["busy-polling"] };
const FLOOR_POLLING: Variant = Variant { of: Floor, name: "floor polling", settings: &["--polling"] };
const WARM: Variant = Variant { of: Iisplice, name: "iisplice --warm 64", settings: &["--warm", "64"] };
const SMALL_PIPES: Variant =
    Variant { of: Iisplice, name: "iisplice --pipe-size 64KiB", settings: &["--pipe-size", "64KiB"] };

/// The usual load over HTTP: requests without end on 64 connections.
const HTTP: Plan = Plan {
    scenario: Scenario::Steady,
    path: "/small",
    connections: 64,
    rate: Rate::Closed,
    field_bytes: 0,
    server: ServerKind::Own,
    twice: false,
    beside: &[],
};
const LOGIN: Plan = Plan { scenario: Scenario::Login, path: "/whoami", server: ServerKind::Mock, ..HTTP };

const fn at_share(case: &'static str, percent: u32) -> Work {
    Work::Generated(Plan { rate: Rate::ShareOfBestPeer { case, percent }, ..LOGIN })
}

/// A case of small messages through TCP relays, which the others change.
const SMALL: Case = Case {
    name: "small",
    summary: "64 connections, 200 B request, 1 KB reply, closed loop",
    front: Front::Stream,
    work: Work::Own(&[(Errand::PingPong, 64)]),
    arms: ALL,
    variants: &[],
    realtime: false,
    columns: EXCHANGES,
};

/// In the order of the report. A case that needs another one stands behind it.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "lone",
        summary: "1 connection, 200 B request, 1 KB reply, closed loop",
        work: Work::Own(&[(Errand::PingPong, 1)]),
        arms: USUAL,
        variants: &[SLEEP],
        ..SMALL
    },
    Case {
        name: "lone-spin",
        summary: "the same with proxies that poll instead of sleeping",
        work: Work::Own(&[(Errand::PingPong, 1)]),
        arms: &[],
        variants: &[FLOOR_POLLING, SPIN_AUTO, SPIN, BUSY_POLLING],
        ..SMALL
    },
    Case {
        name: "few",
        summary: "4 connections, 200 B request, 1 KB reply, closed loop",
        work: Work::Own(&[(Errand::PingPong, 4)]),
        arms: USUAL,
        variants: &[SLEEP],
        ..SMALL
    },
    SMALL,
    Case {
        name: "many",
        summary: "512 connections, 200 B request, 1 KB reply, closed loop",
        work: Work::Own(&[(Errand::PingPong, 512)]),
        arms: USUAL,
        ..SMALL
    },
    Case {
        name: "crowd",
        summary: "4,096 connections, 200 B request, 1 KB reply, closed loop",
        work: Work::Own(&[(Errand::PingPong, 4096)]),
        arms: USUAL,
        ..SMALL
    },
    Case {
        name: "messages",
        summary: "16 connections, messages of 64 KiB there and back, closed loop",
        work: Work::Own(&[(Errand::Messages, 16)]),
        arms: STREAMS,
        ..SMALL
    },
    Case {
        name: "bulk",
        summary: "8 streams, server to client",
        work: Work::Own(&[(Errand::Download, 8)]),
        columns: BULK,
        ..SMALL
    },
    Case {
        name: "upload",
        summary: "8 streams, client to server",
        work: Work::Own(&[(Errand::Upload, 8)]),
        arms: STREAMS,
        columns: BULK,
        ..SMALL
    },
    Case {
        name: "mixed",
        summary: "the 64 small connections beside 8 streams at full speed, closed loops",
        work: Work::Own(&[(Errand::PingPong, 64), (Errand::Download, 8)]),
        realtime: true,
        columns: MIXED,
        ..SMALL
    },
    Case {
        name: "held",
        summary: "4,000 requests/s on 64 connections, open loop, beside 8 streams of 60 MB/s each; times from intended start",
        work: Work::Generated(Plan { rate: Rate::Fixed(4000), beside: &[(Errand::HeldDownload, 8)], ..HTTP }),
        arms: STREAMS,
        variants: &[SMALL_PIPES],
        realtime: true,
        columns: HELD,
        ..SMALL
    },
    Case {
        name: "connect",
        summary: "connect, 200 B request, 1 KB reply, close; 64 at a time",
        work: Work::Own(&[(Errand::OneShot, 64)]),
        variants: &[WARM],
        columns: CONNECTIONS,
        ..SMALL
    },
    Case {
        name: "connect-lone",
        summary: "the same one at a time: the time to the first byte without queues",
        work: Work::Own(&[(Errand::OneShot, 1)]),
        arms: USUAL,
        variants: &[WARM],
        columns: CONNECTIONS,
        ..SMALL
    },
    Case {
        name: "proxy-header",
        summary: "as `connect`, with the client's address in a PROXY header",
        front: Front::ProxyHeader,
        work: Work::Own(&[(Errand::OneShot, 64)]),
        arms: PROXIES,
        columns: CONNECTIONS,
        ..SMALL
    },
    Case {
        name: "stream-http",
        summary: "HTTP through TCP relays, 64 connections, closed loop, by two generators",
        work: Work::Generated(Plan { twice: true, ..HTTP }),
        arms: USUAL,
        columns: EXCHANGES_TWICE,
        ..SMALL
    },
    Case {
        name: "sni",
        summary: "TLS passed through by its server's name: connect, handshake, 1 request, close; 64 at a time",
        front: Front::Sni,
        work: Work::Generated(Plan { scenario: Scenario::OneRequest, server: ServerKind::Tls, ..HTTP }),
        arms: USUAL,
        ..SMALL
    },
    Case {
        name: "http",
        summary: "HTTP mode, 64 connections, closed loop, by two generators",
        front: Front::Http,
        work: Work::Generated(Plan { twice: true, ..HTTP }),
        arms: USUAL,
        columns: EXCHANGES_TWICE,
        ..SMALL
    },
    Case {
        name: "http-open",
        summary: "HTTP mode, 8,000 requests/s on 64 connections, open loop; times from intended start",
        front: Front::Http,
        work: Work::Generated(Plan { rate: Rate::Fixed(8000), ..HTTP }),
        arms: USUAL,
        realtime: true,
        columns: AT_RATE,
        ..SMALL
    },
    Case {
        name: "http-chunked",
        summary: "HTTP mode, replies of 1 KB in 8 chunks, 64 connections, closed loop, by two generators",
        front: Front::Http,
        work: Work::Generated(Plan { path: "/chunked", twice: true, ..HTTP }),
        arms: USUAL,
        columns: EXCHANGES_TWICE,
        ..SMALL
    },
    Case {
        name: "http-heads",
        summary: "HTTP mode, request heads of 6 KB as with Kerberos and reply heads of 3 KB, 64 connections, closed loop, by two generators",
        front: Front::Http,
        work: Work::Generated(Plan { path: "/long-head", field_bytes: 6000, twice: true, ..HTTP }),
        arms: USUAL,
        columns: EXCHANGES_TWICE,
        ..SMALL
    },
    Case {
        name: "http-bulk",
        summary: "HTTP mode, 8 replies without end",
        front: Front::Http,
        work: Work::Own(&[(Errand::HttpDownload, 8)]),
        arms: HTTP_STREAMS,
        columns: BULK,
        ..SMALL
    },
    Case {
        name: "http-upload",
        summary: "HTTP mode, 8 requests without end",
        front: Front::Http,
        work: Work::Own(&[(Errand::HttpUpload, 8)]),
        arms: HTTP_STREAMS,
        columns: BULK,
        ..SMALL
    },
    Case {
        name: "websocket",
        summary: "HTTP mode, 64 WebSockets, messages of 200 B and back of 1 KB, closed loop",
        front: Front::Http,
        work: Work::Own(&[(Errand::WebSocket, 64)]),
        arms: USUAL,
        ..SMALL
    },
    Case {
        name: "log-text",
        summary: "as `http`, with an access log in text",
        front: Front::Logged(LogFormat::Text),
        work: Work::Generated(HTTP),
        arms: PROXIES,
        ..SMALL
    },
    Case {
        name: "log-json",
        summary: "as `http`, with an access log in JSON",
        front: Front::Logged(LogFormat::Json),
        work: Work::Generated(HTTP),
        arms: PROXIES,
        ..SMALL
    },
    Case {
        name: "https",
        summary: "as `http`, with TLS to the proxy",
        front: Front::Https,
        work: Work::Generated(Plan { twice: true, ..HTTP }),
        arms: PROXIES,
        columns: EXCHANGES_TWICE,
        ..SMALL
    },
    Case {
        name: "https-open",
        summary: "as `http-open`, with TLS to the proxy",
        front: Front::Https,
        work: Work::Generated(Plan { rate: Rate::Fixed(8000), ..HTTP }),
        arms: PROXIES,
        realtime: true,
        columns: AT_RATE,
        ..SMALL
    },
    Case {
        name: "tls-handshakes",
        summary: "TCP relays that terminate TLS: connect, full handshake (ECDSA), 1 request, close; 64 at a time",
        front: Front::TlsInFull,
        work: Work::Generated(Plan { scenario: Scenario::OneRequest, ..HTTP }),
        arms: PROXIES,
        ..SMALL
    },
    Case {
        name: "tls-bulk",
        summary: "TCP relays that terminate TLS: replies of 1 MiB on 8 connections",
        front: Front::Tls,
        work: Work::Generated(Plan { scenario: Scenario::Bulk, path: "/large", connections: 8, ..HTTP }),
        arms: PROXIES,
        columns: BULK,
        ..SMALL
    },
    Case {
        name: "login",
        summary: "NTLM logins through TCP relays, 64 at a time, closed loop",
        work: Work::Generated(LOGIN),
        arms: USUAL,
        columns: LOGINS,
        ..SMALL
    },
    Case {
        name: "login-50",
        summary: "the same in an open loop, at 50 % of the best peer's rate",
        work: at_share("login", 50),
        arms: USUAL,
        columns: LOGINS_AT_RATE,
        ..SMALL
    },
    Case {
        name: "login-80",
        summary: "the same at 80 %",
        work: at_share("login", 80),
        arms: USUAL,
        columns: LOGINS_AT_RATE,
        ..SMALL
    },
    Case {
        name: "http-login",
        summary: "NTLM logins in HTTP mode, 64 at a time, closed loop",
        front: Front::Http,
        work: Work::Generated(LOGIN),
        arms: HTTP_LOGINS,
        columns: LOGINS,
        ..SMALL
    },
    Case {
        name: "http-login-50",
        summary: "the same in an open loop, at 50 % of the best peer's rate",
        front: Front::Http,
        work: at_share("http-login", 50),
        arms: HTTP_LOGINS,
        columns: LOGINS_AT_RATE,
        ..SMALL
    },
    Case {
        name: "http-login-80",
        summary: "the same at 80 %",
        front: Front::Http,
        work: at_share("http-login", 80),
        arms: HTTP_LOGINS,
        columns: LOGINS_AT_RATE,
        ..SMALL
    },
    Case {
        name: "idle",
        summary: "growth of the proxy's memory per idle connection",
        work: Work::Idle(Idle::Tcp),
        columns: IDLE,
        ..SMALL
    },
    Case {
        name: "http-idle",
        summary: "the same in HTTP mode",
        front: Front::Http,
        work: Work::Idle(Idle::Http),
        arms: PROXIES,
        columns: IDLE,
        ..SMALL
    },
    Case {
        name: "tls-idle",
        summary: "the same with TLS to the proxy",
        front: Front::Tls,
        work: Work::Idle(Idle::Tls),
        arms: PROXIES,
        columns: IDLE,
        ..SMALL
    },
    Case {
        name: "spread-16",
        summary: "16 connections over two workers: the busiest one's, in shares of a half",
        work: Work::Spread(16),
        arms: PROXIES,
        columns: SPREAD,
        ..SMALL
    },
    Case {
        name: "spread-64",
        summary: "64 connections over two workers",
        work: Work::Spread(64),
        arms: PROXIES,
        columns: SPREAD,
        ..SMALL
    },
];
