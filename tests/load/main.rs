//! `iisplice load` as a user runs it, against small servers made here and against the mock.

mod endings;
mod hlog;
mod mock;
mod objective;
mod open_loop;
mod proxy;
mod remedies;
mod replay;
mod report;
#[path = "../common/reserved.rs"]
mod reserved;
mod site;
mod through_http;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::Ordering;

use mock::Mock;
use nix::sys::signal::Signal;
use serde_json::Value;
use site::{PASSWORD, Site, start_pooling_proxy};

fn load(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.arg("load").args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    load(arguments).output().unwrap()
}

/// Runs to a good end; the result as JSON.
fn measure(arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json=-"]].concat();
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn max_ms(result: &Value, leg: &str) -> u64 {
    number(&result["legs"][leg]["max_ns"]) / 1_000_000
}

#[test]
fn a_number_of_requests_is_that_number() {
    let site = Site::start();
    let result = measure(&[&site.url("/"), "-n501", "-c4", "-t2"]);
    assert_eq!(result["counts"]["requests"], 501);
    assert_eq!(result["legs"]["request"]["count"], 501);
    assert_eq!(result["counts"]["errors"], serde_json::json!({}));
    assert_eq!(result["prepared"]["counts"]["connects"], 4);
    // One is the try before the run.
    assert_eq!(site.requests.load(Ordering::Relaxed), 501 + 1);
    let seconds = result["seconds"].as_array().unwrap();
    assert_eq!(seconds.iter().map(|second| number(&second["counts"]["requests"])).sum::<u64>(), 501);
}

#[test]
fn sessions_close_their_connection_after_their_requests() {
    let site = Site::start();
    let result = measure(&[&site.url("/"), "-n60", "-c1", "--scenario=session", "--requests-per-login=5"]);
    assert_eq!((&result["counts"]["requests"], &result["counts"]["connects"]), (&60.into(), &12.into()));
}

#[test]
fn replies_of_every_framing_are_read_to_their_end() {
    let site = Site::start();
    for path in ["/", "/chunked", "/close"] {
        let result = measure(&[&site.url(path), "-n50", "-c2"]);
        assert_eq!(result["counts"]["requests"], 50, "{path}");
        assert_eq!(result["counts"]["errors"], serde_json::json!({}), "{path}");
    }
    let result = measure(&[&site.url("/echo"), "-n50", "-c2", "--body=0123456789"]);
    assert!(number(&result["counts"]["received_bytes"]) > 50 * 10);
    let output = run(&[&site.url("/404"), "-n5", "-c1", "--json=-"]);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&result["counts"]["requests"], &result["counts"]["errors"]["status4xx"]),
        (&5.into(), &5.into())
    );
}

#[test]
fn a_login_has_three_legs_and_its_challenges_are_no_errors() {
    let site = Site::start();
    for scheme in ["--auth=ntlm", "--auth=negotiate"] {
        let user = format!("--user=CORP\\alice:{PASSWORD}");
        let result = measure(&[&site.url("/whoami"), "-n20", "-c4", "--scenario=login", scheme, &user]);
        let counts = &result["counts"];
        assert_eq!((&counts["logins"], &counts["challenges"]), (&20.into(), &40.into()), "{scheme}");
        assert_eq!((&counts["errors"], &counts["requests"]), (&serde_json::json!({}), &0.into()), "{scheme}");
        for leg in ["connect", "anonymous_to_401", "type1_to_type2", "type3_to_final", "login"] {
            assert_eq!(result["legs"][leg]["count"], 20, "{scheme}, {leg}");
        }
    }
}

