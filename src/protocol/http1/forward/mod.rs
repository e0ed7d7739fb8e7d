//! Heads as a proxy passes them on (RFC 9110 section 7, RFC 9112).
//!
//! Everything goes on as it came, in its order and form, but what concerns the connection to the proxy alone, and
//! what the operator wants changed. `Authorization` and `WWW-Authenticate` belong to the two ends and are copied
//! whatever they hold. No `Via` is added: old IIS gives up persistent authentication when it sees one.
//!
//! `target.rs` is where a request goes; `upgrade.rs` what it may change the connection to; `request.rs` and `reply.rs` write
//! heads; `fields.rs` is what both know about fields.

mod fields;
mod reply;
mod request;
mod target;
mod trailers;
mod upgrade;

pub use fields::Edits;
pub use reply::{ReplyChanges, write_reply};
pub use request::{Believed, Forwarded, RequestChanges, write_request};
pub use target::{Target, TargetError, is_trace, target};
pub use trailers::{TrailerRules, write_trailers};
pub use upgrade::Offer;
