//! `iisplice status` as a command.

use std::process::Command;

use serde_json::Value;

use super::start;
use crate::support::{Launch, Server, pair, refusing};

/// Its exit code, and what it prints and says.
fn status(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_iisplice")).arg("status").args(arguments).output();
    let output = output.expect("the binary was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_shows_servers_for_people_and_programs() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()));
    let _pair = pair(&proxy, &server);
    let (code, printed, _) = status(&["--admin", &admin.address]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.starts_with("ready\n") && printed.contains(proxy.address()), "{printed}");
    let line = printed.lines().find(|line| line.contains(server.address())).expect("its server");
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words, ["default", server.address(), server.address(), "up", "1"]);
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
    let (code, printed, _) = status(&["--admin", &admin.address, "--json"]);
    let value: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!((code, &value["ready"]), (Some(0), &Value::Bool(true)));
    assert_eq!(value["servers"], admin.json("/v1/servers")["servers"]);
}

#[test]
fn a_group_without_a_server_is_exit_1_and_no_answer_is_exit_2() {
    let (_port, refused) = refusing();
    let (_proxy, admin) = start(Launch::to(&refused));
    let (code, ..) = status(&["--admin", &admin.address]);
    assert_eq!(code, Some(0));
    assert_eq!(admin.request("POST", &format!("/v1/servers/{refused}/drain"), &[]).status, 200);
    let (code, printed, _) = status(&["--admin", &admin.address]);
    assert_eq!(code, Some(1));
    let start = format!("not ready\n  group default has no server up: {refused} is draining\n");
    assert!(printed.starts_with(&start), "{printed}");
    assert_eq!(status(&["--admin", &admin.address, "--json"]).0, Some(1));

    for (arguments, expected) in [
        (&["--admin", &refused][..], "no proxy answers at"),
        (&["--admin", "unix:/none/admin.sock"], "start it with --admin"),
        (&[], "/run/iisplice/admin.sock"),
        (&["--admin", &admin.address, "--token-file", "/none"], "cannot be read"),
        (&["--admin", "x"], "the port is missing"),
    ] {
        let (code, printed, said) = status(arguments);
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{said}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_token_is_sent_and_a_wrong_one_is_told() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let (token, wrong) = (directory.path().join("token"), directory.path().join("wrong"));
    std::fs::write(&token, "0123456789abcdef\n").expect("it is written");
    std::fs::write(&wrong, "0123456789abcdeF\n").expect("it is written");
    let socket = directory.path().join("admin.sock");
    let flags = format!("--admin unix:{} --admin-token-file {}", socket.display(), token.display());
    let proxy = Launch::to("127.0.0.1:9").flags(&flags).start();
    proxy.wait_to_say("admin endpoint is open");
    let at = format!("unix:{}", socket.display());
    let with =
        |path: &std::path::Path| status(&["--admin", &at, "--token-file", &path.display().to_string()]);
    assert_eq!(with(&token).0, Some(0));
    let (code, _, said) = with(&wrong);
    assert_eq!(code, Some(2));
    assert!(said.contains("the proxy refuses the request (401)"), "{said}");
    assert_eq!(status(&["--admin", &at]).0, Some(2));
}
