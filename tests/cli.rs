//! The binary as an operator meets it: what a command line leads to, on which stream, with which exit code.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

const LEAST: [&str; 5] = ["proxy", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9"];

fn iisplice(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_iisplice")).args(arguments).output().expect("the binary was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// The one line on standard error; nothing on standard output.
fn complaint(arguments: &[&str], exit_code: i32) -> String {
    let output = iisplice(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "{arguments:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    let line = said.strip_suffix('\n').unwrap_or_else(|| panic!("{arguments:?}: not a line: {said:?}"));
    assert!(!line.contains('\n'), "{arguments:?}: more than a line: {said}");
    line.to_owned()
}

#[test]
fn a_wrong_command_line_is_one_line_and_exit_code_2() {
    for (wrong, expected) in [
        (&["--listne=127.0.0.1:80"][..], "a similar argument exists: '--listen'"),
        (&["--listen=80"], "write 0.0.0.0:80 or [::]:80"),
        (&["--upstream=http://iis1/"], "this is a URL; write iis1"),
        (&["--splice=sometimes"], "possible values: auto, never, always"),
        (&["--idle-timeout=5"], "give a duration such as 250ms, 3s or 1h"),
        (&["--buffer-size=tiny"], "give a size such as 16KiB or 1MiB"),
        (&["--tcp-fastopen=yes"], "give a whole number from 1 to 65535, or off"),
        (&["--steer=cpu", "--no-pin"], "remove --no-pin or --steer"),
        (&["--log-level=loud"], "possible values: off, error, warn, info, debug, trace"),
    ] {
        let line = complaint(&[&LEAST, wrong].concat(), 2);
        assert!(line.starts_with("iisplice: ") && line.contains(expected), "{wrong:?}: {line}");
    }
    for (wrong, expected) in [
        (&[][..], "requires a subcommand"),
        (&["prxy"], "a similar subcommand exists: 'proxy'"),
        (&["proxy"], "--listen <ADDR> --upstream <ADDR>"),
    ] {
        let line = complaint(wrong, 2);
        assert!(line.starts_with("iisplice: ") && line.contains(expected), "{wrong:?}: {line}");
    }
}

/// Runs as a user without the right to read everything, from a copy that every user may execute.
fn unprivileged(binary: &Path, arguments: &[&str]) -> Output {
    const UNPRIVILEGED: u32 = 65534;
    let mut command = Command::new(binary);
    if nix::unistd::geteuid().is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command.args(arguments).output().expect("the binary was built")
}

/// For each flag that names a file: the command and what else it needs.
const FILES: [(&str, &[&str]); 14] = [
    ("--tls-cert", &["proxy", "--listen=127.0.0.1:0", "--upstream=127.0.0.1:9"]),
    ("--tls-client-ca", &["proxy", "--listen=127.0.0.1:0", "--upstream=127.0.0.1:9", "--tls-cert={cert}"]),
    ("--upstream-ca", &["proxy", "--listen=127.0.0.1:0", "--upstream=127.0.0.1:9", "--upstream-tls"]),
    ("--access-log", &["proxy", "--listen=127.0.0.1:0", "--upstream=127.0.0.1:9"]),
    ("--users", &["mock", "--listen=127.0.0.1:0"]),
    ("--tls-cert", &["mock", "--listen=127.0.0.1:0", "--user=a:b", "--tls-key={cert}"]),
    ("--users", &["load", "http://127.0.0.1:9/", "--auth=ntlm", "--password=x"]),
    ("--password-file", &["load", "http://127.0.0.1:9/", "--auth=ntlm", "--user=a"]),
    ("--replay", &["load", "http://127.0.0.1:9/"]),
    ("--ca", &["load", "https://127.0.0.1:9/"]),
    ("--password-file", &["doctor", "http://127.0.0.1:9/", "--user=a"]),
    ("--ca", &["doctor", "https://127.0.0.1:9/"]),
    ("--log", &["doctor"]),
    ("", &["report"]),
];

#[test]
fn a_file_that_may_not_be_read_is_the_hosts_fault_and_one_that_is_not_there_the_command_lines() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let good = directory.path().join("good.pem");
    std::fs::write(&good, made.cert.pem() + &made.signing_key.serialize_pem()).expect("written");
    let good = good.to_str().expect("text");
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "").expect("the directory is ours");
    std::fs::set_permissions(&secret, Permissions::from_mode(0o000)).expect("the file is ours");
    let binary = directory.path().join("iisplice");
    std::fs::copy(env!("CARGO_BIN_EXE_iisplice"), &binary).expect("there is room");
    for (name, exit_code, said) in [("secret", 1, "Permission denied"), ("missing/file", 2, "No such file")] {
        let path = directory.path().join(name);
        let path = path.to_str().expect("text");
        for (flag, others) in FILES {
            let given = if flag.is_empty() { path.to_owned() } else { format!("{flag}={path}") };
            let mut arguments: Vec<_> = others.iter().map(|other| other.replace("{cert}", good)).collect();
            arguments.push(given);
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let output = unprivileged(&binary, &arguments);
            let line = text(&output.stderr);
            assert_eq!(output.status.code(), Some(exit_code), "{arguments:?}: {line}");
            assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
            assert!(line.contains(said) && line.contains(path), "{arguments:?}: {line}");
        }
    }
}

#[test]
fn a_name_that_does_not_resolve_is_the_hosts_fault() {
    for arguments in [
        &["proxy", "--listen=127.0.0.1:0", "--upstream=no-such-host.invalid:80"][..],
        &["proxy", "--listen=no-such-host.invalid:80", "--upstream=127.0.0.1:9"],
        &["proxy", "--listen=127.0.0.1:0", "--sni-route=a.test=no-such-host.invalid:443"],
        &["mock", "--user=a:b", "--listen=no-such-host.invalid:80"],
        &["load", "http://no-such-host.invalid/"],
    ] {
        let line = complaint(arguments, 1);
        assert!(line.contains("no-such-host.invalid"), "{arguments:?}: {line}");
        assert!(line.contains("cannot resolve the name: "), "{arguments:?}: {line}");
        assert!(line.contains("give an IP address, or"), "{arguments:?}: {line}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [&["--help"][..], &["proxy", "--help"], &["--version"]] {
        let output = iisplice(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_ne!(text(&output.stdout), "", "{arguments:?}");
    }
}

const COMMANDS: [&str; 6] = ["demo", "proxy", "mock", "load", "doctor", "report"];

#[test]
fn every_command_has_help_with_examples_and_a_version() {
    for command in COMMANDS {
        let help = iisplice(&["help", command]);
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert_eq!(text(&help.stdout), text(&iisplice(&[command, "--help"]).stdout), "{command}");
        for part in ["Examples:", &format!("  iisplice {command} "), "Exit codes:", "; 2 an"] {
            // The demo needs no flag.
            let part = if command == "demo" { part.trim_end() } else { part };
            assert!(text(&help.stdout).contains(part), "{command}: no {part:?}");
        }
        for flag in ["--version", "-V"] {
            let version = iisplice(&[command, flag]);
            assert_eq!(version.status.code(), Some(0), "{command} {flag}");
            assert!(text(&version.stdout).contains(env!("CARGO_PKG_VERSION")), "{command} {flag}");
        }
    }
    assert!(text(&iisplice(&["help"]).stdout).contains("Examples:"));
    let line = complaint(&["help", "prxy"], 2);
    assert!(line.contains("prxy"), "{line}");
}

#[test]
fn the_docs_explain_every_end_of_the_access_log() {
    let words = iisplice::proxy::record::End::ALL.map(iisplice::proxy::record::End::as_str);
    assert!(words.contains(&"client-close") && words.len() > 5, "{words:?}");
    for word in words {
        assert!(
            include_str!("../docs/access-log.md").contains(&format!("| `{word}` |")),
            "{word} is not explained"
        );
    }
}

#[test]
fn fields_of_logins_and_of_one_connection_cannot_be_changed() {
    let http = [&LEAST[..], &["--mode=http"]].concat();
    for (flag, name, expected) in [
        ("--set-header", "Authorization: Basic eDp5", "each client's own login"),
        ("--set-header", "authorization: x", "each client's own login"),
        ("--set-header", "Proxy_Authorization: x", "each client's own login"),
        ("--remove-header", "Authorization", "each client's own login"),
        ("--set-reply-header", "WWW-Authenticate: Negotiate", "the server's part of a login"),
        ("--remove-reply-header", "WWW-Authenticate", "the server's part of a login"),
        ("--set-reply-header", "Proxy-Authenticate: NTLM", "the server's part of a login"),
        ("--remove-reply-header", "Proxy-Support", "the server's part of a login"),
        ("--set-header", "Connection: close", "this field cannot be changed"),
        ("--set-header", "Keep-Alive: x", "this field cannot be changed"),
        ("--set-header", "TE: trailers", "this field cannot be changed"),
        ("--remove-header", "Transfer-Encoding", "this field cannot be changed"),
        ("--set-header", "Host: a", "--set-host"),
        ("--remove-header", "host", "--set-host"),
    ] {
        let line = complaint(&[&http[..], &[flag, name]].concat(), 2);
        assert!(line.contains(flag) && line.contains(expected), "{flag} {name}: {line}");
    }
}
