//! The live view of `load` and `demo`: total, time left, rate and errors in one line, which is gone at the end.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use iisplice::mock::settings::{Accounts, Settings};
use iisplice::mock::{self, Mock};
use nix::sys::signal::Signal;

use crate::pty::{Streams, Terminal, iisplice};

const BAR: char = '━';
const SEPARATOR: &str = "  ";

/// A site where alice logs in, and its URL.
fn site() -> (Mock, String) {
    let mut accounts = Accounts::default();
    accounts.add("CORP", "alice", "secret");
    let listener = "127.0.0.1:0".parse().expect("an address");
    let mock = mock::start(Settings::new(vec![listener], accounts)).expect("the mock starts");
    let url = format!("http://{}/whoami", mock.addresses()[0]);
    (mock, url)
}

/// A server that answers the first connection, which is the try before the run, and then hangs.
fn hung_site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut client, _)) = listener.accept() {
            if held.is_empty() && client.read(&mut [0; 4096]).is_ok() {
                client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("it reads");
            }
            held.push(client);
        }
    });
    url
}

fn load(url: &str, options: &[&str]) -> Command {
    let users = ["--auth=ntlm", "--user=CORP\\alice:secret", "-c2", "-t1"];
    iisplice(&[&["load", url][..], &users, options].concat())
}

/// The line while the run goes on, once a second is over. It is alone on the screen.
fn line(terminal: &mut Terminal, columns: usize) -> String {
    let screen = terminal.wait_for("a second of the run", |screen| screen.contains("requests/s"));
    let lines: Vec<_> = screen.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let [line] = lines[..] else { panic!("not one line:\n{screen}") };
    assert!(line.chars().count() < columns, "{line:?} in {columns} columns");
    line.to_owned()
}

