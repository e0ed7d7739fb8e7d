//! The paths of the admin endpoint, and what each takes.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use tokio::time::timeout;
use url::form_urlencoded;

use super::answer::{Answer, Refusal, json, with_body};
use super::guard::Guard;
use super::ready::Readiness;
use super::rows::{GroupRow, ServerRow, ServiceRow};
use super::view::Board;
use crate::control::metrics;

/// Most bytes of a request's body. No request needs any.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What answers requests.
pub(super) struct Site {
    pub(super) board: Arc<Board>,
    pub(super) guard: Guard,
}

/// A path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Healthz,
    Readyz,
    Services,
    Groups,
    Servers,
    Metrics,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            "/v1/services" => Self::Services,
            "/v1/groups" => Self::Groups,
            "/v1/servers" => Self::Servers,
            "/metrics" => Self::Metrics,
            _ => return None,
        })
    }

    /// Whether those who know no token may ask: balancers in front of the proxy.
    fn is_open(self) -> bool {
        matches!(self, Self::Healthz | Self::Readyz)
    }
}

impl Site {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let answered = match self.admit(&head, body).await {
            Ok(route) => self.carry_out(route, &head),
            Err(refusal) => Err(refusal),
        };
        answered.unwrap_or_else(Refusal::answer)
    }

    async fn admit(&self, head: &Parts, body: Incoming) -> Result<Route, Refusal> {
        self.guard.admit(head)?;
        let route = Route::of(head.uri.path());
        if !route.is_some_and(Route::is_open) {
            self.guard.authorize(&head.headers)?;
        }
        let route = route.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such path"))?;
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(Refusal::method("GET, HEAD"));
        }
        read(body).await?;
        Ok(route)
    }

    fn carry_out(&self, route: Route, head: &Parts) -> Result<Answer, Refusal> {
        let board = &*self.board;
        let view = board.view();
        let query = head.uri.query().unwrap_or_default();
        values(query, [])?;
        Ok(match route {
            Route::Healthz => json(StatusCode::OK, &Alive { alive: true }),
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
    fn a_query_has_known_keys_once_each() {
        assert_eq!(values("b=2&a=1%20x", ["a", "b"]), Ok([Some("1 x".to_owned()), Some("2".to_owned())]));
        assert_eq!(values("", ["a"]), Ok([None]));
        for query in ["c=1", "a=1&a=1", "a=1&=", "A=1"] {
            assert_eq!(values(query, ["a"]).expect_err(query).status, StatusCode::BAD_REQUEST);
        }
    }
}
