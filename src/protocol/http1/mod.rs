//! HTTP/1.1 messages (RFC 9112), sans-IO.
//!
//! Start with [`response`]: what a client must know of a reply to find its end on the connection.

pub mod response;
