//! Chromium, without a screen.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::files::Bench;

const BROWSER: &str = "chromium";

pub(crate) fn missing() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|directory| directory.join(BROWSER).is_file());
    (!is_there).then(|| format!("Debian package {BROWSER}"))
}

/// What a page came to.
struct Shown {
    /// The document after everything in it ran.
    dom: String,
    /// What the page's console got: errors of scripts, and what could not be loaded.
    console: Vec<String>,
}

fn show(bench: &Bench, page: &Path) -> Shown {
    show_in(bench, page, 1200)
}

/// The same in a window of this width.
fn show_in(bench: &Bench, page: &Path, width: u32) -> Shown {
    let mut command = Command::new(BROWSER);
    command.arg(format!("--window-size={width},2000"));
    // Its sandbox does not work for root; a container's /dev/shm may be small.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--no-first-run", "--enable-logging=stderr", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", bench.path("profile").display()));
    command.env("HOME", bench.path("home")).arg(format!("file://{}", page.display()));
    let output = command.output().expect("the browser can be run");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    let console = log.lines().filter(|line| line.contains(":CONSOLE:")).map(str::to_owned).collect();
    Shown { dom: String::from_utf8(output.stdout).expect("the document is UTF-8"), console }
}

/// Says in the page's title what of it can be seen, and then fails: the control for a console without complaints.
const PROBE: &str = "<script>
const seen = (what) => [...document.querySelectorAll(what)].filter((element) => {
  const box = element.getBoundingClientRect();
  return box.width > 0 && box.height > 0;
}).length;
const cells = [...document.querySelectorAll('td:first-child')].map((cell) => cell.textContent);
document.title = JSON.stringify({
  pictures: seen('svg:not(svg svg)'), lines: seen('svg polyline'), tables: seen('table'), rows: seen('tr'), cells,
});
throw new Error('the control');
</script>";

/// The legs that happened in more than one stretch of the run: each has a line over time.
fn legs_over_time(result: &Value) -> BTreeSet<&str> {
    let stretches = result["timeline"].as_array().expect("a timeline");
    let long = stretches.iter().filter(|stretch| stretch["length_seconds"].as_f64() >= Some(0.25));
    let legs: Vec<_> =
        long.flat_map(|stretch| stretch["legs"].as_object().expect("legs by name").keys()).collect();
    let happened_twice = |leg: &&&String| legs.iter().filter(|other| other == leg).count() > 1;
    legs.iter().filter(happened_twice).map(|leg| leg.as_str()).collect()
}

/// The page opens without a complaint, and its tables and lines have a place on it.
pub(crate) fn page() {
    let bench = Bench::new();
    let result = bench.measure(&[("--html", "run.html")]);
    let page = bench.path("run.html");
    let shown = show(&bench, &page);
    assert_eq!(shown.console, [""; 0], "the page's console");
    for element in ["<table", "<svg", "<polyline", "</html>"] {
        assert!(shown.dom.contains(element), "no {element}: {}", shown.dom);
    }

    let html = std::fs::read_to_string(&page).expect("it was written");
    let probed = bench.path("probed.html");
    std::fs::write(&probed, html.replace("</body>", &format!("{PROBE}</body>"))).expect("written");
    let shown = show(&bench, &probed);
    assert!(shown.console.iter().any(|line| line.contains("the control")), "{:?}", shown.console);
    let title = shown.dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
    let seen: Value = serde_json::from_str(title.expect("a title")).expect("the probe's title");
    let legs = result["legs"].as_object().expect("legs by name").len() as u64;
    let number = |name: &str| seen[name].as_u64().expect("a number");
    let over_time = legs_over_time(&result).len() as u64;
    assert!(over_time >= 2, "{result}");
    assert_eq!(
        number("pictures"),
        2 + over_time,
        "by percentile, rate over time, each leg over time: {seen}"
    );
    assert!(number("lines") > legs, "a line for each leg, and those over time: {seen}");
    assert_eq!(number("tables"), 2, "legs, and errors and challenges: {seen}");
    let cells = seen["cells"].as_array().expect("the first cells of lines");
    for name in ["connect", "whole login", "request", "from intended start", "401 challenges"] {
        assert!(cells.iter().any(|cell| cell == name), "{name}: {seen}");
    }
}

/// Says in the title how the page comes out at its width: what sticks out, and how large the pictures' text is.
const MEASURE: &str = "<script>
const root = document.documentElement;
const texts = [...document.querySelectorAll('svg text')].filter((text) => text.getBoundingClientRect().width > 0);
const sizes = texts.map((text) => {
  const scale = text.getScreenCTM().a;
  return parseFloat(getComputedStyle(text).fontSize) * scale;
});
const ticks = [...document.querySelectorAll('svg.plot')].flatMap((plot) =>
  ['end', 'middle'].map((side) => [...plot.querySelectorAll('text.' + side)]
    .filter((text) => text.getBoundingClientRect().width > 0)));
const boxes = (labels) => labels.map((text) => text.getBoundingClientRect());
const touch = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
document.title = JSON.stringify({
  width: innerWidth, over: root.scrollWidth - innerWidth,
  left: Math.min(...texts.map((text) => text.getBoundingClientRect().left)), smallest: Math.min(...sizes),
  ticks: ticks.map((labels) => labels.map((text) => text.textContent)),
  touching: ticks.some((labels) => boxes(labels).some((a, nth) => boxes(labels).slice(nth + 1).some((b) => touch(a, b)))),
});
</script>";

/// On screens of every width all is on the page, in letters that can be read, and no two ticks are the same.
pub(crate) fn widths() {
    let bench = Bench::new();
    let result = bench.measure(&[("--html", "run.html")]);
    let pictures = 2 + legs_over_time(&result).len();
    let html = std::fs::read_to_string(bench.path("run.html")).expect("it was written");
    let probed = bench.path("probed.html");
    std::fs::write(&probed, html.replace("</body>", &format!("{MEASURE}</body>"))).expect("written");
    for width in [1200, 800, 641, 500] {
        let shown = show_in(&bench, &probed, width);
        let title = shown.dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
        let seen: Value = serde_json::from_str(title.expect("a title")).expect("the title");
        let number = |name: &str| seen[name].as_f64().expect("a number");
        assert_eq!(seen["width"], width, "{seen}");
        assert!(number("over") <= 0.0 && number("left") >= 0.0, "nothing sticks out at {width}: {seen}");
        assert!(number("smallest") >= 10.0, "letters at {width}: {seen}");
        assert_eq!(seen["touching"], false, "labels at {width}: {seen}");
        let axes = seen["ticks"].as_array().expect("axes");
        assert_eq!(axes.len(), 2 * pictures, "two axes a picture: {seen}");
        for axis in axes {
            let labels: Vec<_> = axis.as_array().expect("labels").iter().map(Value::to_string).collect();
            let distinct: BTreeSet<_> = labels.iter().collect();
            assert!(labels.len() >= 2 && distinct.len() == labels.len(), "{width}: {labels:?}");
        }
    }
}
