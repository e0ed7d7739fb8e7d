//! `--path-route` and paths behind `--host-route`: each request of a client goes where its path leads, over a connection
//! of that client's own to each group.

use nix::sys::signal::Signal;

use super::logins::{challenge, ntlm};
use super::{OK, expect_end};
use crate::support::{Launch, Peer, Proxy, Server, refusing, wait_until};

const FLAGS: &str = "--mode http --forwarded off --log-level debug";

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: web\r\n\r\n").into_bytes()
}

fn with_token(target: &str, token: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: web\r\nAuthorization: NTLM {token}\r\n\r\n").into_bytes()
}

/// `/` at one server and `/api` at the other.
fn start(web: &Server, api: &Server, flags: &str) -> Proxy {
    let route = format!("--path-route /api={}", api.address());
    Launch::to(web.address()).flags(FLAGS).flags(&route).flags(flags).start()
}

/// The request goes through to the server as it is, and its reply back.
fn exchange(client: &Peer, upstream: &Peer, request: &[u8], reply: &[u8]) {
    client.send(request);
    upstream.expect(request);
    upstream.send(reply);
    client.expect(reply);
}

/// The first exchange of a client with a server.
fn meet(client: &Peer, server: &Server, request: &[u8]) -> Peer {
    client.send(request);
    let upstream = server.accept();
    upstream.expect(request);
    upstream.send(OK);
    client.expect(OK);
    upstream
}

#[test]
fn every_request_goes_where_its_path_leads_as_it_was_spelled() {
    let (web, api) = (Server::v4(), Server::v4());
    let proxy = start(&web, &api, "");
    let client = Peer::connect(proxy.address());
    let at_web = meet(&client, &web, &get("/"));
    let at_api = meet(&client, &api, &get("/api"));
    for (target, upstream) in [
        ("/api/x", &at_api),
        ("/api?x=/", &at_api),
        ("/apix", &at_web),
        ("/API/x", &at_api),
        ("/app/../api/x", &at_api),
        ("/app/%2E%2e/api/x", &at_api),
        ("/%61pi", &at_api),
        ("/%u0061pi", &at_api),
        ("/api%2fx", &at_api),
        ("/api%5cx", &at_api),
        ("//api", &at_api),
        ("/./api", &at_api),
        ("/api/../x", &at_web),
        ("/api/..%2fx", &at_web),
        ("/api%2f..%5cx", &at_web),
        ("/%2561pi", &at_web),
        ("/x?/api", &at_web),
        ("/x/api", &at_web),
    ] {
        exchange(&client, upstream, &get(target), OK);
    }
    client.send(b"GET http://web/api/y HTTP/1.1\r\nHost: web\r\n\r\n");
    at_api.expect(&get("/api/y"));
    at_api.send(OK);
    client.expect(OK);
    client.send(b"OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n");
    at_web.expect(b"OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n");
    at_web.send(OK);
    client.expect(OK);
    web.expect_no_connection();
    api.expect_no_connection();
    let records = proxy.records(22);
    assert_eq!((records[0].get("upstream"), records[1].get("upstream")), (web.address(), api.address()));
    assert!(records[1].get("request").ends_with("-2"), "requests of a client count through");
    client.finish();
    at_web.expect_end();
    at_api.expect_end();
    expect_end(&proxy, "client-close");
}

