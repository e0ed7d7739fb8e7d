//! The load generator: logs in for real, sends requests, measures.
//!
//! Owns what a run does and what it measured. Prints nothing, reads no arguments, and does not depend on the proxy: it
//! measures any server. It runs on tokio-uring, not on the proxy's own ring code, so that the two cannot share a bug.
//!
//! ```text
//! Plan -> run -> worker (a thread, a ring) -> client (a connection) -> connection (bytes)
//!                  ^ schedule (open loop)       |
//!                                               v
//! Summary <- run <- a cut a second <--------- recorder
//! ```
//!
//! Nothing is shared between threads while they measure: each has its connections, its schedule and its recorder, and
//! once a second sends a cut of its recorder to the thread that adds up. Recorded logins ([`recording`]) go to the
//! channel that the plan names. Start with [`run`], then `client`.

mod arrivals;
mod client;
mod connection;
mod failure;
mod handshake;
pub mod identity;
mod login;
pub mod objective;
pub mod plan;
pub mod recorder;
pub mod recording;
mod request;
mod run;
pub mod samples;
pub mod schedule;
pub mod search;
pub mod summary;
pub mod timeline;
mod tls;
pub mod warning;
mod worker;

pub use failure::{Failure, LoadError};
pub use plan::Plan;
pub use run::run;
pub use summary::Summary;
