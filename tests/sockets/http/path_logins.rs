//! Real logins at two sites over one client connection: each site has a connection of every client's own, which knows one
//! user, whatever else goes on.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iisplice::protocol::ntlm::{
    self, AwaitingAuthenticate, ClientRandom, Credentials, ExtendedProtection, FileTime, NtHash,
};

use crate::support::{Launch, PATIENCE, Random};

const NOW: FileTime = FileTime(133_000_000_000_000_000);
const RANDOM: ClientRandom = ClientRandom { client_challenge: [0xaa; 8], session_key: [0x55; 16] };
const PASSWORD: &str = "secret";

/// A site that logs in connections, and tells each request its connection and user. Its threads end with the test's
/// process.
struct Site {
    address: SocketAddr,
}

impl Site {
    /// It closes a connection after this many requests, without a word about it.
    fn start(requests_max: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            let connections = AtomicU64::new(0);
            for stream in listener.incoming() {
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                let stream = stream.expect("a connection");
                thread::spawn(move || serve(connection, stream, requests_max));
            }
        });
        Self { address }
    }
}

fn ntlm_server() -> ntlm::Server {
    ntlm::Server {
        nb_domain: "CORP".into(),
        nb_computer: "WEB".into(),
        dns_domain: "corp.test".into(),
        dns_computer: "web.corp.test".into(),
    }
}

