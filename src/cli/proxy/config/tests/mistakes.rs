//! What is said of mistakes in a file, and of which place.

use super::*;

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
fn affinity_that_a_service_cannot_have_names_the_service() {
    let group = |name: &str, keys: &str| {
        format!("[group.{name}]\nservers = \"192.0.2.1:80\"\naffinity = \"cookie\"\n{keys}\n")
    };
    let said = complaint(&format!("{SERVICE}upstream = \"g\"\n{}", group("g", "")));
    assert_eq!(
        said,
        "1:10: [service.s]: affinity applies to HTTP mode only; add mode = \"http\", or remove it"
    );
    let routes = "mode = \"http\"\nupstream = \"g\"\nroutes = [{ path = \"/x\", upstream = \"h\" }]\n";
    let same = "affinity-cookie = \"APP\"";
    let said = complaint(&format!("{SERVICE}{routes}{}{}", group("g", same), group("h", same)));
    let expected = "1:10: [service.s]: affinity-cookie APP: the groups h and g have requests of one host";
    assert!(said.starts_with(expected), "{said}");
    let said = complaint(&format!(
        "{SERVICE}mode = \"http\"\nupstream = \"g\"\n{}",
        group("g", "affinity-key = \"/x\"")
    ));
    assert!(said.starts_with("8:16: affinity-key: /x: cannot be read: "), "{said}");
}
