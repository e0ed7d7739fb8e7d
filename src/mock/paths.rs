//! The pages of the site.

use std::time::Duration;

/// The longest wait of `/slow/MS`.
const SLOW_MAX: Duration = Duration::from_secs(600);

/// A page, and whether it needs a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Route {
    /// Whether it is under `/public`, where no login is needed.
    pub(super) public: bool,
    pub(super) page: Page,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    /// `/`: a short text.
    Home,
    /// `/whoami`: the user the connection belongs to.
    Whoami,
    /// `/bytes/N`.
    Bytes(u64),
    /// `/echo`: the request's body.
    Echo,
    /// `/slow/MS`: a short text after a delay.
    Slow(Duration),
    /// `/ws`: WebSocket messages, echoed.
    WebSocket,
    Missing,
}

/// Finds a page by the request's target, ignoring the query.
pub(super) fn route(target: &str) -> Route {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    // RFC 9112 section 3.2.2: a server must also accept the absolute form.
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    };
    match path.strip_prefix("/public") {
        Some("") => Route { public: true, page: Page::Home },
        Some(rest) if rest.starts_with('/') => Route { public: true, page: page(rest) },
        _ => Route { public: false, page: page(path) },
    }
}

fn page(path: &str) -> Page {
    match path {
        "/" => Page::Home,
        "/whoami" => Page::Whoami,
        "/echo" => Page::Echo,
        "/ws" => Page::WebSocket,
        _ => {
            let number = |prefix| path.strip_prefix(prefix).and_then(|digits: &str| digits.parse().ok());
            if let Some(length_bytes) = number("/bytes/") {
                Page::Bytes(length_bytes)
            } else if let Some(pause_ms) = number("/slow/") {
                Page::Slow(Duration::from_millis(pause_ms).min(SLOW_MAX))
            } else {
                Page::Missing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path() {
        let private = |page| Route { public: false, page };
        let public = |page| Route { public: true, page };
        for (target, expected) in [
            ("/", private(Page::Home)),
            ("/whoami?x=1", private(Page::Whoami)),
            ("http://web:80/whoami", private(Page::Whoami)),
            ("http://web", private(Page::Home)),
            ("/bytes/1048576", private(Page::Bytes(1_048_576))),
            ("/bytes/", private(Page::Missing)),
            ("/bytes/-1", private(Page::Missing)),
            ("/bytes/99999999999999999999", private(Page::Missing)),
            ("/slow/20", private(Page::Slow(Duration::from_millis(20)))),
            ("/slow/99999999999", private(Page::Slow(SLOW_MAX))),
            ("/echo", private(Page::Echo)),
            ("/ws", private(Page::WebSocket)),
            ("/public", public(Page::Home)),
            ("/public/", public(Page::Home)),
            ("/public/bytes/5", public(Page::Bytes(5))),
            ("/publicity", private(Page::Missing)),
            ("/nothing", private(Page::Missing)),
            ("*", private(Page::Missing)),
        ] {
            assert_eq!(route(target), expected, "{target}");
        }
    }
}
