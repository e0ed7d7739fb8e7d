//! Names of servers: what they stand for, at start, when settings are read, and while the proxy runs.
//!
//! ```text
//!   start, reload --look_up_all--> answers, by which groups are made
//!   watch (a thread): each name when its time has come --another answer--> change: the group, workers, health checks
//! ```
//!
//! Hosts are looked up as every program of this host does (`system`), or at the DNS servers that the operator names (`dns`);
//! SRV records always by DNS. A name that cannot be looked up keeps the servers that it had. It must never touch a listener
//! or a session.

pub(super) mod change;
mod dns;
mod resolver;
mod services;
pub mod system;
mod watch;

pub use resolver::Resolver;
pub(super) use watch::{Watch, is_needed};
