//! Checks of servers: which are found to be unhealthy, what becomes of their clients, and how they come back.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::{Launch, Peer, Proxy, Server, refusing, wait_until};

const UNHEALTHY: &str = "server is unhealthy; not using it";
const HEALTHY: &str = "server is healthy again; using it";
/// Checks that come often and wait for long.
const OFTEN: &str = "--health-interval 100ms --health-timeout 20s";

/// What a site answers.
const WINDOWS_LOGIN: u8 = 0;
const POOL_STOPPED: u8 = 1;
const BASIC_LOGIN: u8 = 2;
const ENDLESS_HEAD: u8 = 3;
const OK: u8 = 4;

/// A site that answers every request.
struct Site {
    address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    answer: AtomicU8,
    /// The heads of the requests of checks.
    checks: Mutex<Vec<String>>,
    /// Requests of clients.
    served: AtomicUsize,
}

impl Site {
    fn answering(answer: u8) -> Self {
        let listening = Server::v4();
        let site = Self { address: listening.address().to_owned(), state: Arc::default() };
        site.answer(answer);
        let state = Arc::clone(&site.state);
        // Until the test ends.
        thread::spawn(move || {
            while let Some(peer) = listening.accept_or_end() {
                let state = Arc::clone(&state);
                thread::spawn(move || state.serve(&peer));
            }
        });
        site
    }

    fn answer(&self, answer: u8) {
        self.state.answer.store(answer, Ordering::Relaxed);
    }

    fn served(&self) -> usize {
        self.state.served.load(Ordering::Relaxed)
    }

    fn checks(&self) -> Vec<String> {
        self.state.checks.lock().expect("no panic while locked").clone()
    }
}

