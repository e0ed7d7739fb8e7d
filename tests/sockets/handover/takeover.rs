//! What the old process and the new one each do.

use super::*;
use crate::http::OK;
use crate::http::logins::{challenge, ntlm, request};
use crate::support::{Identity, TlsPeer};

#[test]
fn a_new_process_takes_over_and_the_old_one_serves_what_it_has() {
    let server = Server::v4();
    let (mut proxy, admin) = start(Launch::to(server.address()).flags("--drain-timeout 1h"));
    let held = pair(&proxy, &server);
    let first = own_pid(&proxy);
    assert_eq!(generations(&admin).len(), 1);

    let second = upgrade(&proxy, first);
    let next = pair(&proxy, &server);
    exchange(&held.0, &held.1);
    wait_until("each process to serve one connection", || {
        let rows = generations(&admin);
        let facts = |row: &Value| {
            (
                row["generation"].as_i64(),
                row["pid"].as_i64(),
                row["state"].as_str().map(str::to_owned),
                row["connections"].as_i64(),
            )
        };
        let row = |generation, pid: i32, state: &str| {
            (Some(generation), Some(i64::from(pid)), Some(state.to_owned()), Some(1))
        };
        rows.iter().map(facts).collect::<Vec<_>>() == [row(2, second, "serving"), row(1, first, "draining")]
    });
    let metrics = admin.get("/metrics").body;
    for line in [
        r#"iisplice_generation_connections{generation="2",state="serving"} 1"#,
        r#"iisplice_generation_connections{generation="1",state="draining"} 1"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }

    // The first one still drains when the third comes.
    let done = command(&admin.address);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(said.starts_with("generation 3 serves"), "{said}");
    wait_until("the third process to hear of both", || generations(&admin).len() == 3);
    let last = pair(&proxy, &server);
    for (client, upstream) in [&held, &next, &last] {
        exchange(client, upstream);
    }
    drop(held);
    assert_eq!(proxy.exit_code(), Some(0));
    drop(next);
    wait_until("the second process to end", || is_gone(second));
    wait_until("the third process to note it", || generations(&admin).len() == 1);
    exchange(&last.0, &last.1);
}

/// Clients that wait in the accept queues of each worker, while the process stands still.
#[test]
fn who_waits_to_be_accepted_is_served_however_many_workers_there_are() {
    let server = echo();
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("iisplice.toml");
    let address = reserved::address();
    let write = |workers: usize, steers: &str| {
        // Steering by CPU needs workers that are pinned.
        let is_free = steers == "hash";
        let text = format!(
            "workers = {workers}\nno-pin = {is_free}\n[service.a]\nlisten = [\"{address}\"]\nsteer = \"{steers}\"\n\
             upstream = \"g\"\n[group.g]\nservers = [\"{server}\"]\n"
        );
        fs::write(&path, text).expect("it is written");
    };
    write(3, "hash");
    let proxy = Launch::by_file(&path).logs_by_file().workers_by_file().start();
    let mut pid = own_pid(&proxy);
    for (workers, steers) in [(1, "hash"), (4, "hash"), (2, "cpu"), (2, "hash")] {
        write(workers, steers);
        let before = proxy.successors().len();
        signal(pid, Signal::SIGSTOP);
        let waiting: Vec<_> = (0..40).map(|_| connect(&address.to_string()).expect("it listens")).collect();
        signal(pid, Signal::SIGUSR2);
        signal(pid, Signal::SIGCONT);
        pid = successor(&proxy, before);
        for mut client in waiting {
            talk(&mut client).expect("it is served");
        }
        for _ in 0..20 {
            talk(&mut connect(&address.to_string()).expect("it listens")).expect("it is served");
        }
    }
}

#[test]
fn listeners_come_and_go_with_an_upgrade() {
    let server = echo();
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("iisplice.toml");
    let (stays, goes, comes) = (reserved::address(), reserved::address(), reserved::address());
    let write = |one, other| {
        let text = format!(
            "[service.a]\nlisten = [\"{one}\", \"{other}\"]\nupstream = \"g\"\n[group.g]\nservers = [\"{server}\"]\n"
        );
        fs::write(&path, text).expect("it is written");
    };
    write(goes, stays);
    let proxy = Launch::by_file(&path).logs_by_file().start();
    write(stays, comes);
    upgrade(&proxy, own_pid(&proxy));
    for address in [stays, comes] {
        talk(&mut connect(&address.to_string()).expect("it listens")).expect("it is served");
    }
    wait_until("the removed listener to be closed", || connect(&goes.to_string()).is_err());
}

#[test]
fn a_wildcard_takes_the_place_of_an_address_with_an_upgrade_and_the_other_way_round() {
    let server = echo();
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("iisplice.toml");
    let address = reserved::address();
    let (one, all) = (address.to_string(), format!("0.0.0.0:{}", address.port()));
    let write = |listen: &str| {
        let text = format!(
            "[service.a]\nlisten = \"{listen}\"\nupstream = \"g\"\ndefer-accept = true\n[group.g]\nservers = \"{server}\"\n"
        );
        fs::write(&path, text).expect("it is written");
    };
    write(&one);
    let proxy = Launch::by_file(&path).flags("--workers 2").logs_by_file().start();
    let (pid, mut silent) = (Cell::new(own_pid(&proxy)), RefCell::new(Vec::new()));
    let upgrade_to = |listen| {
        let (write, pid, proxy, silent, one) = (&write, &pid, &proxy, &silent, &one);
        move || {
            // The kernel holds it back until it sends something.
            silent.borrow_mut().push(connect(one).expect("it listens"));
            write(listen);
            pid.set(upgrade(proxy, pid.get()));
            talk(silent.borrow_mut().last_mut().expect("one")).expect("it is served");
        }
    };
    let failures = failures_during(&one, [&*all, &one, &all, &one].map(upgrade_to));
    assert_eq!(failures, [""; 0]);
    for client in silent.get_mut() {
        talk(client).expect("it is still served");
    }
}

#[test]
fn idle_clients_of_http_mode_are_let_go_and_tls_connections_stay() {
    let server = Server::v4();
    let directory = TempDir::new().expect("a directory for temporary files");
    let identity = Identity::make(directory.path(), "site", &["site.test"]);
    let flags = format!("--mode http {} --drain-timeout 1h", identity.flags());
    let mut proxy = Launch::to(server.address()).flags(&flags).start();
    let config = std::sync::Arc::new(identity.client(None));
    let connect = || TlsPeer::connect(proxy.address(), &config, "site.test");
    let ask = |client: &TlsPeer| {
        client.plain.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n");
    };
    let answer = |upstream: &Peer| {
        let mut head = [0; 4096];
        assert!(upstream.receive(&mut head).expect("a request") > 0);
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    };
    let idle = connect();
    ask(&idle);
    let idle_upstream = server.accept();
    answer(&idle_upstream);
    idle.plain.expect(b"HTTP/1.1 200 OK\r\n");
    let busy = connect();
    ask(&busy);
    let busy_upstream = server.accept();

    upgrade(&proxy, own_pid(&proxy));
    idle_upstream.expect_end();
    let next = connect();
    ask(&next);
    answer(&server.accept());
    next.plain.expect(b"HTTP/1.1 200 OK\r\n");
    answer(&busy_upstream);
    busy.plain.expect(b"HTTP/1.1 200 OK\r\n");
    drop((idle, busy, busy_upstream, idle_upstream));
    assert_eq!(proxy.exit_code(), Some(0));
}

#[test]
fn a_login_that_has_its_challenge_ends_on_the_old_process() {
    let server = Server::v4();
    let mut proxy =
        Launch::to(server.address()).flags("--mode http --forwarded off --drain-timeout 1h").start();
    let ask = |client: &Peer, upstream: &Peer, request: &[u8], reply: &[u8]| {
        client.send(request);
        upstream.expect(request);
        upstream.send(reply);
    };
    let client = Peer::connect(proxy.address());
    let type1 = request(&ntlm(1, "", ""));
    client.send(&type1);
    let upstream = server.accept();
    upstream.expect(&type1);
    upstream.send(&challenge());
    client.expect(&challenge());

    let second = upgrade(&proxy, own_pid(&proxy));
    // The new process serves others meanwhile, and then this login goes on where it began.
    let next = Peer::connect(proxy.address());
    next.send(&type1);
    let next_upstream = server.accept();
    next_upstream.expect(&type1);
    ask(&client, &upstream, &request(&ntlm(3, "CORP", "alice")), OK);
    client.expect(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    client.expect_end();
    upstream.expect_end();
    drop((client, upstream));
    assert_eq!(proxy.exit_code(), Some(0), "nothing holds the old process");
    next_upstream.send(&challenge());
    next.expect(&challenge());
    ask(&next, &next_upstream, &request(&ntlm(3, "CORP", "bob")), OK);
    next.expect(OK);
    assert!(!is_gone(second));
}

#[test]
fn the_first_request_to_stop_lets_a_process_that_drains_go_on() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--drain-timeout 1h").start();
    let held = pair(&proxy, &server);
    upgrade(&proxy, own_pid(&proxy));
    proxy.signal(Signal::SIGUSR2);
    proxy.wait_to_say("stopping; the proxy is not upgraded any more");
    proxy.signal(Signal::SIGTERM);
    proxy.wait_to_say("received signal signal=\"SIGTERM\"");
    exchange(&held.0, &held.1);
    drop(held);
    assert_eq!(proxy.exit_code(), Some(0));
}

/// A service manager tells all processes to stop, and tells them again once the main one has ended: for an older one that is
/// the second request, which ends it at once.
#[test]
fn the_last_process_to_end_is_the_main_one() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--drain-timeout 1h").start();
    let held = pair(&proxy, &server);
    let first = own_pid(&proxy);
    let main = upgrade(&proxy, first);
    for pid in [main, first] {
        signal(pid, Signal::SIGTERM);
    }
    proxy.wait_to_say("all connections of this process have ended; waiting for those before it processes=1");
    exchange(&held.0, &held.1);
    assert!(!is_gone(main));
    drop(held);
    assert_eq!(proxy.exit_code(), Some(0));
    wait_until("the main process to end", || is_gone(main));
}

#[test]
fn the_main_process_waits_for_none_after_a_second_request() {
    let server = Server::v4();
    let (proxy, _admin) = start(Launch::to(server.address()).flags("--drain-timeout 1h"));
    let held = pair(&proxy, &server);
    let main = upgrade(&proxy, own_pid(&proxy));
    signal(main, Signal::SIGINT);
    proxy.wait_to_say("waiting for those before it");
    signal(main, Signal::SIGINT);
    wait_until("the main process to end", || is_gone(main));
    exchange(&held.0, &held.1);
}

#[test]
fn the_new_process_serves_when_the_old_one_was_killed() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    let address = proxy.address().to_owned();
    upgrade(&proxy, own_pid(&proxy));
    proxy.signal(Signal::SIGKILL);
    let client = Peer::connect(&address);
    client.send(b"first");
    server.accept().expect(b"first");
}
