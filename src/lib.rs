//! iisplice: an `io_uring` splice proxy for IIS sites that use Windows Authentication.
//!
//! Windows Authentication logs in a TCP connection. So every client connection gets an upstream connection of its own,
//! for its whole life: the session owns both, and there is no pool.
//!
//! The rooms:
//!
//! | room | what it owns | imports |
//! | --- | --- | --- |
//! | [`uring`] | the kernel: rings, operations, buffers, pipes, deadlines; the only `unsafe` | - |
//! | [`protocol`] | bytes and their meaning; no IO, no clock, no logging | - |
//! | [`upstream`] | the servers: groups, leases, connecting | `uring`, `protocol` |
//! | [`proxy`] | listener, session, relay | `uring`, `protocol`, `upstream` |
//! | [`control`] | the slow path: limits, signals, supervision, reload, certificates, logs | `proxy`, `doctor` |
//! | [`admin_client`] | asks the admin endpoint of a running proxy | `uring` |
//! | [`top`] | the live view of a running proxy on a terminal | `admin_client` |
//! | [`load`] | the load generator: plan, schedule, client, recorder, summary | `protocol` |
//! | [`doctor`] | probes of a site, this machine, access logs, and what they found | `protocol`, `uring` |
//! | [`report`] | summaries and findings as text, JSON, HTML and HDR histogram files | `load`, `doctor` |
//! | [`mock`] | a stand-in for an IIS site | `protocol` |
//! | [`demo`] | mock, proxy and load in one process | `control`, `proxy`, `mock`, `load` |
//! | [`cli`] | turns arguments into validated settings; one file per command | all |
//!
//! [`counter`] has the numbers that workers write and control reads; every room may use it.
//!
//! Reading order: README, this page, `proxy/session.rs` (the path of a connection as code), `proxy/connection.rs` and
//! `proxy/relay/direction.rs` (how bytes move), `proxy/http` (what HTTP mode adds), [`uring`] (what makes it fast and sound),
//! [`control::serve`] (how it starts and stops).

pub mod admin_client;
pub mod cli;
pub mod control;
pub mod counter;
pub mod demo;
pub mod doctor;
pub mod load;
pub mod mock;
pub mod protocol;
pub mod proxy;
pub mod report;
pub mod top;
pub mod upstream;
pub mod uring;
mod words;
