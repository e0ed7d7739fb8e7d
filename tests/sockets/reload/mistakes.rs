//! What cannot be taken over changes nothing, and is one line with its place.

use super::*;

#[test]
fn every_kind_of_mistake_changes_nothing_and_is_one_line() {
    let server = Server::v4();
    let (listener, new) = (free(), free());
    let file = File::new("");
    let good = service("a", &[&listener], &server, "idle-timeout = \"1h\"");
    file.write(&good);
    let proxy = Launch::by_file(&file.path).logs_by_file().start();
    let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = held.local_addr().expect("it is bound").to_string();
    let make = |name: &str| Identity::make(file.directory.path(), name, &["front.test"]);
    let (one, other) = (make("one"), make("other"));
    let with = |keys: &str| service("a", &[&listener, &new], &server, keys);
    let tls = format!("tls-cert = \"{}\"", one.certificate.display());
    let path = file.path.display();
    let own = format!(
        "[service.a]\nlisten = \"{listener}\"\nupstream = \"a\"\n[group.a]\nservers = \"{listener}\"\n"
    );
    for (text, place, reason) in [
        ("[service.a\n".to_owned(), "1:11", "this is not TOML"),
        (with("idle_timeout = \"1h\""), "4:1", "did you mean idle-timeout"),
        (with("idle-timeout = \"1 parsec\""), "4:16", "idle-timeout"),
        (with("trace = 3"), "4:9", "trace"),
        (with("").replace("upstream = \"a\"", "upstream = \"b\""), "3:12", "there is no [group.b]"),
        (with("") + "[group.unused]\nservers = \"192.0.2.1:80\"\n", "7:8", "no service uses this group"),
        (with(&tls), "1:10", "contains no private key"),
        (with(&format!("{tls}\ntls-key = \"{}\"", other.key.display())), "5:11", "does not belong to"),
        (with(&format!("{tls}\ntls-key = \"{}\"", file.beside("none").display())), "5:11", "cannot be read"),
        (
            service("a", &[&new, &taken], &server, ""),
            &format!("2:{}", 11 + new.len() + 4),
            "cannot listen on",
        ),
        (service("a", &["192.0.2.1:1"], &server, ""), "2:11", "no interface of this host has that address"),
        (with("").replace(server.address(), "name.invalid:80"), "6:11", "cannot resolve the name"),
        (format!("access-log = \"/proc/none/a.log\"\n{}", with("")), "1:1", "access-log /proc/none/a.log"),
        (own, "2:10", "this proxy's own listener"),
    ] {
        let said = file.refuse(&proxy, &text);
        let at = format!("{path}:{place}: ");
        assert!(
            said.contains("ERROR") && said.contains(&at) && said.contains(reason),
            "expected {at} {reason}: {said}"
        );
        assert!(is_refused(&new), "{reason}: a new listener was left");
        expect_served(&listener, &server);
    }
    fs::remove_file(&file.path).expect("it is there");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("No such file");
    assert!(proxy.said("reloaded;").is_empty());
    let said = file.reload(&proxy, &with(""));
    assert!(said.contains(&format!("listener {new} added")), "{said}");
    expect_served(&new, &server);
}

#[test]
fn the_proxy_s_own_admin_endpoint_does_not_become_a_server() {
    let server = Server::v4();
    let (listener, admin) = (free(), free());
    let text = |servers: &str| {
        format!(
            "admin = \"{admin}\"\n[service.a]\nlisten = \"{listener}\"\nupstream = \"a\"\n[group.a]\n\
             servers = [\"{}\"{servers}]\n",
            server.address()
        )
    };
    let file = File::new(&text(""));
    let proxy = file.start();
    let said = file.refuse(&proxy, &text(&format!(", \"{admin}\"")));
    assert!(said.contains("admin endpoint") && said.contains(&admin), "{said}");
    for _ in 0..4 {
        expect_served(&listener, &server);
    }
}

