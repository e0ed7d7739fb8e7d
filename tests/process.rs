//! The running proxy as a service manager meets it: start-up line, signals, logs, exit codes.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

const BINARY: &str = env!("CARGO_BIN_EXE_iisplice");

/// A process; it is killed if the test ends before it does.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).expect("it runs");
    }

    /// The exit code.
    fn wait(mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("it is our child") {
                return status.code();
            }
            assert!(started.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy that serves.
struct Proxy {
    running: Running,
    log: BufReader<ChildStderr>,
    start_up: String,
}

impl Proxy {
    fn start(flags: &[&str]) -> Self {
        Self::spawn(Command::new(BINARY).arg("proxy").args(flags))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut start_up = String::new();
        log.read_line(&mut start_up).expect("text");
        let proxy = Self { running: Running(child), log, start_up };
        assert!(proxy.start_up.contains(" serving "), "no start-up line: {}", proxy.start_up);
        proxy
    }

    /// A field of the start-up line.
    fn said(&self, name: &str) -> &str {
        let field =
            self.start_up.split_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        field.unwrap_or_else(|| panic!("no {name} in: {}", self.start_up))
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.said("listeners")).expect("it listens");
        client.set_read_timeout(Some(PATIENCE)).expect("not zero");
        client
    }

    fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// The exit code, and what else it logged.
    fn wait(mut self) -> (Option<i32>, String) {
        let code = self.running.wait();
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("text");
        (code, rest)
    }
}

fn connect_unix(socket: &Path) -> UnixStream {
    let client = UnixStream::connect(socket).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("not zero");
    client
}

/// A server that sends back what it gets, for as many connections as come.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            thread::spawn(move || {
                let mut back = connection.try_clone().expect("a descriptor");
                // The other side may go at any time.
                let _ = std::io::copy(&mut connection, &mut back);
            });
        }
    });
    address
}

/// Sends a word and gets it back: the session is up.
fn exchange(client: &mut (impl Read + Write)) {
    client.write_all(b"ping").expect("the proxy reads");
    let mut answer = [0; 4];
    client.read_exact(&mut answer).expect("the answer");
    assert_eq!(&answer, b"ping");
}

fn wait_until(is_so: impl Fn() -> bool, otherwise: &str) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{otherwise}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The one line of a proxy that does not come to serve.
fn refusal(output: &Output, exit_code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit_code), "{said}");
    assert_eq!(said.lines().count(), 1, "not one line: {said}");
    said
}

fn refused(flags: &[&str], exit_code: i32) -> String {
    refusal(&Command::new(BINARY).arg("proxy").args(flags).output().expect("it starts"), exit_code)
}

/// A shell that sets limits and becomes the proxy.
fn under_limits(limits: &str, flags: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits} && exec {BINARY} proxy --listen 127.0.0.1:0 {flags}")]);
    shell
}

#[test]
fn the_start_up_line_says_what_serves() {
    let proxy = Proxy::start(&["--listen=127.0.0.1:0", "--upstream=127.0.0.1:9", "--workers=2", "--pipes=1"]);
    assert!(!proxy.said("listeners").ends_with(":0"), "the port that was chosen: {}", proxy.start_up);
    assert_eq!(proxy.said("upstreams"), "127.0.0.1:9");
    assert_eq!(proxy.said("workers"), "2");
    assert!(proxy.said("pipes").ends_with("/2"), "two workers with a pipe each: {}", proxy.start_up);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("it is Linux");
    assert_eq!(proxy.said("kernel"), kernel.trim());
}

#[test]
fn the_descriptor_limit_is_raised_to_its_hard_limit() {
    let limits = "ulimit -Sn 200 && ulimit -Hn 4000";
    let proxy = Proxy::spawn(&mut under_limits(limits, "--upstream 127.0.0.1:9 --workers 1"));
    assert_eq!(proxy.said("descriptors_max"), "4000");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.running.0.id())).expect("it runs");
    let limit =
        limits.lines().find(|line| line.starts_with("Max open files")).expect("every process has one");
    assert_eq!(limit.split_whitespace().collect::<Vec<_>>()[3..5], ["4000", "4000"]);
}

