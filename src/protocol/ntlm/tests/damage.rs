//! What is written reads back; every prefix is an error; changed bytes never panic.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::*;
use super::{NOW, RANDOM, SERVER_CHALLENGE, hash_of, server};

/// The three messages of a login with everything in it.
fn whole_login() -> [Vec<u8>; 3] {
    let alice = Credentials::new("CORP", "alice", "secret");
    let (client, negotiate) = Client::new(&alice).workstation("DESK").target_name("HTTP/web").negotiate();
    let (_, challenge) = server().challenge(negotiate, SERVER_CHALLENGE, NOW).unwrap();
    let message = client.authenticate(&challenge, &RANDOM, NOW).unwrap().message;
    [negotiate.to_vec(), challenge, message]
}

#[test]
fn every_prefix_of_every_message_is_an_error() {
    let [negotiate, challenge, authenticate] = whole_login();
    for len in 0..negotiate.len() {
        // 16 bytes, without even the name fields, is the shortest form clients use.
        let accepted = Negotiate::parse(&negotiate[..len]).is_ok();
        assert_eq!(accepted, len == 16, "NEGOTIATE of {len} bytes");
    }
    for len in 0..challenge.len() {
        assert!(Challenge::parse(&challenge[..len]).is_err(), "CHALLENGE of {len} bytes");
    }
    for len in 0..authenticate.len() {
        assert!(Authenticate::parse(&authenticate[..len]).is_err(), "AUTHENTICATE of {len} bytes");
    }
}

#[test]
fn every_prefix_of_an_nt_response_is_no_ntlmv2() {
    let [.., message] = whole_login();
    let nt_response = Authenticate::parse(&message).unwrap().nt_response;
    // The four zeros after the end mark are not read.
    for len in 0..nt_response.len() - 4 {
        let parsed = NtResponse::parse(&nt_response[..len]);
        assert!(!matches!(parsed, Ok(NtResponse::V2(_))), "{len} bytes");
    }
}

#[test]
fn messages_in_each_others_place() {
    let [negotiate, challenge, _] = whole_login();
    assert_eq!(Challenge::parse(&negotiate), Err(MessageError::WrongType { expected: 2, found: 1 }));
    assert_eq!(Authenticate::parse(&challenge), Err(MessageError::WrongType { expected: 3, found: 2 }));
}

