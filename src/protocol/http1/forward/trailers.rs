//! The trailers of a chunked body as the next server or the client is to see them.
//!
//! A server may treat trailers as if they had stood in the head, long after this proxy has judged the head. So what a
//! head says about framing, routing, logins and trust is left out of them, in both directions, and so is whatever the
//! operator sets or removes (RFC 9110 section 6.5.1).

use super::fields::{Edits, begins_with, is_same_name, line};
use crate::protocol::http1::syntax::trim;

/// Fields that no trailer may be, nor their twins.
const DROPPED: [&str; 25] = [
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "content-type",
    "content-range",
    "host",
    "expect",
    "upgrade",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "authorization",
    "proxy-authorization",
    "www-authenticate",
    "proxy-authenticate",
    "persistent-auth",
    "proxy-support",
    "cookie",
    "set-cookie",
    "forwarded",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
];
/// What the names of whole families of them begin with.
const DROPPED_PREFIX: &str = "x-forwarded-";

/// Which trailers go on.
#[derive(Debug, Clone, Copy)]
pub struct TrailerRules<'a> {
    /// Whether names with an underscore do.
    pub underscores: bool,
    /// The operator's: what these set or remove does not.
    pub edits: &'a Edits,
}

/// Appends the trailers in `section`, which a [`Body`](crate::protocol::http1::body::Body) has taken from its first
/// byte to the empty line, and that line.
pub fn write_trailers(section: &[u8], rules: TrailerRules<'_>, out: &mut Vec<u8>) {
    for trailer in section.split(|&byte| byte == b'\n') {
        let trailer = trailer.strip_suffix(b"\r").unwrap_or(trailer);
        let Some(colon) = trailer.iter().position(|&byte| byte == b':') else { continue };
        let Ok(name) = std::str::from_utf8(&trailer[..colon]) else { continue };
        let is_dropped = DROPPED.iter().any(|known| is_same_name(known, name))
            || begins_with(name, DROPPED_PREFIX)
            || (!rules.underscores && name.contains('_'))
            || rules.edits.drops(name);
        if !is_dropped {
            line(out, name, trim(&trailer[colon + 1..]));
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_go_on_but_for_those_that_a_head_decides_by() {
        let edits =
            Edits { remove: vec!["X-Remote-User".into()], set: vec![("X-Site".into(), "edge".into())] };
        let section = "Server-Timing: a\r\nContent-Length: 5\r\nHost: a\r\nx-forwarded-for: a\r\nX_Forwarded_Proto: a\r\n\
                       X-Remote_User: a\r\nX_REMOTE_USER: a\r\nx-site: a\r\nForwarded: for=a\r\nX-Real_IP: a\r\n\
                       authorization: a\r\nSet-Cookie: a\r\nExpires_: 1 \r\nX:\r\n\r\n";
        let mut out = Vec::new();
        let rules = TrailerRules { underscores: true, edits: &edits };
        write_trailers(section.as_bytes(), rules, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "Server-Timing: a\r\nExpires_: 1\r\nX: \r\n\r\n");
        out.clear();
        write_trailers(section.as_bytes(), TrailerRules { underscores: false, ..rules }, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "Server-Timing: a\r\nX: \r\n\r\n");
        out.clear();
        write_trailers(b"\r\n", rules, &mut out);
        assert_eq!(out, b"\r\n");
    }
}
