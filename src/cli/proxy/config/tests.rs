mod same;

use std::fs;
use std::time::Duration;

use clap::Parser as _;

use crate::cli::proxy::Effective;
use crate::cli::{Cli, Command, Error};
use crate::control::limits::Host;
use crate::protocol::http1::path::Path;
use crate::upstream::check::{Check, Checks};

/// A service and its group; tests add to them.
const SERVICE: &str = "[service.s]\nlisten = [\"127.0.0.1:8080\"]\n";
const GROUP: &str = "[group.g]\nservers = [\"192.0.2.1:80\"]\n";

fn settings(arguments: &[&str]) -> Result<Effective, Error> {
    let host = Host { cpus: vec![1, 2], descriptors_max: 20_000, memory_bytes: None };
    let arguments = ["iisplice", "proxy"].iter().chain(arguments);
    match Cli::try_parse_from(arguments).expect("a well formed command line").command {
        Command::Proxy(proxy) => proxy.settings(&host),
        _ => panic!("another command"),
    }
}

fn of_file(text: &str, flags: &[&str]) -> Result<Effective, Error> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("it is written");
    let path = file.path().to_str().expect("UTF-8");
    settings(&[&["--config", path], flags].concat())
}

/// The error of a file, without the file's name.
fn complaint(text: &str) -> String {
    let error = of_file(text, &[]).map(|effective| effective.text).expect_err(text).to_string();
    let (_, place) = error.split_once(':').unwrap_or_else(|| panic!("no place: {error}"));
    assert!(!place.contains(char::is_control), "{place:?}");
    place.to_owned()
}

/// The same where the file has a service, with these lines in it, and its group.
fn complaint_of_service(lines: &str) -> String {
    complaint(&format!("{SERVICE}{lines}\n{GROUP}"))
}

#[test]
fn mistakes_of_the_whole_file_have_their_place() {
    for (text, expected) in [
        ("", "1:1: service: there is no [service.NAME] table; add one with listen and upstream"),
        ("workers = \n", "1:11: this is not TOML: "),
        ("workers = 2\nworkers = 3\n", "2:1: this is not TOML: duplicate key"),
        ("a = \"\u{e9}\n", "1:7: this is not TOML: "),
        ("wrokers = 2\n", "1:1: wrokers: unknown key; did you mean workers?"),
        ("[servcie.s]\n", "1:2: servcie: unknown key; did you mean service?"),
        ("config = \"x\"\n", "1:1: config: unknown key; the keys of the top level are the flags"),
        (
            "mode = \"http\"\n",
            "1:1: mode: this key does not belong to the top level; move it to a [service.NAME] table",
        ),
        ("service = 1\n", "1:11: service: give tables, each as [service.NAME]"),
        ("[[service.s]]\n", "1:11: service: give tables, each as [service.NAME]"),
        ("[service.\"\"]\n", "1:10: service: \"\" is no name; give one that can be printed"),
    ] {
        let said = complaint(text);
        assert!(said.starts_with(expected), "{text:?}: {said}");
    }
}

#[test]
fn mistakes_of_the_process_have_their_place() {
    for (line, expected) in [
        ("workers = \"many\"", "1:11: workers: invalid value \"many\"; give a whole number from 1 to 1024"),
        ("workers = 0", "1:11: workers: invalid value \"0\"; give a whole number from 1 to 1024"),
        ("workers = true", "1:11: workers: this is a boolean; give a string or an integer"),
        ("workers = [1, 2]", "1:11: workers: this is an array; give a string or an integer"),
        ("spin = 1.5", "1:8: spin: this is a number with a fraction; give a string or an integer"),
        ("no-pin = \"yes\"", "1:10: no-pin: this is a string; give true or false"),
        ("log-format = \"xml\"", "1:14: log-format: invalid value \"xml\"; give one of text, json, combined"),
        (
            "log-format = \"combined\"",
            "1:14: log-format: log-format = \"combined\" applies to HTTP mode only; add mode = \"http\", or remove it",
        ),
        (
            "peek-memory = \"1MiB\"",
            "1:1: peek-memory: limits what clients send before they are served; add mode",
        ),
    ] {
        let said = complaint(&format!("{line}\n{SERVICE}upstream = \"g\"\n{GROUP}"));
        assert!(said.starts_with(expected), "{line:?}: {said}");
    }
}

