//! `--affinity cookie`: a client comes back to its server, and the cookie stays between it and the proxy.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use iisplice::mock;
use iisplice::mock::settings::{Accounts, Settings};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::OK;
use super::logins::{challenge, ntlm};
use crate::support::{Identity, Launch, Peer, Proxy, Server, Site, TlsPeer};

const FLAGS: &str = "--mode http --forwarded off --affinity cookie --log-level debug";
/// That of the group without a route.
const NAME: &str = "iisplice-37a8eec1";

/// A reply with the server's number.
#[derive(Debug)]
struct Answer {
    server: usize,
    /// The value of the cookie that it sets.
    set: Option<String>,
    head: String,
}

impl Answer {
    fn of(client: &Peer) -> Self {
        let head = head(client);
        let set: Vec<_> = head.lines().filter(|line| line.starts_with("Set-Cookie: ")).collect();
        assert!(set.len() <= 1, "{head}");
        let set = set.first().map(|line| {
            let (name, value) = line["Set-Cookie: ".len()..].split_once('=').expect(line);
            let (value, attributes) = value.split_once("; ").expect(line);
            assert!(name.starts_with("iisplice-") || name == "APP", "{line}");
            assert!(attributes.starts_with("Path=/; HttpOnly; SameSite="), "{line}");
            value.to_owned()
        });
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let mut byte = [0];
        assert_eq!(client.receive(&mut byte).expect("a body"), 1);
        Self { server: usize::from(byte[0] - b'0'), set, head }
    }
}

/// The head of a reply.
fn head(client: &Peer) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(client.receive(&mut byte).expect("a reply"), 1, "{}", head.escape_ascii());
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

/// Asks with these lines in the head.
fn ask(client: &Peer, target: &str, lines: &str) -> Answer {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: web\r\n{lines}\r\n").as_bytes());
    Answer::of(client)
}

/// The answer to the first request of a connection.
fn first(proxy: &Proxy, lines: &str) -> Answer {
    ask(&Peer::connect(proxy.address()), "/", lines)
}

fn cookie(value: &str) -> String {
    format!("Cookie: {NAME}={value}\r\n")
}

fn start(sites: &[Site], flags: &str) -> Proxy {
    let launch = Launch::default().flags(FLAGS).flags(flags);
    sites.iter().fold(launch, |launch, site| launch.flags(&format!("--upstream {}", site.address))).start()
}

/// The cookie of each server, as clients without one are told.
fn cookies(proxy: &Proxy, servers: usize) -> BTreeMap<usize, String> {
    let mut all = BTreeMap::new();
    while all.len() < servers {
        let answer = first(proxy, "");
        let value = answer.set.unwrap_or_else(|| panic!("no cookie: {}", answer.head));
        let before = all.entry(answer.server).or_insert_with(|| value.clone());
        assert_eq!(*before, value, "a server has one value");
    }
    all
}

/// Clients get the servers that their cookies name, and are told nothing.
fn expect_kept(proxy: &Proxy, cookies: &BTreeMap<usize, String>) {
    for _ in 0..4 {
        for (server, value) in cookies {
            let answer = first(proxy, &cookie(value));
            assert_eq!((answer.server, answer.set), (*server, None), "{}", answer.head);
        }
    }
}

#[test]
fn a_client_comes_back_over_workers_reloads_restarts_and_proxies() {
    let mut sites = Site::some(3);
    let proxy = start(&sites, "--workers 2 --no-pin");
    let known = cookies(&proxy, 3);
    for value in known.values() {
        assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
        assert!(sites.iter().all(|site| !site.address.contains(value.as_str())));
    }
    expect_kept(&proxy, &known);
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("reloaded;");
    expect_kept(&proxy, &known);

    let second = start(&sites, "");
    expect_kept(&second, &known);
    drop(proxy);
    // In another order, and with other algorithms.
    sites.rotate_left(1);
    for balance in ["least-connections", "random-two", "source-hash"] {
        let again = start(&sites, &format!("--workers 2 --no-pin --balance {balance}"));
        expect_kept(&again, &known);
    }
}

