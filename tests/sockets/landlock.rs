//! Landlock from outside: what a proxy reaches once it serves, and what of a reload takes an upgrade. That the usual reloads,
//! rotations and sockets are within it all other tests show, because it is on in all of them.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{Identity, Launch, Proxy, Server, in_own_network, pair, run, wait_for};

/// What the start-up line says of the sandbox; nothing on a host without Landlock.
fn limits(proxy: &Proxy) -> Option<String> {
    let said = proxy.wait_to_say("serving listeners=");
    let (_, parts) = said.split_once(" sandbox=").expect("it says so");
    let parts = parts.split(' ').next().unwrap_or_default().to_owned();
    if !has(&parts, "files") {
        println!("SKIPPED: this host has no Landlock: {parts}");
        return None;
    }
    Some(parts)
}

fn has(parts: &str, one: &str) -> bool {
    parts.split(',').any(|part| part == one)
}

/// A service in TLS; `keys` are of the process.
fn text(own: &Identity, keys: &str, listen: &str, server: &Server) -> String {
    format!(
        "{keys}\n[service.s]\nlisten = [\"127.0.0.1:0\"{listen}]\nupstream = \"g\"\ntls-cert = \"{}\"\ntls-key = \"{}\"\n\
         [group.g]\nservers = \"{}\"\n",
        own.certificate.display(),
        own.key.display(),
        server.address()
    )
}

/// Asks for a reload, which is refused or not; the line about it.
fn reload(proxy: &Proxy, expected: &str) -> String {
    let before = proxy.said(expected).len();
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say_times(expected, before + 1).swap_remove(before)
}

#[test]
fn a_reload_reads_what_replaces_files_and_what_is_elsewhere_takes_an_upgrade() {
    let server = Server::v4();
    let [known, elsewhere] = [(); 2].map(|()| TempDir::new().expect("a directory for temporary files"));
    let own = Identity::make(known.path(), "own", &["www.test"]);
    let file = known.path().join("iisplice.toml");
    fs::write(&file, text(&own, "access-log = \"off\"", "", &server)).expect("a file");
    let proxy = Launch::by_file(&file).logs_by_file().start();
    let Some(limits) = limits(&proxy) else { return };
    assert!(!limits.contains("tcp"), "a reload may name any port: {limits}");

    // As tools renew them: other files get their names.
    let other = Identity::make(known.path(), "other", &["www.test"]);
    fs::rename(&other.certificate, &own.certificate).expect("a renewal");
    fs::rename(&other.key, &own.key).expect("a renewal");
    let edited = known.path().join("iisplice.toml.new");
    fs::write(&edited, text(&own, "access-log = \"off\"\nbuffer-size = \"16KiB\"", "", &server))
        .expect("a file");
    fs::rename(&edited, &file).expect("an editor does so");
    let said = reload(&proxy, "reloaded;");
    assert!(said.contains("certificates of s"), "{said}");

    let foreign = Identity::make(elsewhere.path(), "foreign", &["www.test"]);
    let log = elsewhere.path().join("access.log");
    let socket = elsewhere.path().join("clients.sock");
    let log = format!("access-log = \"{}\"", log.display());
    let socket = format!(", \"unix:{}\"", socket.display());
    for (text, named) in [
        (text(&foreign, "access-log = \"off\"", "", &server), foreign.certificate.to_str().expect("text")),
        (text(&own, &log, "", &server), "access-log"),
        (text(&own, "access-log = \"off\"", &socket, &server), "clients.sock"),
    ] {
        fs::write(&file, text).expect("a file");
        let said = reload(&proxy, "cannot reload settings; keeping those in force");
        assert!(
            said.contains(named) && said.contains("an upgrade takes others (iisplice upgrade, or SIGUSR2)"),
            "{said}"
        );
    }
    fs::write(&file, text(&foreign, &log, &socket, &server)).expect("a file");
    proxy.signal(Signal::SIGUSR2);
    wait_for("the new process to serve", || proxy.successors().first().copied());
    assert!(elsewhere.path().join("clients.sock").exists() && elsewhere.path().join("access.log").exists());
}

