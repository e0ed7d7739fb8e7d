//! Follows arbitrary and damaged values without failing.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::protocol::spnego::Carried;

/// Every header value of every login.
fn values() -> Vec<String> {
    let mut values: Vec<String> = [ntlm("CORP", "alice"), ntlm_under("Negotiate", "", "bob")].concat();
    values.extend(spnego());
    values.extend([kerberos(300), kerberos(70_000), "Basic eA==".into(), "Negotiate, NTLM".into()]);
    values
}

/// An exchange of these header values.
fn follow(follower: &mut Follower, asked: Option<&[u8]>, status: u16, offered: Option<&[u8]>) -> Exchange {
    let now = Instant::now();
    let reply =
        Reply { status, www_authenticate: offered, persistent_auth: offered, closes: status & 1 == 0 };
    follower.answered(Asked::new(asked, now), reply, now)
}

#[test]
fn every_prefix_of_every_value_is_followed() {
    let [type1, type2, type3] = ntlm("CORP", "alice");
    for value in values() {
        for end in 0..value.len().min(2000) {
            let cut = &value.as_bytes()[..end];
            let mut follower = Follower::new();
            follow(&mut follower, Some(cut), 401, Some(cut));
            // It does not affect what comes after it.
            let seen = follow(&mut follower, Some(type1.as_bytes()), 401, Some(type2.as_bytes()));
            assert_eq!(seen.step, Step::Type1, "after {end} bytes of {value}");
            assert_eq!(follow(&mut follower, Some(type3.as_bytes()), 200, None).step, Step::Type3Ok);
        }
    }
}

#[test]
fn the_beginning_of_a_token_tells_what_it_carries() {
    let kerberos = kerberos_token(70_000);
    assert_eq!(Carried::in_beginning(&kerberos[..192]), Some(Carried::Kerberos));
    for value in values() {
        let token = BASE64_STANDARD.decode(value.split(' ').nth(1).unwrap()).unwrap_or_default();
        let whole = Carried::in_beginning(&token);
        for end in 0..token.len().min(2000) {
            let told = Carried::in_beginning(&token[..end]);
            assert!(told.is_none() || told == whole, "{end} bytes of {value}");
        }
    }
}

#[test]
fn a_type_3_whose_names_cannot_be_read_is_a_type_3() {
    let [type1, type2, type3] = ntlm("CORP", "alice");
    let mut play = Play::new();
    play.exchange(&type1, unauthorized(&[&type2]));
    assert_eq!(play.exchange(&type3[..100], ok()).step, Step::Type3Ok);
    assert_eq!((play.follower.identity(), play.follower.mechanism()), (None, Some(Mechanism::Ntlm)));
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let values = values();
    prop_oneof![
        prop::sample::select(values.clone()).prop_map(String::into_bytes),
        (prop::sample::select(values), any::<prop::sample::Index>(), any::<u8>()).prop_map(
            |(value, at, byte)| {
                let mut value = value.into_bytes();
                *at.get_mut(&mut value) = byte;
                value
            }
        ),
        vec(any::<u8>(), 0..100),
        vec(any::<u8>(), 0..300).prop_map(|token| header("Negotiate", &token).into_bytes()),
        vec(any::<u8>(), 0..300)
            .prop_map(|rest| header("NTLM", &[b"NTLMSSP\0\x03\0\0\0", &*rest].concat()).into_bytes()),
    ]
}

proptest! {
    #[test]
    fn whatever_goes_by_is_followed(
        exchanges in vec(
            (
                option::of(any_value()),
                prop_oneof![Just(401_u16), Just(401), Just(200), any::<u16>()],
                option::of(any_value()),
            ),
            0..12,
        ),
        by in prop_oneof![Just(Side::Client), Just(Side::Upstream), Just(Side::Proxy)],
    ) {
        let mut follower = Follower::new();
        for (asked, status, offered) in exchanges {
            let before = follower.identity().map(str::to_owned);
            let ran_before = follower.ran_as().is_some();
            let seen = follow(&mut follower, asked.as_deref(), status, offered.as_deref());
            let may_name = seen.step == Step::Type3Ok || seen.step == Step::None && ran_before;
            prop_assert!(may_name || follower.ran_as().is_none(), "{:?} names a user", seen.step);
            let is_verdict = matches!(
                seen.step,
                Step::Type3Ok | Step::Type3Refused | Step::KerberosOk | Step::KerberosRefused
            );
            prop_assert!(!is_verdict || seen.mechanism.is_some() && seen.leg.is_some());
            if let Some(change) = seen.identity_change {
                prop_assert_eq!(Some(&*change.from), before.as_deref());
                prop_assert_eq!(Some(&*change.to), follower.identity());
            } else if before.is_some() {
                prop_assert!(follower.identity().is_some());
            }
        }
        let _ = follower.ended(by);
    }
}
