//! Access logs, as files and as streams.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::run::doctor;

fn combined(client: &str, status: u16) -> String {
    format!("{client} - - [02/Mar/2026:08:15:42 +0000] \"GET / HTTP/1.1\" {status} 5 \"-\" \"curl/8\"\n")
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(content).expect("written");
    file
}

/// Runs the doctor with this on standard input.
fn piped(content: &[u8], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.arg("doctor").args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    // A reader that has given up closes the pipe.
    let _ = child.stdin.take().expect("piped").write_all(content);
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_client_that_is_not_let_in_is_broken() {
    let log = [401, 401, 200].map(|status| combined("192.0.2.1", status)).concat()
        + &combined("2001:db8::7", 401).repeat(5);
    let log = file(log.as_bytes());
    let report = doctor(&["--log", log.path().to_str().expect("UTF-8")]);
    report.has("log-401-loop", "broken", "2001:db8::7: 5 times 401 for /");
    report.has("log-read", "fine", "8 requests (combined)");
    assert_eq!(report.exit_code, Some(2));
}

#[test]
fn a_stream_is_read_from_standard_input() {
    let fine = piped(combined("192.0.2.1", 200).as_bytes(), &["--log", "-"]);
    assert_eq!(fine.status.code(), Some(0), "{fine:?}");
    assert!(String::from_utf8_lossy(&fine.stdout).contains("log-read: 1 request"), "{fine:?}");
    // Larger than any buffer, and a loop at both ends.
    let mut log = combined("192.0.2.9", 401).repeat(3);
    log += &combined("192.0.2.1", 200).repeat(200_000);
    log += &combined("192.0.2.9", 401).repeat(3);
    let broken = piped(log.as_bytes(), &["--json", "--log=-"]);
    assert_eq!(broken.status.code(), Some(2), "{broken:?}");
    assert!(String::from_utf8_lossy(&broken.stdout).contains("192.0.2.9: 6 times 401"), "{broken:?}");
}

#[test]
fn a_file_that_is_no_log_is_one_line() {
    for (content, expected) in [
        (&b"hello\nworld\n"[..], "no line is in a known format"),
        (b"\x1f\x8b\x08\0", "zcat FILE | iisplice doctor --log -"),
        (b"\xff\xfe#\0", "iconv -f UTF-16"),
    ] {
        let output = piped(content, &["--log", "-"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), errors.lines().count()), (Some(2), 1), "{errors}");
        assert!(errors.contains("--log -: ") && errors.contains(expected), "{errors}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let output = piped(b"", &["--log", "/nonexistent/access.log"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("--log /nonexistent/access.log: cannot be read"), "{errors}");
    let output = piped(b"", &["--log", "/"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
