//! Where a request wants to go.

/// Why a request cannot be passed on, though its syntax is right. The client's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// `CONNECT`: this is no forward proxy.
    #[error("CONNECT is not served here")]
    Connect,
    /// Neither a path, nor `*` for `OPTIONS`, nor `http://host/...`.
    #[error("the request's target is neither a path nor an http URI")]
    Form,
}

/// Where a request wants to go (RFC 9112 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'b> {
    /// Path and query, in origin-form, or `*`.
    pub path: &'b str,
    /// The authority of an absolute-form target, which goes before any `Host`.
    pub authority: Option<&'b str>,
}

/// Reads the target of a request.
///
/// # Errors
/// See [`TargetError`].
pub fn target<'b>(method: &str, target: &'b str) -> Result<Target<'b>, TargetError> {
    if method == "CONNECT" {
        return Err(TargetError::Connect);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Target { path: target, authority: None });
    }
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (begin, rest) = target.split_at_checked(scheme.len())?;
            begin.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(TargetError::Form)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // User information has no business in a request (RFC 9110 section 4.2.4).
    if authority.is_empty() || authority.contains('@') {
        return Err(TargetError::Form);
    }
    match path {
        "" if method == "OPTIONS" => Ok(Target { path: "*", authority: Some(authority) }),
        "" => Ok(Target { path: "/", authority: Some(authority) }),
        _ if path.starts_with('?') => Err(TargetError::Form),
        _ => Ok(Target { path, authority: Some(authority) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_target_names_its_path() {
        for (method, given, path) in
            [("GET", "HTTP://web", "/"), ("OPTIONS", "http://web", "*"), ("OPTIONS", "*", "*")]
        {
            assert_eq!(target(method, given).map(|target| target.path), Ok(path), "{method} {given}");
        }
        for (method, given) in [
            ("GET", "*"),
            ("GET", "web:80"),
            ("GET", "ftp://web/"),
            ("GET", "http:///a"),
            ("GET", "http://web?a"),
            ("GET", "http://user@web/"),
            ("GET", "é"),
        ] {
            assert_eq!(target(method, given), Err(TargetError::Form), "{method} {given}");
        }
        assert_eq!(target("CONNECT", "web:443"), Err(TargetError::Connect));
    }
}
