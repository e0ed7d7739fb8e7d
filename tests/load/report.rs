//! `iisplice report` judges and adds up what `iisplice load` measured.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::site::Site;
use crate::{load, report, run};

/// A site, and files of results.
struct Bench {
    site: Site,
    directory: TempDir,
}

/// What `report` said.
struct Said {
    code: Option<i32>,
    table: String,
    complaint: String,
}

impl Bench {
    fn new() -> Self {
        Self { site: Site::start(), directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Measures into the file, which is returned.
    fn measure(&self, name: &str, path: &str, options: &[&str]) -> String {
        let file = self.path(name);
        let output = run(&[&[self.site.url(path).as_str(), "--json", &file], options].concat());
        assert!(fs::metadata(&file).is_ok(), "{}", String::from_utf8_lossy(&output.stderr));
        file
    }

    /// Another file with something changed.
    fn changed(&self, name: &str, from: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut result = json(from);
        change(&mut result);
        let file = self.path(name);
        fs::write(&file, result.to_string()).unwrap();
        file
    }
}

fn json(file: &str) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn say(arguments: &[&str]) -> Said {
    let output = report(arguments);
    Said {
        code: output.status.code(),
        table: String::from_utf8(output.stdout).unwrap(),
        complaint: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Compares, with an allowance that no latency exceeds.
fn judge(base: &str, new: &str) -> Said {
    say(&["--compare", base, new, "--fail-over", "1000000"])
}

/// The line of the table that begins so.
fn line<'a>(said: &'a Said, name: &str) -> &'a str {
    let found = said.table.lines().find(|line| line.starts_with(name));
    found.unwrap_or_else(|| panic!("no {name:?}: {}", said.table))
}

#[test]
fn errors_and_requests_without_an_answer_fail_where_the_base_has_none() {
    let bench = Bench::new();
    let base = bench.measure("base.json", "/", &["-n60", "-c1"]);
    assert_eq!(judge(&base, &base).code, Some(0));
    let failing = bench.measure("failing.json", "/every-third-500", &["-n60", "-c1"]);
    let said = judge(&base, &failing);
    assert_eq!(said.code, Some(4), "{}", said.table);
    assert!(
        line(&said, "errors ").ends_with("NEW") && line(&said, "  5xx ").ends_with("NEW"),
        "{}",
        said.table
    );
    // Whatever was asked for, errors that are gone are no loss.
    assert_eq!(judge(&failing, &base).code, Some(0));

    let timed = ["-d300ms", "--warmup=0s", "-c1"];
    let base = bench.measure("timed.json", "/", &timed);
    let site = Site::start();
    let bench = Bench { site, ..bench };
    let hung = bench.measure("hung.json", "/hangs-after-20", &timed);
    let said = judge(&base, &hung);
    assert_eq!(said.code, Some(4), "{}", said.table);
    assert!(line(&said, "unanswered ").ends_with("NEW"), "{}", said.table);
}

#[test]
fn a_leg_that_is_missing_fails() {
    let bench = Bench::new();
    let open = bench.measure("open.json", "/", &["-n60", "-c2", "--rate=600"]);
    let closed = bench.measure("closed.json", "/", &["-n60", "-c2"]);
    let said = judge(&open, &closed);
    assert_eq!(said.code, Some(4), "{}", said.table);
    assert!(line(&said, "from intended start ").ends_with("MISSING"), "{}", said.table);
    assert!(said.table.starts_with("warning: runs differ: loop open against closed;"), "{}", said.table);
    let said = judge(&closed, &open);
    assert!(line(&said, "from intended start ").ends_with("only in new"), "{}", said.table);
}

#[test]
fn unlike_runs_are_reported_and_pass_only_if_that_is_allowed() {
    let bench = Bench::new();
    let two = bench.measure("two.json", "/", &["-n60", "-c2", "-t1"]);
    let four = bench.measure("four.json", "/slow", &["-n60", "-c4", "-t1"]);
    let said = say(&["--compare", &two, &four]);
    assert_eq!(said.code, Some(0));
    let expected = "warning: runs differ: connections 2 against 4; path / against /slow; this alone";
    assert!(said.table.replace("\n ", " ").starts_with(expected), "{}", said.table);
    let said = judge(&two, &four);
    assert_eq!(said.code, Some(1), "{}", said.table);
    assert!(said.table.contains("not judged: the runs differ (connections 2 against 4)"), "{}", said.table);
    assert_eq!(said.complaint.lines().count(), 1, "{}", said.complaint);
    assert!(said.complaint.contains("--allow-unlike"), "{}", said.complaint);
    let allowed = say(&["--compare", &two, &four, "--fail-over", "1000000", "--allow-unlike"]);
    assert_eq!(allowed.code, Some(0), "{}{}", allowed.table, allowed.complaint);
    for (options, expected) in [
        (&["-c2", "-t1", "--scenario=session"][..], "scenario steady against session of 10 requests"),
        (&["-c2", "-t1", "--method=PUT"], "method GET against PUT"),
        (&["-c2", "-t1", "--auth=ntlm", "--user=a:b"], "auth none against ntlm"),
    ] {
        let other = bench.measure("other.json", "/", &[options, &["-n60"]].concat());
        let said = say(&["--compare", &two, &other]);
        assert!(said.table.replace("\n ", " ").contains(expected), "{expected}: {}", said.table);
    }
    let slow = bench.measure("slow.json", "/", &["-n20", "-c2", "-t1", "--rate=500"]);
    let fast = bench.measure("fast.json", "/", &["-n20", "-c2", "-t1", "--rate=1000"]);
    let said = judge(&slow, &fast);
    assert!(said.table.starts_with("warning: runs differ: rate 500 /s against 1,000 /s;"), "{}", said.table);
}

#[test]
fn legs_from_before_the_clock_and_few_samples_are_marked_and_do_not_fail() {
    let bench = Bench::new();
    let base = bench.measure("base.json", "/", &["-n60", "-c16"]);
    let slow = bench.measure("slow.json", "/slow", &["-n60", "-c16"]);
    let new = bench.changed("new.json", &base, |new| {
        new["prepared"]["legs"]["connect"] = json(&slow)["legs"]["request"]["hdr"].clone();
    });
    let said = say(&["--compare", &base, &new, "--fail-over", "5"]);
    assert_eq!(said.code, Some(0), "{}", said.table);
    assert!(said.table.contains("before the clock"), "{}", said.table);
    assert!(
        said.table.contains("p99+           -           -             too few samples"),
        "{}",
        said.table
    );
    let said = say(&["--compare", &base, &slow, "--fail-over", "5"]);
    assert_eq!(said.code, Some(4), "what was measured fails: {}", said.table);
}

#[test]
fn a_file_of_an_older_version_is_compared_by_what_it_says() {
    let bench = Bench::new();
    let new = bench.measure("new.json", "/", &["-n60", "-c2"]);
    let old = bench.changed("old.json", &new, |old| {
        let run = old["runs"][0].as_object_mut().unwrap();
        assert!(run.remove("method").is_some() && run.remove("body_bytes").is_some());
    });
    let said = judge(&old, &new);
    assert_eq!(said.code, Some(0), "{}", said.table);
    assert!(!said.table.contains("runs differ"), "{}", said.table);
    let other = bench.changed("other.json", &new, |other| other["format"] = 2.into());
    let said = judge(&other, &new);
    assert_eq!((said.code, said.table.as_str()), (Some(1), ""));
    assert!(said.complaint.contains("format 2 is not supported"), "{}", said.complaint);
}

#[test]
fn a_run_is_not_added_up_twice() {
    let bench = Bench::new();
    let one = bench.measure("one.json", "/", &["-n60", "-c2"]);
    let (link, copy, rewritten, out) =
        (bench.path("link.json"), bench.path("copy.json"), bench.path("again.json"), bench.path("out.json"));
    fs::hard_link(&one, &link).unwrap();
    fs::copy(&one, &copy).unwrap();
    assert_eq!(say(&[&one, "--json", &rewritten]).code, Some(0));
    for twice in [&one, &link, &copy, &rewritten] {
        let said = say(&[&one, twice, "--merge", &out]);
        assert_eq!((said.code, said.table.as_str()), (Some(2), ""), "{twice}");
        assert!(said.complaint.contains("contain the same run; give each run once"), "{}", said.complaint);
        assert_eq!(said.complaint.lines().count(), 1, "{}", said.complaint);
        assert!(fs::metadata(&out).is_err(), "written all the same");
    }
}

#[test]
fn runs_that_do_not_overlap_are_added_up_only_if_told() {
    let bench = Bench::new();
    let (one, two) =
        (bench.measure("one.json", "/", &["-n60", "-c2"]), bench.measure("two.json", "/", &["-n60", "-c2"]));
    let out = bench.path("out.json");
    let said = say(&[&two, &one, "--merge", &out]);
    assert_eq!(said.code, Some(2), "{}", said.table);
    let expected =
        "rates of runs that do not overlap cannot be added; start them at the same time, or add --allow-gaps";
    assert!(
        said.complaint.contains(&format!("{two} started ")) && said.complaint.contains(expected),
        "{}",
        said.complaint
    );
    let said = say(&[&two, &one, "--merge", &out, "--allow-gaps"]);
    assert_eq!(said.code, Some(0), "{}", said.complaint);
    assert!(said.complaint.contains("the runs did not overlap in time"), "{}", said.complaint);
    let seconds = |file: &str| json(file)["measured_seconds"].as_f64().unwrap();
    assert!((seconds(&out) - seconds(&one) - seconds(&two)).abs() < 1e-9);
    assert_eq!(json(&out)["counts"]["requests"], 120);
    assert_eq!(say(&[&one, "--allow-gaps"]).code, Some(2), "without --merge");
}

#[test]
fn runs_of_the_same_time_are_added_up() {
    let bench = Bench::new();
    let files = [bench.path("one.json"), bench.path("two.json")];
    let children = files.each_ref().map(|file| {
        let url = bench.site.url("/");
        let mut command = load(&[&url, "-d1500ms", "--warmup=0s", "-c2", "-t1", "--json", file]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let out = bench.path("out.json");
    let said = say(&[&files[0], &files[1], "--merge", &out]);
    assert_eq!(said.code, Some(0), "{}", said.complaint);
    let requests = |file: &str| json(file)["counts"]["requests"].as_u64().unwrap();
    assert_eq!(requests(&out), requests(&files[0]) + requests(&files[1]));
    assert!(json(&out)["measured_seconds"].as_f64().unwrap() < 2.5, "the time counts once");
}

#[test]
fn the_table_of_a_comparison_fits_80_columns() {
    let bench = Bench::new();
    let login = ["--auth=ntlm", "--user=CORP\\alice:secret", "-n100", "-c2"];
    let base = bench.measure("base.json", "/whoami", &[&login[..], &["--scenario=session"]].concat());
    let new = bench.measure("new.json", "/whoami", &[&login[..], &["--scenario=login"]].concat());
    for arguments in [&["--compare", &base, &new, &new][..], &["--compare", &base, &new, "--fail-over=5"]] {
        let said = say(arguments);
        for line in said.table.lines() {
            assert!(line.chars().count() <= 80, "{line}: {}", said.table);
        }
    }
}

#[test]
fn a_comparison_is_a_page_with_both_runs() {
    let bench = Bench::new();
    let base = bench.measure("base.json", "/", &["-n60", "-c2"]);
    let new = bench.measure("new.json", "/slow", &["-n60", "-c2"]);
    let file = bench.path("page.html");
    let said = say(&["--compare", &base, &new, "--html", &file, "--fail-over=50"]);
    assert_eq!(said.code, Some(4), "{}{}", said.table, said.complaint);
    assert!(line(&said, "request ").contains("SLOWER"), "the table as well: {}", said.table);
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</body></html>\n"), "{page}");
    for expected in
        ["SLOWER", "runs differ: path / against /slow", "<th>base</th><th>new</th>", "missed: worse by"]
    {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let (picture, _) =
        page.split_once("Latency by percentile: request").unwrap().1.split_once("</svg>").unwrap();
    assert_eq!(picture.matches("<polyline").count(), 2, "a line for each side: {picture}");
    assert!(!page.contains("NaN"), "{page}");

    let said = say(&["--compare", &base, &new, "--html=-"]);
    assert!(said.code == Some(0) && said.table.starts_with("<!doctype html>"), "{}", said.table);
    for refused in ["--json", "--hgrm", "--hlog"] {
        let said = say(&["--compare", &base, &new, refused, &file]);
        assert_eq!(said.code, Some(2), "{refused}");
        assert!(said.complaint.contains("remove --json, --hgrm and --hlog"), "{}", said.complaint);
    }
}
