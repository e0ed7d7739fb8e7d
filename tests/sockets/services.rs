//! Several services in one process, by a settings file.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::reserved;
use crate::support::{Identity, Launch, Peer, Server, TlsPeer, exchange};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn write(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("iisplice.toml");
    fs::write(&path, text).expect("it is written");
    path
}

fn check(path: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.args(["proxy", "--check", "--config"]).arg(path).args(flags);
    command.output().expect("the binary was built")
}

/// The exit code and the one line that it said.
fn refused(path: &Path) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = check(path, &[]);
    assert!(stdout.is_empty(), "nothing is printed");
    let said = String::from_utf8(stderr).expect("UTF-8");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    (status.code(), said.trim_end().to_owned())
}

/// A client that asks for `name`, and `server` with the certificate of `identity`, through TLS that is passed through.
fn expect_passed_through(address: &str, name: &str, identity: &Identity, server: &Server) {
    let wire = Peer::connect(address);
    let client = TlsPeer::over(wire, &Arc::new(identity.client(None)), name);
    let upstream = TlsPeer::serve(server.accept(), &identity.server(None));
    exchange(&client.plain, &upstream.plain);
}

#[test]
fn one_file_serves_http_passed_through_and_bridged() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let make = |file, names: &[&str]| Identity::make(directory.path(), file, names);
    let (front, back) = (make("front", &["front.test"]), make("back", &["back.test"]));
    let (one, many) = (make("one", &["one.test"]), make("many", &["x.many.test"]));
    let [plain, to_one, to_many, bridged] = [(); 4].map(|()| Server::v4());
    let text = format!(
        r#"
            [service.web]
            listen = ["127.0.0.1:0", "[::1]:0"]
            mode = "http"
            forwarded = "off"
            upstream = "plain"

            [service.tls]
            listen = "127.0.0.1:0"
            routes = [{{ sni = "one.test", upstream = "one" }}, {{ sni = "*.many.test", upstream = "many" }}]

            [service.bridge]
            listen = "127.0.0.1:0"
            tls-cert = "{}"
            tls-key = "{}"
            upstream = "bridged"

            [group.plain]
            servers = "{}"
            [group.one]
            servers = "{}"
            [group.many]
            servers = "{}"
            [group.bridged]
            servers = "{}"
            upstream-tls = true
            upstream-name = "back.test"
            upstream-ca = "{}"
        "#,
        front.certificate.display(),
        front.key.display(),
        plain.address(),
        to_one.address(),
        to_many.address(),
        bridged.address(),
        back.certificate.display(),
    );
    let mut proxy = Launch::by_file(&write(directory.path(), &text)).start();
    let [web, web6, tls, bridge] = proxy.listeners() else { panic!("four listeners") };

    // The look at its certificate at start.
    TlsPeer::serve(bridged.accept(), &back.server(None)).facts();
    proxy.wait_to_say("Extended Protection");
    let ready = proxy.wait_to_say_times("service ready", 3);
    assert!(ready[0].contains(&format!("listeners={web},{web6}")), "{}", ready[0]);
    assert!(
        ready[1].contains("mode=\"stream\"") && ready[1].contains("tls=\"passed-through\""),
        "{}",
        ready[1]
    );
    assert!(
        ready[2].contains("service=\"bridge\"") && ready[2].contains("tls=\"clients,upstreams\""),
        "{}",
        ready[2]
    );

    for address in [web, web6] {
        let client = Peer::connect(address);
        client.send(GET);
        let upstream = plain.accept();
        upstream.expect(GET);
        upstream.send(OK);
        client.expect(OK);
    }
    expect_passed_through(tls, "one.test", &one, &to_one);
    expect_passed_through(tls, "x.many.test", &many, &to_many);
    let through_bridge = || {
        let client = TlsPeer::connect(bridge, &Arc::new(front.client(None)), "front.test");
        let upstream = TlsPeer::serve(bridged.accept(), &back.server(None));
        exchange(&client.plain, &upstream.plain);
    };
    through_bridge();

    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("certificates reloaded");
    TlsPeer::serve(bridged.accept(), &back.server(None)).facts();
    through_bridge();

    proxy.records(6);
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    let line = proxy.wait_to_say("stopped");
    assert!(line.contains("connections=6 requests=2"), "{line}");
}

