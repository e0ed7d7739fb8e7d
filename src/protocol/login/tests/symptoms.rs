//! Logins that fail.

use super::*;

#[test]
fn a_type_3_on_another_connection() {
    let [_, _, type3] = ntlm("CORP", "alice");
    let mut play = Play::new();
    let seen = play.exchange(&type3, unauthorized(OFFER));
    assert_eq!((seen.step, seen.symptom), (Step::Type3Refused, Some(Symptom::Type3WithoutType2)));
    assert_eq!(seen.leg, Some((Leg::Type3ToFinal, TICK)));

    // Another user's request came between its messages.
    let [type1, type2, type3] = ntlm("CORP", "alice");
    play.exchange(&type1, unauthorized(&[&type2]));
    play.exchange("", unauthorized(OFFER));
    assert_eq!(play.exchange(&type3, unauthorized(OFFER)).symptom, Some(Symptom::Type3WithoutType2));
    assert_eq!(play.follower.ended(Side::Client), None);
}

#[test]
fn a_connection_that_ends_in_the_middle_of_a_login() {
    let [type1, type2, _] = ntlm("CORP", "alice");
    for (by, symptom) in
        [(Side::Client, Symptom::ClosedByClient), (Side::Upstream, Symptom::ClosedByUpstream)]
    {
        let mut play = Play::new();
        play.exchange(&type1, unauthorized(&[&type2]));
        assert_eq!(play.follower.ended(by), Some(symptom));
    }
    // The Type 2 itself announces it: it is reported once.
    let mut play = Play::new();
    let seen = play.exchange(&type1, Sent { closes: true, ..unauthorized(&[&type2]) });
    assert_eq!((seen.step, seen.symptom), (Step::Type1, Some(Symptom::ClosedByUpstream)));
    assert_eq!(play.follower.ended(Side::Upstream), None);
}

#[test]
fn a_connection_that_ends_before_or_after_a_login() {
    let mut play = Play::new();
    play.exchange("", Sent { closes: true, ..unauthorized(OFFER) });
    assert_eq!(play.follower.ended(Side::Upstream), None);

    let mut play = Play::new();
    play.login("CORP", "alice", ok());
    assert_eq!(play.follower.ended(Side::Client), None);
}

#[test]
fn a_wrong_password() {
    let mut play = Play::new();
    let seen = play.login("CORP", "alice", Sent { closes: true, ..unauthorized(OFFER) });
    assert_eq!((seen.step, seen.symptom), (Step::Type3Refused, Some(Symptom::Type3Refused)));
    assert_eq!(seen.leg, Some((Leg::Type3ToFinal, TICK * 2)));
    assert_eq!(play.follower.identity(), None);
}

#[test]
fn a_refused_ticket() {
    let reject =
        spnego::NegTokenResp { state: Some(spnego::NegState::Reject), ..spnego::NegTokenResp::default() };
    let reject = header("Negotiate", &reject.to_bytes());
    for challenges in [OFFER, &[&reject, "NTLM"]] {
        let seen = Play::new().exchange(&kerberos(1000), unauthorized(challenges));
        assert_eq!((seen.step, seen.symptom), (Step::KerberosRefused, Some(Symptom::KerberosRefused)));
        assert_eq!(seen.leg, Some((Leg::KerberosToFinal, TICK)));
    }
}

#[test]
fn no_verdict_on_a_login() {
    for status in [400, 503] {
        let mut play = Play::new();
        let seen = play.exchange(&kerberos(1000), Sent { status, ..ok() });
        assert_eq!(seen, exchange(Step::Other, Some(Mechanism::Kerberos), None));
        let seen = play.login("CORP", "alice", Sent { status, ..ok() });
        assert_eq!(seen, exchange(Step::Other, Some(Mechanism::Ntlm), None));
        assert_eq!(play.follower.mechanism(), None);
    }
    // A user who may not see the page, or broke it, is still logged in.
    for status in [101, 302, 403, 404, 500] {
        assert_eq!(Play::new().login("CORP", "alice", Sent { status, ..ok() }).step, Step::Type3Ok);
    }
}

