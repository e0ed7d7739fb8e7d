//! The three parsers; what they accept is written, and reads back as the same.

#![no_main]

use iisplice::protocol::ntlm::{Authenticate, Challenge, Negotiate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Negotiate::parse(bytes) {
        let written = message.to_bytes().expect("what was parsed fits");
        let again = Negotiate::parse(&written).expect("what was written parses");
        assert_eq!(
            (again.domain, again.workstation, again.version),
            (message.domain, message.workstation, message.version)
        );
    }
    if let Ok(message) = Challenge::parse(bytes) {
        let written = message.to_bytes().expect("what was parsed fits");
        assert_eq!(Challenge::parse(&written).expect("what was written parses"), message);
    }
    if let Ok(message) = Authenticate::parse(bytes) {
        let written = message.to_bytes().expect("what was parsed fits");
        assert_eq!(Authenticate::parse(&written).expect("what was written parses"), message);
    }
});