#[test]
fn hosts_that_name_one_group_share_connections() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let (one, two) = (Server::v4(), Server::v4());
    let text = format!(
        r#"
            [service.web]
            listen = "127.0.0.1:0"
            mode = "http"
            forwarded = "off"
            routes = [
                {{ host = "one.test", upstream = "one" }},
                {{ host = "*.One.test", upstream = "one" }},
                {{ host = "two.test", upstream = "two" }},
            ]

            [group.one]
            servers = "{}"
            [group.two]
            servers = "{}"
        "#,
        one.address(),
        two.address()
    );
    let proxy = Launch::by_file(&write(directory.path(), &text)).start();
    let get = |host: &str| format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let (client, other) = (Peer::connect(proxy.address()), Peer::connect(proxy.address()));
    other.send(&get("two.test"));
    two.accept().expect(&get("two.test"));
    client.send(&get("one.test"));
    let upstream = one.accept();
    for (host, next) in [("one.test", Some("a.one.test")), ("a.one.test", None)] {
        upstream.expect(&get(host));
        upstream.send(OK);
        client.expect(OK);
        client.send(&get(next.unwrap_or("two.test")));
    }
    client.expect(b"HTTP/1.1 421 Misdirected Request\r\n");
    upstream.expect_close();
    one.expect_no_connection();
    two.expect_no_connection();
}

#[test]
fn a_check_prints_a_file_that_it_prints_again() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let text =
        "[service.s]\nlisten = \"127.0.0.1:0\"\nupstream = \"g\"\n[group.g]\nservers = \"192.0.2.1:80\"\n";
    let first = check(&write(directory.path(), text), &["--workers", "2"]);
    assert!(first.status.success(), "{first:?}");
    let printed = String::from_utf8(first.stdout).expect("UTF-8");
    assert!(printed.contains("workers = 2\n") && printed.contains("idle-timeout = \"3h\"\n"), "{printed}");
    let second = check(&write(directory.path(), &printed), &[]);
    assert_eq!(String::from_utf8(second.stdout).expect("UTF-8"), printed);
}

#[test]
fn a_check_finds_what_a_start_would() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let group = "[group.g]\nservers = \"192.0.2.1:80\"\n";
    let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = held.local_addr().expect("it is bound");
    let path = write(
        directory.path(),
        &format!("[service.s]\nlisten = [\"127.0.0.1:0\",\n  \"{address}\"]\nupstream = \"g\"\n{group}"),
    );
    let (code, said) = refused(&path);
    let place = format!("iisplice: {}:3:3: listen: cannot listen on {address}: ", path.display());
    assert!(said.starts_with(&place), "{said}");
    assert_eq!(code, Some(1), "the host's fault");

    let path =
        write(directory.path(), &format!("[service.s]\nlisten = \"127.0.0.1:0\"\nupstream = \"h\"\n{group}"));
    let (code, said) = refused(&path);
    assert_eq!(
        said,
        format!(
            "iisplice: {}:3:12: upstream: there is no [group.h]; add it, or give one of g",
            path.display()
        )
    );
    assert_eq!(code, Some(2));

    let one = Identity::make(directory.path(), "one", &["one.test"]);
    let other = Identity::make(directory.path(), "other", &["other.test"]);
    let (certificate, key) = (one.certificate.display(), other.key.display());
    let path = write(
        directory.path(),
        &format!(
            "[service.s]\nlisten = \"127.0.0.1:0\"\nupstream = \"g\"\ntls-cert = \"{certificate}\"\ntls-key = \"{key}\"\n{group}"
        ),
    );
    let (code, said) = refused(&path);
    assert!(
        said.starts_with(&format!("iisplice: {}:5:11: tls-key: {key}: this key does not", path.display())),
        "{said}"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn a_start_says_where_the_file_names_what_is_in_use() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = held.local_addr().expect("it is bound");
    let path = write(
        directory.path(),
        &format!(
            "[service.s]\nlisten = [\"127.0.0.1:0\"]\nupstream = \"g\"\n[service.t]\nlisten = [\"127.0.0.1:0\",\n   \
             \"{address}\"]\nupstream = \"g\"\n[group.g]\nservers = \"192.0.2.1:80\"\n"
        ),
    );
    let (code, said) = Launch::by_file(&path).fail();
    let expected = format!("{}:6:4: listen: cannot listen on {address}: ", path.display());
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains(&expected), "{said:?}");
}

