//! HTTP/1.1 messages (RFC 9112), sans-IO.
//!
//! A server starts with [`request`]: the head, read strictly, and which [`body`] follows it. Anything that two servers
//! in a row could read differently is an error, not a guess. A client starts with [`response`]: the head, and where the
//! reply ends on the connection. A proxy reads with both and forwards heads with [`forward`]; [`path`] is what it
//! routes by, and [`cookie`] what it knows a client by. Both use [`connection`].

pub mod body;
pub mod connection;
pub mod cookie;
pub mod forward;
pub mod path;
pub mod request;
pub mod response;
mod syntax;
