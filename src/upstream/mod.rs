//! The servers behind the proxy: groups of them, which one to try, and connections to them.
//!
//! This room owns what is known of servers. A connection made here belongs to the session that asked for it: there is no
//! place to give it back to. It must never read what a connection carries.
//!
//! ```text
//!   Group --pick--> leases in the order to try --connect--> a socket of one session
//!     |-- balance: one of the algorithms
//!     |-- affinity: what a cookie says of a server
//!     |-- names: what is looked up, and the servers that it stands for
//!     |-- Supply: connections that a worker has opened ahead, each to be taken by one session
//!     |-- Server: its address and health; what happened to its name; shared by all workers
//!     '-- check: what a checker outside asks servers
//! ```
//!
//! Start with `group.rs`.

mod affinity;
mod balance;
pub mod check;
mod connect;
mod departed;
mod group;
mod health;
mod incidents;
mod lease;
pub mod names;
mod outage;
mod pick;
mod queue;
mod server;
mod sources;
mod supply;
#[cfg(test)]
mod testing;
mod token;
mod warm;

pub use affinity::{Affinity, Named};
pub use balance::Balance;
pub use connect::{DescriptorWaits, Failure, connect, connect_ahead};
pub use departed::Departed;
pub use group::{Group, GroupSettings, OwnCertificate, Tls};
pub use health::Ejection;
pub use incidents::Incidents;
pub use lease::Lease;
pub use outage::Outage;
pub use pick::Pick;
pub use queue::{Queue, Summons};
pub use server::{Server, ServerOptions, ServerOrder, ServerState};
pub use sources::{ADDRESSES_MAX as SOURCE_ADDRESSES_MAX, Origin, Sources};
pub use supply::Supply;
pub use token::Token;
pub use warm::WarmPlace;
