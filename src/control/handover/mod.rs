//! An upgrade without a lost connection: a new process takes the listening sockets, and this one serves the connections that
//! it has to their ends.
//!
//! ```text
//!   iisplice proxy --start--> starter: keeps the rights of the start, waits
//!     upgrade ------Start---> starter --exec--> iisplice proxy, of the next generation
//!     upgrade <--------------- messages, sockets --------------> predecessor
//!        '--> leaves its listeners, drains, reports             '--> accepts; generations: hears reports
//! ```
//!
//! The process itself cannot start its successor once it has given up rights: it would inherit what is left of them. So it
//! starts a small process early which does, see `starter.rs`. Start with `upgrade.rs` and `predecessor.rs`, the two ends.

mod generations;
mod message;
mod predecessor;
pub mod starter;
mod upgrade;
mod wire;

pub(super) use generations::{Generations, Report};
pub(super) use message::{At, Description, Role};
pub(super) use predecessor::Inheritance;
pub use predecessor::Predecessor;
pub(super) use upgrade::{Asker, Done, Estate, Successor, Upgrades};
