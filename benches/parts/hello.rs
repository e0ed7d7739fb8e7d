//! `protocol::client_hello`: reading the server name and ALPN of a TLS connection.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use iisplice::protocol::client_hello::{Progress, parse};

/// Captured hellos, and one of a browser's length.
pub(crate) fn benches(criterion: &mut Criterion) {
    hello(criterion, "curl", include_bytes!("../../fuzz/seeds/client_hello/curl"));
    hello(criterion, "java", include_bytes!("../../fuzz/seeds/client_hello/java"));
    hello(criterion, "in small records", include_bytes!("../../fuzz/seeds/client_hello/openssl-in-records"));
    let browser = browser();
    hello(criterion, "browser", &browser);

    // A hello of two segments: the reader has to wait for the second.
    let first_segment = &browser[..1400];
    assert_eq!(parse(first_segment), Ok(Progress::Incomplete));
    criterion.bench_function("client_hello/first segment of a browser's", |b| {
        b.iter(|| parse(black_box(first_segment)));
    });
}

fn hello(criterion: &mut Criterion, what: &str, bytes: &[u8]) {
    let read = parse(bytes);
    let is_named = matches!(&read, Ok(Progress::Hello(hello)) if hello.server_name.is_some());
    assert!(is_named, "{what}: {read:?}");
    let mut group = criterion.benchmark_group("client_hello");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(what, |b| b.iter(|| parse(black_box(bytes))));
    group.finish();
}

/// A hello as browsers of 2026 send it (RFC 8446 section 4.1.2): extensions in random order between GREASE (RFC 8701), and a
/// key share of X25519MLKEM768, which makes it longer than a segment.
fn browser() -> Vec<u8> {
    let name = b"intranet.corp.example.com";
    let server_name = vector(&[&[0][..], &vector(name)].concat());
    let alpn = vector(b"\x02h2\x08http/1.1");
    let groups = vector(&[0x2a, 0x2a, 0x11, 0xec, 0, 0x1d, 0, 0x17, 0, 0x18]);
    let post_quantum = [&[0x11, 0xec][..], &vector(&[7; 1216])].concat();
    let classic = [&[0, 0x1d][..], &vector(&[7; 32])].concat();
    let key_shares = vector(&[&[0x2a, 0x2a, 0, 1, 0][..], &post_quantum, &classic].concat());
    let algorithms = vector(&[4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1]);
    let extensions: Vec<u8> = [
        (0x2a2a, &[][..]),
        (0xff01, &[0]),
        (51, &key_shares),
        (18, &[]),
        (10, &groups),
        (13, &algorithms),
        (35, &[7; 200]),
        (43, &[6, 0x3a, 0x3a, 3, 4, 3, 3]),
        (0, &server_name),
        (16, &alpn),
        (65037, &[7; 218]),
        (0x4a4a, &[0]),
    ]
    .into_iter()
    .flat_map(|(kind, data): (u16, &[u8])| [&kind.to_be_bytes()[..], &vector(data)].concat())
    .collect();
    let cipher_suites = vector(&[0x13; 32]);
    let session_id = [&[32][..], &[9; 32]].concat();
    let extensions = vector(&extensions);
    let body = [&[3, 3][..], &[7; 32], &session_id, &cipher_suites, &[1, 0], &extensions].concat();
    let message = [&[1, 0][..], &vector(&body)].concat();
    [&[22, 3, 1][..], &vector(&message)].concat()
}

/// `bytes` after their length in two bytes.
fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("less than 64 KiB");
    [&length.to_be_bytes()[..], bytes].concat()
}
