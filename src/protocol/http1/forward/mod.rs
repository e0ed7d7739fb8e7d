//! Heads as a proxy forwards them (RFC 9110 section 7, RFC 9112).
//!
//! Everything is forwarded as it came, in its order and form, except what concerns only the connection to the proxy and
//! what the operator changes. `Authorization` and `WWW-Authenticate` belong to client and server and are copied
//! unchanged. No `Via` is added: old IIS disables persistent authentication when it sees one.
//!
//! `target.rs` says where a request goes; `upgrade.rs` which protocol it may change the connection to; `request.rs` and
//! `reply.rs` write heads; `origin.rs` changes references to the server; `to_https.rs` redirects; `source.rs` finds the client behind
//! proxies; `own_cookie.rs` holds the proxy's own cookie, and `fields.rs` the rules for fields that both use.

mod fields;
mod origin;
mod own_cookie;
mod reply;
mod request;
mod source;
mod target;
mod to_https;
mod trailers;
mod upgrade;

pub use fields::Edits;
pub use origin::{Origins, Scheme};
pub use own_cookie::OwnCookie;
pub use reply::{ReplyChanges, write_reply};
pub use request::{Believed, Forwarded, RequestChanges, asked_host, write_request};
pub use source::forwarded_client;
pub use target::{Target, TargetError, is_trace, target};
pub use to_https::{https_location, moved};
pub use trailers::{TrailerRules, write_trailers};
pub use upgrade::Offer;