#[test]
fn mistakes_of_a_service_have_their_place() {
    for (lines, expected) in [
        ("", "1:10: [service.s]: upstream is missing; add upstream = \"GROUP\" or routes"),
        (
            "upstream = \"g\"\nworkers = 2",
            "4:1: workers: this key does not belong to a [service.NAME] table; move it to",
        ),
        ("idle_timeout = \"3h\"", "3:1: idle_timeout: unknown key; did you mean idle-timeout?"),
        ("sni-route = [\"a=b:1\"]", "3:1: sni-route: unknown key; give routes = [{ sni = \"NAME\", upstream"),
        (
            "host-route = [\"a=b:1\"]",
            "3:1: host-route: unknown key; give routes = [{ host = \"HOST\", upstream",
        ),
        (
            "alpn-route = \"a=b:1\"",
            "3:1: alpn-route: unknown key; give routes = [{ alpn = \"PROTOCOL\", upstream",
        ),
        ("upstream = [\"g\"]", "3:12: upstream: this is an array; give the name of one group"),
        ("upstream = \"x\"", "3:12: upstream: there is no [group.x]; add it, or give one of g"),
        ("upstream = \"g\"\nmode = \"htpp\"", "4:8: mode: invalid value \"htpp\"; give one of stream, http"),
        (
            "upstream = \"g\"\nidle-timeout = \"3\"",
            "4:16: idle-timeout: invalid value \"3\"; give a duration such as",
        ),
        (
            "upstream = \"g\"\nbacklog = 0",
            "4:11: backlog: invalid value \"0\"; give a whole number from 1 to 65535",
        ),
        (
            "upstream = \"g\"\ntrace = true",
            "4:1: trace: applies to HTTP mode only; add mode = \"http\", or remove it",
        ),
        (
            "upstream = \"g\"\nunix-mode = \"0600\"",
            "4:1: unix-mode: applies to Unix sockets only; add listen unix:PATH",
        ),
        (
            "upstream = \"g\"\npeek-timeout = \"3s\"",
            "4:1: peek-timeout: needs routes; add routes, or remove peek-timeout",
        ),
        (
            "upstream = \"g\"\ntls-key = \"/x\"",
            "4:1: tls-key: needs tls-cert; add tls-cert, or remove tls-key",
        ),
        (
            "upstream = \"g\"\ntls-cert = [\n \"/nonexistent\"]",
            "5:2: tls-cert: /nonexistent: cannot be read: No such file",
        ),
    ] {
        let said = complaint_of_service(lines);
        assert!(said.starts_with(expected), "{lines:?}: {said}");
    }
    let said = complaint(&format!("[service.s]\nupstream = \"g\"\n{GROUP}"));
    assert!(said.starts_with("1:10: [service.s]: listen is missing; add listen = [\"HOST:PORT\"]"), "{said}");
}