#[test]
fn a_key_decides_the_values() {
    let sites = Site::some(2);
    let directory = TempDir::new().expect("a directory for temporary files");
    let key = directory.path().join("key");
    fs::write(&key, "a secret of many bytes\n").expect("it is written");
    let flags = format!("--affinity-key {}", key.display());
    let proxy = start(&sites, &flags);
    let known = cookies(&proxy, 2);
    assert!(cookies(&start(&sites, ""), 2).values().all(|plain| known.values().all(|value| value != plain)));
    // Without the line end, as another editor leaves it.
    fs::write(&key, "a secret of many bytes").expect("it is written");
    expect_kept(&start(&sites, &flags), &known);
    fs::write(&key, "another secret of many bytes").expect("it is written");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("reloaded;");
    let answer = first(&proxy, &cookie(&known[&0]));
    assert!(answer.set.is_some_and(|set| known.values().all(|value| *value != set)), "{}", answer.head);
}

#[test]
fn a_server_that_cannot_be_used_is_replaced_and_the_cookie_rewritten() {
    let sites = Site::some(3);
    let directory = TempDir::new().expect("a directory for temporary files");
    let file = directory.path().join("iisplice.toml");
    let write = |disabled: usize| {
        let server = |(nth, site): (usize, &Site)| {
            format!("{{ address = \"{}\", disabled = {} }}", site.address, nth == disabled)
        };
        let servers: Vec<_> = sites.iter().enumerate().map(server).collect();
        let text = format!(
            "[service.a]\nlisten = \"127.0.0.1:0\"\nmode = \"http\"\nupstream = \"default\"\n\
             [group.default]\naffinity = \"cookie\"\nservers = [{}]\n",
            servers.join(", ")
        );
        fs::write(&file, text).expect("it is written");
    };
    write(9);
    let proxy = Launch::by_file(&file).start();
    let known = cookies(&proxy, 3);
    sites[1].end();
    // The first ones find that out by themselves, the others by its ejection.
    for _ in 0..8 {
        let answer = first(&proxy, &cookie(&known[&1]));
        assert_ne!(answer.server, 1);
        assert_eq!(answer.set.as_ref(), Some(&known[&answer.server]), "{}", answer.head);
    }
    let others: BTreeMap<_, _> = known.iter().filter(|(server, _)| **server != 1).collect();
    for (server, value) in others {
        assert_eq!(first(&proxy, &cookie(value)).server, *server);
    }

    write(0);
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("reloaded;");
    for _ in 0..4 {
        let answer = first(&proxy, &cookie(&known[&0]));
        assert_eq!((answer.server, answer.set.as_ref()), (2, Some(&known[&2])), "{}", answer.head);
    }
}

#[test]
fn a_full_server_is_replaced_although_there_is_a_queue() {
    let sites = Site::some(2);
    let flags = format!(
        "{FLAGS} --queue-timeout 30s --upstream {},max-connections=1 --upstream {}",
        sites[0].address, sites[1].address
    );
    let proxy = Launch::default().flags(&flags).start();
    let known = cookies(&proxy, 2);
    proxy.wait_until_idle();
    let holder = Peer::connect(proxy.address());
    assert_eq!(ask(&holder, "/", &cookie(&known[&0])).server, 0);
    let answer = first(&proxy, &cookie(&known[&0]));
    assert_eq!((answer.server, answer.set.as_ref()), (1, Some(&known[&1])), "{}", answer.head);
    drop(holder);
    proxy.wait_until_idle();
    assert_eq!(first(&proxy, &cookie(&known[&0])).server, 0);
}

