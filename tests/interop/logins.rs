//! Logging in: every user gets in under their own name, once a connection, and none without a password.

use crate::at_every_door;
use crate::bed::{ALICE, BOB, Bed, IMPOSTOR};
use crate::curl::{Curl, Login, sha256_of_file};
use crate::python::Python;
use crate::server::Server;

pub(crate) fn visitors_are_asked(server: Server) {
    let bed = Bed::start(server);
    at_every_door(&bed, |site| {
        let run = Curl::new(&bed, site).get(&[server.page()]);
        assert_eq!(run.statuses, [401], "{site}: a visitor's status codes; curl: {}", run.complaint);
        let mut schemes: Vec<_> =
            run.head.lines().filter_map(|line| line.strip_prefix("WWW-Authenticate: ")).collect();
        schemes.sort_unstable();
        assert_eq!(schemes, ["NTLM", "Negotiate"], "{site}: the schemes that a visitor is offered");
    });
}

pub(crate) fn own_name(server: Server, login: Login) {
    let bed = Bed::start(server);
    at_every_door(&bed, |site| {
        for user in [&ALICE, &BOB] {
            let name = login.name_of(user);
            let run = Curl::new(&bed, site).login(&bed, login, user).get(&[server.page()]);
            assert_eq!(
                run.statuses,
                login.statuses(),
                "{site}: {name}'s status codes; curl: {}",
                run.complaint
            );
            assert_eq!(run.each(|answer| &answer.user), [&name], "{site}: the user");
            assert_eq!(run.answers[0].echoed("user"), Some(name), "{site}: the user in the page");
        }
    });
}

pub(crate) fn once_a_connection(server: Server, login: Login) {
    let bed = Bed::start(server);
    let name = login.name_of(&ALICE);
    let pages = match server {
        Server::Apache => ["/auth/echo", "/auth/1k.bin", "/auth/64k.bin"],
        Server::Mock => [server.page(); 3],
    };
    at_every_door(&bed, |site| {
        let run = Curl::new(&bed, site).login(&bed, login, &ALICE).get(&pages);
        let statuses = [login.statuses(), &[200, 200]].concat();
        assert_eq!(run.statuses, statuses, "{site}: status codes of three requests; curl: {}", run.complaint);
        assert_eq!(run.each(|answer| &answer.user), [&name; 3], "{site}: the user of each request");
        assert_eq!(run.each(|answer| answer.connects), [1, 0, 0], "{site}: connections that curl opened");
        let first = &run.answers[0].connection;
        assert_eq!(run.each(|answer| &answer.connection), [first; 3], "{site}: the server's connections");
    });
}

pub(crate) fn posts(server: Server, login: Login) {
    // From 1 MB on curl asks before it sends a body ("Expect: 100-continue"). With NTLM in SPNEGO it asks in
    // the first message already; Apache answers that 401, closes, and the login is over: there, stay below.
    // The mock takes the body, answers 401, and is sent it again.
    let (file, first_interim, interim): (_, &[u16], &[u16]) = match (server, login) {
        (Server::Apache, Login::NegotiateNtlm) => ("64k.bin", &[], &[]),
        (Server::Mock, Login::NegotiateNtlm) => ("10m.bin", &[100], &[100]),
        _ => ("10m.bin", &[], &[100]),
    };
    let (last, refusals) = login.statuses().split_last().expect("a login has an answer");
    let bed = Bed::start(server);
    let body = bed.file(file);
    at_every_door(&bed, |site| {
        let run =
            Curl::new(&bed, site).login(&bed, login, &ALICE).post(&body).get(&[server.echo(), server.page()]);
        let statuses = [first_interim, refusals, interim, &[*last], interim, &[200]].concat();
        assert_eq!(
            run.statuses, statuses,
            "{site}: status codes of two POSTs of {file}; curl: {}",
            run.complaint
        );
        assert_eq!(run.each(|answer| answer.connects), [1, 0], "{site}: connections that curl opened");
        assert_eq!(run.answers[1].user, login.name_of(&ALICE), "{site}: who posted");
        let sent = Some(sha256_of_file(&body));
        assert_eq!(
            server.posted_sha256(&run.answers[0].body),
            sent,
            "{site}: SHA-256 of {file} at the server"
        );
    });
}

pub(crate) fn refused(server: Server, login: Login) {
    let bed = Bed::start(server);
    at_every_door(&bed, |site| {
        let run = Curl::new(&bed, site).login(&bed, login, &IMPOSTOR).get(&[server.page()]);
        assert_eq!(
            run.each(|answer| answer.status),
            [401],
            "{site}: an impostor's answer; curl: {}",
            run.complaint
        );
        assert!(!run.statuses.contains(&200), "{site}: an impostor got in on the way: {:?}", run.statuses);
    });
}

pub(crate) fn requests_ntlm(server: Server) {
    let bed = Bed::start(server);
    let python = Python::start(&bed);
    at_every_door(&bed, |site| {
        for user in [&ALICE, &BOB] {
            let session = python.user(site, user);
            let name = user.ntlm_name();
            let first = session.get(server.page());
            assert_eq!(first.statuses, [401, 401, 200], "{site}: {name}'s status codes: {first:?}");
            assert_eq!(first.user, name, "{site}: the first answer's user");
            for _ in 0..2 {
                let next = session.get(server.page());
                assert_eq!(next.statuses, [200], "{site}: {name} logged in already: {next:?}");
                assert_eq!(next.user, name, "{site}: a later answer's user");
                assert_eq!(next.connection, first.connection, "{site}: the server's connection");
            }
        }
    });
}

pub(crate) fn requests_ntlm_posts(server: Server) {
    let bed = Bed::start(server);
    let python = Python::start(&bed);
    let (body, page) = (bed.file("10m.bin"), bed.client_directory().join("page"));
    let sent = Some(sha256_of_file(&body));
    at_every_door(&bed, |site| {
        let session = python.user(site, &ALICE);
        for (statuses, when) in [(&[401, 401, 200][..], "to log in"), (&[200], "logged in")] {
            let reply = session.post(server.echo(), &body, &page);
            assert_eq!(reply.statuses, statuses, "{site}: status codes of a POST {when}: {reply:?}");
            assert_eq!(server.posted_sha256(&page), sent, "{site}: SHA-256 at the server, {when}");
        }
        let reply = session.get(server.page());
        assert_eq!(reply.statuses, [200], "{site}: logged in still: {reply:?}");
        assert_eq!(reply.user, ALICE.ntlm_name(), "{site}: who posted");
    });
}

pub(crate) fn requests_ntlm_refused(server: Server) {
    let bed = Bed::start(server);
    let python = Python::start(&bed);
    at_every_door(&bed, |site| {
        let reply = python.user(site, &IMPOSTOR).get(server.page());
        assert_eq!(reply.statuses, [401, 401, 401], "{site}: an impostor's status codes: {reply:?}");
    });
}
