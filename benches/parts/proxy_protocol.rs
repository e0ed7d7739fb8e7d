//! `protocol::proxy_protocol`: reading and writing PROXY headers of both versions.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::Criterion;
use iisplice::protocol::proxy_protocol::{Header, Progress, Version, parse, write};

pub(crate) fn benches(criterion: &mut Criterion) {
    for (family, source, destination) in [
        ("IPv4", "203.0.113.195:51234", "198.51.100.17:443"),
        ("IPv6", "[2001:db8:12:3456::89ab]:51234", "[2001:db8::17]:443"),
    ] {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (source, destination) = (address(source), address(destination));
        for (version, name) in [(Version::V1, "v1"), (Version::V2, "v2")] {
            let header = write(version, Some((source, destination)));
            reads(criterion, &format!("{name} {family}"), &header, source);
            criterion.bench_function(&format!("proxy_protocol/{name} {family}/write"), |b| {
                b.iter(|| write(version, black_box(Some((source, destination)))));
            });
        }
    }
    let source = "203.0.113.195:51234".parse().expect("an address");
    reads(criterion, "v2 IPv4 from a cloud's balancer", &with_endpoint(source), source);
}

/// A header as a Network Load Balancer of AWS sends it: the endpoint's identifier and padding follow the addresses.
fn with_endpoint(source: SocketAddr) -> Vec<u8> {
    let destination = "198.51.100.17:443".parse().expect("an address");
    let mut header = write(Version::V2, Some((source, destination))).to_vec();
    let endpoint = b"\xea\x00\x17\x01vpce-08d2bf15fac5001c9";
    let padding = [&[4, 0, 16][..], &[0; 16]].concat();
    header.extend_from_slice(endpoint);
    header.extend_from_slice(&padding);
    let length = u16::try_from(header.len() - 16).expect("some bytes");
    header[14..16].copy_from_slice(&length.to_be_bytes());
    header
}

/// Reads a header that the client's first bytes follow.
fn reads(criterion: &mut Criterion, what: &str, header: &[u8], client: SocketAddr) {
    let bytes = [header, b"\x16\x03\x01\x02\x00\x01\x00"].concat();
    let read = parse(&bytes);
    let is_right = matches!(
        &read,
        Ok(Progress::Complete { header: Header::Tcp { source, .. }, consumed })
            if *source == client && *consumed == header.len()
    );
    assert!(is_right, "{what}: {read:?}");
    criterion.bench_function(&format!("proxy_protocol/{what}/read"), |b| b.iter(|| parse(black_box(&bytes))));
}
