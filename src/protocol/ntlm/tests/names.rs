//! Names read without judging the rest of a message.

use super::*;

/// A Type 3 with these parts, in the form of NT 4 if it has no flags.
fn type3(flags: Option<u32>, domain: &[u8], user: &[u8], nt_response: &[u8]) -> Vec<u8> {
    let start = if flags.is_some() { 64 } else { 52 };
    let mut fixed = b"NTLMSSP\0\x03\0\0\0".to_vec();
    let mut payload = Vec::new();
    for part in [&[0_u8; 24][..], nt_response, domain, user, b"PC"] {
        let length = (part.len() as u16).to_le_bytes();
        let offset = (start + payload.len()) as u32;
        fixed.extend(length.iter().chain(&length).chain(&offset.to_le_bytes()));
        payload.extend(part);
    }
    if let Some(flags) = flags {
        fixed.extend([0; 8].iter().chain(&flags.to_le_bytes()));
    }
    [fixed, payload].concat()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn names(message: &[u8]) -> Option<(String, String)> {
    Names::of_authenticate(message).map(|names| (names.domain, names.user))
}

fn pair(domain: &str, user: &str) -> (String, String) {
    (domain.to_owned(), user.to_owned())
}

#[test]
fn either_character_set_with_flags_and_without() {
    let (unicode, oem) = (Some(Flags::UNICODE.0), Some(Flags::OEM.0));
    let both = Some(Flags::UNICODE.with(Flags::OEM).0);
    for (flags, domain, user, expected) in [
        (unicode, utf16("BÜRO"), utf16("žofie"), Some(pair("BÜRO", "žofie"))),
        (both, utf16("CORP"), utf16("alice"), Some(pair("CORP", "alice"))),
        (oem, b"CORP".to_vec(), b"alice".to_vec(), Some(pair("CORP", "alice"))),
        (oem, b"B\xdcRO".to_vec(), "žofie".into(), Some(pair("BÜRO", "žofie"))),
        (None, b"CORP".to_vec(), b"alice".to_vec(), Some(pair("CORP", "alice"))),
        (None, utf16("CORP"), utf16("alice"), Some(pair("CORP", "alice"))),
        // Flags that do not fit the names.
        (oem, utf16("CORP"), utf16("alice"), Some(pair("CORP", "alice"))),
        (unicode, b"CORPS".to_vec(), b"alice".to_vec(), Some(pair("CORPS", "alice"))),
        (unicode, vec![], b"\0\xd8a\0".to_vec(), Some(pair("", "\u{fffd}a"))),
        (unicode, vec![], vec![], Some(pair("", ""))),
    ] {
        for nt_response in [&[][..], &[1; 24], b"no response"] {
            assert_eq!(names(&type3(flags, &domain, &user, nt_response)), expected, "{flags:?}");
        }
    }
}

#[test]
fn the_messages_of_our_own_client() {
    let credentials = Credentials::new("CORP", "alice", "secret");
    let (client, type1) = Client::new(&credentials).negotiate();
    let (_, type2) = server().challenge(type1, SERVER_CHALLENGE, NOW).unwrap();
    let type3 = client.authenticate(&type2, &RANDOM, NOW).unwrap().message;
    assert_eq!(names(&type3), Some(pair("CORP", "alice")));
    assert_eq!((names(type1), names(&type2), names(b"")), (None, None, None));
    for end in 0..type3.len() {
        let cut = names(&type3[..end]);
        assert!(cut.is_none() || cut == Some(pair("CORP", "alice")), "{end} bytes");
    }
}

#[test]
fn fields_that_lie_outside() {
    let mut message = type3(Some(Flags::OEM.0), b"CORP", b"alice", b"");
    // The domain's offset; then the user's.
    message[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(names(&message), Some(pair("", "alice")));
    message[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(names(&message), None);
}
