//! What operators order: servers that drain, a reload, a stop.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Admin, Reply, start};
use crate::http::logins::{challenge, ntlm, request};
use crate::http::{GET, OK};
use crate::support::{Farm, Launch, Peer, Proxy, Server, exchange, pair, wait_until};

impl Admin {
    pub(crate) fn post(&self, target: &str) -> Reply {
        self.request("POST", target, &[])
    }

    /// Orders something, and gives the states of the servers that it is ordered for.
    fn order(&self, target: &str) -> Vec<(String, Value)> {
        let reply = self.post(target);
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
        let servers = reply.json()["servers"].as_array().expect("a list").clone();
        let state = |server: &Value| server["state"].as_str().expect("a word").to_owned();
        servers.iter().map(|server| (state(server), server["order"].clone())).collect()
    }
}

fn ordered(state: &str, order: impl Into<Value>) -> (String, Value) {
    (state.to_owned(), order.into())
}

/// Where ten clients in a row got to.
fn greeted(proxy: &Proxy) -> [usize; 2] {
    let mut counts = [0; 2];
    for _ in 0..10 {
        counts[Farm::greeted(&Peer::connect(proxy.address()))] += 1;
    }
    counts
}

#[test]
fn servers_that_drain_or_are_disabled_get_no_new_connections_and_keep_those_they_have() {
    let farm = Farm::of(2);
    let flags =
        format!("--upstream {} --upstream {} --workers 2 --no-pin", farm.addresses[0], farm.addresses[1]);
    let (proxy, admin) = start(Launch::default().flags(&flags));
    let first = &farm.addresses[0];
    assert!(greeted(&proxy).iter().all(|count| *count > 0));
    let kept: Vec<_> = (0..2).map(|_| Peer::connect(proxy.address())).collect();
    for client in &kept {
        Farm::greeted(client);
    }
    for (order, state, word) in [("drain", "draining", "drain"), ("disable", "disabled", "disable")] {
        assert_eq!(admin.order(&format!("/v1/servers/{first}/{order}")), [ordered(state, word)]);
        assert_eq!(greeted(&proxy), [0, 10], "{order}");
        assert_eq!(admin.order(&format!("/v1/servers/{first}/enable")), [ordered("up", Value::Null)]);
        assert!(greeted(&proxy).iter().all(|count| *count > 0), "enabled after {order}");
    }
    for client in &kept {
        client.send(b"x");
        assert!(client.socket().set_nonblocking(true).is_ok());
        let mut byte = [0];
        let error = client.receive(&mut byte).expect_err("it is neither closed nor answered");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }

    // Without any server left the group says so, and readiness with it.
    for address in &farm.addresses {
        admin.order(&format!("/v1/servers/{address}/drain"));
    }
    proxy.wait_to_say("group has no server left");
    let reasons = admin.get("/readyz").json()["reasons"].to_string();
    assert!(reasons.contains(&format!("{first} is draining")), "{reasons}");
    Peer::connect(proxy.address()).expect_close();
    admin.order(&format!("/v1/servers/{first}/enable"));
    assert_eq!(admin.get("/readyz").status, 200);
    assert_eq!(greeted(&proxy), [10, 0]);
}

#[test]
fn a_client_that_waits_for_a_place_does_not_get_one_at_a_server_that_drains() {
    let server = Server::v4();
    let address = server.address().to_owned();
    let flags = format!("--upstream {address},max-connections=1 --queue-timeout 1h");
    let (proxy, admin) = start(Launch::default().flags(&flags));
    let (client, upstream) = pair(&proxy, &server);
    let waiting = Peer::connect(proxy.address());
    wait_until("a client to wait", || admin.json("/v1/groups")["groups"][0]["queue"] == 1);
    admin.order(&format!("/v1/servers/{address}/drain"));
    drop((client, upstream));
    wait_until("its place to be free", || admin.json("/v1/groups")["groups"][0]["connections"] == 0);
    server.expect_no_connection();
    drop(waiting);
}

