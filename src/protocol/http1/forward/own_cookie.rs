//! The cookie by which a proxy knows a client again, in the head of a reply.
//!
//! It is the proxy's alone: a server's cookie of the same name is left out. A reply that sets it is for one client: shared
//! caches may not store it.

use super::fields::{Edits, line};
use crate::protocol::http1::connection::list_items;
use crate::protocol::http1::cookie::{self, SetCookie};
use crate::protocol::http1::response::ResponseHead;

/// See the module docs.
#[derive(Debug, Clone, Copy)]
pub struct OwnCookie<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is set to in this reply, if it is.
    pub set: Option<SetCookie<'a>>,
}

impl OwnCookie<'_> {
    /// Whether this field of a server's reply sets a cookie of the same name.
    pub(super) fn is_set_by(&self, name: &str, value: &[u8]) -> bool {
        name.eq_ignore_ascii_case("set-cookie") && cookie::name_of(value) == Some(self.name.as_bytes())
    }

    /// What becomes of the value of a server's `Cache-Control`; nothing where it stays what it is.
    pub(super) fn cache_control(&self, value: &[u8]) -> Option<Vec<u8>> {
        // A list of names within quotation marks has commas of its own.
        if self.set.is_none() || value.contains(&b'"') {
            return None;
        }
        let kept: Vec<_> = list_items([value]).filter(|item| !is_for_shared_caches(item)).collect();
        (kept.len() < list_items([value]).count()).then(|| kept.join(&b", "[..]))
    }

    /// Writes its own fields.
    pub(super) fn write(&self, reply: &ResponseHead<'_, '_>, edits: &Edits, out: &mut Vec<u8>) {
        let Some(set) = &self.set else { return };
        line(out, "Set-Cookie", set.field().as_bytes());
        let has = |known: &[u8]| {
            list_items(reply.values("cache-control")).any(|item| item.eq_ignore_ascii_case(known))
        };
        // Where the operator says what caches may do, that is what holds.
        if !edits.drops("Cache-Control") && !has(b"private") && !has(b"no-store") {
            line(out, "Cache-Control", b"private");
        }
    }
}

/// Whether the directive allows or tells what only a shared cache does.
fn is_for_shared_caches(directive: &[u8]) -> bool {
    let name = directive.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
    [&b"public"[..], b"s-maxage"].iter().any(|known| name.eq_ignore_ascii_case(known))
}
