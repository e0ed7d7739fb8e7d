//! curl, wget and requests-ntlm, where they are installed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use iisplice::mock::settings::{CertificateSource, Protection, Tls};

use crate::{settings, start, start_behind_proxy};

/// Runs a program; none if it is not there, and then says so.
fn run(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("SKIP: {} cannot be run: {error}", command.get_program().display());
            None
        }
    }
}

/// Standard output of curl, which ends with a line a transfer: status and new connections.
fn curl(arguments: &[&str], address: SocketAddr, paths: &[&str]) -> Option<String> {
    let mut command = Command::new("curl");
    command.args(["-sS", "-k", "--noproxy", "*", "-w", "%{http_code} %{num_connects}\n"]).args(arguments);
    command.args(paths.iter().map(|path| format!("http://{address}{path}")));
    run(&mut command).map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn login_of(connection: u64, requests: u64, scheme: &str) -> String {
    format!(
        "{{\"connection\":{connection},\"logins\":1,\"requests\":{requests},\"scheme\":\"{scheme}\",\
        \"user\":\"CORP\\\\alice\"}}\n"
    )
}

#[test]
fn curl_ntlm_logs_in_and_uses_the_connection_again() {
    let (_mock, _proxy, behind_proxy) = start_behind_proxy(settings());
    let (_mock, direct) = start(settings());
    for address in [direct, behind_proxy] {
        let user = ["--ntlm", "-u", r"CORP\alice:secret"];
        let Some(output) = curl(&user, address, &["/whoami", "/whoami"]) else { return };
        let expected = format!("{}200 1\n{}200 0\n", login_of(1, 2, "NTLM"), login_of(1, 3, "NTLM"));
        assert_eq!(output, expected);
    }
}

#[test]
fn curl_ntlm_with_a_wrong_password_is_refused() {
    let (_mock, address) = start(settings());
    let wrong = ["--ntlm", "-u", r"CORP\alice:Secret", "-o", "/dev/null"];
    let Some(output) = curl(&wrong, address, &["/whoami"]) else { return };
    assert_eq!(output, "401 1\n");
}

#[test]
fn curl_posts_with_length_and_chunked_and_expects_100() {
    let (_mock, _proxy, behind_proxy) = start_behind_proxy(settings());
    let (_mock, direct) = start(settings());
    let directory = tempfile::tempdir().expect("a directory");
    let body = directory.path().join("body");
    fs::write(&body, "0123456789".repeat(200_000)).expect("written");
    let data = format!("@{}", body.display());
    for lines in [&[][..], &["-H", "Transfer-Encoding: chunked"], &["-H", "Expect: 100-continue"]] {
        for address in [direct, behind_proxy] {
            let arguments =
                [&["--ntlm", "-u", r"CORP\alice:secret", "--data-binary", &data][..], lines].concat();
            let Some(output) = curl(&arguments, address, &["/echo"]) else { return };
            assert!(output == "0123456789".repeat(200_000) + "200 1\n", "{lines:?}: {} bytes", output.len());
        }
    }
}

#[test]
fn curl_over_tls_with_a_certificate_made_on_the_spot() {
    let mut secure = settings();
    let certificate = CertificateSource::SelfSigned;
    secure.tls = Some(Tls { certificate, extended_protection: Protection::Allow });
    let (_mock, address) = start(secure);
    let url = format!("https://{address}/whoami");
    let mut command = Command::new("curl");
    command.args(["-sS", "-k", "--noproxy", "*", "--ntlm", "-u", r"CORP\alice:secret", &url]);
    let Some(output) = run(&mut command) else { return };
    assert_eq!(String::from_utf8_lossy(&output.stdout), login_of(1, 2, "NTLM"), "{output:?}");
}

/// curl's Negotiate goes through GSSAPI; without the NTLM mechanism for it there is nothing to log in with.
fn has_gss_ntlmssp() -> bool {
    let found = ["/usr/lib", "/usr/lib64"].iter().any(|library| find(Path::new(library), "gssntlmssp.so", 4));
    if !found {
        println!("SKIP: gss-ntlmssp is not installed");
    }
    found
}

fn find(directory: &Path, name: &str, depth: usize) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        path.ends_with(name)
            || (depth > 0 && path.is_dir() && !path.is_symlink() && find(&path, name, depth - 1))
    })
}

