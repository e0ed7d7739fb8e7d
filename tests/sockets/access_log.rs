//! The access log: its fields in both formats, where it goes, and that no connection waits for it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use tempfile::TempDir;

use crate::support::{Launch, Peer, Server, exchange, pair, wait_for, wait_until};

const FIELDS: [&str; 13] = [
    "time",
    "listener",
    "client",
    "proxied",
    "upstream",
    "connect",
    "connect_ms",
    "first_byte_ms",
    "duration_ms",
    "to_upstream_bytes",
    "to_client_bytes",
    "spliced",
    "end",
];

#[test]
fn a_line_of_text_has_every_field() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--accept-proxy").start();
    let client = Peer::connect(proxy.address());
    client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 80\r\n");
    let upstream = server.accept();
    exchange(&client, &upstream);
    let address = client.address().to_string();
    drop((client, upstream));
    let record = proxy.record();
    let line = fs::read_to_string(proxy.access_log()).expect("it was read before");
    let names: Vec<_> = line.split(' ').filter_map(|field| field.split('=').next()).collect();
    assert_eq!(names, FIELDS, "fields and their order (left)");
    assert_eq!(line.matches('\n').count(), 1, "one line: {line:?}");
    assert!(record.get("time").ends_with('Z') && record.get("time").contains('T'), "{}", record.get("time"));
    assert_eq!(record.get("listener"), proxy.address());
    assert_eq!(record.get("client"), address);
    assert_eq!(record.get("proxied"), "192.0.2.7:51234");
    assert_eq!(record.get("upstream"), server.address());
    assert_eq!(record.get("connect"), "cold");
    let times = ["connect_ms", "first_byte_ms", "duration_ms"].map(|name| record.number(name));
    assert!(times[0] > 0.0 && times.is_sorted(), "connect, first byte and end come in this order: {times:?}");
    assert_eq!(record.get("to_upstream_bytes"), "3");
    assert_eq!(record.get("to_client_bytes"), "6");
    assert_eq!(record.get("spliced"), "0.000");
    assert_eq!(record.get("end"), "client-close");
}

#[test]
fn a_line_of_json_has_every_field() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--log-format json").start();
    let (client, upstream) = pair(&proxy, &server);
    let address = client.address().to_string();
    drop(upstream);
    client.expect_end();
    drop(client);
    let line = wait_for("a line in the access log", || {
        fs::read_to_string(proxy.access_log()).ok().filter(|text| text.ends_with('\n'))
    });
    let value: serde_json::Value = serde_json::from_str(&line).expect("a line is an object");
    let object = value.as_object().expect("an object");
    assert_eq!(object.len(), FIELDS.len(), "number of fields: {line}");
    for name in FIELDS {
        assert!(object.contains_key(name), "no {name} in: {line}");
    }
    assert_eq!(value["listener"], proxy.address());
    assert_eq!(value["client"], address);
    assert_eq!(value["proxied"], serde_json::Value::Null);
    assert_eq!(value["upstream"], server.address());
    assert!(value["connect_ms"].is_f64() && value["first_byte_ms"].is_f64(), "{line}");
    assert!(value["duration_ms"].as_f64() >= value["first_byte_ms"].as_f64(), "{line}");
    assert_eq!((&value["to_upstream_bytes"], &value["to_client_bytes"]), (&8.into(), &6.into()));
    assert_eq!(value["spliced"], 0.0);
    assert_eq!(value["end"], "upstream-close");
}

#[test]
fn it_goes_to_standard_output_if_asked_to() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--access-log -").start();
    drop(pair(&proxy, &server));
    wait_until("a line on standard output", || proxy.printed().len() == 1);
    assert!(proxy.printed()[0].ends_with("end=client-close"), "{:?}", proxy.printed());
}

#[test]
fn after_sigusr1_it_goes_to_a_new_file_of_the_name() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).start();
    drop(pair(&proxy, &server));
    proxy.records(1);
    let moved = proxy.access_log().with_extension("1");
    fs::rename(proxy.access_log(), &moved).expect("the directory is ours");
    proxy.signal(Signal::SIGUSR1);
    wait_until("the log to be reopened", || proxy.access_log().exists());
    drop(pair(&proxy, &server));
    assert_eq!(proxy.records(1).len(), 1, "lines in the new file (left)");
    let old = fs::read_to_string(moved).expect("it was moved here");
    assert_eq!(old.lines().count(), 1, "lines in the old file (left)");
}