#[test]
fn mistakes_of_routes_have_their_place() {
    for (lines, expected) in [
        ("routes = [{ sni = \"a.test\", upstream = \"x\" }]", "3:11: routes: there is no [group.x]; add it"),
        ("routes = \"a\"", "3:10: routes: this is a string; give an array of { sni ="),
        ("routes = [1]", "3:11: routes: this is an integer; give { sni ="),
        (
            "routes = [{ upstream = \"g\" }]",
            "3:11: routes: this route has none of sni, alpn, host and path; give { sni =",
        ),
        (
            "routes = [{ sni = \"a.test\", host = \"a.test\", upstream = \"g\" }]",
            "3:11: routes: this route has both sni and host; give { sni =",
        ),
        (
            "routes = [{ host = \"a.test:80\", upstream = \"g\" }]\nmode = \"http\"",
            "3:11: routes: \"a.test:80\" is not a host name; give NAME",
        ),
        (
            "routes = [{ host = \"a.test\", upstream = \"x\" }]\nmode = \"http\"",
            "3:11: routes: there is no [group.x]; add it",
        ),
        (
            "routes = [{ host = \"a.test\", upstream = \"g\" }]",
            "3:1: routes: a host in routes applies to HTTP mode only; add mode = \"http\", or remove it",
        ),
        (
            "routes = [{ host = \"a.test\", upstream = \"g\" }]\nmode = \"http\"\nredirect-to-https = true",
            "5:1: redirect-to-https: cannot be used with routes; remove one of them",
        ),
        (
            "routes = [{ path = \"api\", upstream = \"g\" }]\nmode = \"http\"",
            "3:11: routes: \"api\" is not a path; give a PATH such as /api",
        ),
        (
            "routes = [{ alpn = \"h2\", path = \"/api\", upstream = \"g\" }]\nmode = \"http\"",
            "3:11: routes: this route has both alpn and path; give { sni =",
        ),
        (
            "routes = [{ path = \"/api\", upstream = \"g\" }]",
            "3:1: routes: a path in routes applies to HTTP mode only; add mode = \"http\", or remove it",
        ),
        (
            "upstream = \"g\"\nmode = \"http\"\nroutes = [{ path = \"/\", upstream = \"g\" }]",
            "3:1: upstream: is dead: a path in routes / has every path; remove one of them",
        ),
        (
            "path-route = \"/a=g\"",
            "3:1: path-route: unknown key; give routes = [{ path = \"/PATH\", upstream =",
        ),
        ("routes = [{ sni = \"a.test\" }]", "3:11: routes: this route has no upstream; give { sni ="),
        ("routes = [{ sin = \"a.test\" }]", "3:13: routes: unknown key \"sin\"; give { sni ="),
        (
            "routes = [{ sni = \"192.0.2.1\", upstream = \"g\" }]",
            "3:11: routes: \"192.0.2.1\" is not a host name; give NAME",
        ),
        (
            "routes = [{ alpn = \"\", upstream = \"g\" }]",
            "3:11: routes: \"\" is not a protocol; give its ALPN name",
        ),
        (
            "routes = [{ alpn = \"h2\", upstream = \"g\" }]\ntls-cert = \"/x\"",
            "3:1: routes: cannot be used with tls-cert; remove one of them",
        ),
        (
            "routes = [{ sni = \"a.test\", upstream = \"g\" }]\nmode = \"http\"",
            "4:8: mode: mode = \"http\" needs to read requests, which routes pass through encrypted; add tls-cert",
        ),
    ] {
        let said = complaint_of_service(lines);
        assert!(said.starts_with(expected), "{lines:?}: {said}");
    }
    let said = complaint_of_service(
        "routes = [\n{ sni = \"a.test\", upstream = \"g\" },\n{ sni = \"A.test\", upstream = \"g\" }]",
    );
    assert!(said.starts_with("5:1: routes: the route for \"a.test\" is dead: the one at "), "{said}");
    let said = complaint_of_service(
        "mode = \"http\"\nroutes = [\n{ host = \"a.test\", upstream = \"g\" },\n{ host = \"A.test\", upstream = \"g\" }]",
    );
    assert!(said.starts_with("6:1: routes: the route for \"a.test\" is dead: the one at "), "{said}");
    for (routes, dead) in [
        (["host = \"a.test\", path = \"/api\"", "host = \"A.test\", path = \"/./API/\""], None),
        (
            ["host = \"a.test\", path = \"/api\"", "host = \"A.test\", path = \"/API/\""],
            Some((6, "a.test/API/")),
        ),
        (["host = \"a.test\"", "host = \"a.test\", path = \"/\""], Some((6, "a.test"))),
        (["path = \"/a%62\"", "path = \"/AB\""], Some((6, "/AB"))),
        (["host = \"*.a.test\"", "sni = \"*.a.test\""], Some((6, "*.a.test"))),
        (["sni = \"a.test\"", "host = \"a.test\""], Some((5, "a.test"))),
    ] {
        let [one, other] = routes.map(|route| format!("{{ {route}, upstream = \"g\" }}"));
        let said = complaint_of_service(&format!("mode = \"http\"\nroutes = [\n{one},\n{other}]"));
        match dead {
            Some((line, route)) => {
                let expected = format!("{line}:1: routes: the route for \"{route}\" is dead: the one at ");
                assert!(said.starts_with(&expected), "{said}");
            }
            None => assert!(said.starts_with("6:1: routes: \"/./API/\" is not a path"), "{said}"),
        }
    }
}

