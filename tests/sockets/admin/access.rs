//! Who may ask what: tokens, pages in browsers, methods, queries; and other clients than ours.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use super::{Admin, start};
use crate::support::{Launch, Proxy, Server};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn write_token(path: &Path, token: &str, mode: u32) {
    fs::write(path, format!("{token}\n")).expect("it is written");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("our file");
}

fn start_with_token(address: &str, path: &Path) -> (Proxy, Admin) {
    let launch =
        Launch::to("127.0.0.1:9").flags(&format!("--admin {address} --admin-token-file {}", path.display()));
    let proxy = launch.start();
    let admin = Admin::of(&proxy);
    (proxy, admin)
}

#[test]
fn a_token_is_demanded_everywhere_but_for_health_and_is_read_again_on_a_reload() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("token");
    write_token(&path, TOKEN, 0o600);
    let unix = format!("unix:{}", directory.path().join("admin.sock").display());
    for address in ["127.0.0.1:0", "[::1]:0", &unix] {
        write_token(&path, TOKEN, 0o600);
        let (proxy, admin) = start_with_token(address, &path);
        assert!(proxy.said("can be opened by other users").is_empty());
        let with = |field: &str| admin.request("GET", "/v1/servers", &[field]);
        assert_eq!(admin.get("/healthz").status, 200);
        assert_eq!(
            admin.get("/readyz").body.trim(),
            "{\"ready\":true}",
            "no names for those without the token"
        );
        for target in ["/v1/servers", "/v1/services", "/v1/groups", "/v1", "/none", "/"] {
            let reply = admin.get(target);
            assert!(reply.refusal(401).contains("Authorization: Bearer"), "{target}");
            assert_eq!(reply.field("www-authenticate"), "Bearer realm=\"iisplice admin\"");
        }
        for field in [
            "Authorization: Bearer".to_owned(),
            "Authorization: Bearer 0123456789abcdef0123456789abcdeF".to_owned(),
            format!("Authorization: Bearer {TOKEN}0"),
            format!("Authorization: Bearer {TOKEN} {TOKEN}"),
            format!("Authorization: Basic {TOKEN}"),
            format!("Authorization: {TOKEN}"),
            format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}"),
        ] {
            with(&field).refusal(401);
        }
        let right = format!("Authorization: Bearer {TOKEN}");
        assert_eq!(with(&right).status, 200);
        assert_eq!(with(&format!("authorization:   bearer {TOKEN}")).status, 200, "the scheme in any case");
        assert_eq!(admin.request("GET", "/none", &[&right]).status, 404);

        write_token(&path, "another-token-for-the-endpoint", 0o600);
        proxy.signal(Signal::SIGHUP);
        proxy.wait_to_say("settings reloaded");
        with(&right).refusal(401);
        assert_eq!(with("Authorization: Bearer another-token-for-the-endpoint").status, 200);

        write_token(&path, "", 0o600);
        proxy.signal(Signal::SIGHUP);
        let said = proxy.wait_to_say("cannot reload settings");
        assert!(said.contains("--admin-token-file") && said.contains("has no token"), "{said}");
        assert_eq!(with("Authorization: Bearer another-token-for-the-endpoint").status, 200, "that in force");
    }
}

#[test]
fn a_token_that_others_can_read_or_guess_is_warned_of() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("token");
    write_token(&path, "short", 0o640);
    let (proxy, _admin) = start_with_token("127.0.0.1:0", &path);
    proxy.wait_to_say("can be opened by other users (mode 0640)");
    proxy.wait_to_say("has a token of less than 16 characters");
}

#[test]
fn an_address_of_other_hosts_needs_a_token() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9000"] {
        let (code, said) = Launch::to("127.0.0.1:9").flags(&format!("--admin {address}")).fail();
        assert_eq!(code, Some(2));
        assert!(
            said.concat().contains("can be reached from other hosts; add --admin-token-file"),
            "{said:?}"
        );
    }
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("token");
    let flags = format!("--admin 0.0.0.0:0 --admin-token-file {}", path.display());
    let (code, said) = Launch::to("127.0.0.1:9").flags(&flags).fail();
    assert_eq!(code, Some(2));
    assert!(said.concat().contains("cannot be read"), "{said:?}");
    write_token(&path, TOKEN, 0o600);
    let (_proxy, admin) = start_with_token("0.0.0.0:0", &path);
    let reply = admin.raw(
        format!("GET /v1/servers HTTP/1.1\r\nHost: proxy.corp\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n")
            .as_bytes(),
    );
    assert_eq!(reply.status, 200, "its name does not matter to those who know the token");
}

#[test]
fn an_admin_endpoint_has_an_address_of_its_own() {
    let server = Server::v4();
    let own = server.address();
    let (code, said) = Launch::to("127.0.0.1:9").flags(&format!("--admin {own}")).fail();
    assert_eq!(code, Some(1), "another process has it: {said:?}");
    let (code, said) = Launch::to("127.0.0.1:9").flags("--listen 127.0.0.1:1 --admin 127.0.0.1:1").fail();
    assert_eq!(code, Some(2));
    assert!(said.concat().contains("give the admin endpoint an address of its own"), "{said:?}");
}