#[test]
fn type_1_messages_from_the_web() {
    let sound = BASE64_STANDARD.decode("TlRMTVNTUAABAAAAB4IIAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let flags = Negotiate::parse(&sound).unwrap().flags;
    let expected = [Flags::OEM, Flags::REQUEST_TARGET, Flags::NTLM, Flags::ALWAYS_SIGN];
    let expected =
        expected.into_iter().fold(Flags::UNICODE.with(Flags::EXTENDED_SESSION_SECURITY), Flags::with);
    assert_eq!(flags, expected);

    let damaged = BASE64_STANDARD.decode("TlRNTVMTUAAB4IIAAAAAAAAAAAA=").unwrap();
    assert_eq!(Negotiate::parse(&damaged), Err(MessageError::NotNtlm));
}

/// Any text that UTF-16 can carry.
fn name() -> impl Strategy<Value = String> {
    "\\PC{0,20}"
}

fn pairs() -> impl Strategy<Value = Vec<u8>> {
    vec((1_u16.., vec(any::<u8>(), 0..40)), 0..6).prop_map(|list| {
        let mut builder = AvPairsBuilder::default();
        for (id, value) in list {
            // Pairs with a fixed size would need that size.
            let id = if (6..=7).contains(&id) { 100 } else { id };
            builder.add(id, &value).unwrap();
        }
        builder.finish()
    })
}

fn version() -> impl Strategy<Value = Option<Version>> {
    option::of(any::<[u8; 8]>().prop_map(Version))
}

proptest! {
    #[test]
    fn negotiate_reads_back(
        flags in any::<u32>(),
        domain in option::of("[ -~]{0,20}"),
        workstation in option::of("[ -~]{0,20}"),
        version in version(),
    ) {
        let message = Negotiate { flags: Flags(flags), domain, workstation, version };
        let bytes = message.to_bytes().unwrap();
        let parsed = Negotiate::parse(&bytes).unwrap();
        prop_assert_eq!((&parsed.domain, &parsed.workstation), (&message.domain, &message.workstation));
        prop_assert_eq!(parsed.version, message.version);
        prop_assert_eq!(parsed.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn challenge_reads_back(
        flags in any::<u32>(),
        target_name in name(),
        server_challenge in any::<[u8; 8]>(),
        pairs in option::of(pairs()),
        version in version(),
    ) {
        let message = Challenge {
            flags: Flags(flags).with(Flags::UNICODE),
            target_name,
            server_challenge,
            target_info: pairs.as_ref().map(|pairs| AvPairs::parse(pairs).unwrap()),
            version,
        };
        let bytes = message.to_bytes().unwrap();
        let parsed = Challenge::parse(&bytes).unwrap();
        prop_assert_eq!(&parsed.target_name, &message.target_name);
        prop_assert_eq!(parsed.server_challenge, message.server_challenge);
        prop_assert_eq!(parsed.target_info, message.target_info);
        prop_assert_eq!(parsed.version, message.version);
        prop_assert_eq!(parsed.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn authenticate_reads_back(
        flags in any::<u32>(),
        names in (name(), name(), name()),
        lm_response in vec(any::<u8>(), 0..30),
        pairs in pairs(),
        mic in option::of(any::<[u8; 16]>()),
        session_key in vec(any::<u8>(), 0..20),
        version in version(),
    ) {
        let mut pairs = AvPairs::parse(&pairs).unwrap().iter().fold(
            AvPairsBuilder::default(),
            |mut builder, (id, value)| { builder.add(id, value).unwrap(); builder },
        );
        if mic.is_some() {
            pairs.add(AvId::Flags as u16, &AV_FLAG_MIC.to_le_bytes()).unwrap();
        }
        let temp = super::super::client::temp(NOW, [3; 8], &pairs.finish());
        let nt_response = [&[4; 16][..], &temp].concat();
        let (domain, user, workstation) = names;
        let message = Authenticate {
            flags: Flags(flags).with(Flags::UNICODE),
            lm_response: &lm_response,
            nt_response: &nt_response,
            domain, user, workstation,
            encrypted_session_key: &session_key,
            version,
            mic,
        };
        let bytes = message.to_bytes().unwrap();
        let mut parsed = Authenticate::parse(&bytes).unwrap();
        prop_assert_eq!(parsed.to_bytes().unwrap(), &bytes[..]);
        parsed.flags = message.flags;
        prop_assert_eq!(parsed, message);
    }

    /// Whatever is changed, both ends accept or refuse. Accepting changed bytes never means accepting a wrong password:
    /// the change must be one that neither the proof nor the MIC covers, and the last message has no such bytes.
    #[test]
    fn changed_messages_never_panic_and_never_get_in(
        changes in vec((0_usize..3, any::<prop::sample::Index>(), 1_u8..), 1..4),
    ) {
        let messages = whole_login();
        let mut changed = messages.clone();
        for (number, at, bits) in changes {
            let at = at.index(changed[number].len());
            changed[number][at] ^= bits;
        }
        let alice = Credentials::new("CORP", "alice", "secret");
        if let Ok(answered) = Client::new(&alice).negotiate().0.authenticate(&changed[1], &RANDOM, NOW) {
            prop_assert!(answered.message.len() < 1000 + changed[1].len());
        }
        // A server that gets the changed first message and the changed last one.
        if let Ok((awaiting, _)) = server().challenge(&changed[0], SERVER_CHALLENGE, NOW) {
            let judged = awaiting.authenticate(&changed[2], hash_of, ExtendedProtection::Off);
            prop_assert_eq!(judged.is_ok(), changed[0] == messages[0] && changed[2] == messages[2]);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        kind in 1_u8..4,
        body in vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = b"NTLMSSP\0".to_vec();
        bytes.extend_from_slice(&[kind, 0, 0, 0]);
        bytes.extend_from_slice(&body);
        // A parser never keeps more than it received.
        if let Ok(message) = Negotiate::parse(&bytes) {
            let kept = message.domain.map_or(0, |d| d.len()) + message.workstation.map_or(0, |w| w.len());
            prop_assert!(kept <= 2 * bytes.len());
        }
        if let Ok(message) = Challenge::parse(&bytes) {
            prop_assert!(message.target_name.len() <= 3 * bytes.len());
        }
        if let Ok(message) = Authenticate::parse(&bytes) {
            prop_assert!(message.user.len() <= 3 * bytes.len());
        }
    }
}
