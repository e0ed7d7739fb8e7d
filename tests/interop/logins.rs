//! Logging in: everyone gets in under their own name, once a connection, and nobody without a password.

use crate::at_every_door;
use crate::bed::{ALICE, BOB, Bed, IMPOSTOR};
use crate::curl::{Curl, Login, sha256_of_file};
use crate::python::Python;

pub(crate) fn visitors_are_asked() {
    let bed = Bed::start();
    at_every_door(&bed, |site| {
        let run = Curl::new(&bed, site).get(&["/auth/echo"]);
        assert_eq!(run.statuses, [401], "{site}: a visitor's status codes; curl: {}", run.complaint);
        let mut schemes: Vec<_> =
            run.head.lines().filter_map(|line| line.strip_prefix("WWW-Authenticate: ")).collect();
        schemes.sort_unstable();
        assert_eq!(schemes, ["NTLM", "Negotiate"], "{site}: the schemes that a visitor is offered");
    });
}

pub(crate) fn own_name(login: Login) {
    let bed = Bed::start();
    at_every_door(&bed, |site| {
        for user in [&ALICE, &BOB] {
            let name = login.name_of(user);
            let run = Curl::new(&bed, site).login(&bed, login, user).get(&["/auth/echo"]);
            assert_eq!(
                run.statuses,
                login.statuses(),
                "{site}: {name}'s status codes; curl: {}",
                run.complaint
            );
            assert_eq!(run.each(|answer| &answer.user), [&name], "{site}: the user in the server's header");
            assert_eq!(run.answers[0].echoed("user"), Some(name), "{site}: the user in the page");
        }
    });
}

pub(crate) fn once_a_connection(login: Login) {
    let bed = Bed::start();
    let name = login.name_of(&ALICE);
    at_every_door(&bed, |site| {
        let run = Curl::new(&bed, site).login(&bed, login, &ALICE).get(&[
            "/auth/echo",
            "/auth/1k.bin",
            "/auth/64k.bin",
        ]);
        let statuses = [login.statuses(), &[200, 200]].concat();
        assert_eq!(run.statuses, statuses, "{site}: status codes of three requests; curl: {}", run.complaint);
        assert_eq!(run.each(|answer| &answer.user), [&name; 3], "{site}: the user of each request");
        assert_eq!(run.each(|answer| answer.connects), [1, 0, 0], "{site}: connections that curl opened");
        let first = &run.answers[0].client_port;
        assert_eq!(
            run.each(|answer| &answer.client_port),
            [first; 3],
            "{site}: ports of the server's connections"
        );
    });
}

pub(crate) fn posts(login: Login) {
    // From 1 MB on curl asks before it sends a body ("Expect: 100-continue"). With NTLM in SPNEGO it asks in
    // the first message already; Apache answers that 401, closes, and the login is over: there, stay below.
    let (file, interim): (_, &[u16]) =
        if login == Login::NegotiateNtlm { ("64k.bin", &[]) } else { ("10m.bin", &[100]) };
    let (last, refusals) = login.statuses().split_last().expect("a login has an answer");
    let bed = Bed::start();
    let body = bed.file(file);
    at_every_door(&bed, |site| {
        let run = Curl::new(&bed, site).login(&bed, login, &ALICE).post(&body).get(&["/auth/echo"]);
        let statuses = [refusals, interim, &[*last]].concat();
        assert_eq!(
            run.statuses, statuses,
            "{site}: status codes of a POST of {file}; curl: {}",
            run.complaint
        );
        assert_eq!(run.answers[0].user, login.name_of(&ALICE), "{site}: who posted");
        let sent = Some(sha256_of_file(&body));
        assert_eq!(run.answers[0].echoed("sha256"), sent, "{site}: SHA-256 of {file} at the server");
    });
}

pub(crate) fn refused(login: Login) {
    let bed = Bed::start();
    at_every_door(&bed, |site| {
        let run = Curl::new(&bed, site).login(&bed, login, &IMPOSTOR).get(&["/auth/echo"]);
        assert_eq!(
            run.each(|answer| answer.status),
            [401],
            "{site}: an impostor's answer; curl: {}",
            run.complaint
        );
        assert!(!run.statuses.contains(&200), "{site}: an impostor got in on the way: {:?}", run.statuses);
    });
}

pub(crate) fn requests_ntlm() {
    let bed = Bed::start();
    let python = Python::start(&bed);
    at_every_door(&bed, |site| {
        for user in [&ALICE, &BOB] {
            let session = python.user(site, user);
            let name = user.ntlm_name();
            let first = session.get("/auth/echo");
            assert_eq!(first.statuses, [401, 401, 200], "{site}: {name}'s status codes: {first:?}");
            assert_eq!(first.user, name, "{site}: the first answer's user");
            for _ in 0..2 {
                let next = session.get("/auth/echo");
                assert_eq!(next.statuses, [200], "{site}: {name} logged in already: {next:?}");
                assert_eq!(next.user, name, "{site}: a later answer's user");
                assert_eq!(next.port, first.port, "{site}: port of the server's connection");
            }
        }
    });
}

pub(crate) fn requests_ntlm_refused() {
    let bed = Bed::start();
    let python = Python::start(&bed);
    at_every_door(&bed, |site| {
        let reply = python.user(site, &IMPOSTOR).get("/auth/echo");
        assert_eq!(reply.statuses, [401, 401, 401], "{site}: an impostor's status codes: {reply:?}");
    });
}
