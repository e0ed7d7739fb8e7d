//! Where a request wants to go.

use crate::protocol::http1::request::is_host;

/// Why a request cannot be forwarded although its syntax is right. The client's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// `CONNECT`: this is not a forward proxy.
    #[error("CONNECT is not supported")]
    Connect,
    /// `TRACE`, which reveals a client's credentials to the script that sent it, or its old IIS equivalent `TRACK`.
    #[error("TRACE is not allowed")]
    Trace,
    /// Neither a path, nor `*` for `OPTIONS`, nor `http://host/...`.
    #[error("the request's target is neither a path nor an http URI")]
    Form,
}

/// Where a request wants to go (RFC 9112 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'b> {
    /// Path and query in origin-form, or `*`; for an absolute-form target without a path, only the query.
    path: &'b [u8],
    /// The authority of an absolute-form target, which takes precedence over any `Host`.
    pub authority: Option<&'b [u8]>,
}

impl<'b> Target<'b> {
    /// Path and query in origin-form, or `*`: what the server receives, in two parts.
    pub fn parts(&self) -> [&'b [u8]; 2] {
        [if self.path.starts_with(b"?") { b"/" } else { b"" }, self.path]
    }
}

/// Reads the target of a request.
///
/// # Errors
/// See [`TargetError`].
pub fn target<'b>(method: &str, target: &'b [u8]) -> Result<Target<'b>, TargetError> {
    if method.eq_ignore_ascii_case("connect") {
        return Err(TargetError::Connect);
    }
    if target.starts_with(b"/") || (target == b"*" && method == "OPTIONS") {
        return Ok(Target { path: target, authority: None });
    }
    let rest = [&b"http://"[..], b"https://"]
        .iter()
        .find_map(|scheme| {
            let (begin, rest) = target.split_at_checked(scheme.len())?;
            begin.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(TargetError::Form)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // User information is not accepted: it has no place in a request (RFC 9110 section 4.2.4).
    if !is_host(authority) {
        return Err(TargetError::Form);
    }
    let path = match path {
        b"" if method == "OPTIONS" => b"*",
        b"" => b"/",
        _ => path,
    };
    Ok(Target { path, authority: Some(authority) })
}

/// Whether this method makes the server send back the request.
pub fn is_trace(method: &str) -> bool {
    ["TRACE", "TRACK"].iter().any(|known| known.eq_ignore_ascii_case(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_target_names_its_path() {
        for (method, given, path) in [
            ("GET", "HTTP://web", "/"),
            ("GET", "http://web?a=b", "/?a=b"),
            ("GET", "http://web?", "/?"),
            ("GET", "http://web:80/?a", "/?a"),
            ("GET", "https://[::1]:443/a?b", "/a?b"),
            ("OPTIONS", "http://web", "*"),
            ("OPTIONS", "http://web?a", "/?a"),
            ("OPTIONS", "*", "*"),
        ] {
            let found = target(method, given.as_bytes()).map(|target| target.parts().concat());
            assert_eq!(found, Ok(path.as_bytes().to_vec()), "{method} {given}");
        }
        for (method, given) in [
            ("GET", "*"),
            ("GET", "web:80"),
            ("GET", "ftp://web/"),
            ("GET", "http:///a"),
            ("GET", "http://?a"),
            ("GET", "http://:80/"),
            ("GET", "http://user@web/"),
            ("GET", "http://a,b/"),
            ("GET", "http://web:x/"),
            ("GET", "http://[::1/"),
            ("GET", "http://w\u{e9}b/"),
            ("GET", "é"),
        ] {
            assert_eq!(target(method, given.as_bytes()), Err(TargetError::Form), "{method} {given}");
        }
        assert_eq!(target("CONNECT", b"web:443"), Err(TargetError::Connect));
    }
}
