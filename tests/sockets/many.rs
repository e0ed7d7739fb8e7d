//! Thousands of connections at once.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::Socket;

use crate::support::{Launch, Peer, Server};

const CONNECTIONS: usize = 9000;
const TEST: &str = "many::nine_thousand_connections_are_opened_used_left_idle_and_used_again";
const SERVER: &str = "IISPLICE_TEST_SERVER";
const ADDRESS: &str = "the server is at ";

/// This test in another process, where it plays the server: one process cannot have the descriptors of both ends.
struct EchoProcess {
    child: Child,
    address: String,
}

impl EchoProcess {
    fn start() -> Self {
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", TEST, "--nocapture"])
            .env(SERVER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once(ADDRESS).map(|(_, address)| address.to_owned()))
            .expect("the server says where it is");
        Self { child, address }
    }
}

impl Drop for EchoProcess {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends back what it receives, until standard input ends.
fn echo() {
    let server = Server::v4();
    println!("\n{ADDRESS}{}", server.address());
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("a descriptor is free");
    let listener = server.listener();
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX)).expect("a listener");
    epoll.add(std::io::stdin(), EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX - 1)).expect("a pipe");
    let mut connections: Vec<Option<Socket>> = Vec::new();
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            // It was stopped and goes on.
            Err(Errno::EINTR) => 0,
            waited => waited.expect("a valid set"),
        };
        for event in &events[..count] {
            match event.data() {
                u64::MAX => {
                    let (connection, _) = listener.accept().expect("a descriptor is free");
                    let number = connections.len() as u64;
                    epoll.add(&connection, EpollEvent::new(EpollFlags::EPOLLIN, number)).expect("a socket");
                    connections.push(Some(connection));
                }
                data if data == u64::MAX - 1 => return,
                number => {
                    let slot = &mut connections[number as usize];
                    let mut buffer = [0; 1024];
                    let connection = slot.as_mut().expect("closed ones are in no set");
                    match connection.read(&mut buffer) {
                        Ok(bytes @ 1..) => connection.write_all(&buffer[..bytes]).expect("the proxy reads"),
                        Ok(0) | Err(_) => *slot = None,
                    }
                }
            }
        }
    }
}

/// Every client asks, then every client gets its own answer.
fn use_all(clients: &[Peer], round: usize) {
    let message = |number: usize| format!("round {round}, client {number:05}");
    for (number, client) in clients.iter().enumerate() {
        client.send(message(number).as_bytes());
    }
    for (number, client) in clients.iter().enumerate() {
        client.expect(message(number).as_bytes());
    }
}

#[test]
fn nine_thousand_connections_are_opened_used_left_idle_and_used_again() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a valid resource");
    assert!(
        most > 2 * CONNECTIONS as u64 + 100,
        "this test takes a hard limit of 18,200 descriptors, not {most}"
    );
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit it is allowed");
    if env::var_os(SERVER).is_some() {
        return echo();
    }
    let server = EchoProcess::start();
    let proxy = Launch::to(&server.address).flags(&format!("--max-connections {CONNECTIONS}")).start();
    let before = proxy.memory();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| Peer::connect(proxy.address())).collect();
    use_all(&clients, 1);
    assert_eq!(proxy.sockets(), 2 * CONNECTIONS + 1, "sockets of all sessions, and one that listens (left)");
    proxy.expect_sleep();
    let each = (proxy.memory() - before) / CONNECTIONS as u64;
    assert!(each < 8 * 1024, "an idle session takes {each} bytes: does it hold a buffer?");
    use_all(&clients, 2);
    drop(clients);
    let records = proxy.records(CONNECTIONS);
    let bytes: u64 = records.iter().map(|record| record.bytes("to_client_bytes")).sum();
    assert_eq!(bytes, (CONNECTIONS * 2 * "round 1, client 00001".len()) as u64, "bytes to clients (left)");
    proxy.wait_until_idle();
}
