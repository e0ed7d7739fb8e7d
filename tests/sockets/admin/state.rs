//! What it shows: health, readiness, services, groups, servers.

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Admin, start};
use crate::support::{Launch, Server, exchange, pair, refusing, wait_until};

#[test]
fn services_groups_and_servers_are_listed_by_name_with_their_state() {
    let servers = [Server::v4(), Server::v4()];
    let [one, two] = &servers.each_ref().map(Server::address);
    let flags = format!(
        "--upstream {one},weight=3,max-connections=9 --upstream {two},backup --balance least-connections"
    );
    let (proxy, admin) = start(Launch::default().flags(&flags));
    assert_eq!(
        admin.json("/v1/services"),
        json!({"services": [{
            "name": "default", "mode": "stream", "listeners": [proxy.address()], "tls": false, "groups": ["default"],
        }]})
    );
    let (client, upstream) = pair(&proxy, &servers[0]);
    let server = |address: &str, weight, backup, connections, most: Option<u32>| {
        json!({
            "group": "default", "name": address, "address": address, "state": "up", "order": null, "checked": false, "weight": weight,
            "backup": backup, "connections": connections, "max_connections": most,
        })
    };
    assert_eq!(
        admin.json("/v1/servers"),
        json!({"servers": [server(one, 3, false, 1, Some(9)), server(two, 1, true, 0, None)]})
    );
    assert_eq!(
        admin.json("/v1/groups"),
        json!({"groups": [{
            "name": "default", "balance": "least-connections", "ready": true, "servers": 2, "up": 2, "connections": 1,
            "queue": 0,
        }]})
    );
    drop((client, upstream));
    wait_until("the connection to end", || admin.json("/v1/groups")["groups"][0]["connections"] == 0);
}

#[test]
fn readiness_names_the_group_without_a_server_and_comes_back_with_it() {
    let (port, refused) = refusing();
    let flags = format!("--upstream {refused} --health tcp --health-interval 50ms --health-rise 1");
    let (_proxy, admin) = start(Launch::default().flags(&flags));
    wait_until("the check to fail", || admin.get("/readyz").status == 503);
    let reply = admin.get("/readyz");
    let reason = format!("group default has no server up: {refused} is down");
    assert_eq!(reply.json(), json!({"ready": false, "reasons": [reason]}));
    assert_eq!(admin.json("/v1/servers")["servers"][0]["state"], "down");
    assert_eq!(admin.json("/v1/groups")["groups"][0]["ready"], false);
    assert_eq!(admin.json("/healthz"), json!({"alive": true}), "the proxy itself is alive");
    port.listen(16).expect("a bound socket");
    wait_until("the server to be up", || admin.get("/readyz").status == 200);
    assert_eq!(admin.json("/readyz"), json!({"ready": true, "reasons": []}));
}

#[test]
fn readiness_ends_with_the_first_word_of_a_stop_while_connections_go_on() {
    let server = Server::v4();
    let (mut proxy, admin) = start(Launch::to(server.address()));
    let (client, upstream) = pair(&proxy, &server);
    assert_eq!(admin.get("/readyz").status, 200);
    proxy.signal(Signal::SIGTERM);
    wait_until("it not to be ready", || admin.get("/readyz").status == 503);
    assert_eq!(admin.get("/readyz").json()["reasons"], json!(["the proxy is stopping"]));
    assert_eq!(admin.get("/healthz").status, 200);
    exchange(&client, &upstream);
    drop((client, upstream));
    assert_eq!(proxy.exit_code(), Some(0));
}

#[test]
fn a_unix_socket_has_its_permissions_and_goes_with_the_process() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::v4();
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("admin.sock");
    // One that was left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a free place"));
    let flags = format!("--admin unix:{}", path.display());
    let mut proxy = Launch::to(server.address()).flags(&flags).start();
    let admin = Admin::of(&proxy);
    assert_eq!(admin.json("/healthz"), json!({"alive": true}));
    let mode = path.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    let (code, said) = Launch::to(server.address()).flags(&flags).fail();
    assert_eq!(code, Some(1));
    assert!(said.concat().contains("another process listens there"), "{said:?}");
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_reload_shows_what_is_served_now_and_names_an_admin_address_that_needs_a_restart() {
    let server = Server::v4();
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let file = directory.path().join("proxy.toml");
    let write = |admin: &str, service: &str| {
        let text = format!(
            "admin = \"{admin}\"\n[service.{service}]\nlisten = \"127.0.0.1:0\"\nupstream = \"iis\"\n[group.iis]\n\
             servers = [\"{}\"]\n",
            server.address()
        );
        std::fs::write(&file, text).expect("it is written");
    };
    write("127.0.0.1:0", "one");
    let proxy = Launch::by_file(&file).start();
    let admin = Admin::of(&proxy);
    assert_eq!(admin.json("/v1/services")["services"][0]["name"], "one");
    write("127.0.0.2:0", "two");
    proxy.signal(Signal::SIGHUP);
    let said = proxy.wait_to_say("settings that need a restart keep their values");
    assert!(said.contains("admin (runs with 127.0.0.1:0, set to 127.0.0.2:0)"), "{said}");
    assert_eq!(admin.json("/v1/services")["services"][0]["name"], "two");
}
