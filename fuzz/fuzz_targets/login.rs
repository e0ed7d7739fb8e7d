//! A connection whose lines are, in turn, what a request authorizes itself with and what its reply challenges with; an
//! empty challenge is a 200. Following it never panics, and says nothing that contradicts itself.

#![no_main]

use std::time::Instant;

use iisplice::protocol::login::{Asked, Follower, Mechanism, Reply, Side, Step};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut follower = Follower::new();
    let now = Instant::now();
    let mut lines = bytes.split(|&byte| byte == b'\n');
    while let (Some(asked), Some(challenge)) = (lines.next(), lines.next()) {
        let asked = Asked::new((!asked.is_empty()).then_some(asked), now);
        let before = follower.identity().map(str::to_owned);
        let refused = follower.refuse_second_user(&asked);
        let ran_before = follower.ran_as().is_some();
        let seen = follower.answered(
            asked,
            Reply {
                status: if challenge.is_empty() { 200 } else { 401 },
                www_authenticate: Some(challenge),
                persistent_auth: None,
                closes: challenge.ends_with(b" "),
            },
            now,
        );
        match seen.step {
            Step::Type3Ok => {
                assert!(matches!(seen.mechanism, Some(Mechanism::Ntlm | Mechanism::NegotiateNtlm)))
            }
            Step::KerberosOk => assert_eq!(seen.mechanism, Some(Mechanism::Kerberos)),
            _ => {}
        }
        let may_name = seen.step == Step::Type3Ok || seen.step == Step::None && ran_before;
        assert!(may_name || follower.ran_as().is_none(), "only a login names a user");
        if let Some(change) = seen.identity_change {
            assert_eq!(Some(&*change.from), before.as_deref());
            assert_eq!(Some(&*change.to), follower.identity());
            assert_eq!(refused, Some(change), "it shows before the reply");
        }
    }
    let _ = follower.ended(Side::Client);
});
