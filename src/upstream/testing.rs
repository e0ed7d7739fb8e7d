//! Groups for tests.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::balance::Balance;
use super::group::{Group, GroupSettings};
use super::server::{Server, ServerOptions};
use crate::uring::Address;

/// A server for each weight.
pub(super) fn servers(weights: &[u16]) -> Vec<Arc<Server>> {
    let options = |weight: &u16| ServerOptions {
        weight: (*weight).try_into().expect("a weight is not 0"),
        ..ServerOptions::default()
    };
    with_options(&weights.iter().map(options).collect::<Vec<_>>())
}

/// A server for each of these, named by its place.
pub(super) fn with_options(options: &[ServerOptions]) -> Vec<Arc<Server>> {
    let server = |(nth, options): (usize, &ServerOptions)| {
        let address = Address::Ip(([192, 0, 2, nth as u8], 80).into());
        let server = Server::new(nth.to_string(), address, None).expect("an IP address");
        Arc::new(server.with_options(*options))
    };
    options.iter().enumerate().map(server).collect()
}

/// The view of a worker.
pub(super) fn group(balance: &str, servers: &[Arc<Server>], worker: usize) -> Group {
    let balance = Balance::named(balance).expect("one of the algorithms");
    let settings = GroupSettings { balance, ..GroupSettings::new("iis", servers.to_vec()) };
    Group::new(Arc::new(settings), worker)
}

/// The servers in the order to try them for a client.
pub(super) fn order(group: &Group, source: Option<IpAddr>) -> Vec<usize> {
    group
        .pick(source, Instant::now())
        .map(|lease| lease.server().name().parse().expect("its place"))
        .collect()
}

/// How many of these clients each server gets, if none stays.
pub(super) fn counts(group: &Group, sources: impl Iterator<Item = Option<IpAddr>>) -> Vec<u32> {
    let mut counts = vec![0; group.settings().servers.len()];
    for source in sources {
        let lease = group.pick(source, Instant::now()).next().expect("a server for each client");
        counts[lease.server().name().parse::<usize>().expect("its place")] += 1;
    }
    counts
}
