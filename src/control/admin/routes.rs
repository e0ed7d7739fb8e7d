//! The paths of the admin endpoint, and what each takes.

use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::time::timeout;
use url::form_urlencoded;

use super::Reach;
use super::answer::{Answer, Refusal, json, with_body};
use super::certificates::CertificateRow;
use super::connections::{Turn, close, list, wanted};
use super::guard::Guard;
use super::orders::{Named, order_servers, reload, stop, upgrade};
use super::pace::Pace;
use super::ready::Readiness;
use super::rows::{GenerationRow, GroupRow, ServerRow, ServiceRow};
use crate::control::metrics;
use crate::upstream::ServerOrder;

/// Most bytes of a request's body. No request needs any.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What answers requests.
pub(super) struct Site {
    pub(super) reach: Reach,
    pub(super) guard: Guard,
    pub(super) turn: Turn,
    pub(super) pace: Pace,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Route {
    Healthz,
    Readyz,
    Services,
    Groups,
    Servers,
    Metrics,
    Connections,
    /// The connection with this id is to be closed.
    Close(String),
    Config,
    Certificates,
    /// An order for the servers of this name; none takes it back.
    Order(String, Option<ServerOrder>),
    Reload,
    Upgrade,
    Generations,
    Stop,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            "/v1/services" => Self::Services,
            "/v1/groups" => Self::Groups,
            "/v1/servers" => Self::Servers,
            "/v1/connections" => Self::Connections,
            "/metrics" => Self::Metrics,
            "/v1/config" => Self::Config,
            "/v1/certificates" => Self::Certificates,
            "/v1/reload" => Self::Reload,
            "/v1/upgrade" => Self::Upgrade,
            "/v1/generations" => Self::Generations,
            "/v1/stop" => Self::Stop,
            _ if path.starts_with("/v1/connections/") => {
                let id = path.strip_prefix("/v1/connections/")?.strip_suffix("/close")?;
                (!id.is_empty() && !id.contains('/')).then(|| Self::Close(id.to_owned()))?
            }
            _ => {
                // A name can have slashes of its own.
                let (name, order) = path.strip_prefix("/v1/servers/")?.rsplit_once('/')?;
                let order = match order {
                    "drain" => Some(ServerOrder::Drain),
                    "disable" => Some(ServerOrder::Disable),
                    "enable" => None,
                    _ => return None,
                };
                let name = percent_decode_str(name).decode_utf8().ok()?;
                (!name.is_empty()).then(|| Self::Order(name.into_owned(), order))?
            }
        })
    }

    /// Whether those who know no token may ask: balancers in front of the proxy.
    fn is_open(&self) -> bool {
        matches!(self, Self::Healthz | Self::Readyz)
    }

    /// Whether it changes anything.
    fn is_order(&self) -> bool {
        matches!(self, Self::Order(..) | Self::Close(_) | Self::Reload | Self::Upgrade | Self::Stop)
    }
}

impl Site {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let answered = match self.admit(&head, body).await {
            Ok(route) => self.carry_out(route, &head).await,
            Err(refusal) => Err(refusal),
        };
        answered.unwrap_or_else(Refusal::answer)
    }

    async fn admit(&self, head: &Parts, body: Incoming) -> Result<Route, Refusal> {
        self.guard.admit(head)?;
        let route = Route::of(head.uri.path());
        if !route.as_ref().is_some_and(Route::is_open) {
            self.guard.authorize(&head.headers)?;
        }
        let route = route.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such path"))?;
        match head.method {
            Method::POST if route.is_order() => {}
            Method::GET | Method::HEAD if !route.is_order() => {}
            _ if route.is_order() => return Err(Refusal::method("POST")),
            _ => return Err(Refusal::method("GET, HEAD")),
        }
        read(body).await?;
        Ok(route)
    }

    async fn carry_out(&self, route: Route, head: &Parts) -> Result<Answer, Refusal> {
        let board = &*self.reach.board;
        let query = head.uri.query().unwrap_or_default();
        if !matches!(route, Route::Order(..) | Route::Connections) {
            values(query, [])?;
        }
        let view = board.view();
        Ok(match route {
            Route::Healthz => {
                let alive = board.stuck.workers().is_empty();
                let status = if alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                json(status, &Alive { alive })
            }
            Route::Readyz => {
                let readiness = Readiness::of(board, self.guard.authorize(&head.headers).is_ok());
                let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                json(status, &readiness)
            }
            Route::Services => json(StatusCode::OK, &Services { services: ServiceRow::all(&view) }),
            Route::Groups => json(StatusCode::OK, &Groups { groups: GroupRow::all(&view) }),
            Route::Metrics => {
                let text = view.metrics.as_ref().map(metrics::text).unwrap_or_default();
                with_body(StatusCode::OK, metrics::CONTENT_TYPE, text)
            }
            Route::Servers => json(StatusCode::OK, &Servers { servers: ServerRow::all(&view) }),
            Route::Connections => {
                let wanted = wanted(values(query, ["limit", "server", "client"])?)?;
                list(&self.reach, &self.turn, wanted).await?
            }
            Route::Close(id) => close(&self.reach, &self.turn, &id).await?,
            Route::Config => with_body(StatusCode::OK, "application/toml", view.config.clone()),
            Route::Certificates => {
                json(StatusCode::OK, &Certificates { certificates: CertificateRow::all(&view) })
            }
            Route::Reload => reload(&self.reach).await?,
            Route::Upgrade => upgrade(&self.reach).await?,
            Route::Generations => {
                json(StatusCode::OK, &Generations { generations: GenerationRow::all(&view) })
            }
            Route::Order(name, order) => {
                let [group, address] = values(query, ["group", "address"])?;
                order_servers(&self.reach, &Named { name, group, address }, order)?
            }
            Route::Stop => stop(&self.reach),
        })
    }
}

