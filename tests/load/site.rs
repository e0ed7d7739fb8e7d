//! Small servers to measure: a site with connection-bound logins, and a proxy that pools.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iisplice::protocol::ntlm::{self, ExtendedProtection, FileTime, NtHash};
use iisplice::protocol::spnego;

/// Everybody's password.
pub(crate) const PASSWORD: &str = "secret";

/// A site on a free port. Its threads end with the test's process.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicU64>,
}

/// What all connections of a site share.
#[derive(Clone)]
struct Shared {
    requests: Arc<AtomicU64>,
    first_stalling_request: Arc<OnceLock<Instant>>,
    logins: Arc<AtomicU64>,
}

/// Since the first request for `/stall`, those that come in this window wait for its end.
pub(crate) const STALL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

impl Site {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let shared = Shared {
            requests: Arc::clone(&requests),
            first_stalling_request: Arc::default(),
            logins: Arc::default(),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), shared.clone());
                thread::spawn(move || Session::new(stream, shared).serve());
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A request or reply as its head's lines and its body.
struct Message {
    lines: Vec<String>,
    body: Vec<u8>,
}

impl Message {
    /// `None`: the peer closed the connection.
    fn read(from: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut message = Self { lines, body: Vec::new() };
        let length = message.value("content-length").map_or(0, |length| length.parse().unwrap());
        message.body.resize(length, 0);
        from.read_exact(&mut message.body).ok()?;
        Some(message)
    }

    fn value(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&String| line.to_lowercase().starts_with(&format!("{name}:"));
        self.lines.iter().find(is_it).map(|line| line.split_once(':').unwrap().1.trim())
    }

    fn path(&self) -> &str {
        self.lines[0].split(' ').nth(1).unwrap()
    }

    fn to_bytes(&self) -> Vec<u8> {
        [self.lines.join("\r\n").as_bytes(), b"\r\n\r\n", &self.body].concat()
    }
}

enum Login {
    None,
    Ntlm(ntlm::AwaitingAuthenticate),
    Negotiate(spnego::AwaitingAuthenticate),
    User(String),
}

struct Session {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    shared: Shared,
    login: Login,
}

impl Session {
    fn new(stream: TcpStream, shared: Shared) -> Self {
        stream.set_nodelay(true).unwrap();
        let writer = stream.try_clone().unwrap();
        Self { reader: BufReader::new(stream), writer, shared, login: Login::None }
    }

