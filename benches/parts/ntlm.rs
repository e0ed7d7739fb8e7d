//! `protocol::ntlm`: reading and writing each of the three messages, and what client and server compute.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use iisplice::protocol::ntlm::{Authenticate, Challenge, ExtendedProtection, Negotiate};

use crate::inputs::{self, NOW, RANDOM, SERVER_CHALLENGE};

pub(crate) fn benches(criterion: &mut Criterion) {
    messages(criterion);
    client_side(criterion);
    server_side(criterion);
}

/// Bytes to values and back.
fn messages(criterion: &mut Criterion) {
    let login = inputs::ntlm_login();
    let mut group = criterion.benchmark_group("ntlm");

    let type1 = Negotiate::parse(&login.type1).expect("a sound Type 1");
    assert_eq!(type1.to_bytes().as_ref(), Ok(&login.type1));
    group.bench_function("Type 1/read", |b| b.iter(|| Negotiate::parse(black_box(&login.type1))));
    group.bench_function("Type 1/write", |b| b.iter(|| black_box(&type1).to_bytes()));

    let type2 = Challenge::parse(&login.type2).expect("a sound Type 2");
    assert_eq!(type2.to_bytes().as_ref(), Ok(&login.type2));
    group.bench_function("Type 2/read", |b| b.iter(|| Challenge::parse(black_box(&login.type2))));
    group.bench_function("Type 2/write", |b| b.iter(|| black_box(&type2).to_bytes()));

    let type3 = Authenticate::parse(&login.type3).expect("a sound Type 3");
    assert!(type3.mic.is_some());
    assert_eq!(type3.to_bytes().as_ref(), Ok(&login.type3));
    group.bench_function("Type 3/read", |b| b.iter(|| Authenticate::parse(black_box(&login.type3))));
    group.bench_function("Type 3/write", |b| b.iter(|| black_box(&type3).to_bytes()));
    group.finish();
}

/// The work of the load generator: it hashes a password once, and answers a Type 2 in each login.
fn client_side(criterion: &mut Criterion) {
    let login = inputs::ntlm_login();
    let credentials = inputs::credentials();
    let (awaiting, _) = inputs::client(&credentials).negotiate();
    let answer = || awaiting.authenticate(black_box(&login.type2), &RANDOM, NOW).expect("a sound Type 2");
    assert_eq!(answer().message, login.type3);
    criterion.bench_function("ntlm/client hashes a password", |b| b.iter(inputs::credentials));
    criterion.bench_function("ntlm/client answers a Type 2", |b| b.iter(answer));
}

/// The work of the mock: it answers a Type 1, and verifies the proof and the message integrity code of a Type 3.
fn server_side(criterion: &mut Criterion) {
    let login = inputs::ntlm_login();
    let server = inputs::server();
    let challenge =
        || server.challenge(black_box(&login.type1), SERVER_CHALLENGE, NOW).expect("a sound Type 1");
    assert_eq!(challenge().1, login.type2);
    criterion.bench_function("ntlm/server answers a Type 1", |b| b.iter(challenge));

    let hash = inputs::hash();
    let verify = |awaiting: iisplice::protocol::ntlm::AwaitingAuthenticate| {
        awaiting.authenticate(black_box(&login.type3), |_, _| Some(hash), ExtendedProtection::Off)
    };
    let verified = verify(login.awaiting.clone()).expect("the right password");
    assert!(verified.has_mic && verified.user == "alice");
    criterion.bench_function("ntlm/server verifies a Type 3", |b| {
        b.iter_batched(|| login.awaiting.clone(), verify, BatchSize::SmallInput);
    });
}
