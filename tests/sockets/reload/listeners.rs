//! Listeners that are added, removed, kept and moved.

use super::*;
use crate::admin;
use crate::metrics::Metrics;
use crate::support::serve_waiting;

#[test]
fn listeners_come_stay_and_go() {
    let (one, two) = (Server::v4(), Server::v4());
    let (stays, goes, comes) = (free(), free(), free());
    let file = File::new(&service("a", &[&stays, &goes], &one, ""));
    let proxy = file.start();
    let established = [expect_served(&stays, &one), expect_served(&goes, &one)];

    let said = file.reload(&proxy, &(service("a", &[&stays], &one, "") + &service("b", &[&comes], &two, "")));
    for part in [
        "INFO settings reloaded",
        "service a (listen)",
        "service b added",
        "group b added",
        &format!("listener {comes} added"),
        &format!("listener {goes} removed"),
        &format!("server {} of b added", two.address()),
    ] {
        assert!(said.contains(part), "expected {part:?} in: {said}");
    }
    wait_until("the removed listener to be closed", || is_refused(&goes));
    expect_served(&stays, &one);
    expect_served(&comes, &two);
    for (client, upstream) in &established {
        exchange(client, upstream);
    }

    // Back again.
    file.reload(&proxy, &service("a", &[&stays, &goes], &one, ""));
    wait_until("the removed listener to be closed", || is_refused(&comes));
    expect_served(&goes, &one);
    let said = reload(&proxy);
    assert!(said.contains("changed: nothing"), "{said}");
}

/// Clients that wait in the accept queues of a listener that stays, of one that goes and of one that moves, while the
/// process stands still.
#[test]
fn who_waits_to_be_accepted_is_served() {
    for workers in ["--workers 1 --no-pin", "--workers 2 --no-pin"] {
        let (one, two) = (Server::v4(), Server::v4());
        let (stays, goes, moves) = (free(), free(), free());
        let before = service("a", &[&stays, &goes, &moves], &one, "") + &service("b", &[&free()], &two, "");
        let after = service("a", &[&stays], &one, "") + &service("b", &[&moves], &two, "");
        let file = File::new(&before);
        let proxy = Launch::by_file(&file.path).flags(workers).start();
        file.write(&after);
        proxy.signal(Signal::SIGSTOP);
        let clients: Vec<_> = [&stays, &goes, &moves]
            .into_iter()
            .flat_map(|address| (0..20).map(move |_| Peer::connect(address)))
            .collect();
        proxy.signal(Signal::SIGHUP);
        proxy.signal(Signal::SIGCONT);
        for client in &clients {
            client.send(b"waited");
        }
        proxy.wait_to_say("reloaded;");
        let serve = |server: &Server| {
            let upstream = server.accept();
            upstream.expect(b"waited");
            upstream.send(b"served");
            upstream
        };
        // Of the one that moves, those that were accepted before go to the first server.
        let all = thread::scope(|scope| {
            let answer = scope.spawn(|| {
                for client in &clients {
                    client.expect(b"served");
                }
            });
            let mut upstreams: Vec<_> = (0..40).map(|_| serve(&one)).collect();
            while upstreams.len() < 60 {
                let server = if has_waiting(&one) { &one } else { &two };
                upstreams.push(serve(server));
            }
            answer.join().expect("all are answered");
            upstreams
        });
        assert_eq!(all.len(), clients.len());
        expect_served(&moves, &two);
        wait_until("the removed listener to be closed", || is_refused(&goes));
    }
}

/// One worker gives some of the clients that wait to the other one, which is told to serve something else before, meanwhile or
/// afterwards.
#[test]
fn who_is_given_to_another_worker_is_served() {
    let (server, address) = (Server::v4(), free());
    let text = |round: usize| service("a", &[&address], &server, &format!("idle-timeout = \"{round}h\""));
    let file = File::new(&text(1));
    let (proxy, admin) = admin::start(Launch::by_file(&file.path).flags("--workers 2 --no-pin"));
    for round in 1..=10 {
        file.write(&text(1 + round));
        proxy.signal(Signal::SIGSTOP);
        let clients: Vec<_> = (0..40).map(|_| Peer::connect(&address)).collect();
        proxy.signal(Signal::SIGHUP);
        proxy.signal(Signal::SIGCONT);
        let _upstreams = serve_waiting(&server, &clients);
        proxy.wait_to_say_times("reloaded;", round);
    }
    assert!(Metrics::of(&admin).sum("iisplice_worker_connections_given_total", &[]) > 0);
}