#[test]
fn servers_are_named_with_their_group_where_several_have_the_name() {
    let server = Server::v4();
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let file = directory.path().join("proxy.toml");
    let write = |servers: &str| {
        let text = format!(
            "admin = \"127.0.0.1:0\"\n[service.a]\nlisten = \"127.0.0.1:0\"\nupstream = \"a\"\n[service.b]\nlisten = \
             \"127.0.0.1:0\"\nupstream = \"b/c\"\n[group.a]\nservers = [{servers}]\n[group.\"b/c\"]\nservers = [{servers}]\n"
        );
        fs::write(&file, text).expect("it is written");
    };
    let address = server.address();
    write(&format!("\"{address}\", {{ address = \"127.0.0.9:9\", disabled = true }}"));
    let proxy = Launch::by_file(&file).start();
    let admin = Admin::of(&proxy);
    let states = || {
        let servers = admin.json("/v1/servers")["servers"].clone();
        servers
            .as_array()
            .expect("a list")
            .iter()
            .map(|server| server["state"].as_str().expect("a word").to_owned())
            .collect::<Vec<_>>()
    };
    assert!(
        admin
            .post(&format!("/v1/servers/{address}/drain"))
            .refusal(400)
            .contains("groups a and b/c have a server")
    );
    assert_eq!(states(), ["up", "disabled", "up", "disabled"]);
    assert_eq!(admin.order(&format!("/v1/servers/a/{address}/drain")).len(), 1);
    assert_eq!(states(), ["draining", "disabled", "up", "disabled"]);
    admin.order(&format!("/v1/servers/b/c/{address}/disable"));
    admin.order(&format!("/v1/servers/a%2F{address}/enable"));
    assert_eq!(states(), ["up", "disabled", "disabled", "disabled"]);
    admin.order(&format!("/v1/servers/{address}/enable?group=b/c&address={address}"));
    assert_eq!(states(), ["up", "disabled", "up", "disabled"]);
    assert!(
        admin.post("/v1/servers/a/127.0.0.9:9/enable").refusal(409).contains("the settings disable server")
    );
    for target in [
        "/v1/servers/none/drain".to_owned(),
        format!("/v1/servers/c/{address}/drain"),
        format!("/v1/servers/{address}/drain?group=c"),
        format!("/v1/servers/{address}/drain?group=a&address=127.0.0.1:1"),
    ] {
        assert!(admin.post(&target).refusal(404).contains("there is no server"), "{target}");
    }
    admin.post(&format!("/v1/servers/{address}/drain?x=1")).refusal(400);
    assert_eq!(admin.get(&format!("/v1/servers/a/{address}/drain")).field("allow"), "POST");

    // What is ordered outlives a reload for servers that stay.
    admin.order(&format!("/v1/servers/a/{address}/drain"));
    write(&format!("\"{address}\""));
    assert_eq!(admin.post("/v1/reload").status, 200);
    assert_eq!(states(), ["draining", "up"]);
    let client = Peer::connect(&proxy.listeners()[0]);
    client.expect_close();
}

#[test]
fn in_http_mode_idle_connections_to_a_server_that_drains_end_between_logins() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()).flags("--mode http --forwarded off"));
    let acquainted = || {
        let client = Peer::connect(proxy.address());
        client.send(GET);
        let upstream = server.accept();
        upstream.expect(GET);
        upstream.send(OK);
        client.expect(OK);
        (client, upstream)
    };
    let idle = acquainted();
    let within_login = acquainted();
    let (client, upstream) = &within_login;
    let type1 = request(&ntlm(1, "", ""));
    client.send(&type1);
    upstream.expect(&type1);
    upstream.send(&challenge());
    client.expect(&challenge());
    let under_way = acquainted();
    under_way.0.send(GET);
    under_way.1.expect(GET);

    let address = server.address();
    admin.order(&format!("/v1/servers/{address}/drain"));
    idle.0.expect_end();
    idle.1.expect_end();
    let last_ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    under_way.1.send(OK);
    under_way.0.expect(last_ok);
    under_way.0.expect_end();
    std::thread::sleep(Duration::from_millis(200));
    let type3 = request(&ntlm(3, "CORP", "alice"));
    client.send(&type3);
    upstream.expect(&type3);
    upstream.send(OK);
    client.expect(last_ok);
    client.expect_end();
    drop((idle, under_way, within_login));
    wait_until("all to have ended", || admin.json("/v1/servers")["servers"][0]["connections"] == 0);

    // The proxy itself does not drain.
    admin.order(&format!("/v1/servers/{address}/enable"));
    let (client, upstream) = acquainted();
    client.send(GET);
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(OK);
}

