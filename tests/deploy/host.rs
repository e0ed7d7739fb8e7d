//! What the package puts elsewhere on a host.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::{BINARY, await_that, program, read, repository, run, said};

/// Each key exists in this kernel, or may be missing by its dash; what it is set to can be a value of it; a comment says why.
pub(super) fn sysctl() {
    let text = read("deploy/sysctl/50-iisplice.conf");
    let mut count = 0;
    let mut has_reason = false;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else {
            has_reason = line.starts_with('#');
            continue;
        };
        assert!(has_reason, "{key} has no reason");
        let optional = key.starts_with('-');
        let file = format!("/proc/sys/{}", key.trim_start_matches('-').replace('.', "/"));
        match fs::read_to_string(&file) {
            Ok(now) => {
                let numbers =
                    |text: &str| text.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).count();
                assert_eq!(numbers(value), numbers(&now), "{key} is {now:?}");
            }
            // A network namespace of a container has a part of the keys.
            Err(error) => {
                assert!(optional || !Path::new("/proc/sys/net/core/somaxconn").exists(), "{file}: {error}");
            }
        }
        count += 1;
        has_reason = false;
    }
    assert!(count > 4, "{count} keys were found");
}

/// The file as it stands, but for the directory, the user and how the service is told: on this machine it does not run.
pub(super) fn logrotate() {
    let place = tempfile::tempdir().expect("a directory");
    let logs = place.path().join("log");
    fs::create_dir(&logs).expect("it is made");
    let log = logs.join("access.log");
    let listen = format!("unix:{}", place.path().join("listen").display());
    let mut proxy = Command::new(BINARY)
        .args(["proxy", "--workers", "1", "--listen", &listen, "--upstream", "127.0.0.1:9", "--access-log"])
        .arg(&log)
        .process_group(0)
        .spawn()
        .expect("it was built");
    // The socket's file is there before it listens.
    let connect =
        || await_that(|| std::os::unix::net::UnixStream::connect(place.path().join("listen")).is_ok());
    let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().count();
    connect();
    await_that(|| lines(&log) == 1);

    let user = said(&run(Command::new("id").arg("-un"), b""));
    let group = said(&run(Command::new("id").arg("-gn"), b""));
    let text = read("deploy/logrotate/iisplice")
        .replace("/var/log/iisplice", &logs.display().to_string())
        .replace("su iisplice iisplice", &format!("su {} {}", user.trim(), group.trim()))
        .replace("[ -d /run/systemd/system ]", "true")
        .replace("systemctl kill --signal=USR1 iisplice.service", &format!("kill -USR1 {}", proxy.id()));
    assert!(text.contains(&format!("kill -USR1 {}", proxy.id())), "{text}");
    let file = place.path().join("rotate.conf");
    fs::write(&file, text).expect("it is written");
    let state = place.path().join("state");
    let output = run(program("logrotate").arg("--force").arg("--state").arg(&state).arg(&file), b"");
    assert!(output.status.success(), "{}", said(&output));
    await_that(|| log.exists());
    connect();
    await_that(|| lines(&log) == 1);
    assert_eq!(lines(&logs.join("access.log.1")), 1, "the line of before stays where it was");

    proxy.kill().expect("it runs");
    proxy.wait().expect("it is our child");
}

/// The settings that the package installs are accepted as they are.
pub(super) fn sample() {
    // Its directory exists where the package is installed, and its port may be taken here.
    let place = tempfile::tempdir().expect("a directory");
    let text = read("deploy/debian/iisplice.toml")
        .replace("/run/iisplice", &place.path().display().to_string())
        .replace("/var/log/iisplice", &place.path().display().to_string())
        .replace("127.0.0.1:80\"", "127.0.0.1:0\"");
    let file = place.path().join("iisplice.toml");
    fs::write(&file, text).expect("it is written");
    let output = run(Command::new(BINARY).args(["proxy", "--check", "--config"]).arg(&file), b"");
    assert!(output.status.success(), "{}", said(&output));
    assert!(repository("deploy/iisplice.toml").exists(), "the larger one is an example of the package");
}
