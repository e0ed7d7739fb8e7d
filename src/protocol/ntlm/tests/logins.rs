//! A client against a server: which logins are accepted, and why the others are refused.

use super::super::*;
use super::{NOW, RANDOM, SERVER_CHALLENGE, hash_of, server};

const CERTIFICATE_HASH: [u8; 32] = [7; 32];

fn bindings() -> ChannelBindings {
    ChannelBindings::of_certificate_hash(&CERTIFICATE_HASH)
}

/// A whole login; `change` may damage each message in transit.
fn login_changed(
    client: Client<'_>,
    protection: ExtendedProtection,
    change: impl Fn(usize, &mut Vec<u8>),
) -> Result<Login, Refusal> {
    let (client, negotiate) = client.negotiate();
    let mut negotiate = negotiate.to_vec();
    change(1, &mut negotiate);
    let (awaiting, mut challenge) = server().challenge(&negotiate, SERVER_CHALLENGE, NOW).unwrap();
    change(2, &mut challenge);
    let mut message = client.authenticate(&challenge, &RANDOM, NOW).unwrap().message;
    change(3, &mut message);
    awaiting.authenticate(&message, hash_of, protection)
}

fn login(client: Client<'_>, protection: ExtendedProtection) -> Result<Login, Refusal> {
    login_changed(client, protection, |_, _| {})
}

