//! `cargo bench --bench parts`: the time that single parts of iisplice take. See `benches/README.md`.
//!
//! Each file measures one room or one module of `protocol`. The inputs are what real clients and servers send. Every
//! benchmark checks its result once before it starts the clock, so that it never measures an error path. Nothing asserts a
//! time. `cargo test --bench parts` runs each benchmark once.

mod access_log;
mod hello;
mod http1;
mod inputs;
mod login;
mod ntlm;
mod pick;
mod proxy_protocol;
mod recorder;
mod ring;
mod routes;
mod spnego;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    // Most benchmarks take less than a microsecond, so two seconds hold enough samples. All together take four minutes.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    http1::benches(&mut criterion);
    hello::benches(&mut criterion);
    proxy_protocol::benches(&mut criterion);
    ntlm::benches(&mut criterion);
    spnego::benches(&mut criterion);
    login::benches(&mut criterion);
    access_log::benches(&mut criterion);
    routes::benches(&mut criterion);
    pick::benches(&mut criterion);
    ring::benches(&mut criterion);
    recorder::benches(&mut criterion);
    criterion.final_summary();
}
