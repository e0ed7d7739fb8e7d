//! `iisplice top`: what it shows of a proxy, what its keys do, and that the terminal is as it was afterwards.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use iisplice::mock::settings::{Accounts, Settings};
use iisplice::mock::{self, Mock};
use iisplice::top::terminal::Screen;
use nix::sys::signal::Signal;

use crate::pty::{Streams, Terminal, iisplice};

/// Set in the process that is to panic.
const PANIC: &str = "IISPLICE_TEST_PANIC";

/// Exit code of a panic.
const PANICKED: i32 = 101;

/// Two servers where alice logs in.
fn site() -> Mock {
    let mut accounts = Accounts::default();
    accounts.add("CORP", "alice", "secret");
    let listener = || "127.0.0.1:0".parse().expect("an address");
    mock::start(Settings::new(vec![listener(), listener()], accounts)).expect("the mock starts")
}

/// A process of ours that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy before that site.
struct Proxy {
    _running: Running,
    listener: String,
    admin: String,
    servers: Vec<String>,
}

impl Proxy {
    fn start(site: &Mock, admin: &[&str]) -> Self {
        let servers: Vec<_> = site.addresses().iter().map(ToString::to_string).collect();
        let mut command =
            iisplice(&["proxy", "--mode=http", "--listen=127.0.0.1:0", "--workers=1", "--no-pin"]);
        command.args(servers.iter().flat_map(|server| ["--upstream", server])).args(admin);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it was built");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let running = Running(child);
        let mut said = String::new();
        let mut find = |mark: &str| loop {
            let line = log.next().unwrap_or_else(|| panic!("it ended: {said}")).expect("text");
            said += &line;
            if let Some((_, rest)) = line.split_once(mark) {
                return rest.split(' ').next().unwrap_or_default().to_owned();
            }
        };
        let listener = find("listeners=");
        let admin = find("admin endpoint is open address=");
        thread::spawn(move || log.for_each(drop));
        Self { _running: running, listener, admin, servers }
    }

    /// Logs in all the time.
    fn load(&self) -> Running {
        let url = format!("http://{}/whoami", self.listener);
        let logins = ["--auth=ntlm", "--user=CORP\\alice:secret", "--scenario=login", "--rate=30", "-d10m"];
        let mut command = iisplice(&[&["load", &url][..], &logins, &["-q", "-c2", "-t1"]].concat());
        Running(command.stdout(Stdio::null()).spawn().expect("it was built"))
    }
}

fn top(admin: &str, options: &[&str]) -> Command {
    iisplice(&[&["top", "--admin", admin, "--interval=200ms"][..], options].concat())
}

/// The words of the line that begins with this one, as long as it is on the screen.
fn words<'a>(screen: &'a str, first: &str) -> Option<Vec<&'a str>> {
    let mut lines = screen.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|words| words.first() == Some(&first))
}