#[test]
fn a_backup_server_keeps_the_clients_that_it_has() {
    let sites = Site::some(2);
    let flags = format!("{FLAGS} --upstream {} --upstream {},backup", sites[0].address, sites[1].address);
    let proxy = Launch::default().flags(&flags).start();
    // Any proxy knows its cookie.
    let known = cookies(&start(&sites, ""), 2);
    assert_eq!(first(&proxy, "").server, 0);
    assert_eq!(first(&proxy, &cookie(&known[&1])).server, 1);
}

#[test]
fn a_connection_stays_where_it_is_whatever_later_requests_say() {
    let sites = Site::some(2);
    let proxy = start(&sites, "");
    let known = cookies(&proxy, 2);
    let (own, other) = (cookie(&known[&0]), cookie(&known[&1]));
    let client = Peer::connect(proxy.address());
    let told = Some(known[&0].clone());
    for (lines, expected) in [
        (own.as_str(), None),
        (&own, None),
        // From a connection that began at the same time.
        (&other, None),
        // This client does not keep cookies.
        ("", told.clone()),
        ("Cookie: a=b\r\n", told.clone()),
        (&cookie("0123456789abcdef"), told),
    ] {
        let answer = ask(&client, "/", lines);
        assert_eq!((answer.server, answer.set), (0, expected), "{lines}: {}", answer.head);
    }
}

#[test]
fn servers_see_no_cookie_of_the_proxy_and_set_none_for_it() {
    let lines = "Cache-Control: public, max-age=60\r\nSet-Cookie: iisplice-37a8eec1=x; Path=/\r\nX-Set-Cookie: a=b\r\n";
    let site = Site::new(0, lines);
    let sites = [site];
    let proxy = start(&sites, "");
    let told = first(&proxy, "Cookie: a=b\r\n");
    let value = told.set.expect("a new client");
    assert_ne!(value, "x");
    assert!(told.head.contains("\r\nCache-Control: max-age=60\r\n"), "{}", told.head);
    assert!(told.head.contains("\r\nCache-Control: private\r\n"), "{}", told.head);
    for (sent, forwarded) in [
        (format!("Cookie: a=b; {NAME}={value}; c=\"d\""), "Cookie: a=b; c=\"d\"\r\n"),
        (format!("Cookie: {NAME}={value}"), ""),
        (format!("cookie: {NAME}=\"{value}\"; {NAME}=x; e"), "cookie: e\r\n"),
        (format!("Cookie: a=b\r\nCookie: {NAME}={value}\r\nCookie: c=d"), "Cookie: a=b\r\nCookie: c=d\r\n"),
    ] {
        let answer = first(&proxy, &format!("{sent}\r\n"));
        assert_eq!(answer.set, None, "{sent}: {}", answer.head);
        assert!(answer.head.contains("\r\nCache-Control: public, max-age=60\r\n"), "{}", answer.head);
        let head = sites[0].heads().pop().expect("a request");
        assert_eq!(head, format!("GET / HTTP/1.1\r\nHost: web\r\n{forwarded}\r\n"));
    }
}

