//! Both token parsers and both sides of a login in SPNEGO.

#![no_main]

use iisplice::protocol::ntlm::{self, ClientRandom, Credentials, ExtendedProtection, FileTime, NtHash};
use iisplice::protocol::spnego::{Begun, Client, NegTokenInit, NegTokenResp, begin};
use libfuzzer_sys::fuzz_target;

const NOW: FileTime = FileTime(133_000_000_000_000_000);
const RANDOM: ClientRandom = ClientRandom { client_challenge: [0xaa; 8], session_key: [0x55; 16] };

fuzz_target!(|bytes: &[u8]| {
    if let Ok(token) = NegTokenInit::parse(bytes) {
        // The list was walked once; walking it again gives no more than what came.
        assert!(token.mech_types.iter().count() <= bytes.len());
    }
    if let Ok(token) = NegTokenResp::parse(bytes) {
        let written = token.to_bytes();
        assert_eq!(NegTokenResp::parse(&written).expect("what was written parses"), token);
    }

    let server = ntlm::Server {
        nb_domain: "CORP".into(),
        nb_computer: "WEB".into(),
        dns_domain: "corp.test".into(),
        dns_computer: "web.corp.test".into(),
    };
    let credentials = Credentials::new("CORP", "alice", "secret");
    let (client, first) = Client::new(ntlm::Client::new(&credentials)).negotiate();
    let _ = client.authenticate(bytes, &RANDOM, NOW);
    let _ = begin(&server, bytes, [1; 8], NOW);
    let Ok((Begun::Challenged(awaiting), _)) = begin(&server, &first, [1; 8], NOW) else {
        panic!("our own token");
    };
    // A password that the fuzzer is not told of.
    let hash_of = |_: &str, _: &str| Some(NtHash([0x5c; 16]));
    assert!(awaiting.authenticate(bytes, hash_of, ExtendedProtection::Off).is_err());
});