#[test]
fn pipelined_requests_and_bodies_reach_their_groups_in_order() {
    let (web, api) = (Server::v4(), Server::v4());
    let proxy = start(&web, &api, "");
    let client = Peer::connect(proxy.address());
    let post = |target: &str, body: &str| {
        let head = format!("POST {target} HTTP/1.1\r\nHost: web\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body.as_bytes()].concat()
    };
    let requests = [post("/a", "first"), post("/api/b", "second"), get("/c"), post("/api/d", "fourth")];
    client.send(&requests.concat());
    let at_web = web.accept();
    at_web.expect(&requests[0]);
    api.expect_no_connection();
    at_web.send(OK);
    client.expect(OK);
    let at_api = api.accept();
    at_api.expect(&requests[1]);
    at_api.send(OK);
    client.expect(OK);
    at_web.expect(&requests[2]);
    at_web.send(OK);
    client.expect(OK);
    at_api.expect(&requests[3]);
    at_api.send(OK);
    client.expect(OK);
}

#[test]
fn clients_have_connections_of_their_own_to_each_group() {
    let (web, api) = (Server::v4(), Server::v4());
    let proxy = start(&web, &api, "");
    let clients = [0, 1].map(|_| {
        let client = Peer::connect(proxy.address());
        let (web, api) = (meet(&client, &web, &get("/")), meet(&client, &api, &get("/api")));
        (client, web, api)
    });
    for (client, at_web, at_api) in &clients {
        exchange(client, at_web, &get("/a"), OK);
        exchange(client, at_api, &get("/api/a"), OK);
    }
    let [(one, one_web, one_api), (_, two_web, two_api)] = clients;
    one.reset();
    one_web.expect_close();
    one_api.expect_close();
    drop((two_web, two_api));
    wait_until("all connections to be closed", || proxy.said("session ended").len() == 2);
    proxy.wait_until_idle();
}

#[test]
fn hosts_come_before_paths_and_a_client_stays_with_its_site() {
    let (web, api, img, other) = (Server::v4(), Server::v4(), Server::v4(), Server::v4());
    let routes = format!(
        "--host-route a.test={} --host-route a.test/api/={} --host-route *.test/img={} --host-route b.test={} \
         --host-route c.test={} --host-route c.test/api={} --path-route /api={}",
        web.address(),
        api.address(),
        img.address(),
        other.address(),
        web.address(),
        api.address(),
        other.address()
    );
    let proxy = Launch::by_routes().flags(FLAGS).flags(&routes).start();
    let of = |host: &str, target: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let client = Peer::connect(proxy.address());
    let at_web = meet(&client, &web, &of("a.test", "/img"));
    let at_api = meet(&client, &api, &of("A.test:80", "/API"));
    // Another host whose path leads to the same group.
    exchange(&client, &at_api, &of("c.test", "/api"), OK);
    exchange(&client, &at_web, &of("c.test", "/"), OK);
    client.send(&of("b.test", "/"));
    client.expect(b"HTTP/1.1 421 Misdirected Request\r\n");
    at_web.expect_close();
    at_api.expect_close();
    for (host, target, server) in [
        ("b.test", "/api", &other),
        ("x.test", "/img/x", &img),
        ("x.test", "/api", &other),
        ("else", "/api", &other),
    ] {
        meet(&Peer::connect(proxy.address()), server, &of(host, target));
    }
    // A host is known and the path is not: 404; the connection stays.
    for host in ["x.test", "else"] {
        let client = Peer::connect(proxy.address());
        client.send(&of(host, "/"));
        client.expect(b"HTTP/1.1 404 Not Found\r\n");
        client.expect_close();
    }
    for server in [&web, &api, &img, &other] {
        server.expect_no_connection();
    }
}

#[test]
fn a_path_without_a_route_is_not_found_and_costs_no_login() {
    let (web, api) = (Server::v4(), Server::v4());
    let routes = format!("--path-route /api={} --path-route /web={}", api.address(), web.address());
    let proxy = Launch::by_routes().flags(FLAGS).flags(&routes).start();
    let client = Peer::connect(proxy.address());
    let at_api = meet(&client, &api, &get("/api"));
    client.send(&[get("/favicon.ico"), get("/api/x")].concat());
    client.expect(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: ");
    let length = read_to(&client, b"\r\n");
    let rest = read_to(&client, b"</html>\n");
    let (head, page) = rest.split_once("\r\n\r\n").expect("a head");
    assert!(!head.contains("Connection"), "{head}");
    assert_eq!(page.len(), length.trim_end().parse::<usize>().expect("a number"));
    at_api.expect(&get("/api/x"));
    at_api.send(OK);
    client.expect(OK);
    client.send(b"HEAD /x HTTP/1.1\r\nHost: web\r\n\r\n");
    assert!(read_to(&client, b"\r\n\r\n").starts_with("HTTP/1.1 404 Not Found\r\n"));
    exchange(&client, &at_api, &get("/api/y"), OK);
    let records = proxy.records(5);
    let line = |nth: usize| (records[nth].get("status"), records[nth].get("end"), records[nth].get("target"));
    assert_eq!(line(1), ("404", "no-route", "/favicon.ico"));
    assert_eq!(line(2), ("200", "ok", "/api/x"));
    // With a body that the proxy does not read, or where the client wants to close, the connection ends.
    client.send(b"POST /x HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc");
    client.expect(b"HTTP/1.1 404 ");
    client.finish();
    client.expect_close();
    at_api.expect_close();
    web.expect_no_connection();
    expect_end(&proxy, "no-route");
    proxy.wait_to_say("no route of the host \"web\" has the path");
}

/// Receives up to these bytes.
fn read_to(client: &Peer, end: &[u8]) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let mut byte = [0];
        assert_eq!(client.receive(&mut byte).expect("a byte"), 1, "the reply ended early");
        read.push(byte[0]);
    }
    String::from_utf8(read).expect("text")
}