#[test]
fn whatever_a_client_sends_as_a_cookie_gets_it_a_server() {
    let sites = Site::some(2);
    let proxy = start(&sites, "");
    let known = cookies(&proxy, 2);
    let huge = "a".repeat(50_000);
    let many = format!("{NAME}=0123456789abcdef; ").repeat(1000);
    for lines in [
        cookie(""),
        cookie(&huge),
        cookie("\""),
        cookie("\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        cookie(&known[&0].to_uppercase()),
        format!("Cookie: {many}\r\n"),
        format!("Cookie: {}={}\r\n", NAME.to_uppercase(), known[&0]),
        "Cookie: ;;=;=a;\r\n".to_owned(),
        "Cookie:\r\n".to_owned(),
    ] {
        let answer = first(&proxy, &lines);
        assert_eq!(answer.set.as_ref(), Some(&known[&answer.server]), "{}", answer.head);
    }
    // Of several values the first one that names a server counts.
    for _ in 0..4 {
        let doubled = format!("Cookie: {NAME}=x; {NAME}={}; {NAME}={}\r\n", known[&1], known[&0]);
        let answer = first(&proxy, &doubled);
        assert_eq!((answer.server, answer.set), (1, None), "{}", answer.head);
    }
}

/// A request with this NTLM token.
fn with_token(token: &str, lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: web\r\n{lines}Authorization: NTLM {token}\r\n\r\n").into_bytes()
}

#[test]
fn a_login_is_told_by_its_first_401_and_stays_with_its_server() {
    let servers = [Server::v4(), Server::v4()];
    let flags = format!("{FLAGS} --upstream {} --upstream {}", servers[0].address(), servers[1].address());
    let proxy = Launch::default().flags(&flags).start();
    let client = Peer::connect(proxy.address());
    let type1 = with_token(&ntlm(1, "", ""), "");
    client.send(&type1);
    let upstream = servers[0].accept();
    upstream.expect(&type1);
    // An interim reply tells nothing.
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    upstream.send(interim);
    client.expect(interim);
    upstream.send(&challenge());
    let told = head(&client);
    assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    let (_, rest) = told.split_once(&format!("\r\nSet-Cookie: {NAME}=")).unwrap_or_else(|| panic!("{told}"));
    let own = &rest[..16];
    let type3 = ntlm(3, "CORP", "alice");
    client.send(&with_token(&type3, &cookie(own)));
    upstream.expect(&with_token(&type3, ""));
    upstream.send(OK);
    client.expect(OK);
    servers[1].expect_no_connection();
    // Another login of the same client, however the turns stand.
    for _ in 0..4 {
        let other = Peer::connect(proxy.address());
        other.send(&with_token(&ntlm(1, "", ""), &cookie(own)));
        let upstream = servers[0].accept();
        upstream.expect(&type1);
        upstream.send(&challenge());
        other.expect(&challenge());
    }
}

#[test]
fn both_channels_of_the_remote_desktop_gateway_reach_one_server() {
    let sites = Site::some(3);
    let proxy = start(&sites, "--workers 2 --no-pin");
    for [inward, outward] in [["RDG_IN_DATA", "RDG_OUT_DATA"], ["RPC_IN_DATA", "RPC_OUT_DATA"]] {
        let known = cookies(&proxy, 3);
        for (server, value) in &known {
            let channels: Vec<_> = [outward, inward]
                .iter()
                .map(|method| {
                    let client = Peer::connect(proxy.address());
                    let target = "/remoteDesktopGateway/";
                    let head = format!("{method} {target} HTTP/1.1\r\nHost: web\r\n{}\r\n", cookie(value));
                    client.send(head.as_bytes());
                    assert_eq!(Answer::of(&client).server, *server, "{method}");
                    client
                })
                .collect();
            assert_eq!(channels.len(), 2);
        }
    }
}

#[test]
fn groups_of_one_host_have_cookies_of_their_own() {
    let (web, api) = (Site::some(2), Site::some(2));
    let flags = format!(
        "{FLAGS} --upstream {} --upstream {} --path-route /api={} --path-route /api={}",
        web[0].address, web[1].address, api[0].address, api[1].address
    );
    let proxy = Launch::default().flags(&flags).start();
    let client = Peer::connect(proxy.address());
    let mut jar = BTreeMap::new();
    let mut servers = BTreeMap::new();
    for target in ["/", "/api"] {
        let answer = ask(&client, target, "");
        let line = answer.head.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).expect("a cookie");
        let (name, rest) = line.split_once('=').expect(line);
        jar.insert(name.to_owned(), rest[..16].to_owned());
        servers.insert(target, answer.server);
    }
    assert_eq!(jar.len(), 2, "{jar:?}");
    let sent: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let lines = format!("Cookie: {}; a=b\r\n", sent.join("; "));
    for _ in 0..4 {
        let client = Peer::connect(proxy.address());
        for (target, server) in &servers {
            let answer = ask(&client, target, &lines);
            assert_eq!((answer.server, answer.set), (*server, None), "{target}: {}", answer.head);
        }
    }
    let heads = [&web, &api].map(|sites| sites.iter().flat_map(Site::heads).collect::<Vec<_>>()).concat();
    assert!(heads.iter().all(|head| !head.contains("iisplice")), "{heads:?}");
}

