//! Connections replayed exchange by exchange, with messages of our own client and server.

mod damage;
mod logins;
mod names;
mod symptoms;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::protocol::der;
use crate::protocol::ntlm::{self, ClientRandom, Credentials, ExtendedProtection, FileTime, NtHash, Server};
use crate::protocol::spnego::{self, Mechanism as Spnego, neg_token_init};

const NOW: FileTime = FileTime(133_000_000_000_000_000);
const RANDOM: ClientRandom = ClientRandom { client_challenge: [0xaa; 8], session_key: [0x55; 16] };

/// How long the first reply takes; the second takes twice as long, and so on.
const TICK: Duration = Duration::from_millis(10);

/// What IIS sends with a 401 that begins a login.
const OFFER: &[&str] = &["Negotiate", "NTLM"];

fn server() -> Server {
    Server {
        nb_domain: "CORP".into(),
        nb_computer: "WEB".into(),
        dns_domain: "corp.test".into(),
        dns_computer: "web.corp.test".into(),
    }
}

fn header(scheme: &str, token: &[u8]) -> String {
    format!("{scheme} {}", BASE64_STANDARD.encode(token))
}

/// The three header values of a login as this user, under `NTLM`.
fn ntlm(domain: &str, user: &str) -> [String; 3] {
    ntlm_under("NTLM", domain, user)
}

/// The same, with bare NTLM under this scheme.
fn ntlm_under(scheme: &str, domain: &str, user: &str) -> [String; 3] {
    let credentials = Credentials::new(domain, user, "secret");
    let (client, type1) = ntlm::Client::new(&credentials).negotiate();
    let (_, type2) = server().challenge(type1, [1; 8], NOW).unwrap();
    let type3 = client.authenticate(&type2, &RANDOM, NOW).unwrap().message;
    [header(scheme, type1), header(scheme, &type2), header(scheme, &type3)]
}

/// The four header values of a login as `CORP\alice` with NTLM in SPNEGO.
fn spnego() -> [String; 4] {
    let credentials = Credentials::new("CORP", "alice", "secret");
    let (client, first) = spnego::Client::new(ntlm::Client::new(&credentials)).negotiate();
    let (begun, second) = spnego::begin(&server(), &first, [1; 8], NOW).unwrap();
    let spnego::Begun::Challenged(awaiting) = begun else { panic!("Type 1 was sent ahead") };
    let (_, third) = client.authenticate(&second, &RANDOM, NOW).unwrap();
    let hash_of = |_: &str, _: &str| Some(NtHash::of_password("secret"));
    let (_, fourth) = awaiting.authenticate(&third, hash_of, ExtendedProtection::Off).unwrap();
    [first, second, third, fourth].map(|token| header("Negotiate", &token))
}

/// A Kerberos message in its GSS frame, with a ticket of this size.
fn kerberos_message(ticket_bytes: usize) -> Vec<u8> {
    let ap_req = der::element(0x6e, &vec![0x42; ticket_bytes]);
    let oid = b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
    der::element(0x60, &[&oid[..], b"\x01\x00", &ap_req].concat())
}

/// The token of a browser that has a ticket.
fn kerberos_token(ticket_bytes: usize) -> Vec<u8> {
    let negoex = Spnego::Other(b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x1e");
    let mechanisms = [Spnego::MsKerberos, Spnego::Kerberos, negoex, Spnego::Ntlm];
    neg_token_init(&mechanisms, Some(&kerberos_message(ticket_bytes)))
}

fn kerberos(ticket_bytes: usize) -> String {
    header("Negotiate", &kerberos_token(ticket_bytes))
}

/// A connection.
struct Play {
    follower: Follower,
    now: Instant,
    exchanges: u32,
}

/// A reply, with the usual values left out.
#[derive(Clone, Copy, Default, Debug)]
struct Sent<'s> {
    status: u16,
    challenges: &'s [&'s str],
    persistent_auth: Option<&'s str>,
    closes: bool,
}

const fn ok<'s>() -> Sent<'s> {
    Sent { status: 200, challenges: &[], persistent_auth: None, closes: false }
}

const fn unauthorized<'s>(challenges: &'s [&'s str]) -> Sent<'s> {
    Sent { status: 401, challenges, persistent_auth: None, closes: false }
}

impl Play {
    fn new() -> Self {
        Self { follower: Follower::new(), now: Instant::now(), exchanges: 0 }
    }

    fn exchange(&mut self, authorization: &str, sent: Sent<'_>) -> Exchange {
        let values = if authorization.is_empty() { None } else { Some(authorization.as_bytes()) };
        let asked = Asked::new(values, self.now);
        self.exchanges += 1;
        self.now += TICK * self.exchanges;
        let reply = Reply {
            status: sent.status,
            www_authenticate: sent.challenges.iter().map(|value| value.as_bytes()),
            persistent_auth: sent.persistent_auth.map(str::as_bytes),
            closes: sent.closes,
        };
        self.follower.answered(asked, reply, self.now)
    }

    /// A whole login with NTLM, whose last reply is this.
    fn login(&mut self, domain: &str, user: &str, last: Sent<'_>) -> Exchange {
        let [type1, type2, type3] = ntlm(domain, user);
        assert_eq!(self.exchange(&type1, unauthorized(&[&type2])).step, Step::Type1);
        self.exchange(&type3, last)
    }
}

fn exchange(step: Step, mechanism: Option<Mechanism>, leg: Option<(Leg, u32)>) -> Exchange {
    let leg = leg.map(|(leg, ticks)| (leg, TICK * ticks));
    Exchange { step, mechanism, leg, symptom: None, identity_change: None }
}
