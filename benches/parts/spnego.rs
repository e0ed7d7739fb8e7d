//! `protocol::spnego`: reading and writing both kinds of tokens, and what client and server compute.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use iisplice::protocol::ntlm::ExtendedProtection;
use iisplice::protocol::spnego::{self, Carried, NegTokenInit, NegTokenResp, neg_token_init};

use crate::inputs::{self, BROWSER_MECHANISMS, NOW, RANDOM, SERVER_CHALLENGE, TICKET_BYTES};

pub(crate) fn benches(criterion: &mut Criterion) {
    tokens(criterion);
    kerberos(criterion);
    both_sides(criterion);
}

/// Bytes to values and back.
fn tokens(criterion: &mut Criterion) {
    let ntlm = inputs::ntlm_login();
    let login = inputs::spnego_login();
    let mut group = criterion.benchmark_group("spnego");

    let init = neg_token_init(&BROWSER_MECHANISMS, Some(&ntlm.type1));
    let read = NegTokenInit::parse(&init).expect("a sound token");
    assert!(read.mech_types.iter().eq(BROWSER_MECHANISMS) && read.mech_token == Some(&ntlm.type1));
    group.bench_function("NegTokenInit/read", |b| b.iter(|| NegTokenInit::parse(black_box(&init))));
    group.bench_function("NegTokenInit/write", |b| {
        b.iter(|| neg_token_init(black_box(&BROWSER_MECHANISMS), Some(&ntlm.type1)));
    });

    for (what, token) in [
        ("NegTokenResp with a Type 2", &login.challenge),
        ("NegTokenResp with a Type 3", &login.authenticate),
    ] {
        let read = NegTokenResp::parse(token).expect("a sound token");
        assert!(read.response_token.is_some());
        assert_eq!(read.to_bytes(), *token);
        group.bench_function(format!("{what}/read"), |b| b.iter(|| NegTokenResp::parse(black_box(token))));
        group.bench_function(format!("{what}/write"), |b| b.iter(|| black_box(&read).to_bytes()));
    }
    group.finish();
}

/// Recognises a ticket by its first bytes: the size must not matter.
fn kerberos(criterion: &mut Criterion) {
    let token = inputs::kerberos_token(TICKET_BYTES);
    assert_eq!(Carried::in_beginning(&token), Some(Carried::Kerberos));
    criterion.bench_function("spnego/recognise a 16 KB ticket", |b| {
        b.iter(|| Carried::in_beginning(black_box(&token)));
    });
}

/// The work of `ntlm.rs` in tokens, with the signature of the mechanism list.
fn both_sides(criterion: &mut Criterion) {
    let login = inputs::spnego_login();
    let credentials = inputs::credentials();
    let mut group = criterion.benchmark_group("spnego");

    let (awaiting, _) = spnego::Client::new(inputs::client(&credentials)).negotiate();
    let answer =
        || awaiting.authenticate(black_box(&login.challenge), &RANDOM, NOW).expect("a sound token").1;
    assert_eq!(answer(), login.authenticate);
    group.bench_function("client answers a Type 2", |b| b.iter(answer));

    let server = inputs::server();
    let begin =
        || spnego::begin(&server, black_box(&login.init), SERVER_CHALLENGE, NOW).expect("a sound token");
    assert_eq!(begin().1, login.challenge);
    group.bench_function("server answers a Type 1", |b| b.iter(begin));

    let hash = inputs::hash();
    let verify = |awaiting: spnego::AwaitingAuthenticate| {
        awaiting.authenticate(black_box(&login.authenticate), |_, _| Some(hash), ExtendedProtection::Off)
    };
    let (_, last_token) = verify(login.awaiting.clone()).expect("the right password");
    assert!(NegTokenResp::parse(&last_token).is_ok_and(|token| token.mech_list_mic.is_some()));
    group.bench_function("server verifies a Type 3", |b| {
        b.iter_batched(|| login.awaiting.clone(), verify, BatchSize::SmallInput);
    });
    group.finish();
}
