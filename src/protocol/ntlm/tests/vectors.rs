//! MS-NLMP section 4.2 and Chromium's channel binding.

use super::super::av_pairs::AvPairsBuilder;
use super::super::client::temp;
use super::super::ntlmv2::{hmac_md5, rc4_apply, upper_case};
use super::super::*;
use super::hex;

const CLIENT_CHALLENGE: [u8; 8] = [0xaa; 8];
const SERVER_CHALLENGE: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

fn temp_of_the_specification() -> Vec<u8> {
    let mut pairs = AvPairsBuilder::default();
    pairs.add_text(AvId::NbDomainName, "Domain").unwrap();
    pairs.add_text(AvId::NbComputerName, "Server").unwrap();
    temp(FileTime(0), CLIENT_CHALLENGE, &pairs.finish())
}

#[test]
fn ntowf_v1_is_the_md4_of_the_password() {
    assert_eq!(NtHash::of_password("Password").0[..], hex("a4f49c406510bdcab6824ee7c30fd852"));
}

#[test]
fn ntowf_v2_upper_cases_the_user_and_not_the_domain() {
    let hash = NtHash::of_password("Password");
    assert_eq!(hash.response_key("User", "Domain").0[..], hex("0c868a403bfd7a93a3001ef22ef02e3f"));
    assert_eq!(hash.response_key("USER", "Domain").0[..], hex("0c868a403bfd7a93a3001ef22ef02e3f"));
    assert_eq!(hash.response_key("User", "DOMAIN").0[..], hex("f38efea48ada6afaa95ae44669e5634b"));
}

#[test]
fn temp_is_laid_out_as_specified() {
    let expected = hex("01010000000000000000000000000000aaaaaaaaaaaaaaaa00000000
         02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000 00000000");
    assert_eq!(temp_of_the_specification(), expected);
}

#[test]
fn proof_session_key_and_lm_response() {
    let key = NtHash::of_password("Password").response_key("User", "Domain");
    let proof = key.proof(SERVER_CHALLENGE, &temp_of_the_specification());
    assert_eq!(proof[..], hex("68cd0ab851e51c96aabc927bebef6a1c"));
    assert_eq!(key.session_base_key(&proof)[..], hex("8de40ccadbc14a82f15cb0ad0de95ca3"));
    let lm_response = key.lm_response(SERVER_CHALLENGE, CLIENT_CHALLENGE);
    assert_eq!(lm_response[..], hex("86c35097ac9cec102554764a57cccc19 aaaaaaaaaaaaaaaa"));
}

#[test]
fn the_session_key_is_sent_under_rc4() {
    let mut key = [0x55; 16];
    rc4_apply(&hex("8de40ccadbc14a82f15cb0ad0de95ca3").try_into().unwrap(), &mut key);
    assert_eq!(key[..], hex("c5dad2544fc9799094ce1ce90bc9d03e"));
}

/// 4.2.4.3: the Type 2 of the example, answered as in the example. Only the version and the order of the payload
/// differ, which the writer chooses.
#[test]
fn the_client_answers_the_challenge_of_the_specification() {
    let challenge =
        hex("4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000
         2400240044000000 0600701700 00000f 530065007200760065007200
         02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000");
    let credentials = Credentials::new("Domain", "User", "Password");
    let (awaiting, _) = Client::new(&credentials).workstation("COMPUTER").negotiate();
    let random = ClientRandom { client_challenge: CLIENT_CHALLENGE, session_key: [0x55; 16] };
    let answered = awaiting.authenticate(&challenge, &random, FileTime(0)).unwrap();

    let message = Authenticate::parse(&answered.message).unwrap();
    assert_eq!((&*message.domain, &*message.user, &*message.workstation), ("Domain", "User", "COMPUTER"));
    assert_eq!(message.lm_response, hex("86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa"));
    assert_eq!(message.nt_response[..16], hex("68cd0ab851e51c96aabc927bebef6a1c"));
    assert_eq!(message.nt_response[16..], temp_of_the_specification());
    assert_eq!(message.encrypted_session_key, hex("c5dad2544fc9799094ce1ce90bc9d03e"));
    assert_eq!(message.mic, None, "a server without a timestamp gets no MIC");
    assert_eq!(answered.session.exported(), &[0x55; 16]);
}

/// 4.2.4.4: the example seals a message first, which advances the RC4 stream by its 18 bytes; the signature is
/// otherwise computed like the first signature.
#[test]
fn signing_keys_and_checksum() {
    let plaintext: Vec<u8> = "Plaintext".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let sign_key: [u8; 16] = hex("4788dc861b4782f35d43fd98fe1a2d39").try_into().unwrap();
    let seal_key: [u8; 16] = hex("59f600973cc4960a25480a7c196e4c58").try_into().unwrap();
    let mut sealed = plaintext.clone();
    sealed.extend_from_slice(&hmac_md5(&sign_key, &[&[0; 4], &plaintext])[..8]);
    rc4_apply(&seal_key, &mut sealed);
    assert_eq!(sealed, hex("54e50165bf1936dc996020c1811b0f06fb5f 7fb38ec5c55d4976"));

    // The session key of the example gives the same two keys.
    let session = SessionKey::new([0x55; 16], Flags(0xe28a_8233));
    let mut expected = hex("01000000 0000000000000000 00000000");
    expected[4..12].copy_from_slice(&hmac_md5(&sign_key, &[&[0; 4], &plaintext])[..8]);
    rc4_apply(&seal_key, &mut expected[4..12]);
    let signature = session.first_signature(Direction::ClientToServer, &plaintext).unwrap();
    assert_eq!(signature[..], expected);
}

#[test]
fn channel_bindings_of_chromium() {
    let certificate_hash = hex("ea05fefecc6b0bd571dbbc5baa3ed45386d0446835f7b74c85621b9983475f95");
    let bindings = ChannelBindings::of_certificate_hash(&certificate_hash);
    assert_eq!(bindings.as_bytes()[..], hex("6586e99d81c2fc984e47172fd4dd0310"));
}

#[test]
fn upper_case_goes_character_by_character() {
    for (text, upper) in
        [("josé", "JOSÉ"), ("straße", "STRAßE"), ("ÿ", "Ÿ"), ("ı", "ı"), ("ſ", "ſ"), ("𐐨", "𐐨")]
    {
        assert_eq!(upper_case(text), upper);
    }
}

#[test]
fn the_epoch_of_unix_in_windows_time() {
    assert_eq!(FileTime::from_system_time(UNIX_EPOCH), FileTime(116_444_736_000_000_000));
}