#[test]
fn checks_are_a_type_or_a_table_of_their_flags() {
    for (keys, expected) in [
        ("health = \"tcp\"", Checks::new(Check::named("tcp").expect("a check"))),
        (
            "health = { type = \"http-auth\", path = \"/x\", interval = \"1s\", timeout = \"300ms\", rise = 4, fall = 5, \
             host = \"iis\", expect = \"200,301-302\" }",
            Checks {
                interval: Duration::from_secs(1),
                timeout: Duration::from_millis(300),
                rise: 4,
                fall: 5,
                path: "/x".to_owned(),
                host: Some("iis".to_owned()),
                expect: vec![200..=200, 301..=302],
                ..Checks::new(Check::named("http-auth").expect("a check"))
            },
        ),
    ] {
        let file = format!(
            "[service.s]\nlisten = \"127.0.0.1:80\"\nupstream = \"g\"\n[group.g]\nservers = \"192.0.2.1:80\"\n{keys}\n"
        );
        let effective = of_file(&file, &[]).expect("right settings");
        let again = of_file(&effective.text, &[]).expect("what is printed is read back");
        for effective in [&effective, &again] {
            let service = &effective.plan.services[0].service;
            let group = service.routes.default.as_ref().expect("one group");
            assert_eq!(group.checks.as_deref(), Some(&expected), "{keys}");
        }
    }
}

#[test]
fn mistakes_of_checks_have_their_place() {
    for (lines, expected) in [
        (
            "servers = \"a:1\"\nhealth = \"htpt\"",
            "6:10: health: invalid value \"htpt\"; give one of tcp, http, http-auth",
        ),
        (
            "servers = \"a:1\"\nhealth = true",
            "6:10: health: this is a boolean; give \"TYPE\" or { type = \"TYPE\", interval = \"5s\" }",
        ),
        (
            "servers = \"a:1\"\nhealth = { interval = \"5s\" }",
            "6:10: health: this table has no type; give \"TYPE\" or { type = \"TYPE\", interval = \"5s\" }",
        ),
        (
            "servers = \"a:1\"\nhealth = { type = \"http\", intervall = \"5s\" }",
            "6:27: health: unknown key \"intervall\"; did you mean interval?",
        ),
        (
            "servers = \"a:1\"\nhealth = { type = \"http\", expect = \"2xx\" }",
            "6:36: health-expect: invalid value \"2xx\"; give statuses and ranges from 200 to 599, such as 200-399,401",
        ),
        (
            "servers = \"a:1\"\nhealth = { type = \"tcp\", path = \"/x\" }",
            "6:26: health-path: is about requests, and health = \"tcp\" sends none; give health = \"http\" or http-auth",
        ),
        (
            "servers = \"a:1\"\nhealth-rise = 3",
            "6:1: health-rise: needs health; add health, or remove health-rise",
        ),
    ] {
        let said = complaint(&format!("{SERVICE}upstream = \"g\"\n[group.g]\n{lines}\n"));
        assert!(said.starts_with(expected), "{lines:?}: {said}");
    }
    let said =
        complaint(&format!("{SERVICE}upstream = \"g\"\n{GROUP}[group.h]\nservers = \"192.0.2.1:80\"\n"));
    assert!(said.starts_with("6:8: [group.h]: no service uses this group; name it as upstream"), "{said}");
}

