//! An upgrade without a lost connection: a new process takes the listening sockets, and this one serves the connections that
//! it has to their ends.
//!
//! ```text
//!   iisplice proxy --start--> starter: keeps the rights of the start, waits
//! ```
//!
//! The process itself cannot start its successor once it has given up rights: it would inherit what is left of them. So it
//! starts a small process early which does, see `starter.rs`.

pub mod starter;
mod wire;
