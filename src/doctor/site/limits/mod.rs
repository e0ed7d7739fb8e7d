//! Limits on the way to the site: what a proxy lets through, and for how long.

pub(super) mod body;
pub(super) mod buffering;
pub(super) mod head;
pub(super) mod idle;
pub(super) mod proxy_header;
pub(super) mod websocket;