#[test]
fn a_descriptor_limit_without_room_is_one_line_and_exit_code_1() {
    let mut command = under_limits("ulimit -n 100", "--upstream 127.0.0.1:9 --workers 1");
    let line = refusal(&command.output().expect("it starts"), 1);
    assert!(
        line.contains("the descriptor limit 100 leaves no room") && line.contains("LimitNOFILE="),
        "{line}"
    );
}

#[test]
fn a_port_that_is_taken_is_one_line_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let line = refused(&["--listen", &address, "--upstream=127.0.0.1:9"], 1);
    assert!(line.contains(&format!("cannot listen on {address}")) && line.contains("ss -ltnp"), "{line}");
}

#[test]
fn a_log_that_cannot_be_opened_is_one_line_and_exit_code_2() {
    let log = "--access-log=/no/such/directory/log";
    let line = refused(&["--listen=127.0.0.1:0", "--upstream=127.0.0.1:9", log], 2);
    assert!(line.contains("--access-log /no/such/directory/log") && line.contains("- or off"), "{line}");
}

#[test]
fn a_refusal_is_told_however_little_is_logged() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let line = refused(&["--listen", &address, "--upstream=127.0.0.1:9", "--log-level=off"], 1);
    assert!(line.contains("cannot listen on"), "{line}");
}

#[test]
fn a_proxy_header_for_iis_is_warned_of() {
    let proxy = Proxy::start(&["--listen=127.0.0.1:0", "--upstream=127.0.0.1:9", "--send-proxy=v1"]);
    proxy.signal(Signal::SIGTERM);
    let (_, log) = proxy.wait();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("400")), "{log}");
}

#[test]
fn both_signals_to_stop_end_an_idle_proxy_with_exit_code_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let proxy = Proxy::start(&["--listen=127.0.0.1:0", "--upstream=127.0.0.1:9"]);
        proxy.signal(signal);
        let (code, log) = proxy.wait();
        assert_eq!(code, Some(0), "{signal}: {log}");
        assert!(log.contains("all connections have ended"), "{signal}: {log}");
    }
}

#[test]
fn a_draining_proxy_serves_whom_it_has_and_ends_with_the_last() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("access.log");
    let flag = format!("--access-log={}", log.display());
    let proxy = Proxy::start(&["--listen=127.0.0.1:0", "--upstream", &echo(), "--drain-timeout=1h", &flag]);
    let address = proxy.said("listeners").to_owned();
    let mut client = proxy.connect();
    exchange(&mut client);
    proxy.signal(Signal::SIGTERM);
    wait_until(|| TcpStream::connect(&address).is_err(), "it still accepts");
    exchange(&mut client);
    drop(client);
    assert_eq!(proxy.wait().0, Some(0));
    assert!(
        lines(&log).iter().any(|line| line.ends_with("to_client_bytes=8 spliced=0.000 end=client-close"))
    );
}

#[test]
fn a_draining_proxy_closes_whom_it_has_when_its_time_is_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("access.log");
    let flag = format!("--access-log={}", log.display());
    let proxy = Proxy::start(&["--listen=127.0.0.1:0", "--upstream", &echo(), "--drain-timeout=50ms", &flag]);
    let mut client = proxy.connect();
    exchange(&mut client);
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait().0, Some(0));
    let lines = lines(&log);
    assert!(matches!(&lines[..], [line] if line.ends_with("end=drain")), "{lines:?}");
}