#[test]
fn a_wrong_password_ends_before_the_run_and_names_the_user() {
    let site = Site::start();
    let output = run(&[&site.url("/whoami"), "--auth=ntlm", "--user=CORP\\alice:wrong"]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains("the server refused the login of CORP\\alice"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}

/// A report wraps its lines; a sentence in it is found on one.
fn on_one_line(report: &str) -> String {
    report.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_url_open_to_everyone_is_told_when_a_login_was_wanted() {
    let site = Site::start();
    let output = run(&[&site.url("/"), "-n4", "-c1", "--auth=ntlm", "--user=a:b"]);
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(on_one_line(&report).contains("the URL is open to everyone"), "{report}");
}

const TWO_USERS: [&str; 4] =
    ["--auth=ntlm", "--user=CORP\\alice:secret", "--user=CORP\\bob:secret", "--verify-identity"];

#[test]
fn identities_hold_on_a_direct_way() {
    let site = Site::start();
    let result = measure(&[&[site.url("/whoami").as_str(), "-n100", "-c4", "-t2"], &TWO_USERS[..]].concat());
    let found = &result["identities"];
    // 100 requests and the replies of four logins before the clock.
    assert_eq!((&found["right"], &found["leaked"], &found["unnamed"]), (&104.into(), &0.into(), &0.into()));
}

#[test]
fn a_proxy_that_pools_is_caught_with_both_names_and_exit_code_3() {
    let site = Site::start();
    let proxy = start_pooling_proxy(site.address);
    let url = format!("http://{proxy}/whoami");
    let output = run(&[&[url.as_str(), "-n20", "-c2", "-t1"], &TWO_USERS[..]].concat());
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{report}");
    assert!(report.contains("IDENTITY LEAK"), "{report}");
    assert!(report.contains("of CORP\\bob: reply 1 was for CORP\\alice"), "{report}");
}

#[test]
fn a_leak_is_not_taken_for_an_open_url_or_an_empty_run() {
    let site = Site::start();
    for scenario in ["--scenario=login", "--scenario=steady"] {
        let url = format!("http://{}/whoami", start_pooling_proxy(site.address));
        let output = run(&[&[url.as_str(), "-n20", "-c2", "-t1", scenario], &TWO_USERS[..]].concat());
        let report = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(3), "{report}");
        let text = on_one_line(&report);
        assert!(text.contains("already logged in as a user before the client logged in"), "{report}");
        for misleading in ["open to everyone", "nothing was measured"] {
            assert!(!text.contains(misleading), "{scenario}, {misleading}: {report}");
        }
    }
}

#[test]
fn proving_nothing_is_not_success() {
    let site = Site::start();
    let header = "--identity-header=X-Not-There";
    let output = run(&[&[site.url("/whoami").as_str(), "-n4", "-c2", header], &TWO_USERS[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("nothing is proven"));
}

#[test]
fn no_latency_is_shorter_than_the_server_took() {
    let mock = Mock::start(&[]);
    let url = format!("{}/slow/20", mock.url);
    let result = measure(&[&[url.as_str(), "-n40", "-c4"], &TWO_USERS[..3]].concat());
    let request = &result["legs"]["request"];
    // The histogram's step at 20 ms is some microseconds wide, and a percentile is its upper end.
    assert!(number(&request["percentiles_ns"]["p50"]) >= 20_000_000, "{request}");
}

#[test]
fn errors_are_counted_by_class() {
    let site = Site::start();
    let errors = |path: &str, more: &[&str]| {
        let output = run(&[&[site.url(path).as_str(), "-c1", "-n3", "--json=-"], more].concat());
        assert_eq!(output.status.code(), Some(1), "all of them failed");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        (result["counts"]["errors"].clone(), String::from_utf8(output.stderr).unwrap())
    };
    let (counted, said) = errors("/500", &[]);
    assert_eq!(counted, serde_json::json!({"status5xx": 3}));
    assert!(said.contains("every request failed (5xx): the server answers 5xx"), "{said}");
    let (counted, said) = errors("/whoami", &[]);
    assert_eq!(counted, serde_json::json!({"unexpected401": 3}));
    assert!(said.contains("the URL needs a login; add --auth ntlm"), "{said}");
}

#[test]
fn error_replies_are_no_samples_of_the_good_ones() {
    let site = Site::start();
    for more in [&[][..], &["--rate=300"]] {
        let output = run(&[&[site.url("/500").as_str(), "-c1", "-n30", "--json=-"], more].concat());
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        let legs = &result["legs"];
        assert_eq!(legs["error_reply"]["count"], 30, "{legs}");
        assert_eq!((&legs["request"], &legs["from_intended_start"]), (&Value::Null, &Value::Null), "{legs}");
    }
}

#[test]
fn what_cannot_work_ends_with_the_reason_in_one_line() {
    let site = Site::start();
    for (path, expected) in [
        ("/never", "no answer within the timeout"),
        ("/garbage", "not an HTTP/1 reply"),
        ("/cut", "the connection ended in the middle of a reply"),
    ] {
        let output = run(&[&site.url(path), "--timeout=50ms"]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{path}: {complaint}");
        assert!(complaint.contains(expected) && complaint.lines().count() == 1, "{path}: {complaint}");
    }
    let closed_port = reserved::address();
    let output = run(&[&format!("http://{closed_port}/")]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint.contains(&format!("cannot connect to {closed_port}: Connection refused")),
        "{complaint}"
    );
}

fn send(child: &Child, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
}

fn interrupt(child: &Child) {
    send(child, Signal::SIGINT);
}

/// The first line of a run, which is there when its first second is over.
fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    line
}

#[test]
fn an_interrupted_run_reports_what_it_measured() {
    let site = Site::start();
    let mut command = load(&[&site.url("/"), "-d1h", "--warmup=0s", "-c2", "--json=-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let line = first_line(&mut child);
    assert!(line.contains("requests/s"), "{line}");
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&result["counts"]["requests"]) > 0);
}

#[test]
fn every_file_is_read_back_by_another_reader() {
    let site = Site::start();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (json, hgrm, hlog) = (path("run.json"), path("run.hgrm"), path("run.hlog"));
    let output = run(&[
        &site.url("/"),
        "-n300",
        "-c2",
        "--rate=2000",
        "--json",
        &json,
        "--hgrm",
        &hgrm,
        "--hlog",
        &hlog,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().contains("from intended start"));

    let result: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let max_ns = number(&result["legs"]["request"]["max_ns"]);
    let read = hlog::read(&std::fs::read_to_string(&hlog).unwrap());
    let requests: Vec<_> = read.iter().filter(|interval| interval.tag == "request").collect();
    assert_eq!(requests.iter().map(|interval| interval.count).sum::<u64>(), 300);
    assert_eq!(
        requests.iter().map(|interval| interval.max).max(),
        Some(max_ns),
        "in the log and in the JSON"
    );

    let spectrum = std::fs::read_to_string(&hgrm).unwrap();
    let section = spectrum.split("# request").nth(1).unwrap();
    assert!(section.contains("Total count    =          300]"), "{section}");
    let last = section.lines().rfind(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    let fields: Vec<f64> = last.unwrap().split_whitespace().map(|field| field.parse().unwrap()).collect();
    assert_eq!(fields[1..], [1.0, 300.0], "the last line is the maximum: all of the samples");
}

fn report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_iisplice")).arg("report").args(arguments).output().unwrap()
}

#[test]
fn a_result_is_shown_again_merged_and_compared() {
    let site = Site::start();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (one, two, merged, page) =
        (path("one.json"), path("two.json"), path("merged.json"), path("page.html"));
    let first = run(&[&site.url("/"), "-n100", "-c2", "--json", &one]);
    run(&[&site.url("/"), "-n200", "-c2", "--json", &two]);

    let again = report(&[&one]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&first.stdout));

    // One after the other.
    let merge = [&one, &two, "--merge", &merged, "--allow-gaps", "--html", &page];
    assert_eq!(report(&merge).status.code(), Some(0));
    let sum: Value = serde_json::from_slice(&std::fs::read(&merged).unwrap()).unwrap();
    assert_eq!((&sum["legs"]["request"]["count"], &sum["counts"]["requests"]), (&300.into(), &300.into()));
    assert!(std::fs::read_to_string(&page).unwrap().contains("<svg"));

    let same = report(&[&one, "--compare", &one, "--fail-over", "1%"]);
    assert_eq!(same.status.code(), Some(0), "{}", String::from_utf8_lossy(&same.stdout));
    let slow = path("slow.json");
    run(&[&site.url("/slow"), "-n100", "-c2", "--json", &slow]);
    let slower = report(&[&slow, "--compare", &one, "--fail-over", "5"]);
    let table = String::from_utf8(slower.stdout).unwrap();
    assert_eq!(slower.status.code(), Some(4), "{table}");
    assert!(table.contains("SLOWER"), "{table}");

    let wrong = report(&[&page]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("not a result of `iisplice load --json`"));
}

#[test]
fn errors_fail_a_run_when_they_are_told_to() {
    let site = Site::start();
    for (more, code) in [(&[][..], 0), (&["--fail-on-errors"], 1)] {
        let output = run(&[&[site.url("/every-third-500").as_str(), "-c1", "-n9"], more].concat());
        assert_eq!(output.status.code(), Some(code), "{more:?}");
    }
}

#[test]
fn logins_over_tls_carry_the_channel_bindings_that_the_mock_requires() {
    let mock = Mock::start(&["--tls", "--extended-protection=require"]);
    for scheme in ["--auth=ntlm", "--auth=negotiate"] {
        let url = format!("{}/whoami", mock.url);
        let session = [url.as_str(), "-n40", "-c4", "--scenario=session", "--insecure", scheme];
        let result = measure(&[&session[..], &TWO_USERS[1..]].concat());
        assert_eq!(result["counts"]["errors"], serde_json::json!({}), "{scheme}");
        assert_eq!(result["identities"]["leaked"], 0, "{scheme}");
        assert_eq!(result["legs"]["tls"]["count"], result["counts"]["connects"], "{scheme}");
    }
    let complaint = run(&[&mock.url]).stderr;
    let complaint = String::from_utf8(complaint).unwrap();
    assert!(complaint.contains("TLS: invalid peer certificate"), "{complaint}");
}

#[test]
fn the_mock_sees_logins_and_bodies_as_they_were_meant() {
    let mock = Mock::start(&["--auth-persist-single-request"]);
    let url = format!("{}/echo", mock.url);
    let result = measure(&[
        &url,
        "-n10",
        "-c2",
        "--scenario=login",
        "--auth=ntlm",
        "--user=CORP\\alice:secret",
        "--body=0123456789",
    ]);
    assert_eq!(
        (&result["counts"]["logins"], &result["counts"]["errors"]),
        (&10.into(), &serde_json::json!({}))
    );
}

#[test]
fn connections_come_from_the_source_addresses_in_turn() {
    let site = Site::start();
    // The page names the client's address as its user: the check then finds each address as a "leak" of its own.
    let output = run(&[
        &site.url("/from"),
        "-n8",
        "-c2",
        "-t1",
        "--source-address=127.0.0.2",
        "--source-address=127.0.0.3",
        "--auth=ntlm",
        "--user=a:b",
        "--verify-identity",
    ]);
    let report = String::from_utf8(output.stdout).unwrap();
    for (connection, address) in ["127.0.0.2", "127.0.0.3"].iter().enumerate() {
        let expected = format!("connection {connection} of a: reply 1 was for {address}");
        assert!(report.contains(&expected), "{expected}: {report}");
    }
    let output = run(&[&site.url("/"), "--source-address=192.0.2.1"]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("Cannot assign requested address"), "{complaint}");
}
