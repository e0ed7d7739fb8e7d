//! The systemd units.

use std::fs;
use std::time::Duration;

use super::{BINARY, program, read, run, said};

const UNIT: &str = "deploy/systemd/iisplice.service";
const SOCKET: &str = "deploy/systemd/iisplice.socket";

/// A directory with the units as they would stand on a host where the binary is installed.
fn installed() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    let text = read(UNIT).replace("/usr/bin/iisplice", BINARY);
    fs::write(place.path().join("iisplice.service"), text).expect("it is written");
    fs::write(place.path().join("iisplice.socket"), read(SOCKET)).expect("it is written");
    place
}

/// The values of a key of the service, in the order of their lines.
fn values(key: &str) -> Vec<String> {
    values_in(UNIT, key)
}

fn values_in(unit: &str, key: &str) -> Vec<String> {
    let text = read(unit);
    let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

pub(super) fn verify() {
    let place = installed();
    let units = ["iisplice.service", "iisplice.socket"].map(|name| place.path().join(name));
    let output = run(program("systemd-analyze").args(["verify", "--man=no"]).args(&units), b"");
    // A host may have units of its own that it complains of.
    let said = said(&output);
    let complaints: Vec<_> = said.lines().filter(|line| line.contains("iisplice")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{said}");
}

/// The page states the figure; less exposure is no mistake.
pub(super) fn exposure() {
    let page = read("docs/install.md");
    let (_, rest) = page.split_once("exposure level of ").expect("docs/install.md states it");
    let stated: f64 = rest.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    let place = installed();
    let unit = place.path().join("iisplice.service");
    let threshold = format!("--threshold={}", (stated * 10.0).round());
    let output = run(
        program("systemd-analyze").args(["security", "--offline=true", "--no-pager", &threshold]).arg(&unit),
        b"",
    );
    assert!(output.status.success(), "more than {stated}: {}", said(&output));
}

/// What no group of systemd's of every version has, and what the proxy cannot do without.
pub(super) fn calls() {
    let calls = values("SystemCallFilter").join(" ");
    let has = |name: &str| calls.split_whitespace().any(|known| known == name);
    for name in [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "pipe2",
        "seccomp",
        "landlock_restrict_self",
    ] {
        assert!(has(name), "{UNIT} does not let it call {name}");
    }
    let families = values("RestrictAddressFamilies").join(" ");
    assert_eq!(families, "AF_INET AF_INET6 AF_UNIX");
}

/// With the settings of the package its sockets are those that the proxy looks for: one that no listener has is an error.
pub(super) fn sockets() {
    let sample = read("deploy/debian/iisplice.toml");
    let listen = sample.lines().find_map(|line| line.strip_prefix("listen = ")).expect("the sample listens");
    assert_eq!(values_in(SOCKET, "ListenStream"), [listen.trim_matches('"')]);
    assert_eq!(
        values_in(SOCKET, "BindIPv6Only"),
        ["ipv6-only"],
        "`[::]:80` and `0.0.0.0:80` are two listeners"
    );
    assert_eq!(values_in(SOCKET, "WantedBy"), ["sockets.target"]);
    assert!(values_in(SOCKET, "Accept").is_empty(), "a connection each is not what the proxy takes");
}

pub(super) fn drain() {
    let seconds: u64 = values("TimeoutStopSec")[0].parse().expect("seconds");
    let page = read("docs/settings.md");
    let row = page.lines().find(|line| line.contains("`--drain-timeout DURATION`")).expect("a row");
    let drain = humantime::parse_duration(row.split('`').nth(3).expect("its default")).expect("a duration");
    assert!(Duration::from_secs(seconds) > drain, "{seconds} s and {drain:?}");
}
