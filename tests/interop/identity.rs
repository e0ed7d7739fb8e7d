//! No user is ever answered as another. Each `no_leak` way lets alice log in and looks whether visitors,
//! each on a connection of their own, are taken for her.

use std::thread::{self, ScopedJoinHandle};

use crate::at_every_door;
use crate::bed::{ALICE, BOB, Bed, Site, User};
use crate::curl::{Curl, Login};
use crate::python::{Python, Session};
use crate::server::Server;

const ROUNDS: u32 = 10;
const TRIES: u32 = 20;

/// Alice and bob keep their connections and take turns on them, while visitors come and go.
pub(crate) fn held_connections(server: Server) {
    let bed = Bed::start(server);
    let python = Python::start(&bed);
    at_every_door(&bed, |site| {
        for round in 0..ROUNDS {
            let (alice, bob) = (python.user(site, &ALICE), python.user(site, &BOB));
            for (user, session) in [(&ALICE, &alice), (&BOB, &bob), (&ALICE, &alice), (&BOB, &bob)] {
                let reply = session.get(server.page());
                assert_eq!(reply.user, user.ntlm_name(), "{site}: round {round}: the user: {reply:?}");
                look(&python.visitor(site)).unwrap_or_else(|why| panic!("{site}: round {round}: {why}"));
            }
        }
    });
}

/// Clients of every kind that the server knows log in at the same time, again and again.
pub(crate) fn concurrent_clients(server: Server) {
    let bed = &Bed::start(server);
    let by_ticket = if server == Server::Apache { Login::Kerberos } else { Login::NegotiateNtlm };
    let clients = [
        Some((Login::Ntlm, &ALICE)),
        Some((by_ticket, &BOB)),
        Some((Login::NegotiateNtlm, &ALICE)),
        Some((Login::Ntlm, &BOB)),
        None,
        None,
    ];
    at_every_door(bed, |site| {
        let all = thread::scope(|scope| {
            clients
                .map(|client| {
                    scope.spawn(move || (0..ROUNDS).try_for_each(|_| come_and_go(bed, site, client)))
                })
                .into_iter()
                .try_for_each(join)
        });
        all.unwrap_or_else(|why| panic!("{site}: {why}"));
    });
}

/// One of the concurrent clients, a visitor if it has no user, asks three times on one connection.
fn come_and_go(bed: &Bed, site: &Site, client: Option<(Login, &User)>) -> Result<(), String> {
    let curl = Curl::new(bed, site);
    let (curl, name, status) = match client {
        Some((login, user)) => (curl.login(bed, login, user), login.name_of(user), 200),
        None => (curl, String::new(), 401),
    };
    let run = curl.get(&[site.server.page(); 3]);
    if run.each(|answer| (answer.user.as_str(), answer.status)) == [(name.as_str(), status); 3] {
        return Ok(());
    }
    Err(format!(
        "'{name}' was not answered as such with {status}: {:?}; curl: {}",
        run.answers, run.complaint
    ))
}

fn join(thread: ScopedJoinHandle<'_, Result<(), String>>) -> Result<(), String> {
    thread.join().map_err(|_| "a client ended early".to_owned())?
}

/// A way of looking for leaks at a site; the error says what was seen.
pub(crate) type Way = fn(&Bed, &Site) -> Result<(), String>;

/// Looks for leaks in one way.
pub(crate) fn no_leak(server: Server, way: Way) {
    let bed = Bed::start(server);
    at_every_door(&bed, |site| way(&bed, site).unwrap_or_else(|why| panic!("{site}: {why}")));
}

/// Alice stays connected.
pub(crate) fn held(bed: &Bed, site: &Site) -> Result<(), String> {
    let python = Python::start(bed);
    for attempt in 0..TRIES {
        let visitor = visitor(&python, site, attempt);
        let alice = python.user(site, &ALICE);
        log_in(&alice)?;
        look(&visitor)?;
    }
    Ok(())
}

/// Alice has gone.
pub(crate) fn closed(bed: &Bed, site: &Site) -> Result<(), String> {
    let python = Python::start(bed);
    for attempt in 0..TRIES {
        let visitor = visitor(&python, site, attempt);
        let alice = python.user(site, &ALICE);
        log_in(&alice)?;
        log_in(&alice)?;
        drop(alice);
        look(&visitor)?;
    }
    Ok(())
}

/// Alice and visitors come at the same time.
pub(crate) fn busy(bed: &Bed, site: &Site) -> Result<(), String> {
    let users = || {
        let python = Python::start(bed);
        for _ in 0..TRIES {
            let alice = python.user(site, &ALICE);
            (0..4).try_for_each(|_| log_in(&alice))?;
        }
        Ok(())
    };
    let visitors = || {
        let python = Python::start(bed);
        (0..TRIES).try_for_each(|attempt| look(&visitor(&python, site, attempt)))
    };
    thread::scope(|scope| {
        let threads = [scope.spawn(users), scope.spawn(users), scope.spawn(visitors), scope.spawn(visitors)];
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a client ended early".to_owned())?)
    })
}

/// Alice uses `curl --ntlm` and has gone.
pub(crate) fn curl(bed: &Bed, site: &Site) -> Result<(), String> {
    after_curl(bed, site, Login::Ntlm)
}

/// Alice's ticket goes with her first request: a proxy in between sees no 401.
pub(crate) fn kerberos(bed: &Bed, site: &Site) -> Result<(), String> {
    after_curl(bed, site, Login::Kerberos)
}

/// Alice's ticket goes with her second request.
pub(crate) fn kerberos_when_asked(bed: &Bed, site: &Site) -> Result<(), String> {
    after_curl(bed, site, Login::KerberosWhenAsked)
}

fn after_curl(bed: &Bed, site: &Site, login: Login) -> Result<(), String> {
    let python = Python::start(bed);
    for attempt in 0..TRIES {
        let visitor = visitor(&python, site, attempt);
        let run = Curl::new(bed, site).login(bed, login, &ALICE).get(&[site.server.page(); 3]);
        let name = login.name_of(&ALICE);
        if run.each(|answer| &answer.user) != [&name; 3] {
            return Err(format!("alice could not log in: {:?}; curl: {}", run.answers, run.complaint));
        }
        look(&visitor)?;
    }
    Ok(())
}

/// A visitor; every other one has fetched a public page on their connection, as visitors of a site do.
fn visitor<'a>(python: &'a Python, site: &'a Site, attempt: u32) -> Session<'a> {
    let visitor = python.visitor(site);
    if attempt % 2 == 1 {
        visitor.get(site.server.public_page());
    }
    visitor
}

fn log_in(alice: &Session<'_>) -> Result<(), String> {
    let reply = alice.get(alice.site.server.page());
    if reply.user == ALICE.ntlm_name() { Ok(()) } else { Err(format!("alice could not log in: {reply:?}")) }
}

/// A visitor asks twice for what only users may see.
fn look(visitor: &Session<'_>) -> Result<(), String> {
    for _ in 0..2 {
        let reply = visitor.get(visitor.site.server.page());
        if reply.statuses.contains(&200) {
            return Err(format!("LEAK: a visitor was answered as {}: {reply:?}", reply.user));
        }
        if reply.statuses != [401] {
            return Err(format!("a visitor was not answered 401: {reply:?}"));
        }
    }
    Ok(())
}