#[test]
fn it_shows_a_proxy_under_load_and_drains_a_server_after_a_question() {
    let site = site();
    let proxy = Proxy::start(&site, &["--admin=127.0.0.1:0"]);
    let _load = proxy.load();
    let [first, second] = &proxy.servers[..] else { panic!("two servers") };
    let mut terminal = Terminal::take(&top(&proxy.admin, &[]), (24, 80));
    let number = |words: &[&str], nth: usize| words.get(nth).and_then(|word| word.parse::<f64>().ok());
    let screen = terminal.wait_for("logins at both servers", |screen| {
        // Connections a second and logins a second.
        [first, second].iter().all(|server| {
            let row = words(screen, server).unwrap_or_default();
            row.get(1) == Some(&"up") && [3, 4].iter().all(|nth| number(&row, *nth) > Some(0.0))
        })
    });
    assert!(screen.starts_with("iisplice ") && screen.contains(&proxy.admin), "{screen}");
    for part in ["SERVERS 2", "SERVICES 1", "default (http)", "WORKERS 1", "worker 0", "█", "? help"] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    assert!(screen.lines().count() <= 24, "{screen}");

    terminal.press("ss");
    terminal.wait_for("another order", |screen| screen.contains("SERVERS 2, by NEW/S ↓"));
    terminal.press("SS/");
    terminal.wait_for("a prompt", |screen| screen.contains("servers with: ▏"));
    terminal.press(second);
    terminal.press("\r");
    terminal.wait_for("one server", |screen| {
        screen.contains(&format!("SERVERS 1 with \"{second}\"")) && words(screen, first).is_none()
    });
    terminal.press("?");
    terminal.wait_for("the help", |screen| screen.starts_with("Keys"));
    terminal.press("q");
    terminal.wait_for("the tables", |screen| words(screen, second).is_some());

    let question = format!("drain {second} of group default? y/n");
    terminal.press("d");
    terminal.wait_for("the question", |screen| screen.contains(&question));
    terminal.press("n");
    terminal.wait_for("an answer", |screen| screen.contains(&format!("did not drain {second}")));
    terminal.press("dy");
    let screen = terminal.wait_for("the drain", |screen| {
        words(screen, second).is_some_and(|row| row[1] == "draining") && screen.contains("gets no new")
    });
    assert!(!screen.contains(&question), "{screen}");
    terminal.press("ey");
    terminal.wait_for("its end", |screen| words(screen, second).is_some_and(|row| row[1] == "up"));

    terminal.resize((10, 40));
    terminal.wait_for("a small picture", |screen| screen.lines().count() <= 10 && screen.contains("NAME"));
    terminal.press("q");
    assert_eq!(terminal.restored(), Some(0));
}

#[test]
fn a_key_right_after_another_size_counts() {
    let site = site();
    let proxy = Proxy::start(&site, &["--admin=127.0.0.1:0"]);
    let mut terminal = Terminal::take(&top(&proxy.admin, &[]), (24, 80));
    terminal.wait_for("the tables", |screen| screen.contains("? help"));
    // The signal and the key are to arrive while the same thread wakes.
    for _ in 0..100 {
        terminal.resize((24, 81));
        terminal.press("?");
        terminal.wait_for("the help", |screen| screen.starts_with("Keys"));
        terminal.resize((24, 80));
        terminal.press("?");
        terminal.wait_for("the tables", |screen| screen.starts_with("iisplice "));
    }
}

#[test]
fn the_terminal_is_as_it_was_whatever_ends_the_view() {
    let site = site();
    let proxy = Proxy::start(&site, &["--admin=127.0.0.1:0"]);
    let view = || {
        let mut terminal = Terminal::take(&top(&proxy.admin, &[]), (24, 80));
        terminal.wait_for("the view", |screen| screen.contains("ready"));
        terminal
    };
    for key in ["q", "\u{3}"] {
        let mut terminal = view();
        terminal.press(key);
        assert_eq!(terminal.restored(), Some(0), "{key:?}");
    }
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGHUP, 129),
        (Signal::SIGQUIT, 131),
        (Signal::SIGUSR1, 138),
    ] {
        let terminal = view();
        terminal.signal(signal);
        assert_eq!(terminal.restored(), Some(code), "{signal}");
    }
    for size in [(5, 20), (1, 1)] {
        let mut terminal = Terminal::take(&top(&proxy.admin, &[]), size);
        terminal.wait_for("a letter", |screen| screen.starts_with(['i', '…']));
        terminal.press("q");
        assert_eq!(terminal.restored(), Some(0), "{size:?}");
    }
}

/// It is run once more in a process of its own, which takes the terminal and panics.
#[test]
fn a_panic_gives_the_terminal_back_before_its_message() {
    if env::var_os(PANIC).is_some() {
        let _screen = Screen::open().expect("a terminal");
        panic!("on purpose");
    }
    let mut command = Command::new(env::current_exe().expect("this test"));
    command.args(["--exact", "top::a_panic_gives_the_terminal_back_before_its_message", "--nocapture"]);
    let terminal = Terminal::take(command.env(PANIC, "1"), (24, 80));
    let (message, code) = terminal.restored_with_screen();
    assert_eq!(code, Some(PANICKED), "{message}");
    assert!(message.contains("on purpose"), "{message}");
}

