use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn address(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

fn tcp(source: &str, destination: &str) -> Header {
    Header::Tcp { source: address(source), destination: address(destination) }
}

/// Version 2: the fixed part after the signature, and what follows it.
fn v2(version_command: u8, family_transport: u8, block: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([version_command, family_transport]);
    header.extend((block.len() as u16).to_be_bytes());
    header.extend(block);
    header
}

fn unix_block(source: &[u8], destination: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 216];
    block[..source.len()].copy_from_slice(source);
    block[108..108 + destination.len()].copy_from_slice(destination);
    block
}

const INET: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

/// Headers as other senders write them, and what they mean.
fn vectors() -> Vec<(Vec<u8>, Header)> {
    let mut inet6 = vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    inet6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xdc, 0x04, 0x01, 0xbb]);
    let with_tlvs = [&INET[..], &[0x02, 0, 3, b'i', b'i', b's', 0x04, 0, 0]].concat();
    let full_path = [b'p'; 108];
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   65535 65535\r\n";
    vec![
        // The example of section 2.1.
        (
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
            tcp("192.168.0.1:56324", "192.168.0.11:443"),
        ),
        (
            b"PROXY TCP6 2001:db8::1 2001:DB8::2 56324 443\r\n".to_vec(),
            tcp("[2001:db8::1]:56324", "[2001:db8::2]:443"),
        ),
        (
            b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(),
            tcp("0.0.0.0:0", "255.255.255.255:65535"),
        ),
        (
            longest.as_bytes().to_vec(),
            tcp(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Unknown),
        (longest.replace("TCP6", "UNKNOWN").into_bytes(), Header::Unknown),
        (b"PROXY UNKNOWN any \xff thing\r\n".to_vec(), Header::Unknown),
        (v2(0x21, 0x11, &INET), tcp("192.0.2.1:56324", "198.51.100.2:443")),
        (v2(0x21, 0x11, &with_tlvs), tcp("192.0.2.1:56324", "198.51.100.2:443")),
        (v2(0x21, 0x21, &inet6), tcp("[2001:db8::1]:56324", "[2001:db8::2]:443")),
        (
            v2(0x21, 0x31, &unix_block(b"/run/client", &full_path)),
            Header::Unix {
                source: "/run/client".into(),
                destination: String::from_utf8_lossy(&full_path).into_owned().into(),
            },
        ),
        (v2(0x20, 0x00, &[]), Header::Local),
        // A health check with addresses, and one of an unknown family: the block is skipped.
        (v2(0x20, 0x11, &INET), Header::Local),
        (v2(0x20, 0xff, &[1, 2, 3]), Header::Local),
        (v2(0x21, 0x00, &[]), Header::Unknown),
        (v2(0x21, 0x12, &INET), Header::Unknown),
        (v2(0x21, 0x10, &[]), Header::Unknown),
        (v2(0x21, 0x01, &[9; 40]), Header::Unknown),
        (
            v2(0x21, 0x11, &[&INET[..], &[0; V2_BYTES_MAX - 28]].concat()),
            tcp("192.0.2.1:56324", "198.51.100.2:443"),
        ),
    ]
}

#[test]
fn headers_of_either_version_are_told_apart_and_read() {
    for (bytes, header) in vectors() {
        let consumed = bytes.len();
        assert_eq!(parse(&bytes), Ok(Progress::Complete { header: header.clone(), consumed }), "{bytes:?}");
        let with_data = [&bytes[..], b"\r\nPROXY GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&with_data), Ok(Progress::Complete { header, consumed }), "{bytes:?} and data");
    }
}

#[test]
fn every_prefix_of_a_header_is_incomplete() {
    for (bytes, _) in vectors() {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(Progress::Incomplete), "{end} bytes of {bytes:?}");
        }
    }
}

