//! The ClientHello's parser: however the bytes are cut, it never panics and never changes its mind; nor does it with the
//! same bytes in another number of records.

#![no_main]

use iisplice::protocol::client_hello::{Progress, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for end in 0..bytes.len().min(1000) {
        match parse(&bytes[..end]) {
            // More bytes may say anything.
            Ok(Progress::Incomplete) => {}
            // They cannot take back what was said.
            said => assert_eq!(said, whole, "after {end} bytes"),
        }
    }
    if let Ok(Progress::Hello(hello)) = &whole {
        assert!(hello.alpn().all(|protocol| !protocol.is_empty()));
        assert!(hello.server_name.as_ref().is_none_or(|name| !name.is_empty() && name.len() < bytes.len()));
    }
    // The bytes as what records carry; records of a byte, below where their headers would reach the limit.
    if bytes.len() < 10_000 {
        assert_eq!(parse(&in_records(bytes, 1)), parse(&in_records(bytes, 16_384)));
    }
});

fn in_records(message: &[u8], fragment_bytes: usize) -> Vec<u8> {
    let record =
        |fragment: &[u8]| [b"\x16\x03\x01", &(fragment.len() as u16).to_be_bytes()[..], fragment].concat();
    message.chunks(fragment_bytes).flat_map(record).collect()
}
