//! The PROXY header's parser: however the bytes are cut, it never panics and never changes its mind.

#![no_main]

use iisplice::protocol::proxy_protocol::{Header, Progress, Version, parse, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for end in 0..bytes.len() {
        match parse(&bytes[..end]) {
            // More bytes may say anything.
            Ok(Progress::Incomplete) => {}
            // They cannot take back what was said.
            said => assert_eq!(said, whole, "after {end} bytes"),
        }
    }
    let Ok(Progress::Complete { header, consumed }) = whole else { return };
    assert!(consumed <= bytes.len());
    if let Header::Tcp { source, destination } = header {
        for version in [Version::V1, Version::V2] {
            let written = write(version, Some((source, destination)));
            let read = parse(&written).expect("what was written parses");
            assert!(matches!(read, Progress::Complete { consumed, .. } if consumed == written.len()));
        }
    }
});