#[test]
fn mistakes_of_a_group_have_their_place() {
    for (lines, expected) in [
        ("", "4:8: [group.g]: servers is missing; add servers = [\"HOST:PORT\"]"),
        (
            "servers = [\"iis1\"]",
            "5:12: servers: invalid value \"iis1\": the port is missing; write iis1:PORT",
        ),
        (
            "servers = \"a:1\"\nhash-prefix-v6 = 64",
            "6:1: hash-prefix-v6: applies to clients assigned by address; add balance = \"source-hash\", or remove it",
        ),
        (
            "servers = \"a:1\"\nbalance = \"source-hash\"\nhash-prefix-v6 = 129",
            "7:18: hash-prefix-v6: invalid value \"129\"; give a whole number from 0 to 128",
        ),
        (
            "servers = [{ address = \"a\" }]",
            "5:24: servers: invalid address \"a\": the port is missing; write a:PORT",
        ),
        (
            "servers = [\"a:1,wieght=2\"]",
            "5:12: servers: invalid value \"a:1,wieght=2\": unknown option \"wieght\"; did you mean weight?",
        ),
        (
            "servers = [{ address = \"a:1\",\n wieght = 2 }]",
            "6:2: servers: unknown key \"wieght\"; did you mean weight?",
        ),
        ("servers = [{ adress = \"a:1\" }]", "5:14: servers: unknown key \"adress\"; did you mean address?"),
        (
            "servers = { address = \"a:1\", weight = 0 }",
            "5:39: servers: weight: give a whole number from 1 to 256; disabled is",
        ),
        (
            "servers = [\"a:1\", { weight = 2 }]",
            "5:19: servers: this server has no address; give \"HOST:PORT\", { address = ",
        ),
        (
            "servers = { address = \"a:1\", backup = 1 }",
            "5:39: servers: backup is an integer; give true or false",
        ),
        (
            "servers = { address = \"a:1\", weight = true }",
            "5:39: servers: weight is a boolean; give an integer",
        ),
        (
            "servers = { address = \"a:1,backup\" }",
            "5:23: servers: \"a:1,backup\" has options in it; give them as keys",
        ),
        ("servers = [80]", "5:12: servers: this is an integer; give \"HOST:PORT\", { address = "),
        ("servers = { address = 80 }", "5:23: servers: address is an integer; give \"HOST:PORT\""),
        (
            "servers = [\n \"192.0.2.1:1,disabled,weight=2\",\n \"192.0.2.2:1,disabled\"]",
            "6:2: servers: 192.0.2.1:1: every server of its group is disabled; enable one, or",
        ),
        (
            "servers = \"a:1\"\nbalance = \"least-conections\"",
            "6:11: balance: invalid value \"least-conections\"; give one of round-robin, least-connections, random-two, source-hash",
        ),
        ("helth = \"tcp\"", "5:1: helth: unknown key; did you mean health?"),
        (
            "servers = \"a:1\"\nupstream-ca = \"/x\"",
            "6:1: upstream-ca: needs upstream-tls; add upstream-tls, or remove",
        ),
        (
            "servers = \"unix:/run/x\"\nupstream-tls = true\nupstream-insecure = true",
            "6:1: upstream-tls: unix:/run/x has no host name to verify in a certificate; add upstream-name NAME",
        ),
    ] {
        let said = complaint(&format!("{SERVICE}upstream = \"g\"\n[group.g]\n{lines}\n"));
        assert!(said.starts_with(expected), "{lines:?}: {said}");
    }
    let said =
        complaint(&format!("{SERVICE}upstream = \"g\"\n{GROUP}[group.h]\nservers = \"192.0.2.1:80\"\n"));
    assert!(said.starts_with("6:8: [group.h]: no service uses this group; name it as upstream"), "{said}");
}

#[test]
fn an_address_belongs_to_one_service() {
    let second = |listen: &str| {
        format!(
            "{SERVICE}upstream = \"g\"\n[service.t]\nlisten = [\"127.0.0.1:1\",\n \"{listen}\"]\nupstream = \"g\"\n{GROUP}"
        )
    };
    let said = complaint(&second("127.0.0.1:8080"));
    assert_eq!(said, "6:2: listen: 127.0.0.1:8080 is given twice; give each address once");
    let said = complaint(&second("0.0.0.0:8080"));
    assert!(said.starts_with("6:2: listen: 0.0.0.0:8080 includes listen 127.0.0.1:8080"), "{said}");
}

#[test]
fn services_share_groups_and_keep_their_own_settings() {
    let text = format!(
        "workers = 1\n{SERVICE}upstream = \"g\"\n[service.t]\nlisten = \"127.0.0.1:8443\"\nidle-timeout = \"1m\"\n\
         routes = [{{ sni = \"a.test\", upstream = \"g\" }}, {{ alpn = \"acme-tls/1\", upstream = \"h\" }}]\n\
         {GROUP}[group.h]\nservers = [\"192.0.2.2:80\"]\nconnect-timeout = \"1s\"\n"
    );
    let plan = of_file(&text, &["--workers", "3"]).expect("a plan").plan;
    assert_eq!(plan.workers.len(), 3, "the flag takes precedence");
    let [s, t] = &plan.services[..] else { panic!("two services") };
    assert_eq!((&*s.service.name, &*t.service.name), ("s", "t"));
    assert_eq!(t.service.timeouts.idle.as_secs(), 60);
    assert_eq!(s.service.timeouts.idle.as_secs(), 3 * 3600);
    let g = s.service.routes.default.as_ref().expect("a group");
    let of_name = t.service.routes.by_name.get("a.test").expect("a group");
    assert!(std::sync::Arc::ptr_eq(g, of_name), "one group");
    assert_eq!(t.service.routes.by_protocol[0].1.connect_timeout.as_secs(), 1);
    assert!(t.service.routes.default.is_none());
}