#[test]
fn messages_name_settings_as_they_were_given() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let server = Server::v4();
    let group = format!("servers = \"{}\"\nsend-proxy = \"v2\"\n", server.address());
    let service = "[service.web]\nlisten = [\"127.0.0.1:0\", \"[::]:0\"]\nupstream = \"web\"\n";
    let text = format!("max-connections = 1\n{service}[group.web]\n{group}");
    let proxy = Launch::by_file(&write(directory.path(), &text)).start();
    proxy.wait_to_say(" send-proxy is set: IIS");
    proxy.wait_to_say("for IPv4 add listen = \"0.0.0.0:");
    let _first = (Peer::connect(proxy.address()), server.accept());
    let _second = Peer::connect(proxy.address());
    proxy.wait_to_say("maximum of connections reached (setting max-connections)");
    assert!(proxy.said("--").is_empty(), "{:?}", proxy.said("--"));

    let proxy = Launch::to(server.address()).flags("--send-proxy v2 --listen [::]:0").start();
    proxy.wait_to_say(" --send-proxy is set: IIS");
    proxy.wait_to_say("for IPv4 add --listen 0.0.0.0:");

    let text = format!("access-log = \"/nowhere/a.log\"\n{service}[group.web]\n{group}");
    let path = write(directory.path(), &text);
    let (code, said) = refused(&path);
    assert_eq!(code, Some(2));
    let expected = format!("iisplice: {}:1:1: access-log /nowhere/a.log: ", path.display());
    assert!(said.starts_with(&expected), "{said}");
}

#[test]
fn a_check_leaves_a_running_proxy_alone() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let server = Server::v4();
    let free = reserved::address();
    let socket = directory.path().join("proxy.sock");
    let text = format!(
        "[service.s]\nlisten = [\"{free}\", \"unix:{}\"]\nupstream = \"g\"\n[group.g]\nservers = \"{}\"\n",
        socket.display(),
        server.address()
    );
    let path = write(directory.path(), &text);
    let proxy = Launch::by_file(&path).start();
    for _ in 0..20 {
        let checked = check(&path, &[]);
        assert!(checked.status.success(), "{checked:?}");
        let client = Peer::connect(proxy.address());
        exchange(&client, &server.accept());
    }
    assert!(socket.exists());
}

#[test]
fn the_sample_is_right() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let site = Identity::make(directory.path(), "site", &["intranet.corp.example"]);
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/iisplice.toml");
    let mut text = fs::read_to_string(sample).expect("the sample");
    // This host has neither the site's names and files, nor may a test bind ports below 1024.
    for (from, to) in [
        ("/var/log/iisplice/access.log", directory.path().join("access.log").display().to_string()),
        ("/etc/iisplice/intranet.pem", site.certificate.display().to_string()),
        ("/etc/iisplice/intranet.key", site.key.display().to_string()),
        ("/etc/iisplice/corp-ca.pem", site.certificate.display().to_string()),
        ("iis1.corp.example:", "127.0.0.1:".to_owned()),
        ("iis2.corp.example:", "127.0.0.2:".to_owned()),
        ("iis3.corp.example:", "127.0.0.3:".to_owned()),
        ("0.0.0.0:80", "127.0.0.1:0".to_owned()),
        ("0.0.0.0:443", "127.0.0.1:0".to_owned()),
        ("0.0.0.0:8443", "127.0.0.1:0".to_owned()),
        ("[::]:80", "[::1]:0".to_owned()),
        ("[::]:443", "[::1]:0".to_owned()),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let checked = check(&write(directory.path(), &text), &[]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
