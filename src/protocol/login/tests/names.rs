//! The user that an `Authorization` names, in all forms that a server might read.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn named(value: &str) -> Option<String> {
    Asked::new([value.as_bytes()], Instant::now()).name.map(String::from)
}

#[test]
fn names_of_every_scheme() {
    let [type1, _, type3] = ntlm("CORP", "alice");
    let [_, _, third, _] = spnego();
    let basic = |text: &[u8]| header("Basic", text);
    for (value, name) in [
        (&*type3, Some("CORP\\alice")),
        (&third, Some("CORP\\alice")),
        (&type3.replace("NTLM", "Negotiate"), Some("CORP\\alice")),
        (&ntlm("", "alice@corp.test")[2], Some("alice@corp.test")),
        (&basic(b"CORP\\alice:a:b"), Some("CORP\\alice")),
        (&basic("žofie:x".as_bytes()), Some("žofie")),
        (&basic(b"b\xfcro\\m\xfcller:x"), Some("büro\\müller")),
        (&basic(b"alice"), Some("alice")),
        (r#"Digest username="CORP\\a\"lice", realm="x, username=y""#, Some("CORP\\a\"lice")),
        ("digest realm=x,USERNAME = bob", Some("bob")),
        ("Digest username*=UTF-8''J%C3%A4s%C3%B8n%2, realm=x", Some("Jäsøn%2")),
        (&type1, None),
        (&ntlm("CORP", "")[2], None),
        (&basic(b":x"), None),
        ("Basic !", None),
        ("Digest realm=\"username=x\"", None),
        (&kerberos(1000), None),
        ("Bearer alice", None),
        ("NTLM", None),
    ] {
        assert_eq!(named(value).as_deref(), name, "{value}");
    }
}

#[test]
fn what_names_no_one_is_known() {
    let is_unnamed = |value: &str| Asked::new([value.as_bytes()], Instant::now()).is_unnamed();
    assert!(!Asked::new([], Instant::now()).is_unnamed());
    assert!(!is_unnamed(&ntlm("CORP", "alice")[0]), "a Type 1 has no credentials");
    assert!(!is_unnamed(&ntlm("CORP", "alice")[2]));
    for value in [&*kerberos(100), "Bearer x", &ntlm("CORP", "")[2], "NTLM TlRMTVNTUAADAAAA"] {
        assert!(is_unnamed(value), "{value}");
    }
}

#[test]
fn a_message_far_behind_the_beginning_of_its_token() {
    let token = BASE64_STANDARD.decode(ntlm("CORP", "alice")[2].split(' ').nth(1).unwrap()).unwrap();
    // Fields in another order than DER has, and a length that takes more digits than it needs.
    let mic = der::element(0xa3, &der::element(0x04, &[7; 300]));
    let message = der::element(0xa2, &der::element(0x04, &token));
    let late = der::element(0xa1, &der::element(0x30, &[mic, message].concat()));
    assert_eq!(named(&header("Negotiate", &late)).as_deref(), Some("CORP\\alice"));
    let mut play = Play::new();
    let [type1, type2, _] = ntlm_under("Negotiate", "CORP", "alice");
    play.exchange(&type1, unauthorized(&[&type2]));
    assert_eq!(play.exchange(&header("Negotiate", &late), ok()).step, Step::Type3Ok);
    assert_eq!(play.follower.ran_as(), Some("CORP\\alice"));
    // SPNEGO under NTLM is not NTLM, but the user it names is still detected.
    let mut play = Play::new();
    play.login("CORP", "bob", ok());
    let asked = Asked::new([header("NTLM", &late).as_bytes()], play.now);
    let to = play.follower.refuse_second_user(&asked).map(|change| change.to);
    assert_eq!(to.as_deref(), Some("CORP\\alice"));
}

#[test]
fn a_name_that_no_account_has_is_another_one_and_is_not_shown() {
    for user in ["ali\nce", &"a".repeat(5000)] {
        let mut play = Play::new();
        play.login("CORP", "alice", ok());
        let [_, _, type3] = ntlm("CORP", user);
        let asked = Asked::new([type3.as_bytes()], play.now);
        let change = play.follower.refuse_second_user(&asked).expect("it is not alice's");
        assert!(change.to.len() <= 2048);
        assert_eq!(play.login("CORP", user, ok()).step, Step::Type3Ok);
        assert_eq!((play.follower.identity(), play.follower.ran_as()), (Some("CORP\\alice"), None));
    }
}

#[test]
fn a_second_user_is_told_from_a_request_before_its_reply() {
    let mut play = Play::new();
    let asked = |value: &str| Asked::new([value.as_bytes()], Instant::now());
    let [.., bob] = ntlm("CORP", "bob");
    assert_eq!(play.follower.refuse_second_user(&asked(&bob)), None, "the connection has no user yet");
    play.login("CORP", "alice", ok());
    for value in [&ntlm("corp", "Alice")[2], &kerberos(100), &ntlm("CORP", "")[2], "Bearer x"] {
        assert_eq!(play.follower.refuse_second_user(&asked(value)), None, "{value}");
    }
    let [type1, type2, _] = ntlm("CORP", "bob");
    play.exchange(&type1, unauthorized(&[&type2]));
    let expected = IdentityChange { from: "CORP\\alice".into(), to: "CORP\\bob".into() };
    assert_eq!(play.follower.refuse_second_user(&asked(&bob)), Some(expected));
    // The proxy itself ended the login.
    assert_eq!(play.follower.ended(Side::Client), None);
}

proptest! {
    #[test]
    fn whatever_is_presented_is_read(
        scheme in prop::sample::select(vec!["NTLM", "Negotiate", "Basic", "Digest"]),
        rest in vec(any::<u8>(), 0..200),
        is_base64 in any::<bool>(),
    ) {
        let rest = if is_base64 { BASE64_STANDARD.encode(&rest).into_bytes() } else { rest };
        let value = [scheme.as_bytes(), b" ", &rest].concat();
        let asked = Asked::new([&*value], Instant::now());
        prop_assert!(asked.name.is_none_or(|name| !name.is_empty() && name.len() <= 2048));
    }

    #[test]
    fn a_name_survives_what_is_changed_elsewhere(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        more in vec(any::<u8>(), 0..50),
    ) {
        let [.., type3] = ntlm("CORP", "alice");
        let mut message = BASE64_STANDARD.decode(type3.split(' ').nth(1).unwrap()).unwrap();
        // Behind the names, which are the first of the payload.
        let names_end = 88 + 2 * "CORPalice".len();
        let at = names_end + at.index(message.len() - names_end);
        message[at] = byte;
        message.extend(more);
        for scheme in ["NTLM", "Negotiate"] {
            prop_assert_eq!(named(&header(scheme, &message)), Some("CORP\\alice".to_owned()));
        }
    }
}