#[test]
fn a_run_shows_total_and_time_left_rate_and_errors_and_clears_them_at_its_end() {
    let (_mock, url) = site();
    let mut terminal =
        Terminal::start(load(&url, &["-d3s", "--warmup=0s", "--json=/dev/null"]), 80, Streams::Error);
    let first = terminal.wait_for("the bar", |screen| screen.contains(" left"));
    assert!(first.contains("0 s of 3 s, 3 s left  connecting"), "{first}");
    let line = line(&mut terminal, 80);
    assert!(line.starts_with(BAR), "{line}");
    for part in [" s of 3 s, ", " s left", " requests/s", "p99 ", "errors 0"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let (screen, bytes, status) = terminal.end();
    assert_eq!((screen.as_str(), status.code()), ("", Some(0)));
    let is_colour = |sequence: &&str| {
        sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
    };
    assert_eq!(bytes.split("\u{1b}[").skip(1).find(is_colour), None, "{bytes:?}");
}

#[test]
fn a_narrow_terminal_gets_one_line_with_what_matters_most() {
    let (_mock, url) = site();
    for columns in [20, 40, 60] {
        let mut terminal = Terminal::start(
            load(&url, &["-d4s", "--warmup=0s", "--json=/dev/null"]),
            columns,
            Streams::Error,
        );
        let screen = terminal.wait_for("a second of the run", |screen| {
            screen.contains(" s of 4 s, ") && (columns < 40 || screen.contains("requests/s"))
        });
        assert_eq!(screen.lines().count(), 1, "{columns} columns: {screen}");
        let (screen, _, status) = terminal.end();
        assert_eq!((screen.as_str(), status.code()), ("", Some(0)), "{columns} columns");
    }
}

#[test]
fn so_many_requests_show_how_many_are_left() {
    let (_mock, url) = site();
    let rate = ["-n300", "--rate=100", "--json=/dev/null"];
    let mut terminal = Terminal::start(load(&url, &rate), 120, Streams::Error);
    let line = line(&mut terminal, 120);
    assert!(line.contains(" of 300, ") && line.contains(" s left"), "{line}");
    let (rates, _) = line.split_once(" requests/s").expect("rates");
    assert!(
        rates.rsplit_once(SEPARATOR).is_some_and(|(_, rates)| rates.contains(" of ")),
        "answered of due: {line}"
    );
    assert_eq!(terminal.end().0, "");
}

#[test]
fn an_interrupted_run_leaves_a_clean_terminal() {
    let (_mock, url) = site();
    let mut terminal = Terminal::start(load(&url, &["-d60s", "--json=/dev/null"]), 80, Streams::Error);
    line(&mut terminal, 80);
    terminal.signal(Signal::SIGINT);
    let (screen, _, status) = terminal.end();
    assert_eq!((screen.as_str(), status.code()), ("", Some(130)));

    let mut terminal = Terminal::start(iisplice(&["load", &hung_site(), "-d60s", "-c2"]), 80, Streams::Error);
    line(&mut terminal, 80);
    // The first one lets what is under way end, for a second; one of the next ends the process.
    for _ in 0..5 {
        terminal.signal(Signal::SIGINT);
        thread::sleep(Duration::from_millis(20));
    }
    let (screen, _, status) = terminal.end();
    assert_eq!((screen.as_str(), status.code()), ("", Some(130)));

    let mut terminal = Terminal::start(iisplice(&["demo", "-d60s"]), 80, Streams::Error);
    terminal.wait_for("the bar", |screen| screen.contains("requests/s"));
    terminal.signal(Signal::SIGINT);
    let (screen, _, status) = terminal.end();
    assert!(!screen.contains(BAR) && !screen.contains(" left"), "{screen}");
    assert_eq!(status.code(), Some(130));
}

#[test]
fn quiet_runs_and_results_on_standard_output_stay_clean() {
    let (_mock, url) = site();
    let short = ["-d1s", "--warmup=0s", "--json=/dev/null"];
    let quiet = load(&url, &[&short[..], &["-q"]].concat());
    assert_eq!(Terminal::start(quiet, 80, Streams::Error).end().1, "");
    let mut quiet = load(&url, &[&short[..], &["-q"]].concat());
    assert_eq!(quiet.output().expect("it was built").stderr, b"");
    let dumb = |mut command: Command| {
        command.env("TERM", "dumb");
        command
    };
    let (screen, ..) = Terminal::start(dumb(load(&url, &short)), 80, Streams::Error).end();
    assert!(screen.trim_start().starts_with("1 s  ") && screen.contains("errors 0"), "{screen}");

    let json = load(&url, &["-n10", "--json=-"]);
    let (screen, ..) = Terminal::start(json, 80, Streams::Both).end();
    assert!(screen.starts_with('{'), "{screen}");
}

#[test]
fn lines_of_the_log_and_of_a_search_stay_above_the_bar() {
    let mut terminal = Terminal::start(iisplice(&["demo", "-d3s", "-c2"]), 100, Streams::Error);
    let screen = terminal.wait_for("the second half", |screen| screen.contains("the proxy at"));
    assert!(!screen.contains("leftINFO") && screen.matches(" left").count() <= 1, "{screen}");
    let (screen, ..) = terminal.end();
    for said in ["the mock IIS at", "the proxy at"] {
        assert!(screen.lines().any(|line| line.contains(said) && !line.contains(BAR)), "{screen}");
    }
    assert!(!screen.contains(BAR) && !screen.contains(" left"), "{screen}");

    let (_mock, url) = site();
    let search = ["--find-rate", "--objective=p99<1us", "-d300ms", "--warmup=0s", "--json=/dev/null"];
    let (screen, ..) = Terminal::start(load(&url, &search), 80, Streams::Error).end();
    assert!(screen.starts_with("100 /s: p99<1us missed"), "{screen}");
    assert!(!screen.contains(BAR), "{screen}");
}

#[test]
fn the_report_on_a_terminal_has_no_line_wider_than_80_columns() {
    let (_mock, url) = site();
    let long = format!("{url}?{}", "x".repeat(150));
    let objective =
        ["-n200", "--objective=p99.99<1us", "--verify-identity", "-q", "--header=X-Long: a b c d"];
    let (screen, _, status) = Terminal::start(load(&long, &objective), 200, Streams::Both).end();
    assert_eq!(status.code(), Some(4), "{screen}");
    for line in screen.lines() {
        assert!(line.chars().count() <= 80, "{line}\n\n{screen}");
    }
    assert!(screen.contains("\nobjective p99.99<1us missed: "), "{screen}");
}
