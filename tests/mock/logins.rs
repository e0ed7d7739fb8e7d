//! Who gets in, and on which connection.

use std::time::{Duration, Instant, SystemTime};

use iisplice::mock::settings::{Provider, Skew};
use iisplice::protocol::ntlm::{Challenge, Client, Credentials, FileTime};

use crate::visitor::{RANDOM, Visitor, authorization, now};
use crate::{alice, bob, settings, start};

#[test]
fn no_client_gets_in_without_a_login() {
    let (_mock, address) = start(settings());
    let mut visitor = Visitor::connect(address);
    for path in ["/", "/whoami", "/bytes/5", "/slow/0", "/ws", "/nothing", "/publicity"] {
        let reply = visitor.get(path);
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(reply.headers("www-authenticate"), ["Negotiate", "NTLM"], "{path}");
        assert_eq!(reply.body.len(), 1293, "{path}");
    }
    let reply = visitor.get("/public/whoami");
    assert_eq!((reply.status, reply.json("user")), (200, serde_json::Value::Null));
    for lines in ["Authorization: Basic YWxpY2U6c2VjcmV0\r\n", "Authorization: Negotiate\r\n"] {
        let reply = visitor.get_with("/whoami", lines);
        assert_eq!((reply.status, reply.headers("www-authenticate").len()), (401, 2), "{lines:?}");
    }
}

#[test]
fn a_login_lasts_as_long_as_its_connection_and_no_further() {
    let (_mock, address) = start(settings());
    let (alice, bob) = (alice(), bob());
    let (mut first, mut second, mut third) =
        (Visitor::connect(address), Visitor::connect(address), Visitor::connect(address));
    let reply = first.ntlm(Client::new(&alice), "/whoami");
    assert_eq!((reply.status, reply.json("user")), (200, r"CORP\alice".into()));
    assert_eq!(reply.header("persistent-auth"), Some("true"));
    let reply = second.negotiate(Client::new(&bob), "/whoami");
    assert_eq!((reply.status, reply.json("user")), (200, r"CORP\bob".into()));
    for requests in 3..6_u64 {
        let reply = first.get("/whoami");
        assert_eq!((reply.json("user"), reply.json("logins")), (r"CORP\alice".into(), 1.into()));
        assert_eq!(reply.json("requests"), requests);
        assert_eq!(second.get("/whoami").json("user"), r"CORP\bob");
        assert_eq!(third.get("/whoami").status, 401);
    }
    assert_ne!(first.get("/whoami").json("connection"), second.get("/whoami").json("connection"));
}

#[test]
fn plain_ntlm_messages_under_negotiate() {
    let (_mock, address) = start(settings());
    let reply = Visitor::connect(address).ntlm_under("Negotiate", Client::new(&alice()), "/whoami");
    assert_eq!((reply.json("user"), reply.json("scheme")), (r"CORP\alice".into(), "Negotiate".into()));
}