/// Rewrites a real Type 3 with other parts and returns the server's refusal.
fn refusal_of(rewrite: impl FnOnce(&mut Authenticate<'_>)) -> Refusal {
    let alice = Credentials::new("CORP", "alice", "secret");
    let (client, negotiate) = Client::new(&alice).negotiate();
    let (awaiting, challenge) = server().challenge(negotiate, SERVER_CHALLENGE, NOW).unwrap();
    let answered = client.authenticate(&challenge, &RANDOM, NOW).unwrap();
    let mut message = Authenticate::parse(&answered.message).unwrap();
    rewrite(&mut message);
    awaiting.authenticate(&message.to_bytes().unwrap(), hash_of, ExtendedProtection::Off).unwrap_err()
}

#[test]
fn the_constant_negotiate_message_is_what_the_writer_writes() {
    let alice = Credentials::new("CORP", "alice", "secret");
    let (_, bytes) = Client::new(&alice).negotiate();
    let parsed = Negotiate::parse(bytes).unwrap();
    assert_eq!(parsed.version, Some(Version::WINDOWS_10));
    assert!(parsed.flags.has(Flags::UNICODE) && parsed.flags.has(Flags::EXTENDED_SESSION_SECURITY));
    assert_eq!(parsed.to_bytes().unwrap(), bytes);
}

#[test]
fn the_right_password_gets_in_with_a_mic() {
    let alice = Credentials::new("CORP", "Alice", "secret");
    let client = Client::new(&alice).workstation("DESK").target_name("HTTP/web.corp.test");
    let login = login(client, ExtendedProtection::Off).unwrap();
    assert_eq!((&*login.domain, &*login.user, &*login.workstation), ("CORP", "Alice", "DESK"));
    assert_eq!(login.target_name.as_deref(), Some("HTTP/web.corp.test"));
    assert!(login.has_mic);
}

#[test]
fn both_sides_hold_the_same_session_key() {
    let alice = Credentials::new("CORP", "alice", "secret");
    let (client, negotiate) = Client::new(&alice).negotiate();
    let (awaiting, challenge) = server().challenge(negotiate, SERVER_CHALLENGE, NOW).unwrap();
    let answered = client.authenticate(&challenge, &RANDOM, NOW).unwrap();
    let login = awaiting.authenticate(&answered.message, hash_of, ExtendedProtection::Off).unwrap();
    assert_eq!(login.session, answered.session);
}

#[test]
fn names_beyond_ascii() {
    let user = Credentials::new("BÜRO", "žofie", "žluťoučký 🐎");
    let (client, negotiate) = Client::new(&user).negotiate();
    let (awaiting, challenge) = server().challenge(negotiate, SERVER_CHALLENGE, NOW).unwrap();
    let message = client.authenticate(&challenge, &RANDOM, NOW).unwrap().message;
    let hash_of = |user: &str, domain: &str| {
        assert_eq!((user, domain), ("žofie", "BÜRO"));
        Some(NtHash::of_password("žluťoučký 🐎"))
    };
    awaiting.authenticate(&message, hash_of, ExtendedProtection::Off).unwrap();
}

#[test]
fn unicode_struck_off_the_offer_on_its_way_is_caught_by_the_mic() {
    let alice = Credentials::new("CORP", "alice", "secret");
    let login = login_changed(Client::new(&alice), ExtendedProtection::Off, |number, message| {
        if number == 1 {
            message[12] &= !1;
        }
    });
    // The names are ASCII, so everything but the MIC would match.
    assert_eq!(login.unwrap_err(), Refusal::WrongMic);
}

#[test]
fn a_name_that_the_server_s_character_set_lacks_is_our_failure() {
    let user = Credentials::new("CORP", "žofie", "secret");
    let (client, negotiate) = Client::new(&user).negotiate();
    let mut oem_only = negotiate.to_vec();
    oem_only[12] &= !1;
    let (_, challenge) = server().challenge(&oem_only, SERVER_CHALLENGE, NOW).unwrap();
    assert_eq!(
        client.authenticate(&challenge, &RANDOM, NOW).unwrap_err(),
        ClientError::CannotAnswer(MessageError::BadText { field: "user" })
    );
}

#[test]
fn a_client_that_offers_no_character_set_is_refused() {
    let mut message = negotiate_message();
    message[12] &= !3;
    let refused = server().challenge(&message, SERVER_CHALLENGE, NOW);
    assert_eq!(refused.unwrap_err(), MessageError::NoCharset);
}

fn negotiate_message() -> Vec<u8> {
    let alice = Credentials::new("CORP", "alice", "secret");
    Client::new(&alice).negotiate().1.to_vec()
}

#[test]
fn the_wrong_password_is_refused() {
    let alice = Credentials::new("CORP", "alice", "Secret");
    let refused = login(Client::new(&alice), ExtendedProtection::Off).unwrap_err();
    assert_eq!(refused, Refusal::WrongPassword { domain: "CORP".into(), user: "alice".into() });
}

#[test]
fn an_unknown_user_is_refused() {
    let mallory = Credentials::new("CORP", "mallory", "secret");
    let refused = login(Client::new(&mallory), ExtendedProtection::Off).unwrap_err();
    assert_eq!(refused, Refusal::UnknownUser { domain: "CORP".into(), user: "mallory".into() });
}

#[test]
fn an_answer_to_another_challenge_is_refused() {
    let alice = Credentials::new("CORP", "alice", "secret");
    let refused = login_changed(Client::new(&alice), ExtendedProtection::Off, |number, message| {
        if number == 2 {
            message[24] ^= 1;
        }
    });
    assert!(matches!(refused, Err(Refusal::WrongPassword { .. })), "{refused:?}");
}

#[test]
fn a_change_that_the_proof_does_not_cover_is_caught_by_the_mic() {
    let alice = Credentials::new("CORP", "alice", "secret");
    for (number, offset) in [(1, 36), (2, 52), (3, 68)] {
        // A byte of the version field of each message.
        let refused = login_changed(Client::new(&alice), ExtendedProtection::Off, |at, message| {
            if at == number {
                message[offset] ^= 1;
            }
        });
        assert_eq!(refused, Err(Refusal::WrongMic), "message {number}");
    }
}

#[test]
fn a_message_with_the_mic_bit_but_without_room_for_one_is_refused() {
    // As `without_mic` in `to_bytes` lays it out: the payload starts at 72.
    let refused = refusal_of(|message| message.mic = None);
    assert_eq!(refused, Refusal::Malformed(MessageError::MicOverlapsPayload));
}

#[test]
fn older_and_empty_responses_are_refused() {
    let zero_mic = |message: &mut Authenticate<'_>| message.mic = None;
    let v1 = refusal_of(|message| {
        zero_mic(message);
        message.nt_response = &[0x11; 24];
    });
    assert_eq!(v1, Refusal::NtlmV1);
    let lm = refusal_of(|message| {
        zero_mic(message);
        (message.lm_response, message.nt_response) = (&[0x11; 24], &[]);
    });
    assert_eq!(lm, Refusal::LmOnly);
    let empty = refusal_of(|message| {
        zero_mic(message);
        (message.lm_response, message.nt_response) = (&[], &[]);
    });
    assert_eq!(empty, Refusal::EmptyResponse);
    let anonymous = refusal_of(|message| {
        zero_mic(message);
        (message.lm_response, message.nt_response) = (&[0], &[]);
        message.user.clear();
    });
    assert_eq!(anonymous, Refusal::Anonymous);
    let flagged = refusal_of(|message| message.flags = message.flags.with(Flags::ANONYMOUS));
    assert_eq!(flagged, Refusal::Anonymous);
}

#[test]
fn a_session_key_of_another_length_is_refused() {
    let refused = refusal_of(|message| message.encrypted_session_key = &[1; 15]);
    assert_eq!(refused, Refusal::BadSessionKey { found_bytes: 15 });
}

/// impacket omits the last four zeros of `temp`; the proof covers the bytes as received.
#[test]
fn temp_without_its_last_zeros_gets_in() {
    let key = NtHash::of_password("secret").response_key("alice", "CORP");
    let (awaiting, _) = server().challenge(&negotiate_message(), SERVER_CHALLENGE, NOW).unwrap();
    let mut pairs = AvPairsBuilder::default();
    pairs.add_text(AvId::NbDomainName, "CORP").unwrap();
    let mut temp = super::super::client::temp(NOW, [0xaa; 8], &pairs.finish());
    temp.truncate(temp.len() - 4);
    let nt_response = [&key.proof(SERVER_CHALLENGE, &temp)[..], &temp].concat();
    let message = Authenticate {
        flags: Flags::UNICODE.with(Flags::NTLM),
        lm_response: &[],
        nt_response: &nt_response,
        domain: "CORP".into(),
        user: "alice".into(),
        workstation: String::new(),
        encrypted_session_key: &[],
        version: None,
        mic: None,
    };
    let login =
        awaiting.authenticate(&message.to_bytes().unwrap(), hash_of, ExtendedProtection::Off).unwrap();
    assert!(!login.has_mic);
}

#[test]
fn extended_protection() {
    let alice = Credentials::new("CORP", "alice", "secret");
    let other = ChannelBindings::of_certificate_hash(&[8; 32]);
    let (without, right, wrong) = (
        Client::new(&alice),
        Client::new(&alice).channel_bindings(bindings()),
        Client::new(&alice).channel_bindings(other),
    );
    let outcome = |client, protection| login(client, protection).map(|_| ());
    for (client, protection, expected) in [
        (without, ExtendedProtection::Off, Ok(())),
        (wrong, ExtendedProtection::Off, Ok(())),
        (without, ExtendedProtection::Allow(bindings()), Ok(())),
        (right, ExtendedProtection::Allow(bindings()), Ok(())),
        (wrong, ExtendedProtection::Allow(bindings()), Err(Refusal::WrongBindings)),
        (without, ExtendedProtection::Require(bindings()), Err(Refusal::MissingBindings)),
        (right, ExtendedProtection::Require(bindings()), Ok(())),
        (wrong, ExtendedProtection::Require(bindings()), Err(Refusal::WrongBindings)),
    ] {
        assert_eq!(outcome(client, protection), expected, "{client:?} {protection:?}");
    }
}

#[test]
fn the_server_s_own_target_name_and_bindings_do_not_pass_for_the_client_s() {
    let mut pairs = AvPairsBuilder::default();
    pairs.add_text(AvId::TargetName, "HTTP/evil").unwrap();
    pairs.add(AvId::ChannelBindings as u16, &[9; 16]).unwrap();
    pairs.add(AvId::Timestamp as u16, &NOW.0.to_le_bytes()).unwrap();
    let pairs = pairs.finish();
    let challenge = Challenge {
        flags: Flags::UNICODE.with(Flags::NTLM),
        target_name: "CORP".into(),
        server_challenge: SERVER_CHALLENGE,
        target_info: Some(AvPairs::parse(&pairs).unwrap()),
        version: None,
    };
    let alice = Credentials::new("CORP", "alice", "secret");
    let client = Client::new(&alice).target_name("HTTP/web").channel_bindings(bindings());
    let (client, _) = client.negotiate();
    let answered = client.authenticate(&challenge.to_bytes().unwrap(), &RANDOM, NOW).unwrap();
    let message = Authenticate::parse(&answered.message).unwrap();
    let NtResponse::V2(response) = NtResponse::parse(message.nt_response).unwrap() else {
        panic!("not NTLMv2");
    };
    assert_eq!(response.time, NOW);
    assert_eq!(response.pairs.text(AvId::TargetName).unwrap().as_deref(), Some("HTTP/web"));
    assert_eq!(response.pairs.channel_bindings().unwrap(), Some(*bindings().as_bytes()));
    assert_eq!(response.pairs.iter().count(), 4, "timestamp, flags, target name, bindings");
}