#[test]
fn without_descriptors_nothing_changes() {
    let server = Server::v4();
    let listener = free();
    let file = File::new(&service("a", &[&listener], &server, ""));
    let proxy = Launch::by_file(&file.path)
        .flags("--workers 1 --no-pin --pipes 1 --max-connections 1000")
        .descriptors_max(60)
        .start();
    let many: Vec<_> = (0..200).map(|_| free()).collect();
    let said =
        file.refuse(&proxy, &service("a", &many.iter().map(String::as_str).collect::<Vec<_>>(), &server, ""));
    assert!(said.contains("raise the limit on"), "{said}");
    expect_served(&listener, &server);
    file.reload(&proxy, &service("a", &[&listener, &many[0]], &server, ""));
    expect_served(&many[0], &server);
}

#[test]
fn settings_that_need_a_restart_are_named_and_the_others_apply() {
    let server = Server::v4();
    let (listener, new) = (free(), free());
    let text = |keys: &str, listen: &[&str]| keys.to_owned() + "\n" + &service("a", listen, &server, "");
    let file = File::new(&text("", &[&listener]));
    let proxy = file.start();
    file.reload(&proxy, &text("buffers = 64\npipe-size = \"64KiB\"\nring-entries = 512", &[&listener, &new]));
    let said = proxy.wait_to_say("need a restart");
    for part in [
        "WARN",
        "ring-entries (runs with 4096, set to 512)",
        "buffers (runs with 1024, set to 64)",
        "pipe-size (runs with 1MiB, set to 64KiB)",
    ] {
        assert!(said.contains(part), "expected {part:?} in: {said}");
    }
    expect_served(&new, &server);
    file.reload(&proxy, &text("", &[&listener, &new]));
    assert_eq!(proxy.said("need a restart").len(), 1, "they are as they were");
}

#[test]
fn a_drain_ends_reloading() {
    let server = Server::v4();
    let (listener, new) = (free(), free());
    let file = File::new(&service("a", &[&listener], &server, ""));
    let mut proxy = file.start();
    let (client, upstream) = expect_served(&listener, &server);
    file.write(&service("a", &[&listener, &new], &server, ""));
    proxy.signal(Signal::SIGTERM);
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("settings are not reloaded any more");
    exchange(&client, &upstream);
    assert!(is_refused(&new));
    drop((client, upstream));
    assert_eq!(proxy.exit_code(), Some(0));
    assert!(proxy.said("reloaded;").is_empty());
}

#[test]
fn a_drain_after_a_reload_ends_everything() {
    let server = Server::v4();
    let (listener, new) = (free(), free());
    let text = |listener: &str, drain: &str| {
        format!("drain-timeout = \"{drain}\"\n{}", service("a", &[listener], &server, ""))
    };
    let file = File::new(&text(&listener, "1h"));
    let mut proxy = file.start();
    let old = expect_served(&listener, &server);
    file.reload(&proxy, &text(&new, "300ms"));
    let late = expect_served(&new, &server);
    proxy.signal(Signal::SIGTERM);
    // The drain time-out is that of the new settings.
    for (client, upstream) in [old, late] {
        client.expect_close();
        upstream.expect_close();
    }
    assert_eq!(proxy.exit_code(), Some(0));
}

#[test]
fn many_reloads_at_once_end_with_the_last() {
    let server = Server::v4();
    let listeners: Vec<_> = (0..8).map(|_| free()).collect();
    let file = File::new(&service("a", &[&listeners[0]], &server, ""));
    let proxy = file.start();
    for _ in 0..5 {
        for listener in &listeners {
            file.write(&service("a", &[listener], &server, ""));
            proxy.signal(Signal::SIGHUP);
        }
    }
    let last = &listeners[7];
    wait_until("the last settings to be in force", || !is_refused(last) && is_refused(&listeners[0]));
    wait_until("the others to be gone", || listeners[..7].iter().all(|listener| is_refused(listener)));
    // Those were looks only.
    while has_waiting(&server) {
        drop(server.accept());
    }
    expect_served(last, &server);
}