#[test]
fn a_shell_can_suspend_it_and_have_it_go_on() {
    let site = site();
    let proxy = Proxy::start(&site, &["--admin=127.0.0.1:0"]);
    let mut shell = Command::new("bash");
    shell.args(["--norc", "--noprofile", "-i"]).env_clear().envs([("TERM", "xterm-256color"), ("PS1", "$ ")]);
    let mut terminal = Terminal::take(&shell, (24, 80));
    let binary = env!("CARGO_BIN_EXE_iisplice");
    // What is typed earlier can be lost: to a shell that starts, or to the view that ends.
    let is_prompting = |screen: &str| screen.trim_end().ends_with('$');
    terminal.wait_for("the shell", is_prompting);
    terminal.press(&format!("{binary} top --interval=200ms --admin {}\r", proxy.admin));
    terminal.wait_for("the view", |screen| screen.contains("SERVERS 2"));
    terminal.press("\u{1a}");
    terminal.wait_for("the prompt", |screen| screen.contains("Stopped") && is_prompting(screen));
    terminal.press("fg\r");
    terminal.wait_for("the view again", |screen| screen.contains("SERVERS 2"));
    terminal.press("q");
    terminal.wait_for("the prompt", is_prompting);
    terminal.press("echo code=$?; exit\r");
    terminal.wait_for("the shell again", |screen| screen.contains("code=0"));
    assert_eq!(terminal.restored(), Some(0));
}

#[test]
fn a_proxy_that_goes_away_is_said_and_comes_back() {
    let site = site();
    let directory = tempfile::tempdir().expect("a directory");
    let admin = format!("--admin=unix:{}", directory.path().join("admin.sock").display());
    let proxy = Proxy::start(&site, &[&admin]);
    let mut terminal = Terminal::take(&top(&proxy.admin, &[]), (24, 80));
    terminal.wait_for("the view", |screen| screen.contains("  ready "));
    let server = proxy.servers[0].clone();
    drop(proxy);
    let screen = terminal.wait_for("that it has gone", |screen| screen.contains("no answer for"));
    assert!(screen.contains("no proxy answers at") && words(&screen, &server).is_some(), "{screen}");
    let _proxy = Proxy::start(&site, &[&admin]);
    terminal
        .wait_for("that it is back", |screen| screen.contains("  ready ") && !screen.contains("no proxy"));
    terminal.press("q");
    assert_eq!(terminal.restored(), Some(0));
}

fn token(directory: &Path, name: &str, word: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, word).expect("it is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our file");
    path.display().to_string()
}

#[test]
fn it_sends_a_token_over_tcp() {
    let site = site();
    let directory = tempfile::tempdir().expect("a directory");
    let [right, wrong] =
        [("right", "a-token-of-32-characters-or-more"), ("wrong", "another-token-of-32-characters--")]
            .map(|(name, word)| token(directory.path(), name, word));
    let proxy = Proxy::start(&site, &["--admin=127.0.0.1:0", "--admin-token-file", &right]);
    let mut terminal = Terminal::take(&top(&proxy.admin, &["--token-file", &right]), (24, 80));
    terminal.wait_for("the view", |screen| screen.contains("  ready ") && screen.contains("worker 0"));
    terminal.press("q");
    assert_eq!(terminal.restored(), Some(0));
    for arguments in [&["--token-file", &wrong][..], &[]] {
        let (screen, bytes, status) = Terminal::start(top(&proxy.admin, arguments), 200, Streams::Both).end();
        assert_eq!(status.code(), Some(2), "{screen}");
        assert!(screen.starts_with("iisplice: the proxy refuses the request (401): "), "{screen}");
        assert!(!bytes.contains("\u{1b}[?1049h"), "the terminal was taken: {bytes:?}");
    }
}

