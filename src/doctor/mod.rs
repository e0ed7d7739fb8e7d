//! The doctor: probes that say in plain words what is wrong, and what to do about it.
//!
//! Owns what is probed and what a result means. It prints nothing (the room `report` does), and never changes what it looks at:
//! the only thing that it may spend is one failing login for a user, see `site/budget.rs`.
//!
//! ```text
//! site: a URL -> probes, one after the other -> Findings
//! host: this machine -> Readings, and what settings want of it -> Findings
//! log: an access log -> clients that are not let in -> Findings
//! ```
//!
//! A [`Finding`] has an id that stays the same, for programs; its texts may change. Start with `finding.rs`, then
//! [`site`].

mod finding;
pub mod host;
pub mod log;
pub mod site;

pub use finding::{Change, Command, Finding, Findings, Severity, Side};