/// A connection serves the hosts of one group, so that a file from flags has to name it for each of them.
#[test]
fn hosts_on_the_same_servers_share_a_group_in_what_is_printed() {
    let of_flags = settings(&[
        "--listen=127.0.0.1:8080",
        "--mode=http",
        "--upstream=192.0.2.1:80",
        "--host-route=a.test=192.0.2.2:80",
        "--host-route=*.A.test=192.0.2.2:80",
        "--host-route=b.test=192.0.2.1:80",
        "--host-route=default=192.0.2.3:80",
    ])
    .expect("a plan");
    let routes = "upstream = \"default\"\nroutes = [\n  { host = \"a.test\", upstream = \"a.test\" },\n  \
                  { host = \"*.a.test\", upstream = \"a.test\" },\n  { host = \"b.test\", upstream = \"default\" },\n  \
                  { host = \"default\", upstream = \"host-route-default\" },\n]\n";
    assert!(of_flags.text.contains(routes), "{}", of_flags.text);
    assert_eq!(of_flags.text.matches("[group.").count(), 3, "{}", of_flags.text);
    let of_file = of_file(&of_flags.text, &[]).expect("what was printed");
    for effective in [&of_flags, &of_file] {
        let routes = &effective.plan.services[0].service.routes;
        let group =
            |host| routes.of_request(Some(host), &Path::root()).map(std::sync::Arc::as_ptr).expect("a group");
        assert_eq!(group("a.test"), group("x.a.test"));
        assert_eq!(group("b.test"), group("unknown.test"));
        assert_ne!(group("a.test"), group("b.test"));
        assert_ne!(group("default"), group("unknown.test"));
    }
}

