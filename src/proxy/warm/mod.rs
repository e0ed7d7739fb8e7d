//! Connections that are opened ahead, so that a client need not wait until its server has accepted one and, with TLS, until
//! the handshake is complete.
//!
//! ```text
//!   keeper: places wanted? --> connect, TLS --> Warm, in the stock --take--> connection and lease of one session
//!                                                 |
//!                                                 '--> closed: it grew old, its server acted, or it is not wanted
//! ```
//!
//! A warm connection has carried no byte of any client: no more than a TLS handshake has happened on it. Lending consumes
//! it, and there is no way from a session back: [`stock::Stock`] takes connections from its own keeper only.
//!
//! [`demand`] is the law of how many a server gets; [`stock`] keeps them; [`keeper`] is the story: it opens, watches and
//! closes them. All of it belongs to one worker; servers count what all workers keep.

mod demand;
pub(super) mod keeper;
pub(super) mod stock;