#[test]
fn an_idle_connection_that_its_server_closed_is_replaced() {
    let (web, api) = (Server::v4(), Server::v4());
    let proxy = start(&web, &api, "");
    let client = Peer::connect(proxy.address());
    let at_web = meet(&client, &web, &get("/"));
    let at_api = meet(&client, &api, &get("/api"));
    // In order, by a reset, and with bytes that no one has asked for. An exchange in between gives them time to arrive.
    let pass_time = || exchange(&client, &at_api, &get("/api"), OK);
    drop(at_web);
    pass_time();
    let at_web = meet(&client, &web, &get("/"));
    pass_time();
    at_web.reset();
    pass_time();
    let at_web = meet(&client, &web, &get("/"));
    pass_time();
    at_web.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    pass_time();
    let again = meet(&client, &web, &get("/"));
    at_web.expect_close();
    pass_time();
    // Line ends behind a reply are nothing.
    again.send(b"\r\n");
    pass_time();
    exchange(&client, &again, &get("/"), OK);
    pass_time();
    // The one in use ends the session, as with one group.
    drop(at_api);
    client.expect_end();
    again.expect_end();
    expect_end(&proxy, "upstream-close");
}

/// Without a request: it would hold a descriptor and its server's lease as long as the client stays.
#[test]
fn an_idle_connection_is_closed_when_its_server_ends_it() {
    let servers = [Server::v4(), Server::v4(), Server::v4()];
    let [web, api, img] = &servers;
    let proxy = start(web, api, &format!("--path-route /img={}", img.address()));
    let client = Peer::connect(proxy.address());
    let at_web = meet(&client, web, &get("/"));
    let at_img = meet(&client, img, &get("/img"));
    let at_api = meet(&client, api, &get("/api"));
    for idle in [at_img, at_web] {
        idle.finish();
        idle.expect_end();
    }
    exchange(&client, &at_api, &get("/api"), OK);
    let again = meet(&client, web, &get("/"));
    exchange(&client, &again, &get("/a"), OK);
    exchange(&client, &at_api, &get("/api"), OK);
}