#[test]
fn disabled_is_not_drained() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()).flags("--mode http --forwarded off"));
    let client = Peer::connect(proxy.address());
    client.send(GET);
    let upstream = server.accept();
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(OK);
    admin.order(&format!("/v1/servers/{}/disable", server.address()));
    for _ in 0..3 {
        client.send(GET);
        upstream.expect(GET);
        upstream.send(OK);
        client.expect(OK);
    }
}

#[test]
fn a_reload_answers_with_what_it_did_or_with_the_place_of_the_mistake() {
    let server = Server::v4();
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let file = directory.path().join("proxy.toml");
    let write = |top: &str, service: &str| {
        let text = format!(
            "admin = \"127.0.0.1:0\"\n{top}\n[service.{service}]\nlisten = \"127.0.0.1:0\"\nupstream = \"iis\"\n[group.iis]\n\
             servers = [\"{}\"]\n",
            server.address()
        );
        fs::write(&file, text).expect("it is written");
    };
    write("", "one");
    let proxy = Launch::by_file(&file).start();
    let admin = Admin::of(&proxy);
    let (client, upstream) = pair(&proxy, &server);
    assert_eq!(admin.post("/v1/reload").json(), json!({"reloaded": true, "changed": [], "need_restart": []}));
    write("buffers = 77", "two");
    let done = admin.post("/v1/reload").json();
    assert_eq!(done["need_restart"], json!(["buffers (runs with 1024, set to 77)"]));
    let changed = done["changed"].to_string();
    assert!(changed.contains("service one removed") && changed.contains("service two added"), "{changed}");
    assert_eq!(admin.json("/v1/services")["services"][0]["name"], "two");
    let config = admin.get("/v1/config");
    assert_eq!(config.field("content-type"), "application/toml");
    assert!(
        config.body.contains("buffers = 1024\n") && config.body.contains("[service.two]\n"),
        "{}",
        config.body
    );

    write("idle-timeout = \"3h\"", "three");
    let refused = admin.post("/v1/reload").refusal(422);
    assert!(refused.contains("proxy.toml:2:1: ") && refused.contains("idle-timeout"), "{refused}");
    assert_eq!(admin.json("/v1/services")["services"][0]["name"], "two", "all or nothing");
    fs::remove_file(&file).expect("it is there");
    assert!(admin.post("/v1/reload").refusal(422).contains("cannot be read"));
    assert_eq!(admin.get("/v1/reload").field("allow"), "POST");
    exchange(&client, &upstream);
}

#[test]
fn a_stop_drains_as_a_signal_does_and_is_made_once() {
    let server = Server::v4();
    let (mut proxy, admin) = start(Launch::to(server.address()).flags("--drain-timeout 1h"));
    let (client, upstream) = pair(&proxy, &server);
    for _ in 0..3 {
        let reply = admin.post("/v1/stop");
        assert_eq!((reply.status, reply.json()), (202, json!({"stopping": true})));
        assert_eq!(admin.get("/readyz").status, 503);
    }
    assert!(admin.post("/v1/reload").refusal(503).contains("stopping"));
    exchange(&client, &upstream);
    drop((client, upstream));
    assert_eq!(proxy.exit_code(), Some(0));

    // A signal after it is the second request.
    let (mut proxy, admin) = start(Launch::to(server.address()).flags("--drain-timeout 1h"));
    let _pair = pair(&proxy, &server);
    admin.post("/v1/stop");
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
}

#[test]
fn pages_and_clients_without_the_token_order_nothing() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()));
    let targets =
        ["/v1/stop".to_owned(), "/v1/reload".to_owned(), format!("/v1/servers/{}/drain", server.address())];
    for target in &targets {
        admin.request("POST", target, &["Origin: http://localhost"]).refusal(403);
        let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3";
        let posted = format!(
            "POST {target} HTTP/1.1\r\nHost: attacker.test\r\nConnection: close\r\n{form}\r\n\r\na=b"
        );
        admin.raw(posted.as_bytes()).refusal(403);
        admin.get(target).refusal(405);
    }
    pair(&proxy, &server);
    assert!(proxy.said("an operator").is_empty());
}

