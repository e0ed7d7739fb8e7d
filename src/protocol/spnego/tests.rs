//! Tokens as seen on the wire, then a client against the server, then damage.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::protocol::der;
use crate::protocol::ntlm::{
    self, ClientRandom, Credentials, Direction, ExtendedProtection, FileTime, Login, NtHash, Server,
};

const NOW: FileTime = FileTime(133_000_000_000_000_000);
const RANDOM: ClientRandom = ClientRandom { client_challenge: [0xaa; 8], session_key: [0x55; 16] };

fn server() -> Server {
    Server {
        nb_domain: "CORP".into(),
        nb_computer: "WEB".into(),
        dns_domain: "corp.test".into(),
        dns_computer: "web.corp.test".into(),
    }
}

fn alice() -> Credentials {
    Credentials::new("CORP", "alice", "secret")
}

#[allow(clippy::unnecessary_wraps, reason = "the shape that a server asks for")]
fn hash_of(_user: &str, _domain: &str) -> Option<NtHash> {
    Some(NtHash::of_password("secret"))
}

/// A client that signs `signed` as the list it offered, after it offered `offered` without sending NTLM's first
/// message.
fn login_in_three_rounds(
    offered: &[Mechanism<'_>],
    signed: Option<&[Mechanism<'_>]>,
) -> Result<Login, Refusal> {
    let alice = alice();
    let (client, negotiate) = ntlm::Client::new(&alice).negotiate();
    let first = neg_token_init(offered, Some(b"a Kerberos message"));
    let (begun, reply) = begin(&server(), &first, [1; 8], NOW)?;
    let reply = NegTokenResp::parse(&reply).unwrap();
    assert_eq!(reply.state, Some(NegState::RequestMic));
    assert_eq!(reply.supported_mech, Some(Mechanism::Ntlm));
    let Begun::Negotiating(awaiting) = begun else { panic!("a message of NTLM was not sent yet") };

    let second = NegTokenResp { response_token: Some(negotiate), ..NegTokenResp::default() };
    let (awaiting, reply) = awaiting.challenge(&server(), &second.to_bytes(), [1; 8], NOW)?;
    let challenge = NegTokenResp::parse(&reply).unwrap().response_token.unwrap();
    let answered = client.authenticate(challenge, &RANDOM, NOW).unwrap();
    let mic = signed.map(|list| {
        answered.session.first_signature(Direction::ClientToServer, &mech_types_der(list)).unwrap()
    });
    let third = NegTokenResp {
        response_token: Some(&answered.message),
        mech_list_mic: mic.as_ref().map(|mic| &mic[..]),
        ..NegTokenResp::default()
    };
    awaiting.authenticate(&third.to_bytes(), hash_of, ExtendedProtection::Off).map(|(login, _)| login)
}

/// All tokens of a login, the client's and the server's in turn.
fn tokens() -> [Vec<u8>; 4] {
    let alice = alice();
    let (client, first) = Client::new(ntlm::Client::new(&alice)).negotiate();
    let (begun, second) = begin(&server(), &first, [1; 8], NOW).unwrap();
    let Begun::Challenged(awaiting) = begun else { panic!("NTLM's first message was sent ahead") };
    let (client, third) = client.authenticate(&second, &RANDOM, NOW).unwrap();
    let (login, fourth) = awaiting.authenticate(&third, hash_of, ExtendedProtection::Off).unwrap();
    assert_eq!(login.user, "alice");
    client.finish(&fourth).unwrap();
    [first, second, third, fourth]
}

#[test]
fn a_client_that_knows_only_ntlm_is_in_after_two_rounds() {
    let [.., fourth] = tokens();
    let last = NegTokenResp::parse(&fourth).unwrap();
    assert_eq!(last.state, Some(NegState::AcceptCompleted));
    assert!(last.mech_list_mic.is_some(), "a signed list is answered by a signature");
}

#[test]
fn the_first_token_byte_by_byte() {
    let ntlm_message = ntlm::Client::new(&alice()).negotiate().1;
    let token = neg_token_init(&[Mechanism::Ntlm], Some(ntlm_message));
    let expected_head = b"\x60\x48\x06\x06\x2b\x06\x01\x05\x05\x02\xa0\x3e\x30\x3c\xa0\x0e\x30\x0c\x06\x0a\
        \x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a\xa2\x2a\x04\x28NTLMSSP\0";
    assert_eq!(token[..expected_head.len()], expected_head[..]);
    let parsed = NegTokenInit::parse(&token).unwrap();
    assert_eq!(parsed.mech_token, Some(ntlm_message));
    assert_eq!(parsed.mech_list_mic, None);
}

#[test]
fn a_browser_s_list_with_kerberos_first() {
    let browser =
        [Mechanism::MsKerberos, Mechanism::Kerberos, Mechanism::Other(b"\x2b\x06\x01"), Mechanism::Ntlm];
    assert_eq!(login_in_three_rounds(&browser, Some(&browser)).unwrap().user, "alice");
    // Kerberos was removed: the server's choice must be signed, with the list that was sent.
    let shortened = [Mechanism::Ntlm];
    assert_eq!(login_in_three_rounds(&browser, Some(&shortened)), Err(Refusal::WrongMechListMic));
    assert_eq!(login_in_three_rounds(&browser, None), Err(Refusal::MissingMechListMic));
}

#[test]
fn a_client_with_only_kerberos_is_refused() {
    let refused = login_in_three_rounds(&[Mechanism::MsKerberos, Mechanism::Kerberos], None);
    assert_eq!(refused, Err(Refusal::NoCommonMechanism));
}

#[test]
fn request_flags_and_hints_are_skipped() {
    let list = mech_types_der(&[Mechanism::Ntlm]);
    let mut fields = der::element(0xa0, &list);
    fields.extend(der::element(0xa1, b"\x03\x02\x06\x40"));
    fields.extend(der::element(0xa2, b"\x04\x03abc"));
    fields.extend(der::element(0xa3, &der::element(0x30, b"\xa0\x03\x1b\x01x")));
    fields.extend(der::element(0xa4, b"\x04\x03mic"));
    let mut body = b"\x06\x06\x2b\x06\x01\x05\x05\x02".to_vec();
    body.extend(der::element(0xa0, &der::element(0x30, &fields)));
    let token = der::element(0x60, &body);
    let parsed = NegTokenInit::parse(&token).unwrap();
    assert_eq!((parsed.mech_token, parsed.mech_list_mic), (Some(&b"abc"[..]), Some(&b"mic"[..])));
}

#[test]
fn a_mechanism_that_is_not_spnego_is_named() {
    // A bare Kerberos token: APPLICATION 0 with Kerberos' own object identifier.
    let token = der::element(0x60, b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01\x00");
    assert_eq!(NegTokenInit::parse(&token), Err(TokenError::NotSpnego));
}

#[test]
fn lengths_that_lie() {
    for (token, expected) in [
        (&b"\xa1\x80\x00\x00"[..], DerError::BadLength),
        (b"\xa1\x85\x00\x00\x00\x00\x00", DerError::BadLength),
        (b"\xa1\x84\xff\xff\xff\xff", DerError::Truncated),
        (b"\xa1\x82\x00", DerError::Truncated),
        (b"\xa1\x02\x30\x00\x00", DerError::TrailingBytes),
        (b"\xa1\x03\x30\x00\x00", DerError::TrailingBytes),
    ] {
        assert_eq!(NegTokenResp::parse(token), Err(expected.into()), "{token:x?}");
    }
    // Longer than necessary: not DER, but in use.
    assert!(NegTokenResp::parse(b"\xa1\x82\x00\x03\x30\x81\x00").is_ok());
}

#[test]
fn a_server_s_refusal_and_its_other_choice() {
    let alice = alice();
    let answer = |reply: NegTokenResp<'_>| {
        let (client, _) = Client::new(ntlm::Client::new(&alice)).negotiate();
        client.authenticate(&reply.to_bytes(), &RANDOM, NOW).unwrap_err()
    };
    let rejected = NegTokenResp { state: Some(NegState::Reject), ..NegTokenResp::default() };
    assert_eq!(answer(rejected), ClientError::Rejected);
    let kerberos = NegTokenResp { supported_mech: Some(Mechanism::Kerberos), ..NegTokenResp::default() };
    assert_eq!(answer(kerberos), ClientError::OtherMechanism);
    assert_eq!(answer(NegTokenResp::default()), ClientError::NoChallenge);
}

#[test]
fn a_wrong_signature_by_the_server_is_noticed() {
    let alice = alice();
    let (client, first) = Client::new(ntlm::Client::new(&alice)).negotiate();
    let (_, second) = begin(&server(), &first, [1; 8], NOW).unwrap();
    let (client, _) = client.authenticate(&second, &RANDOM, NOW).unwrap();
    let last = NegTokenResp {
        state: Some(NegState::AcceptCompleted),
        mech_list_mic: Some(&[1; 16]),
        ..NegTokenResp::default()
    };
    assert_eq!(client.finish(&last.to_bytes()), Err(ClientError::WrongMechListMic));
}

#[test]
fn every_prefix_of_every_token_is_an_error() {
    let tokens = tokens();
    for len in 0..tokens[0].len() {
        assert!(NegTokenInit::parse(&tokens[0][..len]).is_err(), "first token, {len} bytes");
    }
    for token in &tokens[1..] {
        for len in 0..token.len() {
            assert!(NegTokenResp::parse(&token[..len]).is_err(), "{len} bytes of {}", token.len());
        }
    }
}

fn mechanism() -> impl Strategy<Value = Mechanism<'static>> {
    prop_oneof![
        Just(Mechanism::Ntlm),
        Just(Mechanism::Kerberos),
        Just(Mechanism::MsKerberos),
        Just(Mechanism::Other(b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x1e")),
    ]
}

proptest! {
    #[test]
    fn the_first_token_reads_back(
        mechanisms in vec(mechanism(), 0..5),
        token in option::of(vec(any::<u8>(), 0..70_000)),
    ) {
        let bytes = neg_token_init(&mechanisms, token.as_deref());
        let parsed = NegTokenInit::parse(&bytes).unwrap();
        prop_assert_eq!(parsed.mech_types.iter().collect::<Vec<_>>(), mechanisms);
        prop_assert_eq!(parsed.mech_token, token.as_deref());
    }

    #[test]
    fn later_tokens_read_back(
        state in option::of(prop_oneof![
            Just(NegState::AcceptCompleted), Just(NegState::AcceptIncomplete),
            Just(NegState::Reject), Just(NegState::RequestMic),
        ]),
        supported_mech in option::of(mechanism()),
        token in option::of(vec(any::<u8>(), 0..400)),
        mic in option::of(vec(any::<u8>(), 0..20)),
    ) {
        let message = NegTokenResp {
            state, supported_mech, response_token: token.as_deref(), mech_list_mic: mic.as_deref(),
        };
        let bytes = message.to_bytes();
        prop_assert_eq!(NegTokenResp::parse(&bytes).unwrap(), message);
    }

    #[test]
    fn changed_tokens_never_panic(
        changes in vec((0_usize..4, any::<prop::sample::Index>(), 1_u8..), 1..4),
    ) {
        let mut tokens = tokens();
        for (number, at, bits) in changes {
            let at = at.index(tokens[number].len());
            tokens[number][at] ^= bits;
        }
        let alice = alice();
        let (client, _) = Client::new(ntlm::Client::new(&alice)).negotiate();
        if let Ok((awaiting, _)) = client.authenticate(&tokens[1], &RANDOM, NOW) {
            let _ = awaiting.finish(&tokens[3]);
        }
        if let Ok((Begun::Challenged(awaiting), _)) = begin(&server(), &tokens[0], [1; 8], NOW) {
            let _ = awaiting.authenticate(&tokens[2], hash_of, ExtendedProtection::Off);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..100)) {
        let _ = NegTokenInit::parse(&bytes);
        let _ = NegTokenResp::parse(&bytes);
    }
}
