//! `iisplice mock` as an operator starts it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::visitor::Visitor;

/// As many as leave room in the usual limit of 1024 descriptors for both ends.
const CONNECTIONS: usize = 400;

/// Ends the process, whatever becomes of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn iisplice(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.arg("mock").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn it_says_where_it_listens_and_ends_when_told() {
    let mut command = iisplice(&["--listen", "127.0.0.1:0", "--user", r"CORP\alice:secret"]);
    let mut running = Running(command.spawn().expect("it starts"));
    let mut lines = BufReader::new(running.0.stderr.take().expect("piped")).lines();
    let line = lines.next().expect("a line").expect("text");
    let (_, address) = line.split_once("mock IIS on http://").expect(&line);
    let mut visitor = Visitor::connect(address.trim().parse().expect(&line));
    assert_eq!(visitor.get("/public/").status, 200);
    let pid = i32::try_from(running.0.id()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    assert!(running.0.wait().expect("it ends").success());
}

/// Sessions are at every stage when it is told: connected, halfway through a login, logged in, waiting for a slow page, sending a
/// large one that is not taken.
#[test]
fn it_ends_in_order_with_many_connections() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut command = iisplice(&["--listen", "127.0.0.1:0", "--user", r"CORP\alice:secret"]);
        let mut running = Running(command.spawn().expect("it starts"));
        let mut lines = BufReader::new(running.0.stderr.take().expect("piped")).lines();
        let line = lines.next().expect("a line").expect("text");
        let (_, address) = line.split_once("mock IIS on http://").expect(&line);
        let address = address.trim().parse().expect(&line);
        let mut visitors: Vec<_> = (0..CONNECTIONS).map(|_| Visitor::connect(address)).collect();
        for (nth, visitor) in visitors.iter_mut().enumerate() {
            match nth % 5 {
                0 => {}
                1 => assert_eq!(visitor.get("/").status, 401),
                2 => assert_eq!(visitor.get("/public/").status, 200),
                3 => visitor
                    .stream
                    .write_all(b"GET /public/slow/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
                    .expect("sent"),
                _ => visitor
                    .stream
                    .write_all(b"GET /public/bytes/9999999 HTTP/1.1\r\nHost: a\r\n\r\n")
                    .expect("sent"),
            }
        }
        let pid = i32::try_from(running.0.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
        let status = running.0.wait().expect("it ends");
        let said: Vec<_> = lines.map_while(Result::ok).collect();
        assert_eq!((status.code(), said), (Some(0), Vec::<String>::new()), "{signal} {status}");
    }
}

#[test]
fn a_port_that_is_taken_is_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = iisplice(&["--listen", &address, "--user", "a:b"]).output().expect("it starts");
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains(&format!("cannot listen on {address}: Address already in use")), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}