/// Its exit code, and what it prints and says.
fn output(mut command: Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("it was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn one_picture_is_plain_text_and_a_live_view_wants_a_terminal() {
    let site = site();
    let proxy = Proxy::start(&site, &["--admin=127.0.0.1:0"]);
    let (code, picture, said) = output(top(&proxy.admin, &["--once"]));
    assert_eq!((code, said.as_str()), (Some(0), ""), "{picture}");
    assert!(!picture.contains(|c: char| c.is_control() && c != '\n'), "{picture:?}");
    for server in &proxy.servers {
        assert_eq!(words(&picture, server).expect("its row")[1..4], ["up", "0", "0"], "{picture}");
    }
    assert!(picture.contains("default (http)") && picture.contains(" KERB BASIC "), "{picture}");

    let (code, picture, said) = output(top(&proxy.admin, &[]));
    assert_eq!((code, picture.as_str()), (Some(2), ""));
    assert!(said.contains("standard output is no terminal") && said.contains("--once"), "{said}");
    let mut dumb = top(&proxy.admin, &[]);
    dumb.env("TERM", "dumb");
    assert_eq!(Terminal::start(dumb, 80, Streams::Both).end().2.code(), Some(2));
    let admin = proxy.admin.clone();
    drop(proxy);
    for options in [&["--once"][..], &[]] {
        let (screen, bytes, status) = Terminal::start(top(&admin, options), 200, Streams::Both).end();
        assert_eq!(status.code(), Some(2), "{screen}");
        assert!(
            screen.starts_with("iisplice: no proxy answers at ") && !bytes.contains("\u{1b}[?"),
            "{bytes:?}"
        );
    }
}

/// An endpoint whose names act on terminals.
fn hostile() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            let mut head = [0; 1024];
            let read = client.read(&mut head).unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let body = match head.split(' ').nth(1).unwrap_or_default() {
                "/metrics" => "iisplice_build_info{version=\"\u{1b}]0;owned\u{7}\"} 1\nnonsense\n",
                "/v1/services" => r#"{"services": []}"#,
                "/v1/servers" => {
                    r#"{"servers": [{"group": "iis", "name": "\u001b[2Jiis1:80\u009b31m", "address": "a", "state": "\u001bcup", "connections": 3}]}"#
                }
                "/readyz" => r#"{"ready": false, "reasons": ["\u001b[6n"]}"#,
                _ => r#"{"error": "\u001b[?1049l no"}"#,
            };
            let status = if head.starts_with("GET") { "200 OK" } else { "409 Conflict" };
            let reply = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            client.write_all(reply.as_bytes()).expect("it reads");
        }
    });
    address
}

#[test]
fn what_an_endpoint_says_does_not_reach_the_terminal_as_control_characters() {
    let address = hostile();
    let (code, picture, said) = output(top(&address, &["--once"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(picture.contains("\u{fffd}[2Jiis1:80\u{fffd}31m"), "{picture}");
    assert!(!picture.contains(|c: char| c.is_control() && c != '\n'), "{picture:?}");
    let mut terminal = Terminal::take(&top(&address, &[]), (24, 80));
    terminal.wait_for("its server", |screen| screen.contains("[2Jiis1:80"));
    terminal.press("dy");
    terminal.wait_for("its refusal", |screen| screen.contains("[?1049l no"));
    terminal.press("q");
    let (_, bytes, status) = terminal.end();
    assert_eq!(status.code(), Some(0));
    for act in ["\u{1b}]0;", "\u{1b}[2Ji", "\u{1b}[6n", "\u{1b}c", "\u{9b}", "\u{7}"] {
        assert!(!bytes.contains(act), "{act:?} in {bytes:?}");
    }
    assert_eq!(bytes.matches("\u{1b}[?1049l").count(), 1, "{bytes:?}");
}