#[test]
fn a_group_that_cannot_be_reached_costs_no_connection_to_another() {
    let (web, (_port, nowhere)) = (Server::v4(), refusing());
    let routes = format!("--path-route /api={nowhere}");
    let proxy = Launch::to(web.address()).flags(FLAGS).flags(&routes).start();
    let client = Peer::connect(proxy.address());
    let at_web = meet(&client, &web, &get("/"));
    for _ in 0..2 {
        client.send(&get("/api"));
        assert!(read_to(&client, b"</html>\n").starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
        exchange(&client, &at_web, &get("/a"), OK);
    }
    let records = proxy.records(5);
    for (nth, upstream, end) in [(1, "-", "refused"), (2, web.address(), "ok"), (3, "-", "refused")] {
        assert_eq!((records[nth].get("upstream"), records[nth].get("end")), (upstream, end));
    }
    // The rest of the request is unread: the end.
    client.send(b"POST /api HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\n");
    client.expect(b"HTTP/1.1 502 Bad Gateway\r\n");
    client.finish();
    client.expect_close();
    at_web.expect_close();
    expect_end(&proxy, "refused");
    // So is a client's first request.
    let client = Peer::connect(proxy.address());
    client.send(&get("/api"));
    client.expect(b"HTTP/1.1 502 Bad Gateway\r\n");
    client.expect_close();
}

/// The first request on a connection cannot have met a server that was just closing it.
#[test]
fn a_new_connection_without_a_reply_is_a_502_and_an_old_one_a_close() {
    let (web, api) = (Server::v4(), Server::v4());
    let proxy = start(&web, &api, "");
    let client = Peer::connect(proxy.address());
    let _at_web = meet(&client, &web, &get("/"));
    client.send(&get("/api"));
    let at_api = api.accept();
    at_api.expect(&get("/api"));
    drop(at_api);
    client.expect(b"HTTP/1.1 502 Bad Gateway\r\n");
    client.expect_close();

    let client = Peer::connect(proxy.address());
    let at_web = meet(&client, &web, &get("/"));
    let _at_api = meet(&client, &api, &get("/api"));
    client.send(&get("/a"));
    at_web.expect(&get("/a"));
    drop(at_web);
    client.expect_end();
}

#[test]
fn each_connection_has_its_proxy_header() {
    let (web, api) = (Server::v4(), Server::v4());
    let proxy = start(&web, &api, "--send-proxy v1 --accept-proxy");
    let client = Peer::connect(proxy.address());
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 51234 80\r\n";
    client.send(header);
    let mut upstreams = Vec::new();
    for (server, target) in [(&web, "/"), (&api, "/api")] {
        client.send(&get(target));
        let upstream = server.accept();
        upstream.expect(&[header, &get(target)[..]].concat());
        upstream.send(OK);
        client.expect(OK);
        upstreams.push(upstream);
    }
    let records = proxy.records(2);
    assert!(records.iter().all(|record| record.get("client") == "192.0.2.7:51234"));
}

#[test]
fn a_tunnel_leaves_no_other_connection() {
    let (web, api) = (Server::v4(), Server::v4());
    let proxy = start(&web, &api, "");
    let client = Peer::connect(proxy.address());
    let at_web = meet(&client, &web, &get("/"));
    let upgrade = b"GET /api/ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(upgrade);
    let at_api = api.accept();
    at_api.expect(upgrade);
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    at_api.send(switched);
    client.expect(switched);
    at_web.expect_end();
    client.send(&get("/"));
    at_api.expect(&get("/"));
    at_api.send(b"anything");
    client.expect(b"anything");
    client.finish();
    at_api.expect_end();
    at_api.finish();
    client.expect_end();
    web.expect_no_connection();
}

/// A second login on the same client connection is another user's, whichever server it is at.
#[test]
fn one_client_connection_has_one_user_over_all_groups() {
    for (flags, is_refused) in [("--on-identity-change close", true), ("", false)] {
        let (web, api) = (Server::v4(), Server::v4());
        let proxy = start(&web, &api, &format!("--log-user {flags}"));
        let client = Peer::connect(proxy.address());
        let at_web = meet(&client, &web, &get("/"));
        let log_in = |upstream: &Peer, target: &str, user: &str| {
            exchange(&client, upstream, &with_token(target, &ntlm(1, "", "")), &challenge());
            exchange(&client, upstream, &with_token(target, &ntlm(3, "CORP", user)), OK);
        };
        log_in(&at_web, "/", "alice");
        let at_api = meet(&client, &api, &get("/api"));
        log_in(&at_api, "/api", "alice");
        exchange(&client, &at_web, &get("/"), OK);
        exchange(&client, &at_api, &with_token("/api", &ntlm(1, "", "")), &challenge());
        let bob = with_token("/api", &ntlm(3, "CORP", "bob"));
        if is_refused {
            client.send(&bob);
            client.expect(b"HTTP/1.1 403 Forbidden\r\n");
            at_web.expect_close();
            at_api.expect_close();
            expect_end(&proxy, "identity-change");
            continue;
        }
        exchange(&client, &at_api, &bob, OK);
        proxy.wait_to_say("two users on one client connection");
        exchange(&client, &at_web, &get("/"), OK);
        exchange(&client, &at_api, &get("/api"), OK);
        let users: Vec<_> = proxy.records(11).iter().map(|record| record.get("user").to_owned()).collect();
        let [none, alice, bob] = ["-", "\"CORP\\\\alice\"", "\"CORP\\\\bob\""];
        assert_eq!(users, [none, none, alice, none, none, alice, alice, none, bob, alice, bob]);
    }
}

/// The user is known of the other connection only.
#[test]
fn a_user_of_one_group_is_the_client_connections_user_at_another() {
    let (web, api) = (Server::v4(), Server::v4());
    let proxy = start(&web, &api, "--on-identity-change close");
    let client = Peer::connect(proxy.address());
    let at_web = meet(&client, &web, &get("/"));
    exchange(&client, &at_web, &with_token("/", &ntlm(1, "", "")), &challenge());
    exchange(&client, &at_web, &with_token("/", &ntlm(3, "CORP", "alice")), OK);
    client.send(&with_token("/api", &ntlm(3, "CORP", "bob")));
    client.expect(b"HTTP/1.1 403 Forbidden\r\n");
    client.expect_close();
    api.expect_no_connection();
}

#[test]
fn a_drain_waits_for_a_login_on_any_connection() {
    let (web, api) = (Server::v4(), Server::v4());
    let mut proxy = start(&web, &api, "");
    let client = Peer::connect(proxy.address());
    let at_web = meet(&client, &web, &get("/"));
    let at_api = meet(&client, &api, &get("/api"));
    exchange(&client, &at_web, &with_token("/", &ntlm(1, "", "")), &challenge());
    exchange(&client, &at_api, &get("/api"), OK);
    let idle = Peer::connect(proxy.address());
    let _idle_upstream = meet(&idle, &web, &get("/"));
    proxy.signal(Signal::SIGTERM);
    // The proxy drains by now.
    idle.expect_end();
    exchange(&client, &at_api, &get("/api/x"), OK);
    client.send(&with_token("/", &ntlm(3, "CORP", "alice")));
    at_web.expect(&with_token("/", &ntlm(3, "CORP", "alice")));
    at_web.send(OK);
    client.expect(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    client.expect_end();
    at_web.expect_end();
    at_api.expect_end();
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
}

#[test]
fn a_dead_route_is_refused() {
    for (flags, expected) in [
        (
            "--upstream 192.0.2.1:80 --path-route /=192.0.2.2:80",
            "--upstream is dead: --path-route / has every path",
        ),
        ("--host-route a/../x=192.0.2.2:80", "give a PATH such as /api"),
        ("--path-route api=192.0.2.2:80", "give a PATH such as /api"),
    ] {
        let (code, said) = Launch::by_routes().flags("--mode http").flags(flags).fail();
        assert_eq!(code, Some(2), "{said:?}");
        assert!(said.iter().any(|line| line.contains(expected)), "{said:?}");
    }
}
