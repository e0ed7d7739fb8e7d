//! A reply of the site, and what it says about logins.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::protocol::http1::response::ResponseHead;

/// A final reply.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) is_http11: bool,
    /// Whether the connection can carry another request.
    pub(super) keep_alive: bool,
    /// The statuses of interim replies before it.
    pub(super) interim: Vec<u16>,
    /// When pieces came, since the request was sent, and their bytes; the first is the head's.
    pub(super) pieces: Vec<(Duration, usize)>,
}

impl Reply {
    pub(super) fn of(head: &ResponseHead<'_, '_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
        Self {
            status: head.status,
            headers: head.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect(),
            body: Vec::new(),
            is_http11: head.is_http11,
            keep_alive: head.keep_alive,
            interim: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// The values of the header lines with this name.
    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }

    /// The first of them.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// The login schemes that the server offers, in their order: a line each, or a list.
    pub(super) fn schemes(&self) -> Vec<&str> {
        let scheme = |item: &'_ str| item.split_ascii_whitespace().next().map(str::len);
        self.headers("www-authenticate")
            .flat_map(items)
            // The rest of a scheme's parameters, which are a list of their own.
            .filter(|item| !item.split_ascii_whitespace().next().unwrap_or_default().contains('='))
            .filter_map(|item| Some(&item[..scheme(item)?]))
            .collect()
    }

    pub(super) fn offers(&self, scheme: &str) -> bool {
        self.schemes().iter().any(|offered| offered.eq_ignore_ascii_case(scheme))
    }

    /// The token that the server sent with a scheme.
    pub(super) fn token(&self, scheme: &str) -> Option<Vec<u8>> {
        self.headers("www-authenticate").flat_map(items).find_map(|item| {
            let (name, token) = item.split_once(' ')?;
            let token = name.eq_ignore_ascii_case(scheme).then(|| token.trim())?;
            BASE64_STANDARD.decode(token).ok().filter(|token| !token.is_empty())
        })
    }

    /// The user that the reply names: in this header, or in the `user` of a JSON body.
    pub(super) fn user(&self, header: Option<&str>) -> Option<String> {
        let name = match header {
            Some(header) => self.header(header)?.to_owned(),
            None => self.json("user")?.as_str()?.to_owned(),
        };
        (!name.is_empty()).then_some(name)
    }

    /// A member of a JSON body, as the mock's `/whoami` has it.
    pub(super) fn json(&self, member: &str) -> Option<Value> {
        let mut body: Value = serde_json::from_slice(&self.body).ok()?;
        body.get_mut(member).map(Value::take)
    }
}

/// The items of a list; a comma between quotes ends none.
fn items(line: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let is_end = move |c: char| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    };
    line.split(is_end).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::response::{AnswerTo, read_next_head};

    fn reply(lines: &str) -> Reply {
        let head = format!("HTTP/1.1 401 Unauthorized\r\n{lines}Content-Length: 0\r\n\r\n");
        read_next_head(head.as_bytes(), AnswerTo::Usual, Reply::of).unwrap().unwrap()
    }

    #[test]
    fn schemes_are_read_from_lines_and_lists_in_their_order() {
        for (lines, expected) in [
            ("WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n", &["Negotiate", "NTLM"][..]),
            ("WWW-Authenticate: NTLM, Negotiate\r\n", &["NTLM", "Negotiate"]),
            ("WWW-Authenticate: Basic realm=\"a b, c\", charset=\"UTF-8\"\r\n", &["Basic"]),
            ("WWW-Authenticate: Digest realm=\"a\", qop=\"auth\", NTLM\r\n", &["Digest", "NTLM"]),
            ("", &[]),
        ] {
            assert_eq!(reply(lines).schemes(), expected, "{lines}");
        }
    }

    #[test]
    fn the_token_is_that_of_the_scheme() {
        let reply = reply("WWW-Authenticate: NTLM TlRMTQ==, Negotiate\r\n");
        assert_eq!(reply.token("ntlm").as_deref(), Some(&b"NTLM"[..]));
        assert_eq!(reply.token("Negotiate"), None);
    }

    #[test]
    fn a_user_is_named_by_a_header_or_by_json() {
        let mut reply = reply("X-User: CORP\\bob\r\n");
        assert_eq!(reply.user(Some("x-user")).as_deref(), Some("CORP\\bob"));
        assert_eq!(reply.user(None), None);
        reply.body = br#"{"user":"CORP\\alice","connection":3}"#.to_vec();
        assert_eq!(reply.user(None).as_deref(), Some("CORP\\alice"));
        assert_eq!(reply.json("connection"), Some(3.into()));
        reply.body = br#"{"user":null}"#.to_vec();
        assert_eq!(reply.user(None), None);
    }
}