#[test]
fn a_server_that_says_it_keeps_no_login() {
    let mut play = Play::new();
    let not_kept = Sent { persistent_auth: Some(" False "), ..ok() };
    for _ in 0..2 {
        assert_eq!(play.login("CORP", "alice", not_kept).symptom, Some(Symptom::LoginNotKept));
        // One report for a login is enough.
        assert_eq!(play.exchange("", unauthorized(OFFER)).symptom, None);
    }
    assert_eq!(play.login("CORP", "alice", Sent { persistent_auth: Some("true"), ..ok() }).symptom, None);
}

#[test]
fn a_server_that_forgets_logins() {
    let mut play = Play::new();
    for _ in 0..2 {
        assert_eq!(play.login("CORP", "alice", ok()).symptom, None);
        assert_eq!(play.exchange("", unauthorized(OFFER)).symptom, Some(Symptom::LoginNotKept));
        assert_eq!(play.exchange("", unauthorized(OFFER)).symptom, None);
    }
}

#[test]
fn a_client_that_logs_in_with_every_request() {
    let mut play = Play::new();
    assert_eq!(play.login("CORP", "alice", ok()).symptom, None);
    for _ in 0..2 {
        let seen = play.login("corp", "ALICE", ok());
        assert_eq!(seen.symptom, Some(Symptom::LoginRepeated));
        assert_eq!(seen.identity_change, None);
    }
    // After a failed login it must log in again.
    play.login("CORP", "alice", unauthorized(OFFER));
    assert_eq!(play.login("CORP", "alice", ok()).symptom, None);
}

#[test]
fn a_type_1_without_a_type_2() {
    let [type1, ..] = ntlm("CORP", "alice");
    for sent in [unauthorized(OFFER), unauthorized(&[]), ok(), Sent { status: 503, ..ok() }] {
        let mut play = Play::new();
        let seen = play.exchange(&type1, sent);
        let expected = exchange(Step::Type1Unanswered, Some(Mechanism::Ntlm), None);
        assert_eq!(seen, Exchange { symptom: Some(Symptom::Type1WithoutType2), ..expected });
        assert_eq!(play.follower.ended(Side::Client), None);
    }
}

#[test]
fn two_identities_on_one_connection() {
    let changed = |from: &str, to: &str| Some(IdentityChange { from: from.into(), to: to.into() });
    let mut play = Play::new();
    assert_eq!(play.login("CORP", "alice", ok()).identity_change, None);
    // Bob was refused: the connection is not his.
    assert_eq!(play.login("CORP", "bob", unauthorized(OFFER)).identity_change, None);
    assert_eq!(play.follower.identity(), Some("CORP\\alice"));
    assert_eq!(play.login("CORP", "bob", ok()).identity_change, changed("CORP\\alice", "CORP\\bob"));
    assert_eq!(play.follower.identity(), Some("CORP\\bob"));
    // A ticket names no user; the previous user is not forgotten.
    assert_eq!(play.exchange(&kerberos(100), ok()).identity_change, None);
    assert_eq!(play.login("CORP", "alice", ok()).identity_change, changed("CORP\\bob", "CORP\\alice"));
}

#[test]
fn a_type_3_without_a_type_2_is_no_login() {
    let [type1, type2, type3] = ntlm("CORP", "alice");
    let by = Some(Mechanism::Ntlm);
    let no_login =
        Exchange { symptom: Some(Symptom::Type3WithoutType2), ..exchange(Step::Type3WithoutType2, by, None) };
    for status in [101, 200, 302, 403, 404, 500] {
        let mut play = Play::new();
        assert_eq!(play.exchange(&type3, Sent { status, ..ok() }), no_login);
        play.exchange("", ok());
        assert_eq!((play.follower.identity(), play.follower.ran_as()), (None, None));
        assert_eq!(play.follower.mechanism(), None);
        // The first one, which answers the Type 2, is a login; the second is not, and invalidates the first.
        play.exchange(&type1, unauthorized(&[&type2]));
        assert_eq!(play.exchange(&type3, ok()).step, Step::Type3Ok);
        assert_eq!(play.follower.ran_as(), Some("CORP\\alice"));
        assert_eq!(play.exchange(&type3, Sent { status, ..ok() }), no_login);
        assert_eq!(play.follower.ran_as(), None);
    }
}

