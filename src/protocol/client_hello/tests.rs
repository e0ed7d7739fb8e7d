//! Hellos of real clients, cut and put into records in every way; then invalid ones.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// As captured; they are also the fuzzer's first inputs.
macro_rules! captured {
    ($name:literal) => {
        include_bytes!(concat!("../../../fuzz/seeds/client_hello/", $name)).as_slice()
    };
}

fn of(server_name: Option<&str>, protocols: &[&[u8]]) -> Hello {
    let alpn = protocols.iter().flat_map(|p| [&[p.len() as u8][..], p].concat()).collect();
    Hello { server_name: server_name.map(str::to_owned), alpn }
}

/// A hello with these extensions, without record or handshake header.
fn body(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &vector16(data)].concat())
        .collect();
    [&before_extensions()[..], &vector16(&extensions)].concat()
}

fn before_extensions() -> Vec<u8> {
    let random = [7; RANDOM_BYTES];
    let session_id = [&[32][..], &[9; 32]].concat();
    [&[3, 3][..], &random, &session_id, &[0, 4, 0x2a, 0x2a, 0x13, 0x01], &[1, 0]].concat()
}

fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn message(body: &[u8]) -> Vec<u8> {
    [&[CLIENT_HELLO][..], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

/// A message in records of these sizes, which repeat.
fn in_records(message: &[u8], mut sizes: impl Iterator<Item = usize>) -> Vec<u8> {
    let (mut rest, mut bytes) = (message, Vec::new());
    while !rest.is_empty() {
        let (fragment, after) = rest.split_at(sizes.next().unwrap_or(FRAGMENT_BYTES_MAX).min(rest.len()));
        bytes.extend([HANDSHAKE, MAJOR_VERSION, 1]);
        bytes.extend(vector16(fragment));
        rest = after;
    }
    bytes
}

fn in_one_record(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    in_records(&message(&body(extensions)), std::iter::empty())
}

fn name_list(name: &[u8]) -> Vec<u8> {
    vector16(&[&[HOST_NAME][..], &vector16(name)].concat())
}

fn from_rustls(name: &'static str, alpn: &[&[u8]]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let mut client = rustls::ClientConnection::new(config.into(), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// GREASE (RFC 8701) where browsers put it, and a name type that is not defined yet.
fn greased() -> Vec<u8> {
    let names = [&[0x2a][..], &vector16(b"later"), &[HOST_NAME], &vector16(b"web.corp.test")].concat();
    in_one_record(&[
        (0x0a0a, vec![]),
        (SERVER_NAME, vector16(&names)),
        (0xff01, vec![0]),
        (ALPN, vector16(b"\x02\x1a\x1a\x02h2\x08http/1.1")),
        (0x1a1a, vec![0]),
    ])
}

/// Hellos and what they say.
fn vectors() -> Vec<(Vec<u8>, Hello)> {
    let web = Some("web.corp.test");
    let many: Vec<String> = (0..10).map(|i| format!("{}{i}", "x".repeat(60))).collect();
    let many: Vec<&[u8]> = [&b"http/1.1"[..]].into_iter().chain(many.iter().map(String::as_bytes)).collect();
    let without_extensions = in_records(&message(&before_extensions()), std::iter::empty());
    vec![
        (captured!("openssl-tls13").to_vec(), of(web, &[b"h2", b"http/1.1"])),
        (captured!("openssl-tls12").to_vec(), of(web, &[])),
        (captured!("openssl-tls10").to_vec(), of(web, &[])),
        (captured!("openssl-no-name").to_vec(), of(None, &[])),
        // In two records, of 512 and 437 bytes.
        (captured!("openssl-in-records").to_vec(), of(web, &many)),
        (captured!("curl").to_vec(), of(web, &[b"h2", b"http/1.1"])),
        (captured!("java").to_vec(), of(web, &[])),
        (from_rustls("web.corp.test", &[b"http/1.1"]), of(web, &[b"http/1.1"])),
        (from_rustls("192.0.2.1", &[]), of(None, &[])),
        (greased(), of(web, &[b"\x1a\x1a", b"h2", b"http/1.1"])),
        (without_extensions, of(None, &[])),
        (in_one_record(&[]), of(None, &[])),
    ]
}

#[test]
fn real_hellos_are_read_whatever_follows_them() {
    for (bytes, hello) in vectors() {
        assert_eq!(parse(&bytes), Ok(Progress::Hello(hello.clone())), "{}", bytes.escape_ascii());
        // Early data, or bytes that are not parsed here.
        let more = [&bytes[..], b"\x14\x03\x03\x00\x01\x01\x17\x03\x03\xff\xff anything"].concat();
        assert_eq!(parse(&more), Ok(Progress::Hello(hello)), "{}", more.escape_ascii());
    }
}

#[test]
fn the_protocols_in_the_client_s_order() {
    let Ok(Progress::Hello(hello)) = parse(captured!("curl")) else { panic!("a whole hello") };
    assert_eq!(hello.alpn().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
}

#[test]
fn every_prefix_of_a_hello_is_incomplete() {
    for (bytes, _) in vectors() {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(Progress::Incomplete), "{end} bytes of {bytes:?}");
        }
    }
}

/// The message in a hello's records.
fn unwrapped(bytes: &[u8]) -> Vec<u8> {
    handshake(bytes).0.into_owned()
}

#[test]
fn any_cut_into_two_records_gives_the_same_hello() {
    for (bytes, hello) in vectors() {
        let message = unwrapped(&bytes);
        for first in 1..message.len() {
            let cut = in_records(&message, [first].into_iter());
            assert_eq!(parse(&cut), Ok(Progress::Hello(hello.clone())), "cut after {first}");
        }
    }
}

#[test]
fn records_of_a_byte_each() {
    let (bytes, hello) = vectors().swap_remove(0);
    let cut = in_records(&unwrapped(&bytes), std::iter::repeat(1));
    for end in 0..cut.len() {
        assert_eq!(parse(&cut[..end]), Ok(Progress::Incomplete), "{end} bytes");
    }
    assert_eq!(parse(&cut), Ok(Progress::Hello(hello)));
}

#[test]
fn a_name_over_255_bytes_is_an_error_as_soon_as_its_length_is_there() {
    for (bytes, expected) in
        [(255, Ok(())), (256, Err(HelloError::NameTooLong)), (u16::MAX / 2, Err(HelloError::NameTooLong))]
    {
        let hello = in_one_record(&[(SERVER_NAME, name_list(&vec![b'a'; bytes.into()]))]);
        assert_eq!(parse(&hello).map(|_| ()), expected, "{bytes} bytes");
        let header = hello.len() - usize::from(bytes);
        if expected.is_err() && bytes == 256 {
            assert_eq!(parse(&hello[..header]), Err(HelloError::NameTooLong));
            assert_eq!(parse(&hello[..header - 1]), Ok(Progress::Incomplete));
        }
    }
    // A name of an unknown type is not judged.
    let other = vector16(&[&[7][..], &vector16(&[b'a'; 300])].concat());
    assert_eq!(parse(&in_one_record(&[(SERVER_NAME, other)])), Ok(Progress::Hello(of(None, &[]))));
}

#[test]
fn host_names_are_those_that_a_route_can_have() {
    for (sent, expected) in [
        (&b"web.corp.test"[..], Some("web.corp.test")),
        (b"WEB.Corp.TEST", Some("web.corp.test")),
        (b"web.corp.test.", Some("web.corp.test")),
        (b"iis_1", Some("iis_1")),
        (b"xn--bro-hoa.test", Some("xn--bro-hoa.test")),
        (b".", None),
        (b"192.0.2.1", None),
        (b"2001:db8::1", None),
        (b"[::1]", None),
        (b"*.corp.test", None),
        (b"web corp", None),
        (b"web\0.corp.test", None),
        (b"web\n", None),
        ("büro.test".as_bytes(), None),
        (b"\xff", None),
    ] {
        let bytes = in_one_record(&[(SERVER_NAME, name_list(sent))]);
        let expected = Ok(Progress::Hello(of(expected, &[])));
        assert_eq!(parse(&bytes), expected, "{}", sent.escape_ascii());
    }
}

/// The beginning of a 500-byte hello that comes in one record.
fn begun(parts: &[&[u8]]) -> Vec<u8> {
    [b"\x16\x03\x01\x01\xf8\x01\0\x01\xf4", &*parts.concat()].concat()
}

/// The same, up to its extensions, which have 423 bytes.
fn begun_extensions(parts: &[&[u8]]) -> Vec<u8> {
    begun(&[&before_extensions(), &[1, 167], &parts.concat()])
}

/// The first record of a hello, which does not hold all of it, and the beginning of the second.
fn begun_second_record(second: &[u8]) -> Vec<u8> {
    let whole = in_records(&unwrapped(&greased()), std::iter::repeat(50));
    [&whole[..55], second].concat()
}

#[test]
fn what_is_no_hello_is_told_by_the_byte_that_shows_it() {
    use HelloError::*;
    let start = [3_u8; 2 + RANDOM_BYTES];
    let name = [&[0, 0, 0, 6][..], &name_list(b"a")].concat();
    let protocol = b"\0\x10\0\x05\0\x03\x02h2";
    for (bytes, expected) in [
        (b"G".to_vec(), NotTls),
        // SSL 2.0's form of a hello, an alert, DTLS, a record of a fifth major version.
        (b"\x80".to_vec(), NotTls),
        (b"\x15".to_vec(), NotTls),
        (b"\x16\xfe".to_vec(), NotTls),
        (b"\x16\x05".to_vec(), NotTls),
        // An empty record, one that is too large, a server's hello.
        (b"\x16\x03\x01\0\0".to_vec(), NotTls),
        (b"\x16\x03\x01\x40\x01".to_vec(), NotTls),
        (b"\x16\x03\x03\0\x40\x02".to_vec(), NotTls),
        // Something else between two records of the hello.
        (begun_second_record(b"\x14"), Malformed),
        (begun_second_record(b"\x16\x02"), Malformed),
        (begun_second_record(b"\x16\x03\x01\0\0"), Malformed),
        // Its own length: more than is read, and less than any hello has.
        (b"\x16\x03\x01\x40\0\x01\x01\0\0".to_vec(), TooLong),
        (b"\x16\x03\x01\x40\0\x01\0\0\x01".to_vec(), Malformed),
        // Session id, cipher suites, compression methods.
        (begun(&[&start, &[33]]), Malformed),
        (begun(&[&start, &[0, 0, 0]]), Malformed),
        (begun(&[&start, &[0, 0, 3]]), Malformed),
        (begun(&[&start, &[0, 0xff, 0xfe]]), Malformed),
        (begun(&[&start, &[0, 0, 2, 1, 1, 0]]), Malformed),
        // All extensions: a byte less than there is, a byte more; one that is longer than all of them.
        (begun(&[&before_extensions(), &[1, 166]]), Malformed),
        (begun(&[&before_extensions(), &[1, 168]]), Malformed),
        (begun_extensions(&[&[0xff, 1, 1, 164]]), Malformed),
        // The list of names: missing, empty, shorter than its extension, longer; an empty name, one that is longer than
        // the list; two of a kind, two lists.
        (begun_extensions(&[&[0, 0, 0, 0]]), Malformed),
        (begun_extensions(&[&[0, 0, 0, 2, 0, 0]]), Malformed),
        (begun_extensions(&[&[0, 0, 0, 9, 0, 6]]), Malformed),
        (begun_extensions(&[&[0, 0, 0, 9, 0, 8]]), Malformed),
        (begun_extensions(&[&[0, 0, 0, 9, 0, 7, HOST_NAME, 0, 0]]), Malformed),
        (begun_extensions(&[&[0, 0, 0, 9, 0, 7, HOST_NAME, 0, 5]]), Malformed),
        (begun_extensions(&[&[0, 0, 0, 12, 0, 10, HOST_NAME, 0, 1, b'a', HOST_NAME, 0, 1]]), Malformed),
        (begun_extensions(&[&name, &[0, 0, 0, 0]]), Malformed),
        // The protocols, likewise.
        (begun_extensions(&[&[0, 16, 0, 2, 0, 0]]), Malformed),
        (begun_extensions(&[&[0, 16, 0, 9, 0, 6]]), Malformed),
        (begun_extensions(&[&[0, 16, 0, 9, 0, 7, 0]]), Malformed),
        (begun_extensions(&[&[0, 16, 0, 9, 0, 7, 7]]), Malformed),
        (begun_extensions(&[protocol, &[0, 16, 0, 0]]), Malformed),
    ] {
        let before = &bytes[..bytes.len() - 1];
        assert_eq!(parse(before), Ok(Progress::Incomplete), "before {}", bytes.escape_ascii());
        assert_eq!(parse(&bytes), Err(expected), "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_limit_counts_bytes_on_the_wire() {
    // Four records, and as much padding (RFC 7685) as fits.
    let padding = |bytes| (21, vec![0; bytes]);
    let room = BYTES_MAX - 4 * RECORD_HEADER_BYTES - message(&body(&[padding(0)])).len();
    let largest = in_records(&message(&body(&[padding(room)])), std::iter::empty());
    assert_eq!(largest.len(), BYTES_MAX);
    assert_eq!(parse(&largest), Ok(Progress::Hello(of(None, &[]))));
    assert_eq!(parse(&largest[..BYTES_MAX - 1]), Ok(Progress::Incomplete));

    let larger = in_records(&message(&body(&[padding(room + 1)])), std::iter::empty());
    assert_eq!(parse(&larger[..BYTES_MAX - 1]), Ok(Progress::Incomplete));
    assert_eq!(parse(&larger[..BYTES_MAX]), Err(HelloError::TooLong));
    assert_eq!(parse(&larger), Err(HelloError::TooLong));
}

/// Asserts that a result for some bytes still holds when more of them arrive.
fn assert_never_changes_its_mind(bytes: &[u8]) {
    let whole = parse(bytes);
    for end in 0..bytes.len() {
        let said = parse(&bytes[..end]);
        if said != Ok(Progress::Incomplete) {
            assert_eq!(said, whole, "after {end} bytes of {}", bytes.escape_ascii());
        }
    }
}

proptest! {
    #[test]
    fn any_cut_into_records_gives_the_same_hello(
        nth in any::<prop::sample::Index>(),
        sizes in vec(1_usize..300, 1..20),
    ) {
        let (bytes, hello) = nth.get(&vectors()).clone();
        let cut = in_records(&unwrapped(&bytes), sizes.into_iter().cycle());
        prop_assert_eq!(parse(&cut), Ok(Progress::Hello(hello)));
    }

    #[test]
    fn what_is_written_reads_back(
        name in "[a-z][a-z0-9.-]{0,60}[a-z]",
        protocols in vec(vec(any::<u8>(), 1..20), 1..5),
        others in vec((50_u16.., vec(any::<u8>(), 0..50)), 0..5),
        at in any::<prop::sample::Index>(),
    ) {
        let protocols: Vec<&[u8]> = protocols.iter().map(Vec::as_slice).collect();
        let hello = of(Some(&name), &protocols);
        let mut extensions = others;
        extensions.insert(at.index(extensions.len() + 1), (ALPN, vector16(&hello.alpn)));
        extensions.insert(at.index(extensions.len() + 1), (SERVER_NAME, name_list(name.as_bytes())));
        let Ok(Progress::Hello(read)) = parse(&in_one_record(&extensions)) else { panic!("a whole hello") };
        prop_assert_eq!(read.alpn().collect::<Vec<_>>(), protocols);
        prop_assert_eq!(read, hello);
    }

    #[test]
    fn mutated_hellos_are_read_or_refused(
        nth in any::<prop::sample::Index>(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = nth.get(&vectors()).0.clone();
        for (at, byte) in flips {
            *at.get_mut(&mut bytes) = byte;
        }
        assert_never_changes_its_mind(&bytes);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        assert_never_changes_its_mind(&bytes);
        assert_never_changes_its_mind(&begun(&[&bytes]));
        assert_never_changes_its_mind(&begun_extensions(&[&bytes]));
    }

    #[test]
    fn enough_bytes_are_never_incomplete(nth in any::<prop::sample::Index>(), more in any::<u8>()) {
        let mut bytes = nth.get(&vectors()).0.clone();
        bytes.truncate(60);
        bytes.resize(BYTES_MAX, more);
        prop_assert_ne!(parse(&bytes), Ok(Progress::Incomplete));
    }
}