impl State {
    fn serve(&self, peer: &Peer) {
        let mut head = Vec::new();
        let mut bytes = [0; 4096];
        while !head.ends_with(b"\r\n\r\n") {
            match peer.receive(&mut bytes) {
                Ok(received) if received > 0 => head.extend_from_slice(&bytes[..received]),
                _ => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.contains("User-Agent: iisplice-check") {
            self.checks.lock().expect("no panic while locked").push(head);
        } else {
            self.served.fetch_add(1, Ordering::Relaxed);
        }
        let reply = match self.answer.load(Ordering::Relaxed) {
            WINDOWS_LOGIN => "401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM",
            POOL_STOPPED => "503 Service Unavailable",
            BASIC_LOGIN => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"",
            ENDLESS_HEAD => {
                let _ = peer.try_send(b"HTTP/1.1 200 OK\r\nX: ");
                while peer.try_send(&[b'x'; 16 * 1024]).is_ok() {}
                return;
            }
            _ => "200 OK",
        };
        let _ = peer.try_send(format!("HTTP/1.1 {reply}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        // Closes when the other side has.
        let _ = peer.receive(&mut bytes);
    }
}

/// A request through the proxy.
fn ask(proxy: &Proxy) -> String {
    let client = Peer::connect(proxy.address());
    client.send(b"GET / HTTP/1.1\r\nHost: iis\r\nConnection: close\r\n\r\n");
    client.receive_all()
}

fn launch(sites: &[&Site], flags: &str) -> Launch {
    sites
        .iter()
        .fold(Launch::default(), |launch, site| launch.flags(&format!("--upstream {}", site.address)))
        .flags(flags)
}

fn about(lines: &[String], site: &Site) -> usize {
    lines.iter().filter(|line| line.contains(&format!("upstream=\"{}\"", site.address))).count()
}

#[test]
fn a_site_whose_application_pool_is_stopped_is_not_used_until_it_runs_again() {
    let (good, stopped) = (Site::answering(WINDOWS_LOGIN), Site::answering(POOL_STOPPED));
    let flags = format!("--mode http --health http-auth {OFTEN}");
    let proxy = launch(&[&stopped, &good], &flags).start();
    let line = proxy.wait_to_say(UNHEALTHY);
    assert!(
        line.contains(&stopped.address) && line.contains("status 503") && line.contains("failures=1"),
        "{line}"
    );
    for _ in 0..8 {
        assert!(ask(&proxy).starts_with("HTTP/1.1 401"));
    }
    assert_eq!(stopped.served(), 0);
    stopped.answer(WINDOWS_LOGIN);
    assert!(proxy.wait_to_say(HEALTHY).contains("successes=2"));
    for _ in 0..8 {
        ask(&proxy);
    }
    assert_eq!((stopped.served(), good.served()), (4, 12), "both take turns again");
    // It takes three failures to fall, and each change is one line.
    stopped.answer(POOL_STOPPED);
    let lines = proxy.wait_to_say_times(UNHEALTHY, 2);
    assert!(lines[1].contains("failures=3"), "{lines:?}");
    assert_eq!((about(&lines, &stopped), proxy.said(HEALTHY).len()), (2, 1));
}

#[test]
fn a_server_that_came_back_starts_slowly() {
    let (good, back) = (Site::answering(OK), Site::answering(POOL_STOPPED));
    let flags = format!("--mode http --health http --slow-start 1h {OFTEN}");
    let proxy = launch(&[&back, &good], &flags).start();
    proxy.wait_to_say(UNHEALTHY);
    back.answer(OK);
    proxy.wait_to_say(HEALTHY);
    for _ in 0..40 {
        ask(&proxy);
    }
    assert!(back.served() <= 4, "it got {} of 40 at once", back.served());
    assert!(good.served() >= 36, "all that do not go there");
}

#[test]
fn a_login_that_windows_clients_cannot_make_is_not_healthy() {
    let (basic, good) = (Site::answering(BASIC_LOGIN), Site::answering(OK));
    let flags = format!("--health http-auth {OFTEN} --mode http");
    let proxy = launch(&[&basic, &good], &flags).start();
    assert!(proxy.wait_to_say(UNHEALTHY).contains("neither NTLM nor Negotiate"));
    assert!(ask(&proxy).starts_with("HTTP/1.1 200"), "a site without a login is healthy");
    // For other checks a status is a status.
    let flags = format!("--health http --health-expect 401 {OFTEN} --mode http");
    let proxy = launch(&[&good, &basic], &flags).start();
    assert!(proxy.wait_to_say(UNHEALTHY).contains("status 200"));
    assert!(ask(&proxy).starts_with("HTTP/1.1 401"));
}

#[test]
fn a_head_without_an_end_is_read_up_to_a_bound() {
    let (endless, good) = (Site::answering(ENDLESS_HEAD), Site::answering(OK));
    let flags = format!("--health http {OFTEN}");
    let proxy = launch(&[&endless, &good], &flags).start();
    let line = proxy.wait_to_say(UNHEALTHY);
    assert!(line.contains("the head of the reply is longer than"), "{line}");
}

#[test]
fn a_check_asks_for_what_the_settings_say() {
    let site = Site::answering(OK);
    let _proxy = launch(&[&site], &format!("--health http {OFTEN}")).start();
    wait_until("a check", || !site.checks().is_empty());
    let head = site.checks().swap_remove(0);
    assert!(
        head.starts_with("GET / HTTP/1.1\r\n") && head.contains(&format!("\r\nHost: {}\r\n", site.address)),
        "{head}"
    );

    let site = Site::answering(OK);
    let flags =
        format!("--health http --health-path /owa/healthcheck.htm --health-host mail.example {OFTEN}");
    let _proxy = launch(&[&site], &flags).start();
    wait_until("a check", || !site.checks().is_empty());
    let head = site.checks().swap_remove(0);
    assert!(
        head.starts_with("GET /owa/healthcheck.htm HTTP/1.1\r\n")
            && head.contains("\r\nHost: mail.example\r\n"),
        "{head}"
    );
}

#[test]
fn connects_are_checked_with_the_proxy_header_of_the_group() {
    let (held, down) = refusing();
    let good = Server::v4();
    let flags = format!("--upstream {} --health tcp --send-proxy v1 {OFTEN}", good.address());
    let proxy = Launch::to(&down).flags(&flags).start();
    let check = good.accept();
    check.expect(b"PROXY UNKNOWN\r\n");
    check.expect_close();
    let line = proxy.wait_to_say(UNHEALTHY);
    assert!(line.contains(&down) && line.contains("Connection refused"), "{line}");
    held.listen(100).expect("a bound socket");
    assert!(proxy.wait_to_say(HEALTHY).contains(&down));
}

#[test]
fn when_no_server_is_left_clients_are_refused_at_once() {
    let sites = [Site::answering(POOL_STOPPED), Site::answering(POOL_STOPPED)];
    let flags = format!("--mode http --health http {OFTEN}");
    let proxy = launch(&[&sites[0], &sites[1]], &flags).start();
    proxy.wait_to_say("group has no server left; refusing its clients");
    for _ in 0..3 {
        let reply = ask(&proxy);
        assert!(reply.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{reply}");
        assert!(reply.contains("\r\nRetry-After: "), "{reply}");
    }
    assert_eq!(sites[0].served() + sites[1].served(), 0);
    for record in proxy.records(3) {
        assert_eq!((record.get("end"), record.get("upstream")), ("no-server", "-"));
    }
    sites[1].answer(OK);
    let line = proxy.wait_to_say("group has a server again");
    assert!(line.contains("refused=3"), "{line}");
    assert!(ask(&proxy).starts_with("HTTP/1.1 200"));
    assert_eq!(proxy.said("group has no server left").len(), 1, "said once");
    assert_eq!(proxy.said("request refused"), [""; 0], "not for each request");
}

#[test]
fn in_stream_mode_no_server_left_is_a_close() {
    let (_held, down) = refusing();
    let proxy = Launch::to(&down).flags(&format!("--health tcp {OFTEN}")).start();
    proxy.wait_to_say("group has no server left");
    let client = Peer::connect(proxy.address());
    client.expect_close();
    let record = proxy.record();
    record.expect_end("no-server");
    assert_eq!(proxy.said("cannot connect to server").len(), 0, "it is not tried");
}

/// `iisplice mock` as a process.
struct Mock(Child, String);

impl Mock {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
        command
            .args(["mock", "--listen", "127.0.0.1:0", "--user", "CORP\\alice:secret"])
            .stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut lines = stderr.lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let (_, rest) = line.split_once("127.0.0.1:")?;
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                Some(format!("127.0.0.1:{port}"))
            })
            .expect("it says where it listens");
        // It may go on to talk.
        thread::spawn(move || lines.for_each(drop));
        Self(child, address)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("our child");
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_frozen_server_is_not_used_until_it_goes_on() {
    let (frozen, good) = (Mock::start(), Site::answering(WINDOWS_LOGIN));
    let flags = "--mode http --health http-auth --health-interval 100ms --health-timeout 3s --health-fall 1";
    let proxy = Launch::to(&frozen.1).flags(&format!("--upstream {} {flags}", good.address)).start();
    frozen.signal(Signal::SIGSTOP);
    let line = proxy.wait_to_say(UNHEALTHY);
    assert!(line.contains(&frozen.1) && line.contains("no answer within 3s"), "{line}");
    for _ in 0..6 {
        assert!(ask(&proxy).starts_with("HTTP/1.1 401"), "no connection hangs any more");
    }
    assert_eq!(good.served(), 6);
    frozen.signal(Signal::SIGCONT);
    assert!(proxy.wait_to_say(HEALTHY).contains(&frozen.1));
}

/// A file with two services that share a group.
fn file(directory: &TempDir, site: &Site, checks: &str) -> std::path::PathBuf {
    let path = directory.path().join("iisplice.toml");
    let text = format!(
        "[service.a]\nlisten = \"127.0.0.1:0\"\nmode = \"http\"\nupstream = \"iis\"\n\n\
         [service.b]\nlisten = \"127.0.0.1:0\"\nupstream = \"iis\"\n\n\
         [group.iis]\nservers = \"{}\"\n{checks}\n",
        site.address
    );
    fs::write(&path, text).expect("it is written");
    path
}

#[test]
fn a_group_of_several_services_is_checked_once() {
    let (directory, site) = (TempDir::new().expect("a directory"), Site::answering(OK));
    let path = file(
        &directory,
        &site,
        "health = { type = \"http\", interval = \"1h\", path = \"/ok\", expect = 200 }",
    );
    let proxy = Launch::by_file(&path).start();
    wait_until("a check", || !site.checks().is_empty());
    for _ in 0..3 {
        ask(&proxy);
    }
    assert_eq!(site.checks().len(), 1);
}

#[test]
fn a_reload_changes_what_is_checked() {
    let (directory, site) = (TempDir::new().expect("a directory"), Site::answering(POOL_STOPPED));
    let checked = "health = \"http\"\nhealth-interval = \"100ms\"";
    let path = file(&directory, &site, "");
    let proxy = Launch::by_file(&path).start();
    assert!(ask(&proxy).starts_with("HTTP/1.1 503"), "the site's own");
    file(&directory, &site, checked);
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say(UNHEALTHY);
    wait_until("clients to be refused", || ask(&proxy).contains("Retry-After"));
    file(&directory, &site, "");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say_times("reloaded; used for new connections", 2);
    wait_until("the site to be used again", || !ask(&proxy).contains("Retry-After"));
    let before = site.checks().len();
    ask(&proxy);
    thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(site.checks().len(), before, "it is not checked any more");
}