#[test]
fn only_flags_of_the_process_go_with_a_file() {
    for (flags, named) in [
        (&["--listen", "127.0.0.1:1"][..], "--listen"),
        (&["--upstream-tls"], "--upstream-tls"),
        (&["--sni-route", "a.test=a:1"], "--sni-route"),
    ] {
        let arguments = [&["iisplice", "proxy", "--config", "x.toml"], flags].concat();
        let line = crate::cli::one_line(&Cli::try_parse_from(arguments).expect_err("not both"));
        let expected = format!(
            "{named} cannot be used with --config, beside which only flags of the process may be given"
        );
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
fn what_is_printed_is_a_file_that_means_the_same() {
    for flags in [
        &["--upstream=192.0.2.1:80"][..],
        &[
            "--upstream=192.0.2.1:80",
            "--upstream=unix:/run/x",
            "--spin=50us",
            "--no-pin",
            "--log-format=json",
        ],
        &[
            "--sni-route=a.test=192.0.2.1:443",
            "--sni-route=*.b.test=192.0.2.2:443",
            "--sni-route=a.test=192.0.2.3:443",
        ],
        &[
            "--upstream=192.0.2.1:80,weight=2,disabled,max-connections=500",
            "--upstream=unix:/run/a,b,weight=1,backup",
            "--sni-route=a.test=192.0.2.2:443,weight=256",
            "--balance=source-hash",
            "--hash-prefix-v6=64",
        ],
        &["--alpn-route=default=192.0.2.1:443", "--upstream=192.0.2.2:1", "--peek-timeout=1s"],
        &[
            "--mode=http",
            "--upstream=192.0.2.1:80",
            "--host-route=a.test=192.0.2.2:80",
            "--host-route=default=192.0.2.3:80",
            "--host-route=*.A.test=192.0.2.2:80",
            "--host-route=b.test=192.0.2.1:80",
        ],
        &[
            "--mode=http",
            "--host-route=a.test/API/=192.0.2.2:80",
            "--host-route=a.test=192.0.2.3:80",
            "--host-route=*.A.test/x%3dy=192.0.2.2:80",
            "--path-route=/m\u{fc}nchen=192.0.2.4:80",
            "--path-route=/=192.0.2.5:80",
        ],
        &[
            "--upstream=192.0.2.1:80",
            "--mode=http",
            "--set-header=X-A: \"b\" \\c",
            "--trust=10.0.0.0/8",
            "--forwarded=append",
        ],
        &[
            "--upstream=192.0.2.1:80",
            "--accept-proxy",
            "--accept-proxy-from=unix:",
            "--listen=unix:/run/y",
            "--unix-mode=600",
        ],
        &[
            "--upstream=192.0.2.1:80",
            "--allow=10.0.0.0/8",
            "--allow=unix:",
            "--deny=10.9.0.1",
            "--connections-per-client=20",
            "--connection-rate-per-client=10/s,burst=20",
        ],
        &[
            "--upstream=192.0.2.1:80",
            "--upstream-tls",
            "--upstream-insecure",
            "--send-proxy=v2",
            "--access-log=/var/log/a b",
        ],
    ] {
        let of_flags = settings(&[&["--listen=127.0.0.1:8080"], flags].concat()).expect("a plan");
        let again = of_file(&of_flags.text, &[]).unwrap_or_else(|error| panic!("{error}\n{}", of_flags.text));
        assert_eq!(again.text, of_flags.text, "{flags:?}");
        let debug = |effective: &Effective| {
            let services = effective.plan.services.iter().map(|planned| {
                let service = &planned.service;
                (
                    service.listeners.clone(),
                    service.timeouts.idle,
                    format!(
                        "{:?} {:?} {:?}",
                        service.mode,
                        service.accept_proxy_from,
                        service.admission.as_ref().map(|admission| (&admission.allow, &admission.deny))
                    ),
                )
            });
            (
                services.collect::<Vec<_>>(),
                format!("{:?}", effective.plan.workers),
                effective.plan.access_log.clone(),
            )
        };
        assert_eq!(debug(&again), debug(&of_flags), "{flags:?}");
    }
}

#[test]
fn a_flag_whose_value_may_be_left_out_is_true_or_the_value() {
    let text = |value: &str| {
        let text = format!("{SERVICE}mode = \"http\"\nredirect-to-https = {value}\n");
        let effective = of_file(&text, &[]).expect("a service without servers");
        let again = of_file(&effective.text, &[]).expect("what was printed");
        assert_eq!(again.text, effective.text);
        assert!(effective.text.contains("idle-timeout = "), "{}", effective.text);
        effective.text
    };
    assert!(text("true").contains("redirect-to-https = 443\n"));
    assert!(text("8443").contains("redirect-to-https = 8443\n"));
}

#[test]
fn a_file_that_is_missing_or_not_text_is_one_line() {
    let error =
        settings(&["--config", "/nonexistent/x.toml"]).map(|effective| effective.text).expect_err("no file");
    assert!(
        error.to_string().starts_with("--config /nonexistent/x.toml: cannot be read: No such file"),
        "{error}"
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), b"workers = 2\n# \xff\n").expect("it is written");
    let path = file.path().to_str().expect("UTF-8");
    let error =
        settings(&["--config", path]).map(|effective| effective.text).expect_err("not UTF-8").to_string();
    assert_eq!(error, format!("{path}:2:3: this is not UTF-8; save the file as UTF-8"));
}

/// The site's names and files are not on this host; nothing else is wrong with the pages' files.
#[test]
fn the_files_in_the_pages_are_right() {
    for page in ["config", "from-nginx", "from-haproxy"] {
        let path = format!("{}/docs/{page}.md", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).expect("a page");
        let blocks: Vec<_> = text.split("```toml\n").skip(1).collect();
        assert!(!blocks.is_empty(), "{page} has a file");
        for block in blocks {
            let file =
                block.split("```").next().unwrap_or_default().replace(".corp.example:", "-corp.invalid:");
            if let Err(error) = of_file(&file, &[]) {
                assert!(error.to_string().contains("cannot resolve the name"), "{page}: {error}");
            }
        }
    }
}
