//! Python's readers, from the environment of the interop tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::files::{Bench, folder, read_json, run, run_to};

fn python() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop-venv").join("bin/python")
}

pub(crate) fn missing() -> Option<String> {
    let output = Command::new(python()).args(["-c", "import hdrh, jsonschema, prometheus_client"]).output();
    let is_there = output.is_ok_and(|output| output.status.success());
    (!is_there).then(|| "Python packages hdrhistogram, jsonschema and prometheus-client".to_owned())
}

pub(crate) fn script(name: &str, arguments: &[&Path]) -> Output {
    let mut command = Command::new(python());
    command.arg("-B").arg(folder().join(name)).args(arguments);
    command.output().expect("the Python of the interop tests can be run")
}

/// hdrh adds the seconds up to the figures that are in the JSON.
pub(crate) fn interval_log() {
    let bench = Bench::new();
    let result = bench.measure(&[("--hlog", "run.hlog")]);
    let output = script("read_hlog.py", &[&bench.path("run.hlog")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");

    let started = |value: &Value| value.as_f64().expect("a time");
    let apart = started(&read["start_seconds"]) - started(&result["runs"][0]["started_unix_seconds"]);
    assert!(apart.abs() < 0.002, "the log has its start in milliseconds, and it is {apart} s off");
    let legs = result["legs"].as_object().expect("legs by name");
    assert!(legs.len() >= 6, "connect, the legs of a login, requests: {legs:?}");
    assert_eq!(read["legs"].as_object().expect("legs by tag").len(), legs.len(), "{read}");
    for (name, samples) in legs {
        let read = &read["legs"][name];
        let figures = |p50: &Value, p99: &Value| json!({"count": samples["count"], "max_ns": samples["max_ns"], "p50_ns": p50, "p99_ns": p99});
        let percentiles = &samples["percentiles_ns"];
        // What the JSON leaves out for want of samples there is nothing to compare with.
        let or_as_read = |name: &str| percentiles.get(name).unwrap_or(&read[format!("{name}_ns")]).clone();
        assert_eq!(*read, figures(&or_as_read("p50"), &or_as_read("p99")), "{name}");
    }
}

/// Every kind of result keeps the schema; what does not is seen.
pub(crate) fn schema() {
    let bench = Bench::new();
    let result = bench.measure(&[]);
    run(bench
        .load("-n50 -c2 --verify-identity --auth ntlm --user CORP\\alice:secret --scenario login --json")
        .arg(bench.path("login.json")));
    // Without a login the mock answers 401: errors by class, and nothing else.
    run_to(bench.load("-n50 -c2 --json").arg(bench.path("errors.json")), 1);
    // No server answers within a microsecond: a search that ends with its first rate.
    let search = "-c2 -d300ms --warmup 0s --find-rate --objective p99<1us --auth ntlm --user CORP\\alice:secret --json";
    run_to(bench.load(search).arg(bench.path("search.json")), 4);
    let mut merge = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    merge.arg("report").args(["run.json", "login.json", "errors.json"].map(|name| bench.path(name)));
    run(merge.arg("--allow-gaps").arg("--merge").arg(bench.path("merged.json")));
    for name in ["run.json", "login.json", "errors.json", "search.json", "merged.json"] {
        let path = bench.path(name);
        let output = check(&path);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(read_json(&path)["format"], 1, "{name}");
    }
    for (pointer, damaged) in [
        ("/format", json!(2)),
        ("/counts/requests", json!("many")),
        ("/legs/request/hdr", json!(null)),
        ("/identities/leaks", json!([{"expected": "CORP\\alice"}])),
    ] {
        let mut wrong = result.clone();
        *wrong.pointer_mut(pointer).expect(pointer) = damaged;
        let path = bench.path("wrong.json");
        fs::write(&path, wrong.to_string()).expect("written");
        let output = check(&path);
        let complaint = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{pointer}: {complaint}");
    }
}

fn check(path: &Path) -> Output {
    script("check_schema.py", &[&folder().join("run.schema.json"), path])
}
