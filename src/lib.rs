//! iisplice: an `io_uring` splice proxy for IIS sites that use Windows Authentication.
//!
//! The rooms, in the order to read them in:
//!
//! | room | what it owns |
//! | --- | --- |
//! | [`cli`] | arguments become validated settings; one file a command |
//! | [`mock`] | a stand-in for an IIS site |
//! | [`protocol`] | bytes and their meaning; no IO, no clock, no logging |
//! | [`load`] | the load generator: a plan becomes a summary |
//! | [`report`] | summaries become text and files |
//! | [`control`] | the slow path: limits, signals, supervision, logs |

pub mod cli;
pub mod control;
pub mod load;
pub mod mock;
pub mod protocol;
pub mod proxy;
pub mod report;
pub mod uring;