#[test]
fn a_second_signal_ends_a_draining_proxy_at_once() {
    let proxy = Proxy::start(&["--listen=127.0.0.1:0", "--upstream", &echo(), "--drain-timeout=1h"]);
    let address = proxy.said("listeners").to_owned();
    let mut client = proxy.connect();
    exchange(&mut client);
    proxy.signal(Signal::SIGTERM);
    // Two of the same signal that come together are one (signal(7)).
    wait_until(|| TcpStream::connect(&address).is_err(), "it still accepts");
    // Within a second it would be the same request.
    thread::sleep(Duration::from_millis(1100));
    proxy.signal(Signal::SIGTERM);
    let (code, log) = proxy.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped immediately"), "{log}");
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew_on_sigusr1() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let flag = format!("--access-log={}", log.display());
    let proxy = Proxy::start(&["--listen=127.0.0.1:0", "--upstream", &echo(), "--log-format=json", &flag]);
    exchange(&mut proxy.connect());
    wait_until(|| lines(&log).len() == 1, "the first line was not written");
    std::fs::rename(&log, &moved).expect("the log is there");
    proxy.signal(Signal::SIGUSR1);
    wait_until(|| log.exists(), "the log was not reopened");
    exchange(&mut proxy.connect());
    wait_until(|| lines(&log).len() == 1, "the second line was not written");
    assert_eq!(lines(&moved).len(), 1);
    let line: serde_json::Value = serde_json::from_str(&lines(&log)[0]).expect("JSON");
    assert_eq!(line["listener"], proxy.said("listeners"));
    assert_eq!((&line["to_upstream_bytes"], &line["end"]), (&4.into(), &"client-close".into()));
}

#[test]
fn sighup_ends_nothing() {
    let proxy = Proxy::start(&["--listen=127.0.0.1:0", "--upstream", &echo()]);
    let mut client = proxy.connect();
    proxy.signal(Signal::SIGHUP);
    exchange(&mut client);
    drop(client);
    proxy.signal(Signal::SIGTERM);
    let (code, log) = proxy.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("SIGHUP"), "{log}");
}

#[test]
fn a_unix_socket_serves_and_leaves_with_the_proxy() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("front.sock");
    let flag = format!("--listen=unix:{}", socket.display());
    let proxy = Proxy::start(&[&flag, "--upstream", &echo()]);
    exchange(&mut connect_unix(&socket));
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait().0, Some(0));
    assert!(!socket.exists(), "the socket was left behind");
}

/// A pipe that is full: who writes to it waits until the other end is read, which is the first of the two.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("descriptors");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a valid flag");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("a valid flag");
    (reader, writer)
}

#[test]
fn standard_error_without_a_reader_stalls_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("front.sock");
    let (_unread, stderr) = full_pipe();
    let mut command = Command::new(BINARY);
    command.args(["proxy", "-vv", "--upstream", &echo(), &format!("--listen=unix:{}", socket.display())]);
    let child = command.stderr(stderr).stdout(Stdio::null()).spawn().expect("it starts");
    let proxy = Running(child);
    wait_until(|| UnixStream::connect(&socket).is_ok(), "it does not listen");
    exchange(&mut connect_unix(&socket));
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait(), Some(0));
}

#[test]
fn a_starter_holds_nothing_ignores_signals_and_ends_with_its_proxy() {
    let mut command = Command::new("sh");
    // A descriptor that a parent left open.
    command.args(["-c", r#"exec 9</dev/null; exec "$0" "$@""#, BINARY, "proxy", "--listen=127.0.0.1:0"]);
    let proxy = Proxy::spawn(command.args(["--upstream", &echo()]));
    let id = proxy.running.0.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("it runs");
    let starter: i32 = children.trim().parse().expect("one child");
    let place = Path::new("/proc").join(starter.to_string());
    let descriptors = || {
        let open = std::fs::read_dir(place.join("fd")).expect("it runs").flatten();
        let mut names: Vec<_> =
            open.map(|entry| entry.file_name().into_string().expect("a number")).collect();
        names.sort_unstable();
        names
    };
    wait_until(|| descriptors() == ["0", "1", "2"], "it holds more descriptors");
    for signal in
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2]
    {
        kill(Pid::from_raw(starter), signal).expect("it runs");
    }
    exchange(&mut proxy.connect());
    assert!(place.join("exe").exists(), "it was killed");
    proxy.signal(Signal::SIGKILL);
    // Its new parent may take a while to wait for it.
    let is_gone = || std::fs::read_link(place.join("exe")).is_err();
    wait_until(is_gone, "it outlives its proxy");
}
