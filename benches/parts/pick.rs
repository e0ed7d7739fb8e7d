//! `upstream`: choosing a server for a connection, and taking it back.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion};
use iisplice::upstream::{Balance, Group, GroupSettings, Server, ServerOptions};
use iisplice::uring::Address;

pub(crate) fn benches(criterion: &mut Criterion) {
    for balance in Balance::ALL {
        for count in [1, 64] {
            pick(criterion, balance, count, "equal", |_| 1);
        }
        pick(criterion, balance, 64, "weighted", |nth| 1 + u16::from(nth) % 7);
    }
}

fn pick(criterion: &mut Criterion, balance: Balance, count: u8, what: &str, weight: impl Fn(u8) -> u16) {
    let server = |nth: u8| {
        let address = Address::Ip((Ipv4Addr::new(192, 0, 2, nth), 80).into());
        let server = Server::new(format!("iis{nth}:80"), address, None).expect("an IP address");
        let weight = weight(nth).try_into().expect("a weight is not 0");
        Arc::new(server.with_options(ServerOptions { weight, ..ServerOptions::default() }))
    };
    let servers = (0..count).map(server).collect();
    let group = Group::new(Arc::new(GroupSettings { balance, ..GroupSettings::new("iis", servers) }), 0);
    let now = Instant::now();
    let choose = |client: u32| {
        let source = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + client));
        group.pick(black_box(Some(source)), now).next()
    };
    assert!(choose(0).is_some_and(|lease| lease.server().leases() == 1));
    let mut client = 0;
    let id = BenchmarkId::new(format!("{}/{what}", balance.name()), count);
    let mut measured = criterion.benchmark_group("pick");
    measured.bench_function(id, |b| {
        b.iter(|| {
            client += 1;
            choose(client)
        });
    });
    measured.finish();
}
