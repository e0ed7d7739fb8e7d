//! The connections of clients: listed by every worker, and closed.

use serde_json::{Value, json};

use super::start;
use crate::http::logins::{challenge, ntlm, request};
use crate::http::{GET, OK};
use crate::support::{Launch, Peer, Server, exchange, pair, wait_until};

fn listed(all: &Value) -> Vec<Value> {
    all["connections"].as_array().expect("a list").clone()
}

#[test]
fn connections_of_all_workers_are_listed_with_who_where_and_how_much() {
    let servers = [Server::v4(), Server::v4()];
    let [one, two] = servers.each_ref().map(|server| server.address().to_owned());
    let flags = format!("--upstream {one} --upstream {two} --workers 2 --no-pin");
    let (proxy, admin) = start(Launch::default().flags(&flags));
    assert_eq!(admin.json("/v1/connections"), json!({"connections": [], "more": false}));
    let mut pairs = Vec::new();
    for (server, other) in [(&servers[0], &two), (&servers[1], &one)] {
        let order = |order: &str, address: &str| {
            let target = format!("/v1/servers/{address}/{order}");
            assert_eq!(admin.request("POST", &target, &[]).status, 200);
        };
        order("enable", server.address());
        order("disable", other);
        pairs.extend((0..3).map(|_| pair(&proxy, server)));
    }
    let all = listed(&admin.json("/v1/connections"));
    assert_eq!(all.len(), 6);
    let ages: Vec<f64> = all.iter().map(|one| one["age_seconds"].as_f64().expect("a number")).collect();
    assert!(ages.is_sorted_by(|one, next| one >= next), "the first first: {ages:?}");
    for ((client, _), row) in std::iter::zip(&pairs, &all) {
        assert_eq!(row["client"], client.address().to_string());
        assert_eq!(
            (&row["service"], &row["group"], &row["login"]),
            (&json!("default"), &json!("default"), &Value::Null)
        );
        // "first" and "ask" one way, "answer" the other.
        assert_eq!((&row["to_upstream_bytes"], &row["to_client_bytes"]), (&json!(8), &json!(6)));
        assert_eq!(row["id"].as_str().map(str::len), Some(16));
        assert!(row["since"].as_str().is_some_and(|since| since.ends_with('Z')));
    }
    let of_one = admin.json(&format!("/v1/connections?server={one}"));
    assert_eq!(listed(&of_one).len(), 3);
    assert!(listed(&of_one).iter().all(|row| row["server"] == *one && row["address"] == *one), "{of_one}");
    assert_eq!(listed(&admin.json(&format!("/v1/connections?server=default/{two}"))).len(), 3);
    let limited = admin.json("/v1/connections?limit=2");
    assert_eq!((listed(&limited).len(), &limited["more"]), (2, &json!(true)));
    assert_eq!(listed(&limited)[0]["id"], all[0]["id"]);
    assert_eq!(admin.json("/v1/connections?limit=6")["more"], false);
    for (client, count) in [("127.0.0.1", 6), ("127.0.0.0/8", 6), ("10.0.0.0/8", 0), ("::1", 0)] {
        assert_eq!(listed(&admin.json(&format!("/v1/connections?client={client}"))).len(), count, "{client}");
    }
    for query in ["limit=0", "limit=1001", "limit=x", "client=x", "server=a&server=b", "user=a"] {
        admin.get(&format!("/v1/connections?{query}")).refusal(400);
    }
    drop(pairs);
    wait_until("all to have ended", || listed(&admin.json("/v1/connections")).is_empty());
}

#[test]
fn a_connection_is_closed_by_its_id_and_no_other() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()));
    let (kept, kept_upstream) = pair(&proxy, &server);
    let (client, upstream) = pair(&proxy, &server);
    let id = listed(&admin.json("/v1/connections"))[1]["id"].as_str().expect("an id").to_owned();
    for other in ["0000000000000000", "x", "0", &id[1..], &format!("+{}", &id[1..])] {
        admin.request("POST", &format!("/v1/connections/{other}/close"), &[]).refusal(404);
    }
    assert_eq!(admin.get(&format!("/v1/connections/{id}/close")).field("allow"), "POST");
    let close = format!("/v1/connections/{id}/close");
    assert_eq!(admin.request("POST", &close, &[]).json(), json!({"closed": true}));
    client.expect_end();
    upstream.expect_end();
    drop((client, upstream));
    proxy.record().expect_end("admin-close");
    admin.request("POST", &close, &[]).refusal(404);
    exchange(&kept, &kept_upstream);
    let line = proxy.wait_to_say("an operator closes the connection");
    assert!(line.contains(&id), "{line}");

    // With bytes on their way it is reset: half of them would look complete.
    let (client, upstream) = (kept, kept_upstream);
    crate::support::stuff_all(std::iter::once(&client));
    let id = listed(&admin.json("/v1/connections"))[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(admin.request("POST", &format!("/v1/connections/{id}/close"), &[]).status, 200);
    client.expect_reset();
    drop((client, upstream));
    assert_eq!(proxy.records(2)[1].get("end"), "admin-close");
    exchange_anew(&proxy, &server);
}

fn exchange_anew(proxy: &crate::support::Proxy, server: &Server) {
    let (client, upstream) = pair(proxy, server);
    exchange(&client, &upstream);
}

#[test]
fn in_http_mode_the_login_is_told_and_the_user_only_where_the_log_names_users() {
    for (flags, user) in [("", Value::Null), ("--log-user", json!("CORP\\alice"))] {
        let server = Server::v4();
        let flags = format!("--mode http --forwarded off {flags}");
        let (proxy, admin) = start(Launch::to(server.address()).flags(&flags));
        let client = Peer::connect(proxy.address());
        let exchange = |upstream: &Peer, request: &[u8], reply: &[u8]| {
            upstream.expect(request);
            upstream.send(reply);
            client.expect(reply);
        };
        let row = || listed(&admin.json("/v1/connections")).remove(0);
        client.send(GET);
        let upstream = server.accept();
        exchange(&upstream, GET, OK);
        assert_eq!((&row()["login"], &row()["mechanism"]), (&json!("anonymous"), &Value::Null));
        let type1 = request(&ntlm(1, "", ""));
        client.send(&type1);
        exchange(&upstream, &type1, &challenge());
        assert_eq!(row()["login"], "logging-in");
        let type3 = request(&ntlm(3, "CORP", "alice"));
        client.send(&type3);
        exchange(&upstream, &type3, OK);
        let row = row();
        assert_eq!((&row["login"], &row["user"]), (&json!("logged-in"), &user), "{row}");
        assert_ne!(row["mechanism"], Value::Null);
        let id = row["id"].as_str().expect("an id");
        assert_eq!(admin.request("POST", &format!("/v1/connections/{id}/close"), &[]).status, 200);
        client.expect_dead();
    }
}

#[test]
fn connections_that_hold_up_a_stop_are_listed_and_closed() {
    let server = Server::v4();
    let (mut proxy, admin) = start(Launch::to(server.address()).flags("--drain-timeout 1h"));
    let (client, upstream) = pair(&proxy, &server);
    assert_eq!(admin.request("POST", "/v1/stop", &[]).status, 202);
    let id = listed(&admin.json("/v1/connections"))[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(admin.request("POST", &format!("/v1/connections/{id}/close"), &[]).status, 200);
    client.expect_end();
    drop((client, upstream));
    assert_eq!(proxy.exit_code(), Some(0));
}
