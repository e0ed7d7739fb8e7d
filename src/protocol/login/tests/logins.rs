//! Successful logins.

use super::*;

#[test]
fn ntlm_as_a_browser_does_it() {
    let mut play = Play::new();
    let [type1, type2, type3] = ntlm("CORP", "alice");
    let by = Some(Mechanism::Ntlm);
    assert_eq!(
        play.exchange("", unauthorized(OFFER)),
        exchange(Step::Challenged, None, Some((Leg::AnonymousTo401, 1)))
    );
    assert_eq!(
        play.exchange(&type1, unauthorized(&[&type2])),
        exchange(Step::Type1, by, Some((Leg::Type1ToType2, 2)))
    );
    assert_eq!((play.follower.identity(), play.follower.mechanism()), (None, None));
    assert_eq!(play.exchange(&type3, ok()), exchange(Step::Type3Ok, by, Some((Leg::Type3ToFinal, 3))));
    assert_eq!((play.follower.identity(), play.follower.mechanism()), (Some("CORP\\alice"), by));
    assert_eq!(play.exchange("", ok()), exchange(Step::None, None, None));
    assert_eq!(play.follower.ended(Side::Upstream), None);
}

#[test]
fn a_connection_is_within_a_login_while_the_client_has_to_answer_the_server() {
    let mut play = Play::new();
    let [type1, type2, type3] = ntlm("CORP", "alice");
    let [first, second, third, fourth] = spnego();
    let ticket = kerberos(1000);
    let last = Sent { challenges: &[&fourth], ..ok() };
    let challenge = [type2.as_str()];
    let closing = Sent { closes: true, ..unauthorized(&challenge) };
    for (authorization, sent, is_within) in [
        ("", ok(), false),
        ("", unauthorized(OFFER), false),
        (&type1, unauthorized(&[&type2]), true),
        (&type3, unauthorized(OFFER), false),
        (&first, unauthorized(&[&second]), true),
        (&third, last, false),
        // The server continues the negotiation of a ticket.
        (&ticket, unauthorized(&[&second]), true),
        (&ticket, ok(), false),
        (&type1, unauthorized(&[&type2]), true),
        ("", ok(), false),
        (&type1, closing, false),
    ] {
        play.exchange(authorization, sent);
        assert_eq!(play.follower.is_within_login(), is_within, "after exchange {}", play.exchanges);
    }
}

#[test]
fn ntlm_in_spnego() {
    let mut play = Play::new();
    let [first, second, third, fourth] = spnego();
    let by = Some(Mechanism::NegotiateNtlm);
    assert_eq!(play.exchange("", unauthorized(&["Negotiate, NTLM"])).step, Step::Challenged);
    assert_eq!(
        play.exchange(&first, unauthorized(&[&second])),
        exchange(Step::Type1, by, Some((Leg::Type1ToType2, 2)))
    );
    let last = Sent { challenges: &[&fourth], persistent_auth: Some("true"), ..ok() };
    assert_eq!(play.exchange(&third, last), exchange(Step::Type3Ok, by, Some((Leg::Type3ToFinal, 3))));
    assert_eq!(play.follower.identity(), Some("CORP\\alice"));
}

#[test]
fn ntlm_under_negotiate_without_spnego() {
    let mut play = Play::new();
    let [type1, type2, type3] = ntlm_under("Negotiate", "CORP", "alice");
    let by = Some(Mechanism::NegotiateNtlm);
    assert_eq!(play.exchange(&type1, unauthorized(&[&type2])).mechanism, by);
    assert_eq!(play.exchange(&type3, ok()).mechanism, by);
    assert_eq!(play.follower.identity(), Some("CORP\\alice"));
}

#[test]
fn kerberos_before_anybody_asked_and_with_every_request() {
    let mut play = Play::new();
    let by = Some(Mechanism::Kerberos);
    for (ticks, ticket_bytes) in [(1, 1500), (2, 0), (3, 60_000)] {
        let seen = play.exchange(&kerberos(ticket_bytes), ok());
        assert_eq!(seen, exchange(Step::KerberosOk, by, Some((Leg::KerberosToFinal, ticks))));
    }
    assert_eq!((play.follower.identity(), play.follower.mechanism()), (None, by));
}

#[test]
fn kerberos_in_all_its_clothes() {
    let in_later_token = spnego::NegTokenResp {
        response_token: Some(&kerberos_message(2000)),
        ..spnego::NegTokenResp::default()
    };
    for token in [kerberos_message(3000), der::element(0x6e, &[0x42; 3000]), in_later_token.to_bytes()] {
        assert_eq!(Play::new().exchange(&header("Negotiate", &token), ok()).step, Step::KerberosOk);
        assert_eq!(Play::new().exchange(&header("NTLM", &token), ok()).step, Step::Other);
    }
}

#[test]
fn a_ticket_is_refused_in_favour_of_ntlm() {
    let mut play = Play::new();
    let go_on = spnego::NegTokenResp {
        state: Some(spnego::NegState::RequestMic),
        supported_mech: Some(Spnego::Ntlm),
        ..spnego::NegTokenResp::default()
    };
    let go_on = header("Negotiate", &go_on.to_bytes());
    let seen = play.exchange(&kerberos(900), unauthorized(&[&go_on, "NTLM"]));
    assert_eq!(seen, exchange(Step::KerberosContinue, Some(Mechanism::Kerberos), None));

    let [_, second, third, _] = spnego();
    let type1 = ntlm::Client::new(&Credentials::new("CORP", "alice", "secret")).negotiate().1;
    let type1 = spnego::NegTokenResp { response_token: Some(type1), ..spnego::NegTokenResp::default() };
    let seen = play.exchange(&header("Negotiate", &type1.to_bytes()), unauthorized(&[&second]));
    assert_eq!((seen.step, seen.mechanism), (Step::Type1, Some(Mechanism::NegotiateNtlm)));
    assert_eq!(play.exchange(&third, ok()).step, Step::Type3Ok);
}

