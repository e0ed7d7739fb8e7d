//! An open loop keeps to its schedule, whoever stands still meanwhile.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::site::{STALL, Site};
use crate::{first_line, load, max_ms, measure, number, send};

#[test]
fn an_open_loop_shows_a_stall_that_a_closed_loop_hides() {
    let duration = ["-d4s", "--warmup=0s", "-c1", "-t1"];
    let stall_ms = STALL.1.as_millis() as u64 - STALL.0.as_millis() as u64;
    let site = Site::start();
    let closed = measure(&[&[site.url("/stall").as_str()], &duration[..]].concat());
    // The stall is there, but as one slow request among thousands: far outside p99.
    assert!(max_ms(&closed, "request") >= stall_ms - 50, "{}", closed["legs"]["request"]);
    assert!(number(&closed["legs"]["request"]["percentiles_ns"]["p99"]) < 500_000_000);

    let site = Site::start();
    let open = measure(&[&[site.url("/stall").as_str(), "--rate=200"], &duration[..]].concat());
    let intended = &open["legs"]["from_intended_start"];
    // 200 of 800 were due in the stalled second: a quarter waited, half of them over half a second.
    assert!(number(&intended["percentiles_ns"]["p90"]) > 300_000_000, "{intended}");
    // The service time alone hides it just as the closed loop does.
    assert!(number(&open["legs"]["request"]["percentiles_ns"]["p90"]) < 300_000_000, "{}", open["legs"]);
    assert_eq!(open["counts"]["arrivals"], 800);
}

/// The schedule goes on while the load generator itself stands still, over the end of the run too.
#[test]
fn what_was_due_while_the_load_generator_stood_still_is_counted() {
    let site = Site::start();
    let mut command = load(&[&site.url("/"), "-d3s", "--warmup=0s", "-c1", "-t1", "--rate=200", "--json=-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    first_line(&mut child);
    send(&child, Signal::SIGSTOP);
    thread::sleep(Duration::from_secs(3));
    send(&child, Signal::SIGCONT);
    let output = child.wait_with_output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["counts"]["arrivals"], 600);
    let [sent, unsent, unanswered] =
        [&result["counts"]["requests"], &result["unsent"]["count"], &result["unanswered"]["count"]]
            .map(number);
    assert_eq!(sent + unsent + unanswered, 600, "{sent}, {unsent}, {unanswered}");
    assert!(unsent > 0, "it stood still for the rest of the run");
}