#[test]
fn ports_are_limited_where_flags_are_all_the_settings() {
    let server = Server::v4();
    let directory = TempDir::new().expect("a directory for temporary files");
    let flags = format!("--listen 127.0.0.1:0 --listen unix:{}", directory.path().join("s").display());
    let mut proxy = Launch::to(server.address()).flags(&flags).start();
    let Some(limits) = limits(&proxy) else { return };
    // Since Linux 6.7, and 6.12.
    if has(&limits, "scopes") {
        assert!(has(&limits, "tcp"), "{limits}");
    }
    let clients = pair(&proxy, &server);
    fs::rename(proxy.access_log(), proxy.access_log().with_extension("1")).expect("a rotation");
    proxy.signal(Signal::SIGUSR1);
    proxy.wait_to_say("access log reopened");
    assert!(proxy.access_log().exists());
    proxy.signal(Signal::SIGTERM);
    drop(clients);
    proxy.exit_code();
    assert!(!directory.path().join("s").exists(), "its socket is left behind");

    let off = Launch::to(server.address()).flags("--sandbox off").start().wait_to_say("serving listeners=");
    assert!(off.contains(" sandbox=off"), "{off}");
}

#[test]
fn ports_of_a_settings_file_are_limited_where_it_is_strict() {
    let [server, other] = [Server::v4(), Server::v4()];
    let directory = TempDir::new().expect("a directory for temporary files");
    let file = directory.path().join("iisplice.toml");
    let write = |listen: &str, server: &Server| {
        let text = format!(
            "sandbox = \"strict\"\naccess-log = \"off\"\n[service.s]\nlisten = [\"127.0.0.1:0\"{listen}]\nupstream = \"g\"\n\
             [group.g]\nservers = \"{}\"\n",
            server.address()
        );
        fs::write(&file, text).expect("a file");
    };
    write("", &server);
    let proxy = Launch::by_file(&file).logs_by_file().start();
    if limits(&proxy).is_none_or(|limits| !has(&limits, "tcp")) {
        println!("SKIPPED: this kernel limits no ports");
        return;
    }
    let port = other.address().rsplit(':').next().expect("a port").to_owned();
    for (listen, servers, said) in [
        ("", &other, format!("sandbox strict: connections to port {port} are denied")),
        (", \"127.0.0.1:1\"", &server, "cannot listen on 127.0.0.1:1".to_owned()),
    ] {
        write(listen, servers);
        let line = reload(&proxy, "cannot reload settings; keeping those in force");
        assert!(line.contains(&said) && line.contains("an upgrade takes others"), "{line}");
    }
    write("", &server);
    reload(&proxy, "reloaded;");
    drop(pair(&proxy, &server));
    write("", &other);
    proxy.signal(Signal::SIGUSR2);
    wait_for("the new process to serve", || proxy.successors().first().copied());
    drop(pair(&proxy, &other));
}

/// Editors and agents replace `/etc/hosts` and `/etc/resolv.conf` by other files.
#[test]
fn names_are_looked_up_in_files_that_were_replaced() {
    in_own_network("landlock::names_are_looked_up_in_files_that_were_replaced", || {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            println!("SKIPPED: this host allows no namespace of mounts");
            return;
        }
        let etc = TempDir::new().expect("a directory for temporary files");
        // In the place of the host's own, and so what the proxy sees.
        let hosts = |address: &str| {
            let next = etc.path().join("hosts.new");
            fs::write(&next, format!("{address} site.test\n")).expect("a file");
            fs::rename(&next, etc.path().join("hosts")).expect("an editor does so");
        };
        fs::write(etc.path().join("nsswitch.conf"), "hosts: files\n").expect("a file");
        hosts("127.0.0.1");
        run("mount --make-rprivate /");
        run(&format!("mount --bind {} /etc", etc.path().display()));
        let [one, two] = ["127.0.0.1:8081", "127.0.0.2:8081"].map(Server::at);
        let proxy = Launch::to("site.test:8081").start();
        if limits(&proxy).is_none() {
            return;
        }
        drop(pair(&proxy, &one));
        hosts("127.0.0.2");
        reload(&proxy, "reloaded;");
        drop(pair(&proxy, &two));
    });
}
