//! Who may ask: no page in a browser, and where there is a token only those who know it.
//!
//! A page from anywhere can have a browser on this host send requests to loopback addresses, also under a name of its own
//! that resolves to them (DNS rebinding). Browsers mark such requests with `Origin` or `Sec-Fetch-Site`, or send that name
//! as `Host`.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::{StatusCode, Version};

use super::answer::Refusal;
use super::token::Token;
use crate::protocol::http1::request::split_port;
use crate::uring::Address;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Most bytes of a request's fields; what reads them stops a little later, without words.
const FIELD_BYTES_MAX: usize = 16 * 1024;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Guard {
    /// Browsers can reach it, and nothing but the name that they use tells where their page came from.
    checks_host: bool,
    token: Option<Arc<Token>>,
}

impl Guard {
    pub(super) fn new(address: &Address, token: Option<Arc<Token>>) -> Self {
        // A page does not know the token.
        Self { checks_host: matches!(address, Address::Ip(_)) && token.is_none(), token }
    }

    /// Refuses what comes from a page in a browser, and what is too long.
    pub(super) fn admit(&self, head: &Parts) -> Result<(), Refusal> {
        let field_bytes: usize =
            head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if field_bytes + head.uri.path().len() > FIELD_BYTES_MAX {
            let why = format!("the head of the request is longer than {FIELD_BYTES_MAX} bytes");
            return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why));
        }
        let from_page = |why: &str| Err(Refusal::new(StatusCode::FORBIDDEN, why));
        if head.headers.contains_key(ORIGIN) {
            return from_page("requests of pages in browsers (with Origin) are refused");
        }
        let site = head.headers.get(SEC_FETCH_SITE);
        if site.is_some_and(|site| site != "none" && site != "same-origin") {
            return from_page("requests of pages in browsers (with Sec-Fetch-Site) are refused");
        }
        let host = host(head)?;
        if self.checks_host && !host.is_none_or(is_loopback) {
            return from_page(
                "the Host of the request is neither localhost nor a loopback address; use one of these, or \
                 --admin-token-file",
            );
        }
        Ok(())
    }

    /// Whether a token is demanded and the request has it, or none is demanded.
    ///
    /// # Errors
    /// The request has none, or another one.
    pub(super) fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return Err(Refusal::unauthorized(false));
        };
        let field = field.as_bytes().trim_ascii();
        let scheme_end = field.iter().position(|byte| *byte == b' ').unwrap_or(field.len());
        let (scheme, sent) = field.split_at(scheme_end);
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Err(Refusal::unauthorized(false));
        }
        if token.is(sent.trim_ascii()) {
            return Ok(());
        }
        tracing::warn!("admin request with a wrong token; refusing it");
        Err(Refusal::unauthorized(true))
    }
}

/// The host that the request is for; clients of HTTP/1.0 name none.
fn host(head: &Parts) -> Result<Option<&[u8]>, Refusal> {
    let mut fields = head.headers.get_all(HOST).iter();
    let host = match (fields.next(), fields.next()) {
        (host, None) => host.map(|host| host.as_bytes().trim_ascii()),
        _ => return Err(Refusal::bad_request("the request has several Host fields; send one")),
    };
    if host.is_none() && head.version >= Version::HTTP_11 {
        return Err(Refusal::bad_request("the request has no Host field; send one"));
    }
    match head.uri.authority() {
        Some(authority) => Ok(Some(authority.as_str().as_bytes())),
        None => Ok(host),
    }
}

fn is_loopback(host: &[u8]) -> bool {
    let (name, _port) = split_port(host);
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(fields: &[(&str, &str)]) -> Parts {
        let request =
            fields.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a request").into_parts().0
    }

    fn guard(address: &str) -> Guard {
        Guard::new(&Address::Ip(address.parse().expect("an address")), None)
    }

    #[test]
    fn a_name_that_resolves_to_loopback_is_not_a_loopback_name() {
        let guard = guard("127.0.0.1:9000");
        for host in [
            "localhost",
            "LOCALHOST:9000",
            "localhost.",
            "127.0.0.1:9000",
            "127.9.9.9",
            "[::1]:9000",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(guard.admit(&head(&[("host", host)])), Ok(()), "{host}");
        }
        for host in [
            "attacker.test",
            "attacker.test:9000",
            "127.0.0.1.attacker.test",
            "localhost.attacker.test",
            "192.0.2.1",
            "",
            "0.0.0.0:9000",
            "[::]",
            "x@localhost",
        ] {
            let refused = guard.admit(&head(&[("host", host)])).expect_err(host);
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{host}");
        }
        for fields in [&[][..], &[("host", "localhost"), ("host", "localhost")]] {
            let refused = guard.admit(&head(fields)).expect_err("none or two");
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn pages_are_refused_on_every_listener() {
        let unix = Guard::new(&Address::Unix("/run/admin.sock".into()), None);
        for guard in [guard("[::1]:9000"), unix] {
            for (name, value) in [
                ("origin", "null"),
                ("origin", "http://localhost"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                let refused = guard.admit(&head(&[("host", "localhost"), (name, value)])).expect_err(value);
                assert_eq!(refused.status, StatusCode::FORBIDDEN);
            }
            assert_eq!(guard.admit(&head(&[("host", "localhost"), ("sec-fetch-site", "none")])), Ok(()));
        }
    }
}