#[test]
fn a_type_3_for_another_place_is_no_login() {
    let [type1, type2, type3] = ntlm("CORP", "alice");
    let keys = std::hash::RandomState::new();
    for (host, target, step) in [
        ("web", "/private?a", Step::Type3Ok),
        ("web", "/private?b=/c", Step::Type3Ok),
        ("web", "/public", Step::Type3WithoutType2),
        ("web", "/public?/private", Step::Type3WithoutType2),
        ("other", "/private", Step::Type3WithoutType2),
    ] {
        let mut follower = Follower::new();
        let now = Instant::now();
        let asked = |value: &str, host: &str, target: &str| {
            Asked::new([value.as_bytes()], now).for_place(&keys, Some(host.as_bytes()), target.as_bytes())
        };
        let reply = |status, www_authenticate| Reply {
            status,
            www_authenticate,
            persistent_auth: None,
            closes: false,
        };
        follower.answered(asked(&type1, "web", "/private"), reply(401, Some(type2.as_bytes())), now);
        let seen = follower.answered(asked(&type3, host, target), reply(200, None), now);
        assert_eq!(seen.step, step, "{host} {target}");
        assert_eq!(follower.ran_as().is_some(), step == Step::Type3Ok);
        // It still serves to detect a second user.
        assert_eq!(follower.identity(), Some("CORP\\alice"));
    }
}

#[test]
fn a_type_2_under_another_scheme_is_no_answer() {
    let [type1, type2, _] = ntlm("CORP", "alice");
    let other = type2.replace("NTLM", "Negotiate");
    let mut play = Play::new();
    assert_eq!(play.exchange(&type1, unauthorized(&[&other])).step, Step::Type1Unanswered);
    assert!(play.follower.is_within_login(), "the client may go on with it all the same");
    assert_eq!(play.exchange(&type1, unauthorized(&["Negotiate", &type2])).step, Step::Type1);
    assert_eq!(play.exchange(&type1, unauthorized(&[&other, &type2])).step, Step::Type1);
}

#[test]
fn a_request_that_brings_nothing_runs_under_the_login_until_something_else_happens() {
    let nothing = Asked::new([], Instant::now());
    let not_kept = Sent { persistent_auth: Some("false"), ..ok() };
    for (authorization, sent) in [
        ("Basic eA==", ok()),
        ("Basic eA==", Sent { status: 400, ..ok() }),
        (&*kerberos(100), ok()),
        ("Bearer x", ok()),
        ("", unauthorized(OFFER)),
        ("", unauthorized(&["Bearer"])),
        (&ntlm("CORP", "alice")[0], ok()),
        ("", not_kept),
    ] {
        let mut play = Play::new();
        play.login("CORP", "alice", ok());
        for _ in 0..3 {
            assert_eq!(play.follower.runs_as(&nothing), Some("CORP\\alice"));
            assert_eq!(play.exchange("", ok()).step, Step::None);
            assert_eq!(play.follower.ran_as(), Some("CORP\\alice"));
        }
        play.exchange(authorization, sent);
        let own = (sent.persistent_auth == Some("false")).then_some("CORP\\alice");
        assert_eq!(play.follower.ran_as(), own, "{authorization} {sent:?}");
        assert_eq!(play.follower.runs_as(&nothing), None);
        play.exchange("", ok());
        assert_eq!(play.follower.ran_as(), None);
        // The connection still belongs to the user.
        assert!(play.follower.identity().is_some());
    }
}