#[test]
fn a_port_that_the_kernel_chose_stays() {
    let (one, two) = (Server::v4(), Server::v4());
    let any = "127.0.0.1:0";
    let file = File::new(&(service("a", &[any, any], &one, "") + &service("b", &[any], &two, "")));
    let proxy = file.start();
    let [a1, a2, b] = proxy.listeners() else { panic!("three listeners") };
    // In another order, and by its number.
    let said = file.reload(
        &proxy,
        &(service("b", &[any], &two, "") + &service("a", &[any, a2], &one, "idle-timeout = \"1h\"")),
    );
    assert!(!said.contains("listener "), "{said}");
    for (address, server) in [(a1, &one), (a2, &one), (b, &two)] {
        expect_served(address, server);
    }
    // One moves to the other service.
    let said = file.reload(&proxy, &service("b", &[any, any], &two, ""));
    assert_eq!(said.matches(" removed").count(), 4, "service, group, a listener, a server: {said}");
    expect_served(b, &two);
}

#[test]
fn a_wildcard_takes_the_place_of_an_address_and_the_other_way_round() {
    let server = Server::v4();
    let one = free();
    let port = one.rsplit(':').next().expect("a port");
    let all = format!("0.0.0.0:{port}");
    let file = File::new(&service("a", &[&one], &server, ""));
    let proxy = file.start();
    for listen in [&all, &one, &all] {
        file.reload(&proxy, &service("a", &[listen], &server, ""));
        expect_served(&one, &server);
    }
}

/// The settings of a service that holds back clients who send nothing, and of its group.
fn holding_back(name: &str, listen: &str, server: &str) -> String {
    format!(
        "[service.{name}]\nlisten = \"{listen}\"\nupstream = \"{name}\"\ndefer-accept = true\n[group.{name}]\nservers = \"{server}\"\n"
    )
}

#[test]
fn no_client_is_reset_when_a_listener_takes_the_place_of_another() {
    let server = echo();
    for (one, all) in [("127.0.0.1", "0.0.0.0"), ("[::1]", "[::]")] {
        let port = free().rsplit(':').next().expect("a port").to_owned();
        let [one, all] = [one, all].map(|host| format!("{host}:{port}"));
        let text = |listen: &str, server: &str| holding_back("a", listen, server);
        let file = File::new(&text(&one, &server));
        let proxy = Launch::by_file(&file.path).flags("--workers 2 --no-pin").start();
        let replace = |(before, after): (&String, &String)| {
            // It is its own server.
            let (next, mistake) = (text(after, &server), text(before, &one));
            let (file, proxy, one) = (&file, &proxy, &one);
            move || {
                // The kernel holds it back until it sends something.
                let mut silent = connect(one).expect("it listens");
                file.reload(proxy, &next);
                talk(&mut silent).expect("it is served");
                file.refuse(proxy, &mistake);
            }
        };
        let failures =
            failures_during(&one, [(&one, &all), (&all, &one), (&one, &all), (&all, &one)].map(replace));
        assert_eq!(failures, [""; 0], "{one} and {all}");
    }
}

/// A proxy with as many connections as it may have leaves the clients of a closed listener in its queue. Those who come later
/// are the other's.
#[test]
fn a_listener_that_cannot_close_yet_gets_no_more_clients() {
    let (old, new) = (Server::v4(), Server::v4());
    let one = free();
    let port = one.rsplit(':').next().expect("a port");
    let all = format!("0.0.0.0:{port}");
    for (before, after) in [(&one, &all), (&all, &one)] {
        let text = |listen, server| "max-connections = 1\n".to_owned() + &service("a", &[listen], server, "");
        let file = File::new(&text(before, &old));
        let proxy = file.start();
        let session = expect_served(&one, &old);
        let waiting = Peer::connect(&one);
        waiting.send(b"waits");
        file.reload(&proxy, &text(after, &new));
        let next = Peer::connect(&one);
        next.send(b"comes");
        drop(session);
        for (client, server, says) in [(waiting, &old, b"waits"), (next, &new, b"comes")] {
            let upstream = server.accept();
            upstream.expect(says);
            exchange(&client, &upstream);
        }
    }
}