#[test]
fn the_name_and_the_attributes_are_as_told() {
    let sites = Site::some(1);
    for (flags, lines, expected) in [
        ("", "", "Path=/; HttpOnly; SameSite=Lax"),
        ("--affinity-same-site strict", "", "Path=/; HttpOnly; SameSite=Strict"),
        ("--affinity-same-site lax", "X-Forwarded-Proto: https\r\n", "Path=/; HttpOnly; SameSite=Lax"),
    ] {
        let proxy = start(&sites, &format!("--affinity-cookie APP {flags}"));
        let answer = first(&proxy, lines);
        let line = format!("\r\nSet-Cookie: APP={}; {expected}\r\n", answer.set.unwrap_or_default());
        assert!(answer.head.contains(&line), "{}", answer.head);
    }
    // A trusted proxy in front of this one has ended TLS.
    let flags = format!(
        "--mode http --affinity cookie --forwarded append --trust 127.0.0.1 --upstream {}",
        sites[0].address
    );
    let proxy = Launch::default().flags(&flags).start();
    let answer = first(&proxy, "X-Forwarded-Proto: https\r\n");
    assert!(answer.head.contains("; SameSite=Lax; Secure\r\n"), "{}", answer.head);
}

#[test]
fn the_cookie_is_secure_where_tls_ends_here() {
    let sites = Site::some(1);
    let directory = TempDir::new().expect("a directory for temporary files");
    let identity = Identity::make(directory.path(), "front", &["front.test"]);
    for (flags, expected) in
        [("", "SameSite=Lax; Secure"), ("--affinity-same-site none", "SameSite=None; Secure")]
    {
        let proxy = start(&sites, &format!("{} {flags}", identity.flags()));
        let client = TlsPeer::connect(proxy.address(), &identity.client(None).into(), "front.test");
        let answer = ask(&client.plain, "/", "");
        assert!(answer.head.contains(&format!("; HttpOnly; {expected}\r\n")), "{}", answer.head);
    }
}

#[test]
fn curl_logs_in_at_the_server_that_its_jar_names() {
    let mut accounts = Accounts::default();
    accounts.add("CORP", "alice", "secret");
    let listen = || vec!["127.0.0.1:0".parse().expect("an address")];
    let mocks: Vec<_> = (0..3)
        .map(|_| mock::start(Settings::new(listen(), accounts.clone())).expect("the mock starts"))
        .collect();
    let launch = Launch::default().flags("--mode http --affinity cookie --workers 2 --no-pin");
    let launch = mocks
        .iter()
        .fold(launch, |launch, mock| launch.flags(&format!("--upstream {}", mock.addresses()[0])));
    let proxy = launch.start();
    let directory = TempDir::new().expect("a directory for temporary files");
    let jar = directory.path().join("jar");
    let run = || {
        Command::new("curl")
            .args(["-q", "-sS", "--noproxy", "*", "--max-time", "45", "--ntlm", "-u", r"CORP\alice:secret"])
            .args(["-o", "/dev/null", "-w", "%{http_code}"])
            .arg("-b")
            .arg(&jar)
            .arg("-c")
            .arg(&jar)
            .arg(format!("http://{}/whoami", proxy.address()))
            .output()
    };
    for _ in 0..5 {
        match run() {
            Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "200"),
            Err(error) => {
                println!("SKIP: curl cannot be run: {error}");
                return;
            }
        }
    }
    // Two requests of each login.
    let servers: Vec<_> = proxy.records(10).iter().map(|record| record.get("upstream").to_owned()).collect();
    assert!(servers.iter().all(|server| *server == servers[0]), "{servers:?}");
    assert!(fs::read_to_string(&jar).expect("curl writes it").contains(NAME));
}
