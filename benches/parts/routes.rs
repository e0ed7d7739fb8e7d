//! `proxy::routes`: which servers a connection goes to.

use std::hint::black_box;
use std::iter::empty;

use criterion::{BenchmarkId, Criterion};
use iisplice::proxy::routes::Routes;

pub(crate) fn benches(criterion: &mut Criterion) {
    for count in [1, 16, 256] {
        let routes = routes(count);
        let last = count - 1;
        let id = |what: &str| BenchmarkId::new(what, count);
        choice(criterion, id("exact"), &routes, &format!("site{last}.example.com"), last);
        choice(criterion, id("wildcard"), &routes, &format!("www.eu.tenant{last}.example.com"), count + last);
        choice(criterion, id("default"), &routes, "www.example.org", 2 * count);
    }
}

/// `count` names, `count` wildcards and a default; each leads to a group of its own.
fn routes(count: usize) -> Routes<usize> {
    let mut routes = Routes::all(2 * count);
    for number in 0..count {
        routes.by_name.entry(&format!("site{number}.example.com")).or_insert(number);
        routes.by_name.entry(&format!("*.tenant{number}.example.com")).or_insert(count + number);
    }
    routes
}

fn choice(criterion: &mut Criterion, id: BenchmarkId, routes: &Routes<usize>, name: &str, expected: usize) {
    let chosen = routes.choose(Some(name), empty());
    assert_eq!(chosen.copied(), Some(expected), "{name}");
    let mut group = criterion.benchmark_group("routes");
    group.bench_function(id, |b| b.iter(|| routes.choose(black_box(Some(name)), empty())));
    group.finish();
}