#[test]
fn pages_in_browsers_are_refused() {
    let (_proxy, admin) = start(Launch::to("127.0.0.1:9"));
    for method in ["GET", "POST", "OPTIONS"] {
        for field in ["Origin: http://localhost", "Origin: null", "Sec-Fetch-Site: cross-site"] {
            let reply = admin.request(method, "/v1/servers", &[field]);
            assert!(reply.refusal(403).contains("pages in browsers"), "{method} {field}");
            assert!(!reply.fields.keys().any(|name| name.starts_with("access-control")), "{reply:?}");
        }
    }
    // A name of the page's own that resolves to loopback.
    let get = |host: &str, target: &str| {
        admin.raw(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
    };
    for host in ["attacker.test", "127.0.0.1.attacker.test:80", "10.0.0.1"] {
        assert!(get(host, "/healthz").refusal(403).contains("Host"), "{host}");
        assert!(get("localhost", &format!("http://{host}/healthz")).refusal(403).contains("Host"), "{host}");
    }
    for host in ["localhost", &admin.address, "[::1]:7"] {
        assert_eq!(get(host, "/healthz").status, 200, "{host}");
    }
}

#[test]
fn what_is_asked_wrongly_is_refused_with_the_reason() {
    let (_proxy, admin) = start(Launch::to("127.0.0.1:9"));
    for target in ["/none", "/v1", "/v1/", "/v1/servers/", "/healthz/", "//healthz", "/V1/servers"] {
        admin.get(target).refusal(404);
    }
    for target in ["/healthz?x=1", "/v1/servers?", "/v1/groups?limit=1"] {
        let reply = admin.get(target);
        if target.ends_with('?') {
            assert_eq!(reply.status, 200, "an empty query is none");
        } else {
            assert!(reply.refusal(400).contains("unknown key"), "{target}");
        }
    }
    for target in ["/healthz", "/readyz", "/v1/services"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let reply = admin.request(method, target, &[]);
            reply.refusal(405);
            assert_eq!(reply.field("allow"), "GET, HEAD");
        }
    }
    assert_eq!(admin.raw(b"GET /healthz HTTP/1.0\r\n\r\n").status, 200);
    admin.raw(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").refusal(400);
    assert_eq!(admin.raw(b"\x16\x03\x01\x02 this is not HTTP\r\n\r\n").status, 400);
    let head = admin.request("HEAD", "/v1/servers", &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let length: usize = head.field("content-length").parse().expect("a number");
    assert_eq!(length, admin.get("/v1/servers").body.len());
}

#[test]
fn curl_and_python_read_it_over_ipv4_ipv6_and_a_unix_socket() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let unix = format!("unix:{}", directory.path().join("admin.sock").display());
    for address in ["127.0.0.1:0", "[::1]:0", &unix] {
        let proxy = Launch::to("127.0.0.1:9").flags(&format!("--admin {address}")).start();
        let admin = Admin::of(&proxy);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-g", "--noproxy", "*", "-w", "%{http_code} %{num_connects}\n"]);
        let site = match admin.address.strip_prefix("unix:") {
            Some(path) => {
                curl.args(["--unix-socket", path]);
                "http://localhost".to_owned()
            }
            None => format!("http://{}", admin.address),
        };
        curl.args(["/healthz", "/readyz", "/none"].map(|path| format!("{site}{path}")));
        if let Some(printed) = print(&mut curl) {
            let expected = "{\"alive\":true}\n200 1\n{\"ready\":true,\"reasons\":[]}\n200 0\n\
                            {\"error\":\"there is no such path\"}\n404 0\n";
            assert_eq!(printed, expected, "{address}");
        }
        let mut python = Command::new("python3");
        python.args(["-c", PYTHON, &admin.address]);
        if let Some(printed) = print(&mut python) {
            assert_eq!(printed, "200 True\n200 127.0.0.1:9 up\n405 GET, HEAD\n", "{address}");
        }
    }
}

/// Three requests on one connection.
const PYTHON: &str = r#"
import http.client, json, socket, sys
address = sys.argv[1]
if address.startswith("unix:"):
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(address[5:])
else:
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host.strip("[]"), int(port))
connection.request("GET", "/healthz")
reply = connection.getresponse()
print(reply.status, json.load(reply)["alive"])
connection.request("GET", "/v1/servers")
reply = connection.getresponse()
server, = json.load(reply)["servers"]
print(reply.status, server["name"], server["state"])
connection.request("POST", "/v1/servers")
reply = connection.getresponse()
print(reply.status, reply.getheader("Allow"))
"#;

/// What a program prints; none if it is not there, and then says so.
fn print(command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            println!("SKIP: {} cannot be run: {error}", command.get_program().display());
            None
        }
    }
}