#[test]
fn other_schemes() {
    let mut play = Play::new();
    for (authorization, step) in [
        ("Basic Q09SUFxhbGljZTpzZWNyZXQ=", Step::Basic),
        ("basic", Step::Basic),
        ("Bearer abc", Step::Other),
        ("NTLM", Step::Other),
        ("Negotiate !", Step::Other),
        ("NTLMSSP TlRMTVNTUAABAAAA", Step::Other),
        // A Type 2, from a client.
        ("NTLM TlRMTVNTUAACAAAA", Step::Other),
    ] {
        for sent in [ok(), unauthorized(OFFER)] {
            assert_eq!(play.exchange(authorization, sent), exchange(step, None, None), "{authorization}");
        }
    }
    // 401, but not of Windows Authentication.
    let bearer = unauthorized(&["Bearer realm=\"a, NTLM\", scope=\"b\"", "Basic realm=\"Negotiate\""]);
    assert_eq!(play.exchange("", bearer), exchange(Step::Challenged, None, None));
}

#[test]
fn headers_as_they_occur() {
    let [type1, type2, type3] = ntlm("CORP", "alice");
    let unpadded = type1.trim_end_matches('=');
    for value in [&*type1, unpadded, &type1.replace("NTLM ", "ntlm\t  "), &format!("  {type1} ")] {
        for challenges in [
            &[&*type2][..],
            &[&format!("{type2}, Negotiate")],
            &["Basic realm=\"x, y\"", "Negotiate", &type2],
            &[&type2.replace("NTLM ", "nTlM   ")],
        ] {
            let mut play = Play::new();
            assert_eq!(play.exchange(value, unauthorized(challenges)).step, Step::Type1, "{challenges:?}");
            assert_eq!(play.exchange(&type3, ok()).step, Step::Type3Ok);
        }
    }
    let nego2 = unauthorized(&["Nego2 oAMKAQE="]);
    assert_eq!(Play::new().exchange("", nego2).leg, Some((Leg::AnonymousTo401, TICK)));
}

#[test]
fn of_several_values_the_windows_one_counts() {
    let [type1, ..] = ntlm("CORP", "alice");
    let now = Instant::now();
    let alone = Asked::new([type1.as_bytes()], now);
    assert_eq!(Asked::new([&b"Basic eA=="[..], type1.as_bytes()], now), alone);
    assert_eq!(Asked::new([&b"Basic eA=="[..], b"Bearer x"], now), Asked::new([&b"Basic eA=="[..]], now));
}

#[test]
fn requests_sent_ahead_of_their_replies() {
    let mut play = Play::new();
    let [type1, type2, type3] = ntlm("CORP", "alice");
    let asked = [&type1, &type3].map(|value| Asked::new([value.as_bytes()], play.now));
    let [first, second] = asked;
    let reply = |status, challenge| Reply {
        status,
        www_authenticate: challenge,
        persistent_auth: None,
        closes: false,
    };
    let seen = play.follower.answered(first, reply(401, Some(type2.as_bytes())), play.now);
    assert_eq!(seen.step, Step::Type1);
    let seen = play.follower.answered(second, reply(200, None), play.now);
    assert_eq!((seen.step, seen.symptom), (Step::Type3Ok, None));
}

#[test]
fn who_is_logged_in() {
    for (domain, user, identity) in [
        ("CORP", "alice", Some("CORP\\alice")),
        ("", "alice@corp.test", Some("alice@corp.test")),
        ("BÜRO", "žofie", Some("BÜRO\\žofie")),
        ("CORP", "", None),
        ("CORP", "ali\nce", None),
        ("CORP", &"a".repeat(2000), None),
    ] {
        let mut play = Play::new();
        assert_eq!(play.login(domain, user, ok()).step, Step::Type3Ok);
        assert_eq!(play.follower.identity(), identity, "{domain} {user}");
    }
}

#[test]
fn an_ordinary_request_keeps_nothing() {
    assert!(size_of::<Follower>() <= 32, "{}", size_of::<Follower>());
    assert!(size_of::<Asked>() <= 40, "{}", size_of::<Asked>());
}

#[test]
fn every_name_is_its_own_and_in_its_place() {
    for (number, symptom) in Symptom::ALL.into_iter().enumerate() {
        assert_eq!(symptom as usize, number);
        // The halves of a log line: what happened; what to check.
        for half in [symptom.explanation(), symptom.check()] {
            assert!(!half.ends_with('.') && !half.contains(';'), "{half}");
        }
        assert!(symptom.explanation().starts_with(char::is_lowercase), "{}", symptom.explanation());
    }
    assert!(Mechanism::ALL.into_iter().enumerate().all(|(number, mechanism)| mechanism as usize == number));
    assert!(Leg::ALL.into_iter().enumerate().all(|(number, leg)| leg as usize == number));
    let mut names: Vec<_> = Symptom::ALL.iter().map(|symptom| symptom.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Symptom::ALL.len());
}
