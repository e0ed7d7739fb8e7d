//! Requests that the proxy passes on, before nginx, Apache and h11.

use std::panic;
use std::thread;

use crate::capture::{Bench, Outcome};
use crate::python::{Seen, read_requests};
use crate::servers::Server;
use crate::{cases, generate};

/// Proxies at work side by side.
const BENCHES: usize = 4;
const GENERATED: u64 = 600;
/// Of generated requests at least so many in a hundred pass the proxy: those that do not show nothing here.
const PASSED_PERCENT_MIN: usize = 30;

/// The request behind each, which shows where the one before it ends. It is the last: the servers then end the connection.
const MARKER: &[u8] = b"GET /marker HTTP/1.1\r\nHost: marker\r\nConnection: close\r\n\r\n";

/// A request that has passed.
struct Passed {
    sent: Vec<u8>,
    /// What the server got.
    bytes: Vec<u8>,
    keeps_alive: bool,
    /// The proxy's own line about it.
    log: String,
}

pub(crate) fn of_the_repository() {
    let requests = cases::requests();
    let passed = through_the_proxy(&requests);
    assert!(passed.len() >= cases::SOUND.len(), "a sound request was refused");
    are_read_alike(&passed);
}

pub(crate) fn generated() {
    let requests: Vec<_> = (0..GENERATED).map(generate::request).collect();
    let passed = through_the_proxy(&requests);
    assert!(passed.len() * 100 >= requests.len() * PASSED_PERCENT_MIN, "only {} passed", passed.len());
    are_read_alike(&passed);
}

/// Two requests that are said to be one.
pub(crate) fn disagreement_is_caught() {
    let request = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let passed = |bytes: Vec<u8>| Passed {
        sent: request.clone(),
        bytes,
        keeps_alive: true,
        log: String::from("method=GET target=/a"),
    };
    are_read_alike(&[passed(request.clone())]);
    let quiet = panic::catch_unwind(panic::AssertUnwindSafe(|| are_read_alike(&[passed(request.repeat(2))])));
    assert!(quiet.is_err(), "two requests passed for one");
}

fn through_the_proxy(requests: &[Vec<u8>]) -> Vec<Passed> {
    let per_bench = requests.len().div_ceil(BENCHES);
    thread::scope(|scope| {
        let benches: Vec<_> =
            requests.chunks(per_bench).map(|requests| scope.spawn(|| through_one_proxy(requests))).collect();
        benches.into_iter().flat_map(|bench| bench.join().expect("a proxy that serves")).collect()
    })
}

fn through_one_proxy(requests: &[Vec<u8>]) -> Vec<Passed> {
    let bench = Bench::start();
    let outcomes = requests.iter().map(|request| (request, bench.request(request)));
    let passed: Vec<_> = outcomes
        .filter_map(|(request, outcome)| match outcome {
            Outcome::Refused => None,
            Outcome::Passed { bytes, keeps_alive, client } => Some((request, bytes, keeps_alive, client)),
        })
        .collect();
    passed
        .into_iter()
        .map(|(request, mut bytes, keeps_alive, client)| {
            let log = bench.log_of(client);
            // How much of it the proxy takes for the first request.
            let request_bytes = logged(&log, "request_bytes").and_then(|bytes| bytes.parse().ok());
            bytes.truncate(request_bytes.expect("a number"));
            Passed { sent: request.clone(), bytes, keeps_alive, log }
        })
        .collect()
}

fn are_read_alike(passed: &[Passed]) {
    let streams: Vec<_> = passed.iter().map(|passed| [&passed.bytes, MARKER].concat()).collect();
    let (nginx, apache) = (Server::nginx(), Server::apache());
    let (by_nginx, by_apache, by_h11) = thread::scope(|scope| {
        let by_nginx = scope.spawn(|| nginx.read(&streams));
        let by_apache = scope.spawn(|| apache.read(&streams));
        let by_h11 = read_requests(&streams);
        (by_nginx.join().expect("nginx reads"), by_apache.join().expect("Apache reads"), by_h11)
    });
    let mut wrong = Vec::new();
    for (at, passed) in passed.iter().enumerate() {
        let readers = [("nginx", &by_nginx[at]), ("Apache", &by_apache[at]), ("h11", &by_h11[at])];
        if let Err(why) = is_read_alike(passed, &readers) {
            wrong.push(format!(
                "{why}\n  sent   {}\n  passed {}\n  {readers:?}\n  {}",
                passed.sent.escape_ascii(),
                passed.bytes.escape_ascii(),
                passed.log
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), passed.len(), wrong.join("\n"));
}

fn is_read_alike(passed: &Passed, readers: &[(&str, &Vec<Seen>)]) -> Result<(), String> {
    let mut first: Option<(&str, &Seen)> = None;
    for (reader, seen) in readers {
        // Who refuses a message does not read it otherwise; but not what it takes for a second one.
        if seen.len() == 1 && seen[0].is_refused && cases::may_refuse(reader, &passed.bytes) {
            continue;
        }
        let goes_on = passed.keeps_alive && cases::keeps_alive(reader, &passed.bytes);
        let count = if goes_on { 2 } else { 1 };
        if seen.len() != count {
            return Err(format!("{reader} finds {} requests instead of {count}", seen.len()));
        }
        if seen[0].is_refused {
            return Err(format!("{reader} refuses it"));
        }
        if count == 2 && (seen[1].target != "/marker" || seen[1].host != "marker") {
            return Err(format!("{reader} finds another request behind it"));
        }
        match first {
            None => first = Some((reader, &seen[0])),
            Some((other, known)) => {
                let body_bytes = seen[0].body_bytes.or(known.body_bytes);
                let same = Seen { body_bytes, ..known.clone() };
                if same != (Seen { body_bytes: known.body_bytes.or(body_bytes), ..seen[0].clone() }) {
                    return Err(format!("{reader} and {other} read it differently"));
                }
            }
        }
    }
    let Some((_, seen)) = first else { return Err("every reader refuses it".to_owned()) };
    is_logged(passed, seen)
}

/// The proxy's own log says the same, as far as it shows it unescaped.
fn is_logged(passed: &Passed, seen: &Seen) -> Result<(), String> {
    let is_plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if logged(&passed.log, "method") != Some(&seen.method) {
        return Err("the proxy logs another method".to_owned());
    }
    // An absolute target goes on as a path.
    let target = logged(&passed.log, "target").unwrap_or_default();
    if is_plain(&seen.target) && target.starts_with(['/', '*']) && target != seen.target {
        return Err("the proxy logs another target".to_owned());
    }
    Ok(())
}

fn logged<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}
