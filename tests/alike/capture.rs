//! The proxy between a client and a server that take down what passes.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// For what happens at once, unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A head of which nothing has come by then has no end.
const UNFINISHED: Duration = Duration::from_secs(2);
/// A message that has come so far is whole: its client sends it at once. Where that is wrong the reply comes early,
/// which a server may do.
const QUIET: Duration = Duration::from_millis(40);

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A running `iisplice proxy` and the server behind it; the proxy ends when this is dropped.
pub(crate) struct Bench {
    proxy: Child,
    address: SocketAddr,
    server: TcpListener,
    directory: TempDir,
}

/// What became of a request.
pub(crate) enum Outcome {
    /// The proxy answered it itself, or waits for its end.
    Refused,
    /// These bytes reached the server, and what the client sent behind its request as far as that passed. The client may ask
    /// again on the same connection, or not.
    Passed { bytes: Vec<u8>, keeps_alive: bool, client: IpAddr },
}

impl Bench {
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().expect("a directory for temporary files");
        let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
        command.args(["proxy", "--mode", "http", "--workers", "1", "--no-pin"]);
        command.args(["--listen", "127.0.0.1:0"]);
        command.arg("--upstream").arg(server.local_addr().expect("bound").to_string());
        command.arg("--access-log").arg(directory.path().join("access.log"));
        let log = directory.path().join("log");
        let said = fs::File::create(&log).expect("a directory of ours");
        let mut proxy = command.stdin(Stdio::null()).stderr(said).spawn().expect("the binary was built");
        let address = await_address(&mut proxy, &log);
        Self { proxy, address, server, directory }
    }

    /// Sends a request through the proxy.
    pub(crate) fn request(&self, request: &[u8]) -> Outcome {
        let mut client = connect(self.address);
        let source = client.local_addr().expect("connected").ip();
        client.write_all(request).expect("the proxy reads");
        let Some(mut upstream) = self.accept_or_answer(&client) else { return Outcome::Refused };
        if !comes_before_an_answer(&upstream, &client) {
            return Outcome::Refused;
        }
        let mut bytes = read_until_quiet(&mut upstream);
        if upstream.write_all(REPLY).is_err() {
            return Outcome::Refused;
        }
        let answer = read_reply(&mut client);
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Outcome::Refused;
        }
        // The rest of a request that came in pieces.
        upstream.set_read_timeout(Some(QUIET)).expect("a valid time");
        bytes.extend(read_until_quiet(&mut upstream));
        // The proxy may have refused what is behind it by now.
        let head = &answer[..find(&answer, b"\r\n\r\n").map_or(0, |end| end + 2)];
        let answer = String::from_utf8_lossy(head).to_ascii_lowercase();
        let keeps_alive = if is_http10(request) {
            answer.contains("\r\nconnection: keep-alive\r\n")
        } else {
            !answer.contains("\r\nconnection: close\r\n")
        };
        Outcome::Passed { bytes, keeps_alive, client: source }
    }

    /// The proxy's connection to the server; nothing when the client gets an answer instead, or nothing happens since the head
    /// has no end.
    fn accept_or_answer(&self, client: &TcpStream) -> Option<TcpStream> {
        self.server.set_nonblocking(true).expect("a socket");
        client.set_nonblocking(true).expect("a socket");
        let deadline = Instant::now() + UNFINISHED;
        let accepted = loop {
            match self.server.accept() {
                Ok((upstream, _)) => break Some(upstream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("no connection: {error}"),
            }
            let answered = client.peek(&mut [0]);
            if !matches!(&answered, Err(error) if error.kind() == ErrorKind::WouldBlock) {
                break None;
            }
            if Instant::now() > deadline {
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        client.set_nonblocking(false).expect("a socket");
        accepted.inspect(|upstream| {
            upstream.set_nonblocking(false).expect("a socket");
            upstream.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        })
    }

    /// Asks with `method`, has the server answer with `reply` and end its stream, and gives all that the client gets; nothing
    /// when that was cut short by a reset.
    pub(crate) fn reply(&self, method: &str, reply: &[u8]) -> Option<Vec<u8>> {
        let mut client = connect(self.address);
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).expect("the proxy reads");
        let mut upstream = self.accept_or_answer(&client).expect("the request is sound");
        read_until_quiet(&mut upstream);
        // The proxy may have had enough.
        let _ = upstream.write_all(reply);
        let _ = upstream.shutdown(std::net::Shutdown::Write);
        let mut got = Vec::new();
        client.read_to_end(&mut got).is_ok().then_some(got)
    }

    /// The line of the access log about the first request of this client.
    pub(crate) fn log_of(&self, client: IpAddr) -> String {
        let client = format!(" client={client}:");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
            let whole = &log[..log.rfind('\n').unwrap_or(0)];
            if let Some(line) = whole.lines().find(|line| line.contains(&client) && line.contains("-1 step="))
            {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "no line in the access log with{client}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
        if std::thread::panicking() {
            let said = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let last: Vec<_> = said.lines().rev().take(20).collect();
            eprintln!("the proxy said, last first:\n{}", last.join("\n"));
        }
    }
}

/// A connection from an address of its own, by which logs tell it from all others: the port alone may come again.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    static CONNECTIONS: AtomicU16 = AtomicU16::new(0);
    let [high, low] = CONNECTIONS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let source = SocketAddr::from(([127, 1, high, low], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
    socket.bind(&source.into()).expect("all of 127.0.0.0/8 is here");
    socket.connect(&address.into()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
    socket.into()
}

/// Where the proxy listens, by its log. The kernel chose the port: one that is chosen before the start may be another
/// program's by then.
fn await_address(proxy: &mut Child, log: &Path) -> SocketAddr {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = fs::read_to_string(log).unwrap_or_default();
        let listener = said.split_once("serving listeners=").and_then(|(_, behind)| behind.split_once(' '));
        if let Some((address, _)) = listener {
            return address.parse().expect("an address");
        }
        let ended = proxy.try_wait().expect("our child");
        assert!(ended.is_none(), "the proxy ended at once: {ended:?}\n{said}");
        assert!(Instant::now() < deadline, "the proxy does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn await_listener(child: &mut Child, address: SocketAddr, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        let ended = child.try_wait().expect("our child");
        assert!(ended.is_none(), "{name} ended at once: {ended:?}");
        assert!(Instant::now() < deadline, "{name} does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Does the request come to the server, or does the client get an answer first?
fn comes_before_an_answer(upstream: &TcpStream, client: &TcpStream) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let has = |stream: &TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        let count = stream.peek(&mut [0]).unwrap_or(0);
        stream.set_nonblocking(false).expect("a socket");
        count > 0
    };
    while Instant::now() < deadline {
        if has(upstream) {
            return true;
        }
        if has(client) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

fn is_http10(request: &[u8]) -> bool {
    request.split(|&byte| byte == b'\n').next().is_some_and(|line| line.trim_ascii_end().ends_with(b"1.0"))
}

fn read_until_quiet(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut more = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut more) {
        bytes.extend_from_slice(&more[..count]);
        stream.set_read_timeout(Some(QUIET)).expect("a valid time");
    }
    stream.set_read_timeout(Some(PATIENCE)).expect("a valid time");
    bytes
}

/// A head and `ok`, or a page of the proxy's as far as it comes.
fn read_reply(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut more = [0; 4096];
    while !bytes.ends_with(b"\r\n\r\nok") {
        match client.read(&mut more) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&more[..count]),
        }
    }
    bytes
}