#[test]
fn certificates_are_listed_with_names_file_and_expiry_and_secrets_are_blank() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let mut parameters =
        rcgen::CertificateParams::new(["a.test".to_owned(), "127.0.0.1".to_owned()]).expect("names");
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 2);
    parameters.not_after = rcgen::date_time_ymd(2120, 3, 4);
    let pair = rcgen::KeyPair::generate().expect("randomness");
    fs::write(&cert, parameters.self_signed(&pair).expect("a certificate").pem()).expect("it is written");
    fs::write(&key, pair.serialize_pem()).expect("it is written");
    let flags = format!(
        "--mode http --tls-cert {0} --tls-key {1} --set-header X-Api-Key:s3cret --set-header X-Open:yes \
         --upstream-tls --upstream-insecure --upstream-name iis.test --upstream-cert {0} --upstream-key {1}",
        cert.display(),
        key.display()
    );
    let (_proxy, admin) = start(Launch::to("127.0.0.1:9").flags(&flags));
    let all = admin.json("/v1/certificates");
    let one = &all["certificates"][0];
    assert_eq!((&one["service"], &one["names"]), (&json!("default"), &json!(["a.test", "127.0.0.1"])));
    assert_eq!(one["file"], cert.display().to_string());
    let mut for_servers = one.clone();
    assert_eq!((&one["side"], &one["group"]), (&json!("client"), &Value::Null));
    for (key, value) in [("side", json!("upstream")), ("service", Value::Null), ("group", json!("default"))] {
        for_servers[key] = value;
    }
    let [_, other] = &all["certificates"].as_array().expect("a list")[..] else { panic!("two: {all}") };
    for_servers["seconds_left"] = other["seconds_left"].clone();
    assert_eq!(*other, for_servers, "the one that servers see");
    let metrics = admin.get("/metrics").body;
    let not_after = 4_738_953_600_u64;
    for labels in ["service=\"default\",side=\"client\"", "group=\"default\",side=\"upstream\""] {
        let line =
            format!("iisplice_certificate_not_after_seconds{{{labels},name=\"a.test\"}} {not_after}\n");
        assert!(metrics.contains(&line), "{line}");
    }
    assert_eq!(
        (&one["not_before"], &one["not_after"]),
        (&json!("2020-01-02T00:00:00Z"), &json!("2120-03-04T00:00:00Z"))
    );
    assert!(one["seconds_left"].as_i64().expect("a number") > 0);
    let config = admin.get("/v1/config").body;
    assert!(config.contains("set-header = [\"X-Api-Key:***\", \"X-Open:yes\"]"), "{config}");
    assert!(!config.contains("s3cret"), "{config}");
}

#[test]
fn of_a_client_with_two_groups_only_the_idle_connection_to_the_server_that_drains_ends() {
    let (web, api) = (Server::v4(), Server::v4());
    let route = format!("--mode http --forwarded off --path-route /api={}", api.address());
    let (proxy, admin) = start(Launch::to(web.address()).flags(&route));
    let client = Peer::connect(proxy.address());
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n").into_bytes();
    let exchange = |upstream: &Peer, path: &str| {
        upstream.expect(&get(path));
        upstream.send(OK);
        client.expect(OK);
    };
    client.send(&get("/api"));
    let at_api = api.accept();
    exchange(&at_api, "/api");
    client.send(&get("/"));
    let at_web = web.accept();
    exchange(&at_web, "/");
    assert_eq!(admin.order(&format!("/v1/servers/{}/drain", api.address())), [ordered("draining", "drain")]);
    at_api.expect_end();
    drop(at_api);
    for _ in 0..2 {
        client.send(&get("/"));
        exchange(&at_web, "/");
    }
    assert_eq!(
        admin.json(&format!("/v1/connections?server={}", web.address()))["connections"][0]["group"],
        "default"
    );
    // No server of that group is left for its next request.
    client.send(&get("/api"));
    client.expect(b"HTTP/1.1 503 ");
}
