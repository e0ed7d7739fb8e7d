//! `protocol::login`: following the logins of a connection, as HTTP mode does for every exchange.

use std::hash::RandomState;
use std::hint::black_box;
use std::time::Instant;

use criterion::Criterion;
use iisplice::protocol::login::{Asked, Follower, Reply, Step};

use crate::inputs::{self, TICKET_BYTES};

/// The parts of a request and its reply that the follower reads.
struct Heads {
    authorization: Option<String>,
    status: u16,
    www_authenticate: Vec<String>,
    expected: Step,
}

impl Heads {
    fn new(authorization: Option<String>, status: u16, www_authenticate: &[&str], expected: Step) -> Self {
        let www_authenticate = www_authenticate.iter().map(|&value| value.to_owned()).collect();
        Self { authorization, status, www_authenticate, expected }
    }

    /// Shows both heads to the follower, as `proxy::http` does.
    fn follow(&self, follower: &mut Follower, keys: &RandomState, now: Instant) -> Step {
        let values = self.authorization.as_ref().map(String::as_bytes);
        let asked =
            Asked::new(values, now).for_place(keys, Some(b"intranet.corp.example.com"), b"/default.aspx");
        black_box(follower.refuse_second_user(&asked));
        let reply = Reply {
            status: self.status,
            www_authenticate: self.www_authenticate.iter().map(String::as_bytes),
            persistent_auth: None,
            closes: false,
        };
        follower.answered(asked, reply, now).step
    }
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let offered = || Heads::new(None, 401, &["Negotiate", "NTLM"], Step::Challenged);
    let ordinary = || Heads::new(None, 200, &[], Step::None);

    let login = inputs::ntlm_login();
    let [type1, type2, type3] =
        [login.type1, login.type2, login.type3].map(|m| inputs::header_value("NTLM", &m));
    let ntlm = [
        offered(),
        Heads::new(Some(type1), 401, &[&type2], Step::Type1),
        Heads::new(Some(type3), 200, &[], Step::Type3Ok),
    ];
    connections(criterion, "NTLM, 3 exchanges", &ntlm, Some("CORP\\alice"));

    let login = inputs::spnego_login();
    let [init, challenge, authenticate] =
        [login.init, login.challenge, login.authenticate].map(|m| inputs::header_value("Negotiate", &m));
    let spnego = [
        offered(),
        Heads::new(Some(init), 401, &[&challenge], Step::Type1),
        Heads::new(Some(authenticate), 200, &[], Step::Type3Ok),
    ];
    connections(criterion, "NTLM in SPNEGO, 3 exchanges", &spnego, Some("CORP\\alice"));

    let ticket = inputs::header_value("Negotiate", &inputs::kerberos_token(TICKET_BYTES));
    let kerberos = [Heads::new(Some(ticket), 200, &[], Step::KerberosOk)];
    connections(criterion, "16 KB ticket, 1 exchange", &kerberos, None);

    connections(criterion, "ordinary request", &[ordinary()], None);
}

/// Follows a new connection with these exchanges.
fn connections(criterion: &mut Criterion, what: &str, exchanges: &[Heads], identity: Option<&str>) {
    let keys = RandomState::new();
    let now = Instant::now();
    let mut follower = Follower::new();
    for heads in exchanges {
        assert_eq!(heads.follow(&mut follower, &keys, now), heads.expected);
    }
    assert_eq!(follower.identity(), identity);
    criterion.bench_function(&format!("login/{what}"), |b| {
        b.iter(|| {
            let mut follower = Follower::new();
            for heads in black_box(exchanges) {
                black_box(heads.follow(&mut follower, &keys, now));
            }
            follower
        });
    });
}
