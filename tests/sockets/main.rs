//! The proxy from outside: the real binary, real sockets, and scripted peers on both of its sides.
//!
//! A file a topic; each test has a proxy of its own, so that all of them can run at once. `support` starts it and plays
//! the peers. What a test waits for it waits for patiently, and says what it was when it does not come.

mod access_log;
mod admin;
mod checks;
mod clients;
mod cut;
mod end_of_service;
mod endings;
mod extended_protection;
mod groups;
mod handover;
mod health;
mod hello;
mod http;
mod landlock;
mod limits;
mod listeners;
mod log_lines;
mod machines;
mod many;
mod masked;
mod metrics;
mod names;
mod peek_memory;
mod privileges;
mod proxy_header;
mod relay;
mod reload;
#[path = "../common/reserved.rs"]
mod reserved;
mod sandbox;
mod service_manager;
mod services;
mod shortage;
mod sources;
mod spread;
mod start_up;
mod storms;
mod support;
mod tls;
mod transparent;
mod upstreams;
mod urgent;
mod warm;
mod workers;