#[test]
fn a_second_login_on_a_connection_replaces_the_first() {
    let (_mock, address) = start(settings());
    let mut visitor = Visitor::connect(address);
    visitor.ntlm(Client::new(&alice()), "/whoami");
    let reply = visitor.ntlm(Client::new(&bob()), "/whoami");
    assert_eq!((reply.json("user"), reply.json("logins")), (r"CORP\bob".into(), 2.into()));
    // A login that is only begun leaves no user.
    let negotiate = Client::new(&alice()).negotiate().1.to_vec();
    assert_eq!(visitor.get_with("/whoami", &authorization("NTLM", &negotiate)).status, 401);
    assert_eq!(visitor.get("/whoami").status, 401);
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_and_shown_out() {
    let (_mock, address) = start(settings());
    for wrong in [Credentials::new("CORP", "alice", "Secret"), Credentials::new("CORP", "mallory", "secret")]
    {
        for scheme in ["NTLM", "Negotiate"] {
            let mut visitor = Visitor::connect(address);
            let client = Client::new(&wrong);
            let reply = match scheme {
                "NTLM" => visitor.ntlm(client, "/whoami"),
                _ => visitor.negotiate(client, "/whoami"),
            };
            assert_eq!(reply.status, 401, "{wrong:?} {scheme}");
            assert_eq!(reply.headers("www-authenticate"), ["Negotiate", "NTLM"]);
            assert!(visitor.is_closed(), "{wrong:?} {scheme}");
        }
    }
}

#[test]
fn the_last_message_of_a_login_is_worth_nothing_on_another_connection() {
    let (_mock, address) = start(settings());
    let (mut first, mut second) = (Visitor::connect(address), Visitor::connect(address));
    let alice = alice();
    let (client, negotiate) = Client::new(&alice).negotiate();
    let lines = authorization("NTLM", negotiate);
    let challenge = first.get_with("/whoami", &lines).token("NTLM").expect("a challenge");
    second.get_with("/whoami", &lines);
    let answered = client.authenticate(&challenge, &RANDOM, now()).expect("a sound challenge");
    let lines = authorization("NTLM", &answered.message);
    assert_eq!(second.get_with("/whoami", &lines).status, 401, "another challenge");
    let mut third = Visitor::connect(address);
    assert_eq!(third.get_with("/whoami", &lines).status, 401, "no challenge at all");
    assert_eq!(first.get_with("/whoami", &lines).status, 200);
}

#[test]
fn single_request_authentication_asks_every_time() {
    let (_mock, address) = start(iisplice::mock::settings::Settings { single_request: true, ..settings() });
    let mut visitor = Visitor::connect(address);
    let alice = alice();
    for logins in 1..4_u64 {
        let reply = visitor.negotiate(Client::new(&alice), "/whoami");
        assert_eq!((reply.status, reply.json("logins")), (200, logins.into()));
        assert_eq!(reply.header("persistent-auth"), Some("false"));
        assert_eq!(visitor.get("/whoami").status, 401);
    }
}

#[test]
fn providers_in_their_order_and_no_others() {
    let mut ntlm_first = settings();
    ntlm_first.providers = vec![Provider::Ntlm, Provider::Negotiate];
    let (_mock, address) = start(ntlm_first);
    assert_eq!(Visitor::connect(address).get("/").headers("www-authenticate"), ["NTLM", "Negotiate"]);

    let mut negotiate_only = settings();
    negotiate_only.providers = vec![Provider::Negotiate];
    let (_mock, address) = start(negotiate_only);
    let mut visitor = Visitor::connect(address);
    let lines = authorization("NTLM", Client::new(&alice()).negotiate().1);
    assert_eq!(visitor.get_with("/", &lines).headers("www-authenticate"), ["Negotiate"]);
}

#[test]
fn with_a_fixed_challenge_a_recorded_login_replays_byte_for_byte() {
    let fixed = || {
        let mut settings = settings();
        settings.fixed_challenge = Some([1, 2, 3, 4, 5, 6, 7, 8]);
        settings
    };
    let alice = alice();
    let (client, negotiate) = Client::new(&alice).negotiate();
    let first = authorization("NTLM", negotiate);
    let record = {
        let (_mock, address) = start(fixed());
        let mut visitor = Visitor::connect(address);
        let challenge = visitor.get_with("/whoami", &first).token("NTLM").expect("a challenge");
        assert_eq!(Challenge::parse(&challenge).expect("sound").server_challenge, [1, 2, 3, 4, 5, 6, 7, 8]);
        authorization("NTLM", &client.authenticate(&challenge, &RANDOM, now()).expect("sound").message)
    };
    let (_mock, address) = start(fixed());
    let mut visitor = Visitor::connect(address);
    visitor.get_with("/whoami", &first);
    assert_eq!(visitor.get_with("/whoami", &record).json("user"), r"CORP\alice");
}

#[test]
fn challenges_are_fresh() {
    let (_mock, address) = start(settings());
    let first = authorization("NTLM", Client::new(&alice()).negotiate().1);
    let challenge = || {
        let token = Visitor::connect(address).get_with("/", &first).token("NTLM").expect("a challenge");
        Challenge::parse(&token).expect("sound").server_challenge
    };
    assert_ne!(challenge(), challenge());
}

#[test]
fn verification_takes_its_time_and_its_turn() {
    const DELAY: Duration = Duration::from_millis(40);
    let mut slow = settings();
    slow.threads = 2;
    slow.verify_delay = DELAY;
    slow.verify_concurrency = Some(1);
    let (_mock, address) = start(slow);
    let begin = Instant::now();
    let logins: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(move || Visitor::connect(address).ntlm(Client::new(&alice()), "/").status)
        })
        .collect();
    for login in logins {
        assert_eq!(login.join().expect("a login"), 200);
    }
    // One after the other; there is no upper bound to check.
    assert!(begin.elapsed() >= 3 * DELAY, "{:?}", begin.elapsed());
}

#[test]
fn clocks_can_be_off() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let mut skewed = settings();
    skewed.date_skew = Skew::Ahead(2 * DAY);
    skewed.ntlm_time_skew = Skew::Behind(2 * DAY);
    let (_mock, address) = start(skewed);
    let lines = authorization("NTLM", Client::new(&alice()).negotiate().1);
    let reply = Visitor::connect(address).get_with("/", &lines);
    let date = httpdate::parse_http_date(reply.header("date").expect("a date")).expect("a date");
    assert!(date > SystemTime::now() + DAY, "{date:?}");
    let token = reply.token("NTLM").expect("a challenge");
    let time =
        Challenge::parse(&token).expect("sound").target_info.expect("pairs").timestamp().expect("sound");
    assert!(time.expect("a time") < FileTime::from_system_time(SystemTime::now() - DAY), "{time:?}");
}
