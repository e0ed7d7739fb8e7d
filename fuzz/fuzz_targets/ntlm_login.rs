//! Each side of a login gets the same damaged bytes where it waits for a message. A server must not let them in.

#![no_main]

use iisplice::protocol::ntlm::{
    Client, ClientRandom, Credentials, ExtendedProtection, FileTime, NtHash, Server,
};
use libfuzzer_sys::fuzz_target;

const NOW: FileTime = FileTime(133_000_000_000_000_000);
const RANDOM: ClientRandom = ClientRandom { client_challenge: [0xaa; 8], session_key: [0x55; 16] };

fuzz_target!(|bytes: &[u8]| {
    let server = Server {
        nb_domain: "CORP".into(),
        nb_computer: "WEB".into(),
        dns_domain: "corp.test".into(),
        dns_computer: "web.corp.test".into(),
    };
    let credentials = Credentials::new("CORP", "alice", "secret");
    let (client, negotiate) = Client::new(&credentials).negotiate();
    let _ = client.authenticate(bytes, &RANDOM, NOW);
    let _ = server.challenge(bytes, [1; 8], NOW);
    let (awaiting, _) = server.challenge(negotiate, [1; 8], NOW).expect("our own message");
    // A password that the fuzzer is not told of.
    let hash_of = |_: &str, _: &str| Some(NtHash([0x5c; 16]));
    assert!(awaiting.authenticate(bytes, hash_of, ExtendedProtection::Off).is_err());
});