#[test]
fn unix_sockets_come_stay_and_go_with_their_files() {
    let server = Server::v4();
    let file = File::new("");
    let [stays, goes, comes] = ["stays", "goes", "comes"].map(|name| file.beside(name));
    let text = |paths: &[&Path], keys: &str| {
        let listen: Vec<_> = paths.iter().map(|path| format!("unix:{}", path.display())).collect();
        service("a", &listen.iter().map(String::as_str).collect::<Vec<_>>(), &server, keys)
    };
    let at = |path: &Path| format!("unix:{}", path.display());
    file.write(&text(&[&stays, &goes], ""));
    let mut proxy = Launch::by_file(&file.path).flags("--workers 2 --no-pin").start();
    let established = expect_served(&at(&goes), &server);
    proxy.signal(Signal::SIGSTOP);
    let waiting = [Peer::connect(&at(&stays)), Peer::connect(&at(&goes))];
    file.write(&text(&[&stays, &comes], "unix-mode = \"0600\""));
    proxy.signal(Signal::SIGHUP);
    proxy.signal(Signal::SIGCONT);
    for client in &waiting {
        client.send(b"ask");
    }
    for _ in &waiting {
        let upstream = server.accept();
        upstream.expect(b"ask");
    }
    proxy.wait_to_say("reloaded;");
    assert!(!goes.exists(), "its file stays");
    for path in [&stays, &comes] {
        expect_served(&at(path), &server);
        let mode = fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    exchange(&established.0, &established.1);

    // A file that was removed is made again.
    fs::remove_file(&stays).expect("it is there");
    reload(&proxy);
    expect_served(&at(&stays), &server);
    drop((established, waiting));
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    assert!(!stays.exists() && !comes.exists(), "files are left behind");
}

#[test]
fn options_of_a_listener_that_stays_change_under_its_clients() {
    let server = Server::v4();
    let listener = free();
    let file = File::new(&service("a", &[&listener], &server, ""));
    let proxy = Launch::by_file(&file.path).flags("--workers 2").start();
    for keys in [
        "backlog = 7\ndefer-accept = true\ntcp-fastopen = 5\nsteer = \"cpu\"\ntcp-keepalive = \"off\"\ntcp-user-timeout = \"30s\"",
        "",
    ] {
        proxy.signal(Signal::SIGSTOP);
        let waiting = Peer::connect(&listener);
        file.write(&service("a", &[&listener], &server, keys));
        proxy.signal(Signal::SIGHUP);
        proxy.signal(Signal::SIGCONT);
        waiting.send(b"ask");
        server.accept().expect(b"ask");
        let said = proxy.wait_to_say_times("reloaded;", if keys.is_empty() { 2 } else { 1 });
        assert!(said.iter().all(|line| !line.contains("listener ")), "it stays: {said:?}");
        for _ in 0..4 {
            expect_served(&listener, &server);
        }
        let backlog = listening_backlogs(&listener);
        assert!(backlog.iter().all(|backlog| (*backlog == 7) != keys.is_empty()), "{backlog:?}");
    }
    assert!(proxy.said("WARN").iter().all(|line| !line.contains("restart")), "nothing needs a restart");
}

/// The backlogs of the sockets that listen there, by ss(8); none if this host does not have it.
fn listening_backlogs(address: &str) -> Vec<u32> {
    let Ok(output) = std::process::Command::new("ss").args(["-Hltn", "src", address]).output() else {
        return Vec::new();
    };
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let backlog = |line: &str| line.split_whitespace().nth(2)?.parse().ok();
    text.lines().filter_map(backlog).collect()
}

/// A proxy with as many connections as it may have accepts no client.
#[test]
fn a_listener_is_removed_while_the_proxy_is_full() {
    let server = Server::v4();
    let (stays, goes, waited_at) = (free(), free(), free());
    let text = |listen: &[&str]| "max-connections = 1\n".to_owned() + &service("a", listen, &server, "");
    let file = File::new(&text(&[&stays, &goes, &waited_at]));
    let proxy = file.start();
    let session = expect_served(&stays, &server);
    let waiting = Peer::connect(&waited_at);
    waiting.send(b"waits");
    file.reload(&proxy, &text(&[&stays]));
    wait_until("the listener without clients to be closed", || is_refused(&goes));
    exchange(&session.0, &session.1);
    drop(session);
    let upstream = server.accept();
    upstream.expect(b"waits");
    upstream.send(b"served");
    waiting.expect(b"served");
    drop((waiting, upstream));
    wait_until("the other listener to be closed", || is_refused(&waited_at));
}
