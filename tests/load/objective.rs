//! Objectives, and the search for the highest rate that keeps one.

use serde_json::Value;

use crate::run;
use crate::site::Site;

#[test]
fn a_missed_objective_is_exit_code_4() {
    let site = Site::start();
    for (objective, code) in [("p50<10ms", 4), ("p50<10s", 0)] {
        let output = run(&[&site.url("/slow"), "-n20", "-c2", "--objective", objective]);
        assert_eq!(output.status.code(), Some(code), "{objective}");
        let report = String::from_utf8(output.stdout).unwrap();
        let verdict = if code == 0 { "kept: p50 of 20 requests is" } else { "missed: p50 of 20 requests is" };
        assert!(report.contains(&format!("objective {objective} {verdict}")), "{report}");
    }
}

#[test]
fn a_server_that_hangs_after_a_while_misses_its_objective() {
    let site = Site::start();
    let output = run(&[
        &site.url("/hangs-after-20"),
        "-c1",
        "-d2s",
        "--warmup=0s",
        "--objective=p50<50ms",
        "--json=-",
    ]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = &result["objective"];
    assert_eq!(verdict["missed_by"], serde_json::json!([{"unanswered": 1}]), "{verdict}");
    assert!(said.contains("missed: ") && said.contains("1 unanswered at the end"), "{said}");
}

#[test]
fn a_search_whose_first_rate_misses_still_reports() {
    let site = Site::start();
    let output =
        run(&[&site.url("/slow"), "-c1", "-d500ms", "--warmup=0s", "--find-rate", "--objective=p50<1ms"]);
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{report}");
    assert!(
        report.contains("objective p50<1ms missed") && report.contains("tried 100 /s: missed"),
        "{report}"
    );
}

#[test]
fn the_search_finds_a_rate_that_one_connection_can_keep() {
    let site = Site::start();
    // One connection and 20 ms a request: below 50 a second, whatever the machine.
    let search = || {
        let output = run(&[
            &site.url("/slow"),
            "-c1",
            "-d1s",
            "--warmup=0s",
            "--find-rate",
            "--rate=10",
            "--objective=p90<200ms",
            "--json=-",
        ]);
        let steps = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, steps)
    };
    // A host that stands still for some tenths of a second holds up the generator, which says so.
    let (output, steps) = (0..5)
        .map(|_| search())
        .find(|(_, steps)| !steps.contains("10 /s: p90<200ms missed at the limit of the generator"))
        .expect("the host does not hold up the generator each time");
    assert_eq!(output.status.code(), Some(0), "{steps}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rate = result["runs"][0]["offered"]["first_per_second"].as_f64().unwrap();
    assert!((10.0..60.0).contains(&rate), "{rate}: {steps}");
    assert!(steps.contains("10 /s: p90<200ms kept") && steps.contains("missed"), "{steps}");
}
