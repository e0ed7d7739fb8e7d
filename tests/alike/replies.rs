//! Replies that the proxy passes on, before h11, http.client and curl.

use std::thread;

use crate::capture::Bench;
use crate::python::{SeenReply, read_replies};
use crate::{cases, curl, generate};

const BENCHES: usize = 4;
const GENERATED: u64 = 200;
/// Of generated replies at least so many in a hundred pass the proxy.
const PASSED_PERCENT_MIN: usize = 30;
/// What stands behind each reply, to show where that ends.
const MARKER: &[u8] = b"HTTP/1.1 299 Marker\r\nContent-Length: 0\r\n\r\n";

/// A reply as the client gets it.
struct Passed {
    method: String,
    sent: Vec<u8>,
    bytes: Vec<u8>,
}

pub(crate) fn of_the_repository() {
    let replies: Vec<_> =
        cases::REPLIES.iter().map(|(method, reply)| ((*method).to_owned(), reply.to_vec())).collect();
    let passed = through_the_proxy(&replies);
    assert_eq!(passed.len(), replies.len(), "a reply was refused");
    are_read_alike(&passed);
}

pub(crate) fn generated() {
    let replies: Vec<_> = (0..GENERATED).map(generate::reply).collect();
    let passed = through_the_proxy(&replies);
    assert!(passed.len() * 100 >= replies.len() * PASSED_PERCENT_MIN, "only {} passed", passed.len());
    are_read_alike(&passed);
}

fn through_the_proxy(replies: &[(String, Vec<u8>)]) -> Vec<Passed> {
    let per_bench = replies.len().div_ceil(BENCHES);
    thread::scope(|scope| {
        let benches: Vec<_> =
            replies.chunks(per_bench).map(|replies| scope.spawn(|| through_one_proxy(replies))).collect();
        benches.into_iter().flat_map(|bench| bench.join().expect("a proxy that serves")).collect()
    })
}

fn through_one_proxy(replies: &[(String, Vec<u8>)]) -> Vec<Passed> {
    let bench = Bench::start();
    // One that was cut short by a reset is a reply to no reader.
    let passed = replies.iter().filter_map(|(method, sent)| {
        let bytes = bench.reply(method, sent)?;
        Some(Passed { method: method.clone(), sent: sent.clone(), bytes })
    });
    passed.filter(|passed| !passed.bytes.starts_with(b"HTTP/1.1 502 Bad Gateway\r\n")).collect()
}

fn are_read_alike(passed: &[Passed]) {
    let streams: Vec<_> =
        passed.iter().map(|passed| (passed.method.clone(), [&passed.bytes, MARKER].concat())).collect();
    let by_python = read_replies(&streams);
    let mut wrong = Vec::new();
    for (passed, by_python) in passed.iter().zip(by_python) {
        let by_curl = curl::read(&passed.method, &passed.bytes);
        if let Err(why) = is_read_alike(&by_python, by_curl.as_ref()) {
            wrong.push(format!(
                "{why}\n  sent   {}\n  passed {}\n  {by_python:?}\n  {by_curl:?}",
                passed.sent.escape_ascii(),
                passed.bytes.escape_ascii()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), passed.len(), wrong.join("\n"));
}

fn is_read_alike(by_python: &[Vec<SeenReply>; 2], by_curl: Option<&(u64, Vec<u8>)>) -> Result<(), String> {
    let [h11, http_client] = by_python;
    if h11 != http_client {
        return Err("h11 and http.client read it differently".to_owned());
    }
    let latin1 = |bytes: &[u8]| bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
    match (h11.first(), by_curl) {
        (Some(first), Some((status, body))) => {
            // Up to the end of the connection is the marker as well.
            let marker = latin1(MARKER);
            let content = if h11.len() == 1 {
                first.body.strip_suffix(&marker).unwrap_or(&first.body)
            } else {
                &first.body
            };
            if first.status != *status || content != latin1(body) {
                return Err("curl reads it differently".to_owned());
            }
            match h11.get(1) {
                Some(second) if second.status != 299 => Err("another reply is behind it".to_owned()),
                _ => Ok(()),
            }
        }
        _ => Err("a reader finds no reply".to_owned()),
    }
}