/// curl, with this as the only credentials that GSSAPI finds.
fn curl_negotiate(password: &str, address: SocketAddr, paths: &[&str]) -> Option<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let users = directory.path().join("users");
    fs::write(&users, format!("CORP:alice:{password}\n")).expect("written");
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--noproxy", "*", "-w", "%{http_code} %{num_connects}\n", "--negotiate", "-u", ":"])
        .args(paths.iter().map(|path| format!("http://{address}{path}")))
        .env("NTLM_USER_FILE", &users)
        .env("KRB5CCNAME", directory.path().join("no-tickets"));
    run(&mut command).map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn curl_negotiate_logs_in_and_uses_the_connection_again() {
    let (_mock, address) = start(settings());
    if !has_gss_ntlmssp() {
        return;
    }
    let Some(output) = curl_negotiate("secret", address, &["/whoami", "/whoami"]) else { return };
    let expected = format!("{}200 1\n{}200 0\n", login_of(1, 2, "Negotiate"), login_of(1, 3, "Negotiate"));
    assert_eq!(output, expected);
}

#[test]
fn curl_negotiate_with_a_wrong_password_is_refused() {
    let (_mock, address) = start(settings());
    if !has_gss_ntlmssp() {
        return;
    }
    let Some(output) = curl_negotiate("Secret", address, &["/public/", "/bytes/5"]) else { return };
    assert!(output.ends_with("401 0\n") || output.ends_with("401 1\n"), "{output}");
}

/// It speaks `NTLMv1` only.
#[test]
fn wget_is_refused() {
    let (_mock, address) = start(settings());
    let mut command = Command::new("wget");
    command.args(["-q", "-S", "-O", "-", "--tries=1", "--no-proxy"]);
    command.args(["--user", r"CORP\alice", "--password", "secret", &format!("http://{address}/whoami")]);
    let Some(output) = run(&mut command) else { return };
    let replies = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(replies.matches("401 Unauthorized").count(), 3, "asked, challenged, refused: {replies}");
    assert!(output.stdout.is_empty() && !output.status.success());
}

/// The interpreter that has requests-ntlm: named by `IISPLICE_PYTHON`, or the one of the interop tests.
fn python() -> PathBuf {
    std::env::var_os("IISPLICE_PYTHON").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop-venv").join("bin/python"),
        PathBuf::from,
    )
}

#[test]
fn requests_ntlm_logs_in_uses_the_connection_again_and_is_refused() {
    const SCRIPT: &str = r"
import sys, requests
from requests_ntlm import HttpNtlmAuth
url = sys.argv[1]
for password in ('secret', 'Secret'):
    session = requests.Session()
    session.trust_env = False
    session.auth = HttpNtlmAuth('CORP\\alice', password)
    for _ in range(2):
        reply = session.get(url)
        print([r.status_code for r in (*reply.history, reply)], reply.text if reply.ok else '')
";
    let (_mock, address) = start(settings());
    let mut command = Command::new(python());
    command.args(["-c", SCRIPT, &format!("http://{address}/whoami")]);
    let Some(output) = run(&mut command) else { return };
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 4, "{text}{errors}");
    // It asks anonymously first, and takes NTLM where both are offered.
    assert_eq!(lines[0], format!("[401, 401, 200] {}", login_of(1, 3, "NTLM").trim_end()), "{errors}");
    assert_eq!(lines[1], format!("[200] {}", login_of(1, 4, "NTLM").trim_end()));
    assert!(lines[2..].iter().all(|line| line.trim_end().ends_with("401]")), "{text}");
}