    fn serve(mut self) {
        while let Some(request) = Message::read(&mut self.reader) {
            let nth = self.shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
            let path = request.path().to_owned();
            let reply = match path.as_str() {
                "/whoami" | "/ends-four-logins" | "/ends-all-logins" => self.whoami(&request),
                "/stall" => self.stall(),
                "/never" => {
                    thread::sleep(Duration::from_secs(60));
                    return;
                }
                "/hangs-after-20" if nth > 20 => {
                    thread::sleep(Duration::from_secs(60));
                    return;
                }
                "/every-third-500" if nth.is_multiple_of(3) => {
                    reply("500 Internal Server Error", "", "sorry")
                }
                "/slow" => {
                    thread::sleep(Duration::from_millis(20));
                    reply("200 OK", "", "slow")
                }
                "/500" => reply("500 Internal Server Error", "", "sorry"),
                "/404" => reply("404 Not Found", "", "nothing"),
                "/close" => reply("200 OK", "Connection: close\r\n", "bye"),
                "/garbage" => b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
                "/chunked" => {
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec()
                }
                "/cut" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_vec(),
                "/from" => {
                    reply("200 OK", "", &format!(r#"{{"user":"{}"}}"#, self.writer.peer_addr().unwrap().ip()))
                }
                "/echo" => reply("200 OK", "", std::str::from_utf8(&request.body).unwrap()),
                _ => reply("200 OK", "", "hello"),
            };
            let is_last = String::from_utf8_lossy(&reply).contains("\r\nConnection: close\r\n");
            if self.writer.write_all(&reply).is_err() || is_last || path == "/cut" {
                return;
            }
            if path == "/ends-idle" {
                thread::sleep(Duration::from_millis(20));
                return;
            }
        }
    }

    fn stall(&self) -> Vec<u8> {
        let since = self.shared.first_stalling_request.get_or_init(Instant::now).elapsed();
        if since >= STALL.0 && since < STALL.1 {
            thread::sleep(STALL.1.saturating_sub(since));
        }
        reply("200 OK", "", "hello")
    }

    fn whoami(&mut self, request: &Message) -> Vec<u8> {
        if let Login::User(user) = &self.login {
            return reply("200 OK", "", &format!(r#"{{"user":"{}"}}"#, user.replace('\\', "\\\\")));
        }
        let Some((scheme, token)) = request.value("authorization").and_then(|value| value.split_once(' '))
        else {
            return challenge("WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n");
        };
        let token = STANDARD.decode(token).unwrap();
        let scheme = scheme.to_owned();
        match std::mem::replace(&mut self.login, Login::None) {
            Login::None => self.first_leg(&scheme, &token),
            Login::Ntlm(state) => {
                let login = state.authenticate(&token, hash_of, ExtendedProtection::Off).ok();
                self.last_leg(login, None, request)
            }
            Login::Negotiate(state) => match state.authenticate(&token, hash_of, ExtendedProtection::Off) {
                Ok((login, token)) => self.last_leg(Some(login), Some(token), request),
                Err(_) => self.last_leg(None, None, request),
            },
            Login::User(_) => unreachable!("answered above"),
        }
    }

    fn first_leg(&mut self, scheme: &str, token: &[u8]) -> Vec<u8> {
        let server = ntlm::Server {
            nb_domain: "CORP".into(),
            nb_computer: "WEB".into(),
            dns_domain: "corp.test".into(),
            dns_computer: "web.corp.test".into(),
        };
        let now = FileTime::from_system_time(SystemTime::now());
        let random = [7; 8];
        let token = if scheme == "NTLM" {
            let (state, token) = server.challenge(token, random, now).unwrap();
            self.login = Login::Ntlm(state);
            token
        } else {
            let (state, token) = spnego::begin(&server, token, random, now).unwrap();
            let spnego::Begun::Challenged(state) = state else { panic!("a client that sent no NTLM ahead") };
            self.login = Login::Negotiate(state);
            token
        };
        challenge(&format!("WWW-Authenticate: {scheme} {}\r\n", STANDARD.encode(token)))
    }

    fn last_leg(&mut self, login: Option<ntlm::Login>, token: Option<Vec<u8>>, request: &Message) -> Vec<u8> {
        let Some(login) = login else {
            return challenge("WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n");
        };
        self.login = Login::User(format!("{}\\{}", login.domain, login.user));
        let nth = self.shared.logins.fetch_add(1, Ordering::Relaxed) + 1;
        let mut reply = String::from_utf8(self.whoami(request)).unwrap();
        if request.path() == "/ends-all-logins" || request.path() == "/ends-four-logins" && nth <= 4 {
            reply = reply.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        }
        let Some(token) = token else { return reply.into_bytes() };
        let line = format!("\r\nWWW-Authenticate: Negotiate {}\r\n", STANDARD.encode(token));
        reply.replacen("\r\n", &line, 1).into_bytes()
    }
}

fn hash_of(user: &str, _domain: &str) -> Option<NtHash> {
    (user != "nobody").then(|| NtHash::of_password(PASSWORD))
}

fn challenge(lines: &str) -> Vec<u8> {
    reply("401 Unauthorized", lines, "<h1>401</h1>")
}

fn reply(status: &str, lines: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A proxy that does what must not be done: all clients share one connection to the site, so every client after the
/// first login is the first one's user.
pub(crate) fn start_pooling_proxy(upstream: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = TcpStream::connect(upstream).unwrap();
    let pool = Arc::new(Mutex::new((BufReader::new(shared.try_clone().unwrap()), shared)));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, pool) = (client.unwrap(), Arc::clone(&pool));
            thread::spawn(move || {
                let mut from_client = BufReader::new(client.try_clone().unwrap());
                while let Some(request) = Message::read(&mut from_client) {
                    let mut pooled = pool.lock().unwrap();
                    pooled.1.write_all(&request.to_bytes()).unwrap();
                    let reply = Message::read(&mut pooled.0).unwrap();
                    drop(pooled);
                    if client.write_all(&reply.to_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