#[test]
fn one_without_a_reader_stops_no_connection_and_what_it_lost_is_said() {
    /// More than a FIFO and the proxy's queue of lines hold together.
    const SESSIONS: usize = 18_000;
    let directory = TempDir::new().expect("a directory for temporary files");
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("the directory is ours");
    // Open both ways, so that opening does not wait for the other end (fifo(7)).
    let mut reader = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(&fifo)
        .expect("it was made");
    let listen = format!("unix:{}", directory.path().join("proxy").display());
    let missing = directory.path().join("missing");
    let proxy = Launch::to(&format!("unix:{}", missing.display()))
        .flags(&format!("--listen {listen} --access-log {}", fifo.display()))
        .start();
    for _ in 0..SESSIONS {
        Peer::connect(&listen).expect_close();
    }
    proxy.expect_sleep();

    let mut lines = 0;
    let mut read_all = || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(bytes) => lines += buffer[..bytes].split(|byte| *byte == b'\n').count() - 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return lines,
                Err(error) => panic!("the FIFO cannot be read: {error}"),
            }
        }
    };
    let said_lost =
        || -> usize { proxy.said("dropping lines").iter().map(|line| number_after(line, "lines=")).sum() };
    wait_until("lines that were read and lines that were lost to be all there were", || {
        let read = read_all();
        read < SESSIONS && read + said_lost() == SESSIONS
    });
}

/// Makes a FIFO and opens the end that is read, which never waits for the other one (fifo(7)).
fn fifo(path: &Path) -> BufReader<File> {
    nix::unistd::mkfifo(path, Mode::S_IRWXU).expect("the directory is ours");
    reader(path)
}

fn reader(path: &Path) -> BufReader<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    BufReader::new(options.open(path).expect("it was made"))
}

/// Waits for a line.
fn expect_line(reader: &mut impl BufRead) {
    let mut line = String::new();
    wait_until("a line to come out of the FIFO", || match reader.read_line(&mut line) {
        Ok(_) => line.ends_with('\n'),
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("the FIFO cannot be read: {error}"),
    });
    assert!(line.ends_with("end=client-close\n"), "{line}");
}

#[test]
fn a_reader_that_goes_away_costs_lines_until_another_one_comes() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("fifo");
    let mut first_reader = fifo(&path);
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags(&format!("--access-log {}", path.display())).start();
    drop(pair(&proxy, &server));
    expect_line(&mut first_reader);
    drop(first_reader);
    drop(pair(&proxy, &server));
    let said = proxy.wait_to_say("dropping lines");
    assert!(said.contains("lines=1") && said.contains("Broken pipe"), "{said}");
    let mut second_reader = reader(&path);
    drop(pair(&proxy, &server));
    expect_line(&mut second_reader);
}

#[test]
fn a_fifo_without_a_reader_is_not_waited_for_on_sigusr1() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags(&format!("--access-log {}", path.display())).start();
    let old_has_lines = |count| fs::read_to_string(&moved).is_ok_and(|log| log.lines().count() == count);
    fs::rename(&path, &moved).expect("the directory is ours");
    drop(fifo(&path));
    proxy.signal(Signal::SIGUSR1);
    let said = proxy.wait_to_say("cannot reopen the access log");
    assert!(said.contains("a FIFO without a reader"), "{said}");
    drop(pair(&proxy, &server));
    wait_until("the next line to go to the old file", || old_has_lines(1));

    let mut reader = reader(&path);
    proxy.signal(Signal::SIGUSR1);
    proxy.wait_to_say("access log reopened");
    drop(pair(&proxy, &server));
    expect_line(&mut reader);
    assert!(old_has_lines(1), "the old file is left alone");
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
}

fn number_after(line: &str, name: &str) -> usize {
    let (_, rest) = line.split_once(name).unwrap_or_else(|| panic!("no {name} in: {line}"));
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("digits")
}
