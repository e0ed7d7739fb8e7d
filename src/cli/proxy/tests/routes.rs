//! Which groups flags and their routes lead to.

use super::*;

#[test]
fn each_route_has_a_group_of_its_own() {
    let service = service(&[
        "--sni-route=App.Corp.Example=192.0.2.2:443",
        "--sni-route=*.corp.example=192.0.2.3:443",
        "--sni-route=app.corp.example=192.0.2.4:443",
        "--alpn-route=acme-tls/1=192.0.2.5:443",
        "--peek-timeout=1s",
    ]);
    let servers = |group: Option<&Arc<GroupSettings>>| {
        let group = group.expect("a group");
        (
            group.name.to_string(),
            group.servers.iter().map(|server| server.name().to_string()).collect::<Vec<_>>(),
        )
    };
    let expected = |name: &str, servers: &[&str]| {
        (name.to_owned(), servers.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let routes = &service.routes;
    assert_eq!(servers(routes.default.as_ref()), expected("default", &["192.0.2.1:80"]));
    assert_eq!(
        servers(routes.by_name.get("app.corp.example")),
        expected("app.corp.example", &["192.0.2.2:443", "192.0.2.4:443"])
    );
    assert_eq!(
        servers(routes.by_name.get("a.b.corp.example")),
        expected("*.corp.example", &["192.0.2.3:443"])
    );
    let [(protocol, group)] = &routes.by_protocol[..] else { panic!("one route by protocol") };
    assert_eq!(protocol, b"acme-tls/1");
    assert_eq!(servers(Some(group)), expected("acme-tls/1", &["192.0.2.5:443"]));
    assert_eq!(service.timeouts.peek, Duration::from_secs(1));
}

#[test]
fn hosts_and_paths_choose_together() {
    let service = service(&[
        "--mode=http",
        "--host-route=a.test=192.0.2.2:80",
        "--host-route=A.test/API/=192.0.2.3:80",
        "--host-route=a.test/api=192.0.2.4:80",
        "--path-route=/m%C3%BCnchen=192.0.2.5:80",
        "--path-route=/x%3Dy=192.0.2.2:80",
    ]);
    let routes = &service.routes;
    let servers = |host, target: &str| {
        let group = routes.of_request(Some(host), &Path::of_target(target.as_bytes())).expect("a route");
        group.servers.iter().map(|server| server.name().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(servers("a.test", "/"), ["192.0.2.2:80"]);
    assert_eq!(
        servers("a.test", "/api/x"),
        ["192.0.2.3:80", "192.0.2.4:80"],
        "one path, however it is written"
    );
    assert_eq!(servers("b.test", "/M\u{dc}nchen"), ["192.0.2.5:80"]);
    assert_eq!(servers("b.test", "/x=y"), ["192.0.2.2:80"]);
    assert_eq!(servers("b.test", "/api"), ["192.0.2.1:80"]);
    assert_eq!(service.upstreams_max(), 3, "b.test: its paths and the default");
}

#[test]
fn paths_of_routes_are_checked() {
    for wrong in ["api", "", "/a?b", "/a#b", "/a b", "/*", "/a/*", "/a/../b", "/./a", "/a\\b", "/a<"] {
        for flag in ["--path-route=", "--host-route=a.test"] {
            if flag.contains("host") && !wrong.starts_with('/') {
                continue;
            }
            let line = refused(&["--mode=http", &format!("{flag}{wrong}=192.0.2.2:80")]);
            assert!(
                line.contains("give a PATH such as /api, which stands for itself and all below it"),
                "{line}"
            );
        }
    }
    assert!(refused(&["--mode=http", "--path-route=/a"]).contains("give PATH=HOST:PORT with a path"));
    let usage = |flags: &[&str]| plan_on(&host(), flags).expect_err("a dead route").to_string();
    assert_eq!(
        usage(&["--mode=http", "--path-route=//=192.0.2.2:80"]),
        "--upstream is dead: --path-route // has every path; remove one of them"
    );
    assert_eq!(
        usage(&[
            "--mode=http",
            "--tls-cert=/x",
            "--sni-route=a.test=192.0.2.2:80",
            "--host-route=a.test=192.0.2.2:80"
        ]),
        "--sni-route a.test is dead: --host-route a.test has all its requests; remove one of them"
    );
}

/// A client that comes by one name may ask for another one of the same servers.
#[test]
fn names_on_the_same_servers_share_a_group() {
    let routes = service(&["--sni-route=a.test=192.0.2.2:80", "--sni-route=b.test=192.0.2.2:80"]).routes;
    let group = |name| routes.choose(Some(name), std::iter::empty()).map(Arc::as_ptr);
    assert_eq!(group("a.test"), group("b.test"));
}

#[test]
fn hosts_on_the_same_servers_share_a_group() {
    let routes = service(&[
        "--mode=http",
        "--host-route=a.test=192.0.2.2:80",
        "--host-route=B.test=192.0.2.3:80",
        "--host-route=*.a.test=192.0.2.2:80",
        "--host-route=a.test=192.0.2.3:80",
        "--host-route=c.test=192.0.2.1:80",
    ])
    .routes;
    let servers = |host| {
        let group = routes.of_request(Some(host), &Path::root()).expect("a route");
        group.servers.iter().map(|server| server.name().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(servers("a.test"), ["192.0.2.2:80", "192.0.2.3:80"]);
    assert_eq!(servers("b.test"), ["192.0.2.3:80"]);
    assert_eq!(servers("x.a.test"), ["192.0.2.2:80"]);
    let group = |host| routes.of_request(Some(host), &Path::root()).map(Arc::as_ptr);
    assert_eq!(group("c.test"), group("unknown.test"), "the servers of --upstream");
    assert_ne!(group("a.test"), group("x.a.test"));
    let line = plan_on(&host(), &["--host-route=a.test=192.0.2.2:80"]).expect_err("not HTTP").to_string();
    assert_eq!(line, "--host-route applies to HTTP mode only; add --mode http, or remove it");
    let line = plan_on(&host(), &["--path-route=/a=192.0.2.2:80"]).expect_err("not HTTP").to_string();
    assert_eq!(line, "--path-route applies to HTTP mode only; add --mode http, or remove it");
    for wrong in
        ["--host-route=a.test", "--host-route=192.0.2.1=192.0.2.2:80", "--host-route=a:80=192.0.2.2:80"]
    {
        assert!(refused(&["--mode=http", wrong]).contains("give NAME=HOST:PORT"), "{wrong}");
    }
}