#[derive(Serialize)]
struct Alive {
    alive: bool,
}

#[derive(Serialize)]
struct Services {
    services: Vec<ServiceRow>,
}

#[derive(Serialize)]
struct Groups {
    groups: Vec<GroupRow>,
}

#[derive(Serialize)]
struct Generations {
    generations: Vec<GenerationRow>,
}

#[derive(Serialize)]
struct Certificates {
    certificates: Vec<CertificateRow>,
}

#[derive(Serialize)]
struct Servers {
    servers: Vec<ServerRow>,
}

/// Reads a request's body, which has to be empty.
async fn read(body: Incoming) -> Result<(), Refusal> {
    if body.is_end_stream() {
        return Ok(());
    }
    let too_long = || {
        let why = format!("the body of the request is longer than {BODY_BYTES_MAX} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_long());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Err(_elapsed) => {
            let why = format!("the body of the request did not arrive within {BODY_TIMEOUT:?}");
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, why))
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(Refusal::bad_request("the body of the request is malformed")),
        Ok(Ok(read)) => {
            let is_empty = read.to_bytes().is_empty();
            is_empty.then_some(()).ok_or_else(|| Refusal::bad_request("requests have no body; send none"))
        }
    }
}

/// The values of these keys in a query; there may be no others, and none twice.
fn values<const N: usize>(query: &str, keys: [&str; N]) -> Result<[Option<String>; N], Refusal> {
    let mut values = [const { None }; N];
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(nth) = keys.iter().position(|known| *known == key) else {
            let known =
                if N == 0 { "it takes none".to_owned() } else { format!("it takes {}", keys.join(", ")) };
            return Err(Refusal::bad_request(format!("the query has an unknown key {key:?}; {known}")));
        };
        if values[nth].replace(value.into_owned()).is_some() {
            return Err(Refusal::bad_request(format!("the query has the key {key:?} twice; give it once")));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_server_is_what_stands_between() {
        let drain = |name: &str| Some(Route::Order(name.to_owned(), Some(ServerOrder::Drain)));
        for (path, name) in [
            ("iis1:80", "iis1:80"),
            ("iis/iis1:80", "iis/iis1:80"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:%2Frun%2fa.sock", "unix:/run/a.sock"),
            ("a%20b", "a b"),
        ] {
            assert_eq!(Route::of(&format!("/v1/servers/{path}/drain")), drain(name));
        }
        for path in
            ["/v1/servers//drain", "/v1/servers/drain", "/v1/servers/a/drained", "/v1/servers/%ff/drain"]
        {
            assert_eq!(Route::of(path), None, "{path}");
        }
        assert_eq!(Route::of("/v1/servers/a/enable"), Some(Route::Order("a".to_owned(), None)));
    }

    #[test]
    fn a_query_has_known_keys_once_each() {
        assert_eq!(values("b=2&a=1%20x", ["a", "b"]), Ok([Some("1 x".to_owned()), Some("2".to_owned())]));
        assert_eq!(values("", ["a"]), Ok([None]));
        for query in ["c=1", "a=1&a=1", "a=1&=", "A=1"] {
            assert_eq!(values(query, ["a"]).expect_err(query).status, StatusCode::BAD_REQUEST);
        }
    }
}
