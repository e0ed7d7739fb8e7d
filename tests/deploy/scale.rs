//! What several machines need besides the package: the programs that the files are for accept them.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::{BINARY, await_that, program, read, repository, run, said};

const GATE: &str = "deploy/scale/health-gate";

/// Runs lines of the shell in a network of their own.
fn in_own_network(lines: &str) -> Option<std::process::Output> {
    if !geteuid().is_root() {
        eprintln!("deploy: SKIPPED: only root can make a network");
        return None;
    }
    let mut shell = program("unshare");
    shell.args(["--net", "sh", "-e", "-c", lines]);
    Some(run(&mut shell, b""))
}

pub(super) fn bird() {
    let output = run(program("bird").args(["-p", "-c"]).arg(repository("deploy/scale/bird.conf")), b"");
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    // What the unit switches is there.
    let (file, unit) = (read("deploy/scale/bird.conf"), read("deploy/scale/iisplice-gate.service"));
    for protocol in ["service4", "service6"] {
        assert!(file.contains(&format!("protocol static {protocol} {{\n    disabled yes;")), "{protocol}");
        for order in ["enable", "disable"] {
            assert!(unit.contains(&format!("birdc {order} {protocol}")), "{order} {protocol}");
        }
    }
}

pub(super) fn frr() {
    let check = |file: &Path| run(program("vtysh").args(["-C", "-f"]).arg(file), b"");
    let output = check(&repository("deploy/scale/frr.conf"));
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    // The commands of the page.
    let page = read("deploy/scale/README.md");
    let mut words = shlex::split(page.lines().find(|line| line.starts_with("--up ")).expect("it is there"))
        .expect("quotes are closed");
    words = shlex::split(&words.remove(1)).expect("quotes are closed");
    let lines: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| word.contains(' ') && *word != "configure terminal")
        .collect();
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("frr.conf");
    let text = lines.join("\n") + "\n";
    assert_eq!(lines.len(), 3, "{text}");
    fs::write(&file, &text).expect("it is written");
    let output = check(&file);
    assert!(output.status.success() && said(&output).is_empty(), "{text}{}", said(&output));
    fs::write(&file, text.replace("network", "netwerk")).expect("it is written");
    assert!(!check(&file).status.success(), "it finds mistakes");
}

/// Where it finds nothing to complain of, it says nothing, and ends by a signal of its own.
pub(super) fn keepalived() {
    let check = |file: &Path| {
        in_own_network(&format!(
            "ip link add eth0 type veth peer name eth1; ip link set eth0 up; exec keepalived --config-test --use-file {}",
            file.display()
        ))
    };
    let Some(output) = check(&repository("deploy/scale/keepalived.conf")) else { return };
    let ended = output.status.success() || output.status.signal() == Some(Signal::SIGTERM as i32);
    assert!(ended && said(&output).is_empty(), "{:?} {}", output.status, said(&output));
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("keepalived.conf");
    let text = read("deploy/scale/keepalived.conf");
    fs::write(&file, text.replace("track_script", "track_scrypt")).expect("it is written");
    let output = check(&file).expect("it is root");
    assert!(!said(&output).is_empty(), "it finds mistakes");
}

/// They can be loaded again over themselves, and take the elements that the unit adds, more than once.
pub(super) fn strays() {
    let unit = read("deploy/scale/iisplice-strays@.service");
    let order = |name: &str| {
        let line = unit.lines().find(|line| line.trim_start().starts_with(name)).expect("it is there");
        let (_, rest) = line.split_once('"').expect("a quote");
        rest.split('"').next().expect("a command").replace("%i", "10.20.0.12")
    };
    let (up, down) = (order("--up"), order("--down"));
    let file = repository("deploy/scale/strays.nft");
    let load = format!("nft -f {}", file.display());
    let lines = format!(
        "{load}; {load}; {down}; {up}; {up}; nft list map ip iisplice strays; {down}; {down}; nft list map ip iisplice strays"
    );
    let Some(output) = in_own_network(&lines) else { return };
    let listed = said(&output);
    assert!(output.status.success(), "{listed}");
    assert_eq!(listed.matches("192.0.2.80 : 10.20.0.12").count(), 1, "{listed}");
}