fn serve(connection: u64, stream: TcpStream, requests_max: u64) {
    stream.set_nodelay(true).expect("a TCP socket");
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor is free"));
    let mut writer = stream;
    let mut user: Option<String> = None;
    let mut due: Option<AwaitingAuthenticate> = None;
    for _ in 0..requests_max {
        let Some(message) = Message::read(&mut reader) else { return };
        let token =
            message.value("authorization: NTLM ").map(|token| STANDARD.decode(token).expect("base64"));
        let reply = match (token, due.take()) {
            (Some(token), Some(due)) => {
                let login = due.authenticate(
                    &token,
                    |_, _| Some(NtHash::of_password(PASSWORD)),
                    ExtendedProtection::Off,
                );
                user = login.ok().map(|login| login.user);
                page(connection, user.as_deref())
            }
            (Some(token), None) => {
                let (awaiting, challenge) =
                    ntlm_server().challenge(&token, [7; 8], NOW).expect("a sound Type 1");
                (user, due) = (None, Some(awaiting));
                challenged(&format!("NTLM {}", STANDARD.encode(challenge)))
            }
            (None, _) => page(connection, user.as_deref()),
        };
        if writer.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

fn page(connection: u64, user: Option<&str>) -> String {
    let Some(user) = user else { return challenged("NTLM") };
    let body = format!("{connection} {user}");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn challenged(value: &str) -> String {
    format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {value}\r\nContent-Length: 0\r\n\r\n")
}

/// A request or a reply: the lines of its head, and its body.
struct Message {
    lines: Vec<String>,
    body: String,
}

impl Message {
    /// Nothing where the connection has ended.
    fn read(from: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut message = Self { lines, body: String::new() };
        let length = message.value("content-length: ").map_or(0, |length| length.parse().expect("a number"));
        let mut body = vec![0; length];
        from.read_exact(&mut body).ok()?;
        message.body = String::from_utf8(body).expect("text");
        Some(message)
    }

    fn value(&self, field: &str) -> Option<&str> {
        let begins =
            |line: &&String| line.get(..field.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(field));
        self.lines.iter().find(begins).map(|line| &line[field.len()..])
    }

    fn status(&self) -> &str {
        self.lines[0].split(' ').nth(1).expect("a status line")
    }
}

/// A client that logs in wherever it is asked to.
struct Client {
    proxy: SocketAddr,
    user: String,
    stream: BufReader<TcpStream>,
}

impl Client {
    fn new(proxy: SocketAddr, user: String) -> Self {
        Self { proxy, user, stream: Self::connect(proxy) }
    }

    fn connect(proxy: SocketAddr) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(proxy).expect("the proxy listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        stream.set_nodelay(true).expect("a TCP socket");
        BufReader::new(stream)
    }

    fn ask(&mut self, path: &str, token: Option<&[u8]>) -> Option<Message> {
        let token = token.map(|token| format!("Authorization: NTLM {}\r\n", STANDARD.encode(token)));
        let request = format!("GET {path} HTTP/1.1\r\nHost: web\r\n{}\r\n", token.unwrap_or_default());
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        Message::read(&mut self.stream)
    }

    /// The connection and the user that the site tells; nothing where the client's connection has ended, and a new one has
    /// taken its place. The second is whether a login was needed.
    fn visit(&mut self, path: &str) -> Option<(String, bool)> {
        let told = self.try_visit(path);
        if told.is_none() {
            self.stream = Self::connect(self.proxy);
        }
        told
    }

    fn try_visit(&mut self, path: &str) -> Option<(String, bool)> {
        let reply = self.ask(path, None)?;
        if reply.status() == "200" {
            return Some((reply.body, false));
        }
        assert_eq!(reply.value("www-authenticate: "), Some("NTLM"), "{:?}", reply.lines);
        let credentials = Credentials::new("CORP", &self.user, PASSWORD);
        let (client, type1) = ntlm::Client::new(&credentials).negotiate();
        let reply = self.ask(path, Some(type1))?;
        let type2 =
            reply.value("www-authenticate: NTLM ").map(|token| STANDARD.decode(token).expect("base64"));
        let type2 = type2?;
        let type3 = client.authenticate(&type2, &RANDOM, NOW).expect("a sound Type 2").message;
        let reply = self.ask(path, Some(&type3))?;
        (reply.status() == "200").then_some((reply.body, true))
    }
}

/// A proxy with `/` at one site and `/api` at the other.
fn start(web: &Site, api: &Site) -> (crate::support::Proxy, SocketAddr) {
    let flags = format!("--mode http --workers 2 --log-user --path-route /api={}", api.address);
    let proxy = Launch::to(&web.address.to_string()).flags(&flags).start();
    let address = proxy.address().parse().expect("an address");
    (proxy, address)
}

#[test]
fn a_login_at_each_site_lasts_while_requests_alternate() {
    let (web, api) = (Site::start(u64::MAX), Site::start(u64::MAX));
    let (proxy, address) = start(&web, &api);
    let mut client = Client::new(address, "alice".to_owned());
    let told = |client: &mut Client, path| client.visit(path).expect("the connection lasts");
    let mut first = HashMap::new();
    for path in ["/", "/api"] {
        let (page, has_logged_in) = told(&mut client, path);
        assert!(has_logged_in && page.ends_with(" alice"), "{page}");
        first.insert(path, page);
    }
    for path in ["/", "/api", "/api", "/", "/api", "/", "/"] {
        assert_eq!(told(&mut client, path), (first[path].clone(), false), "{path}");
    }
    let records = proxy.records(13);
    let steps: Vec<_> = records.iter().map(|record| record.get("step").to_owned()).collect();
    assert_eq!(&steps[..6], ["challenged", "type1", "type3-ok", "challenged", "type1", "type3-ok"]);
    assert!(steps[6..].iter().all(|step| step == "none"));
    assert!(records[5..].iter().all(|record| record.get("user") == "\"CORP\\\\alice\""));
}

/// The messages of one login belong to one connection.
#[test]
fn a_login_whose_messages_have_paths_of_two_groups_is_none() {
    let (web, api) = (Site::start(u64::MAX), Site::start(u64::MAX));
    let (_proxy, address) = start(&web, &api);
    let mut client = Client::new(address, "alice".to_owned());
    let credentials = Credentials::new("CORP", "alice", PASSWORD);
    let (_, type1) = ntlm::Client::new(&credentials).negotiate();
    for path in ["/", "/api"] {
        let reply = client.ask(path, Some(type1)).expect("a reply");
        assert!(reply.value("www-authenticate: NTLM ").is_some(), "each site begins a login of its own");
    }
    for path in ["/", "/api"] {
        let reply = client.ask(path, None).expect("a reply");
        assert_eq!(reply.value("www-authenticate: "), Some("NTLM"), "no login has completed");
    }
}

/// Sites that close connections at any time, users at random, and never a page for another one.
#[test]
fn no_client_ever_has_the_connection_of_another_whatever_sites_close() {
    const CLIENTS: usize = 40;
    const VISITS: usize = 60;
    let (web, api) = (Site::start(17), Site::start(11));
    let (proxy, address) = start(&web, &api);
    // Which client a connection of a site belongs to.
    let owners: Arc<Mutex<HashMap<(&str, String), usize>>> = Arc::default();
    let pages = AtomicU64::new(0);
    let mut seeds = Random::new();
    thread::scope(|scope| {
        for nth in 0..CLIENTS {
            let (owners, pages) = (Arc::clone(&owners), &pages);
            let mut random = seeds.fork();
            scope.spawn(move || {
                let user = format!("user{nth}");
                let mut client = Client::new(address, user.clone());
                for _ in 0..VISITS {
                    let path = ["/", "/api"][random.size(2) - 1];
                    let Some((page, _)) = client.visit(path) else { continue };
                    let (connection, told) = page.split_once(' ').expect("two words");
                    assert_eq!(told, user, "a page for another user");
                    let owner =
                        *owners.lock().expect("no panic").entry((path, connection.to_owned())).or_insert(nth);
                    assert_eq!(owner, nth, "a connection of another client");
                    pages.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let pages = pages.load(Ordering::Relaxed);
    assert!(pages > (CLIENTS * VISITS / 2) as u64, "only {pages} pages");
    assert!(owners.lock().expect("no panic").len() > 2 * CLIENTS, "connections were replaced");
    proxy.wait_until_idle();
}