#[test]
fn each_malformed_header_has_its_own_error() {
    use HeaderError::*;
    let too_long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; V1_BYTES_MAX]].concat();
    let cr_at_the_end = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; V1_BYTES_MAX - 15], b"\r"].concat();
    for (bytes, expected) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), NoSignature),
        (b"\x16\x03\x01".to_vec(), NoSignature),
        (b"PROPFIND".to_vec(), NoSignature),
        (b"PROXY\r\n".to_vec(), NoSignature),
        (b"\r\n\r\n\0\r\nQUIX".to_vec(), NoSignature),
        (too_long, LongLine),
        (cr_at_the_end, LongLine),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n".to_vec(), LineEnd),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r ".to_vec(), LineEnd),
        (b"PROXY UNKNOWN \n\r\n".to_vec(), LineEnd),
        (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), Protocol),
        (b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), Protocol),
        (b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), Protocol),
        (b"PROXY UNKNOWNX\r\n".to_vec(), Protocol),
        (b"PROXY \r\n".to_vec(), Protocol),
        (b"PROXY TCP4\r\n".to_vec(), Fields),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n".to_vec(), Fields),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n".to_vec(), Fields),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n".to_vec(), Fields),
        (b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n".to_vec(), Fields),
        (b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n".to_vec(), Address),
        (b"PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n".to_vec(), Address),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(), Address),
        (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), Address),
        (b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n".to_vec(), Address),
        (b"PROXY TCP4 192.0.2.1 192.0.2.\xff 1 2\r\n".to_vec(), Address),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n".to_vec(), Port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 02\r\n".to_vec(), Port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n".to_vec(), Port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 \t\r\n".to_vec(), Port),
        (v2(0x11, 0x11, &INET), Version(1)),
        (v2(0x31, 0x11, &INET), Version(3)),
        (v2(0x22, 0x11, &INET), Command(2)),
        (v2(0x21, 0x41, &INET), Family(4)),
        (v2(0x21, 0x13, &INET), Transport(3)),
        (v2(0x21, 0x11, &INET[..11]), ShortAddresses { announced: 11, needed: 12 }),
        (v2(0x21, 0x12, &[]), ShortAddresses { announced: 0, needed: 12 }),
        (v2(0x21, 0x21, &[0; 35]), ShortAddresses { announced: 35, needed: 36 }),
        (v2(0x21, 0x31, &[0; 215]), ShortAddresses { announced: 215, needed: 216 }),
        (v2(0x21, 0x11, &[0; V2_BYTES_MAX - 15]), LongHeader(V2_BYTES_MAX + 1)),
        (v2(0x20, 0x00, &vec![0; 65535]), LongHeader(65551)),
    ] {
        assert_eq!(parse(&bytes), Err(expected), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_wrong_byte_is_told_before_the_rest_arrives() {
    for (bytes, expected) in [
        (b"G".to_vec(), HeaderError::NoSignature),
        (b"PROXYX".to_vec(), HeaderError::NoSignature),
        (b"PROXY TCP4 1\n".to_vec(), HeaderError::LineEnd),
        (v2(0x31, 0, &[])[..13].to_vec(), HeaderError::Version(3)),
        (v2(0x21, 0x51, &[])[..14].to_vec(), HeaderError::Family(5)),
        (v2(0x21, 0x11, &[0; 5000])[..16].to_vec(), HeaderError::LongHeader(5016)),
        (v2(0x21, 0x11, &[0; 4])[..16].to_vec(), HeaderError::ShortAddresses { announced: 4, needed: 12 }),
    ] {
        assert_eq!(parse(&bytes), Err(expected), "{}", bytes.escape_ascii());
    }
}

#[test]
fn headers_are_written_byte_for_byte() {
    let mut v2_inet6 = SIGNATURE.to_vec();
    v2_inet6.extend([0x21, 0x21, 0, 36]);
    v2_inet6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    v2_inet6.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 2]);
    v2_inet6.extend([0xdc, 0x04, 0x01, 0xbb]);
    for (source, destination, line, binary) in [
        (
            "192.0.2.1:56324",
            "198.51.100.2:443",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
            v2(0x21, 0x11, &INET),
        ),
        // A client of `[::]:443` over IPv4.
        (
            "[::ffff:192.0.2.1]:56324",
            "[::ffff:198.51.100.2]:443",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
            v2(0x21, 0x11, &INET),
        ),
        // Mixed families: a source from another proxy's header and the proxy's own address.
        (
            "[2001:db8::1]:56324",
            "198.51.100.2:443",
            "PROXY TCP6 2001:db8::1 ::ffff:c633:6402 56324 443\r\n",
            v2_inet6,
        ),
    ] {
        let addresses = Some((address(source), address(destination)));
        let written = write(Version::V1, addresses);
        assert_eq!(std::str::from_utf8(&written), Ok(line), "{source} {destination}");
        assert_eq!(&*write(Version::V2, addresses), &*binary, "{source} {destination}");
    }
}

#[test]
fn a_client_without_an_ip_address_is_unknown_or_local() {
    assert_eq!(&*write(Version::V1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(&*write(Version::V2, None), &*v2(0x20, 0x00, &[]));
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// The pair as a header can carry it.
fn carried(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    match Pair::of(source, destination) {
        Pair::V4(source, destination) => (source.into(), destination.into()),
        Pair::V6(source, destination) => (source.into(), destination.into()),
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(source in any_address(), destination in any_address()) {
        for version in [Version::V1, Version::V2] {
            let bytes = write(version, Some((source, destination)));
            let (source, destination) = carried(source, destination);
            let header = Header::Tcp { source, destination };
            prop_assert_eq!(parse(&bytes), Ok(Progress::Complete { header, consumed: bytes.len() }));
        }
    }

    #[test]
    fn mutated_headers_are_read_or_refused(
        nth in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let vectors = vectors();
        let mut bytes = nth.get(&vectors).0.clone();
        for (at, byte) in flips {
            *at.get_mut(&mut bytes) = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(Progress::Complete { consumed, .. }) = parse(&bytes) {
            prop_assert!(consumed <= bytes.len());
        }
    }

    #[test]
    fn enough_bytes_are_never_incomplete(nth in any::<prop::sample::Index>(), more in any::<u8>()) {
        let mut bytes = nth.get(&vectors()).0.clone();
        bytes.resize(V2_BYTES_MAX, more);
        prop_assert_ne!(parse(&bytes), Ok(Progress::Incomplete));
    }
}