pub(super) fn units() {
    let place = tempfile::tempdir().expect("a directory");
    for name in ["iisplice-gate.service", "iisplice-strays@.service"] {
        let text = read(&format!("deploy/scale/{name}"))
            .replace("/usr/lib/iisplice/health-gate", &repository(GATE).display().to_string())
            .replace("/usr/sbin/nft", "/bin/true");
        let unit = place.path().join(name.replace('@', "@10.20.0.12"));
        fs::write(&unit, text).expect("it is written");
        let output = run(program("systemd-analyze").args(["verify", "--man=no"]).arg(&unit), b"");
        let said = said(&output);
        // What it is bound to is another package's.
        let complaints: Vec<_> =
            said.lines().filter(|line| line.contains("iisplice") && !line.contains("bird.service")).collect();
        assert!(complaints.is_empty(), "{said}");
    }
}

/// Down at start, up and down as checks say and no sooner, again after a command that failed, and down at the end.
pub(super) fn gate() {
    let place = tempfile::tempdir().expect("a directory");
    let path = |name: &str| place.path().join(name);
    let (good, told, looks, broken) = (path("good"), path("told"), path("looks"), path("broken"));
    let tell =
        |word: &str| format!("test ! -e '{}' && echo {word} >> '{}'", broken.display(), told.display());
    let mut gate = Command::new(repository(GATE))
        .args(["--interval", "0.01", "--rise", "3", "--fall", "2", "--check"])
        .arg(format!("echo look >> '{}'; test -e '{}'", looks.display(), good.display()))
        .args(["--up", &tell("up"), "--down", &tell("down")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let read = |file: &Path| fs::read_to_string(file).unwrap_or_default();
    let await_told =
        |what: &str| await_that(|| read(&told).split_whitespace().collect::<Vec<_>>().join(" ") == what);
    await_told("down");
    await_that(|| read(&looks).lines().count() > 5);
    await_told("down");
    fs::write(&good, "").expect("it is written");
    let before = read(&looks).lines().count();
    await_told("down up");
    assert!(read(&looks).lines().count() >= before + 2, "three looks in a row");
    fs::write(&broken, "").expect("it is written");
    fs::remove_file(&good).expect("it is there");
    let before = read(&looks).lines().count();
    await_that(|| read(&looks).lines().count() > before + 10);
    await_told("down up");
    fs::remove_file(&broken).expect("it is there");
    await_told("down up down");
    fs::write(&good, "").expect("it is written");
    await_told("down up down up");
    kill(Pid::from_raw(gate.id() as i32), Signal::SIGTERM).expect("our child");
    assert!(gate.wait().expect("our child").success());
    await_told("down up down up down");

    for wrong in [
        &["--check", "true"][..],
        &["--check", "true", "--up", "true", "--down"],
        &["--rise", "x"],
        &["x", "y"],
    ] {
        let output = run(Command::new(repository(GATE)).args(wrong), b"");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(said(&output).starts_with("health-gate --check COMMAND"), "{}", said(&output));
    }
}

/// But for names, addresses and files of another host.
pub(super) fn settings() {
    let place = tempfile::tempdir().expect("a directory");
    let token = place.path().join("token");
    run(Command::new("install").args(["-m", "600", "/dev/null"]).arg(&token), b"");
    fs::write(&token, "a-token-of-the-test").expect("it is written");
    for name in ["iisplice.toml", "balancer.toml"] {
        let text = read(&format!("deploy/scale/{name}"))
            .replace("iis1.corp.example", "127.0.0.1")
            .replace("iis2.corp.example", "127.0.0.2")
            .replace("10.20.0.11:9180", "127.0.0.1:0")
            .replace("\"0.0.0.0:443\"", "\"127.0.0.1:0\"")
            .replace("\"[::]:443\"", "\"127.0.0.1:0\"")
            .replace("/etc/iisplice/admin-token", &token.display().to_string());
        let file = place.path().join(name);
        fs::write(&file, text).expect("it is written");
        let output = run(Command::new(BINARY).args(["proxy", "--check", "--config"]).arg(&file), b"");
        assert!(output.status.success(), "{name}: {}", said(&output));
    }
}
