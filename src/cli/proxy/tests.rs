mod affinity;
mod routes;
mod sources;

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};
use crate::control::{AccessLog, LogTarget};
use crate::protocol::http1::path::Path;
use crate::protocol::proxy_protocol::Version;
use crate::proxy::access_log::Format;
use crate::proxy::settings::{Listener, Mode, Network, Service, Splice, Timeouts, UNIX_MODE, WorkerSettings};
use crate::upstream::GroupSettings;
use crate::upstream::names::ResolveInterval;
use crate::uring::{Address, Feature, Spin};

const LEAST: [&str; 4] = ["--listen", "127.0.0.1:8080", "--upstream", "192.0.2.1:80"];

fn host() -> Host {
    Host { cpus: vec![1, 2, 5], descriptors_max: 20_000, memory_bytes: Some(3 << 30) }
}

fn plan_on(host: &Host, flags: &[&str]) -> Result<Plan, Error> {
    let arguments = ["iisplice", "proxy"].iter().chain(&LEAST).chain(flags);
    let Command::Proxy(proxy) = Cli::try_parse_from(arguments).expect("a well formed command line").command
    else {
        panic!("another command");
    };
    proxy.settings(host).map(|effective| effective.plan)
}

fn plan(flags: &[&str]) -> Plan {
    plan_on(&host(), flags).expect("a plan")
}

/// The only service of a plan, and the rest of it.
fn service(flags: &[&str]) -> Service {
    let mut services = plan(flags).services;
    assert_eq!(services.len(), 1, "flags describe one service");
    services.remove(0).service
}

/// The only group of a plan without routes.
fn group(service: &Service) -> &GroupSettings {
    service.routes.default.as_ref().expect("--upstream was given")
}

fn refused(flags: &[&str]) -> String {
    let arguments = ["iisplice", "proxy"].iter().chain(&LEAST).chain(flags);
    crate::cli::one_line(&Cli::try_parse_from(arguments).expect_err("a wrong command line"))
}

#[test]
fn without_flags_everything_has_its_documented_default() {
    let Plan { mut services, workers, access_log, .. } = plan(&[]);
    let service = services.remove(0).service;
    assert_eq!(service.listeners, [Listener::at(Address::Ip("127.0.0.1:8080".parse().expect("an address")))]);
    let group = group(&service);
    assert_eq!(group.servers.iter().map(|server| &**server.name()).collect::<Vec<_>>(), ["192.0.2.1:80"]);
    assert_eq!(group.connect_timeout, Duration::from_secs(3));
    assert_eq!(group.connect_budget, Duration::from_secs(6));
    assert_eq!(service.timeouts.idle, Duration::from_secs(3 * 3600));
    assert_eq!(service.timeouts, Timeouts::default(), "the flags have the defaults of the settings");
    assert_eq!(workers[0].drain_timeout, Duration::from_secs(30));
    assert_eq!(workers[0].drain_timeout, WorkerSettings::default().drain_timeout);
    assert_eq!(group.send_proxy, None);
    assert!(!service.accept_proxy);
    assert_eq!(service.splice, Splice::Auto);
    assert_eq!(service.tcp.keepalive, Some(Duration::from_secs(60)));
    assert_eq!(service.tcp.user_timeout, None);
    assert_eq!(workers.iter().map(|worker| worker.cpu).collect::<Vec<_>>(), [Some(1), Some(2), Some(5)]);
    assert_eq!((workers[0].buffers, workers[0].buffer_bytes), (1024, 16 * 1024));
    assert_eq!((workers[0].pipes, workers[0].pipe_bytes), (64, 1024 * 1024));
    assert_eq!((workers[0].ring_entries, workers[0].spin), (4096, Spin::Auto));
    assert_eq!(access_log, None);
}

#[test]
fn every_flag_reaches_its_setting() {
    let Plan { mut services, workers, access_log, .. } = plan(&[
        "--listen=unix:/run/iisplice.sock",
        "--upstream=192.0.2.2:80",
        "--connect-timeout=250ms",
        "--idle-timeout=120s",
        "--drain-timeout=0",
        "--send-proxy=v2",
        "--accept-proxy",
        "--accept-proxy-timeout=5s",
        "--splice=always",
        "--tcp-keepalive=off",
        "--tcp-user-timeout=30s",
        "--tcp-fastopen=256",
        "--defer-accept",
        "--steer=cpu",
        "--backlog=128",
        "--workers=4",
        "--max-connections=10",
        "--buffers=32768",
        "--buffer-size=4KiB",
        "--pipes=8",
        "--pipe-size=64KiB",
        "--ring-entries=256",
        "--spin=50us",
        "--io-uring-without=no-iowait,restrictions",
        "--access-log=/var/log/iisplice.log",
        "--log-format=json",
    ]);
    let service = services.remove(0).service;
    let listener = Listener {
        backlog: 128,
        fastopen_queue: Some(256),
        defer_accept: true,
        steer_by_cpu: true,
        ..Listener::at(Address::Unix("/run/iisplice.sock".into()))
    };
    assert_eq!(listener.unix_mode, UNIX_MODE);
    assert_eq!(service.listeners[1], listener);
    let group = group(&service);
    assert_eq!(&**group.servers[1].name(), "192.0.2.2:80");
    assert_eq!(group.connect_timeout, Duration::from_millis(250));
    assert_eq!(group.connect_budget, Duration::from_millis(500));
    assert_eq!(service.timeouts.idle, Duration::from_secs(120));
    assert_eq!(workers[0].drain_timeout, Duration::ZERO);
    assert_eq!(group.send_proxy, Some(Version::V2));
    assert!(service.accept_proxy);
    assert_eq!(service.timeouts.accept_proxy, Duration::from_secs(5));
    assert_eq!(service.splice, Splice::Always);
    assert_eq!(service.tcp.keepalive, None);
    assert_eq!(service.tcp.user_timeout, Some(Duration::from_secs(30)));
    assert_eq!(
        workers.iter().map(|worker| worker.cpu).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(5), Some(1)]
    );
    assert_eq!((workers[0].buffers, workers[0].buffer_bytes), (32768, 4 * 1024));
    assert_eq!((workers[0].pipes, workers[0].pipe_bytes), (8, 64 * 1024));
    assert_eq!((workers[0].ring_entries, workers[0].spin), (256, Spin::For(Duration::from_micros(50))));
    assert_eq!(workers[0].without, [Feature::NoIowait, Feature::Restrictions].into_iter().collect());
    let target = LogTarget::File("/var/log/iisplice.log".into());
    assert_eq!(access_log, Some(AccessLog { target, format: Format::Json }));
}

#[test]
fn the_access_log_goes_to_standard_output_on_a_dash() {
    let access_log = plan(&["--access-log", "-"]).access_log;
    assert_eq!(access_log, Some(AccessLog { target: LogTarget::Stdout, format: Format::Text }));
}

#[test]
fn the_limit_on_connections_does_not_change_the_number_of_workers() {
    let planned = |flags: &[&str]| {
        let plan = plan(flags);
        (plan.sessions_max, plan.workers.len())
    };
    assert_eq!(planned(&["--max-connections=10"]), (10, 3));
    assert_eq!(planned(&["--max-connections=2"]), (2, 3));
    assert_eq!(planned(&["--workers=8", "--max-connections=1"]), (1, 8));
}

#[test]
fn without_a_number_the_descriptors_say_how_many_connections_fit() {
    let sessions = |flags: &[&str]| plan(flags).sessions_max;
    // 20,000 less 32, less 1 listener + 8 + 2 * 64 for each of 3 workers, halved.
    assert_eq!(sessions(&[]), (20_000 - 32 - 3 * (1 + 8 + 128)) / 2);
    assert_eq!(sessions(&["--splice=never", "--workers=1"]), (20_000 - 32 - (1 + 8)) / 2);
    let by_path = [
        "--splice=never",
        "--workers=1",
        "--mode=http",
        "--path-route=/a=192.0.2.2:80",
        "--path-route=/b=192.0.2.3:80",
    ];
    assert_eq!(sessions(&by_path), (20_000 - 32 - (1 + 8)) / 4, "up to three groups of servers");
    let huge = Host { descriptors_max: u64::MAX, ..host() };
    assert_eq!(plan_on(&huge, &[]).expect("a plan").sessions_max, 1_000_000);
}

#[test]
fn a_limit_that_leaves_no_room_is_reported_with_its_remedy() {
    let small = Host { cpus: vec![0, 1], descriptors_max: 256, ..host() };
    let error = plan_on(&small, &[]).expect_err("no room");
    assert_eq!(
        error.to_string(),
        "the descriptor limit 256 leaves no room for connections: listeners, rings and pipes take 306 \
         descriptors; raise the limit (ulimit -n, LimitNOFILE=), or lower --workers or --pipes"
    );
}

#[test]
fn an_address_is_listened_on_once() {
    let error = plan_on(&host(), &["--listen=127.0.0.1:8080"]).expect_err("the same address twice");
    assert_eq!(error.to_string(), "--listen 127.0.0.1:8080 is given twice; give each address once");
    let any_port = plan(&["--listen=127.0.0.1:0", "--listen=127.0.0.1:0"]);
    assert_eq!(any_port.services[0].service.listeners.len(), 3);
}

#[test]
fn unpinned_workers_have_no_cpu() {
    assert!(plan(&["--no-pin"]).workers.iter().all(|worker| worker.cpu.is_none()));
}

#[test]
fn steering_needs_pinned_workers() {
    let error = plan_on(&host(), &["--steer=cpu", "--no-pin"]).expect_err("no CPU to steer to");
    assert_eq!(error.to_string(), "--steer cpu needs workers pinned to CPUs; remove --no-pin or --steer");
}

#[test]
fn values_out_of_bounds_say_the_bounds() {
    for (flag, expected) in [
        ("--upstream=192.0.2.1:0", "port 0 cannot be connected to; give the server's port"),
        ("--connect-timeout=0", "give a duration such as 250ms, 3s or 1h, from 1ms to 1h"),
        ("--idle-timeout=forever", "give a duration such as 250ms, 3s or 1h, from 1ms to 30days"),
        ("--spin=2s", "give a duration such as 250ms, 3s or 1h, from 0s to 1s, or auto"),
        ("--tcp-keepalive=500ms", "give a duration such as 250ms, 3s or 1h, from 1s to 9h, or off"),
        ("--tcp-fastopen=on", "give a whole number from 1 to 65535, or off"),
        ("--buffers=0", "give a whole number from 1 to 32768"),
        ("--buffer-size=1", "give a size such as 16KiB or 1MiB, from 1KiB to 1MiB"),
        ("--pipe-size=1GiB", "give a size such as 16KiB or 1MiB, from 4KiB to 64MiB"),
        ("--pipes=0", "give a whole number from 1 to 16384"),
        ("--ring-entries=100", "give a power of two from 64 to 32768"),
        (
            "--io-uring-without=openat",
            "give one of recv-multishot-limit, no-iowait, defer-taskrun, coop-taskrun, restrictions",
        ),
        ("--workers=0", "give a whole number from 1 to 1024"),
        ("--max-connections=0", "give a whole number from 1 to 1000000"),
        (
            "--resolve-interval=1ms",
            "give a duration such as 250ms, 3s or 1h, from 100ms to 1day, or auto or off",
        ),
        ("--resolve-timeout=0", "give a duration such as 250ms, 3s or 1h, from 1ms to 1h"),
        (
            "--resolver=dns.corp.example",
            "give the IP address of a DNS server, such as 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:5353",
        ),
        ("--resolver=10.0.0.53:0", "port 0 cannot be asked; give the DNS server's port"),
    ] {
        let (name, value) = flag.split_once('=').expect("a flag with a value");
        let line = refused(&[flag]);
        assert!(line.starts_with(&format!("invalid value '{value}' for '{name} <")), "{line}");
        assert!(line.ends_with(&format!(">': {expected}")), "{line}");
    }
}

#[test]
fn flags_about_what_is_switched_off_are_refused() {
    for (flags, expected) in [
        (
            &["--splice=never", "--pipes=8"][..],
            "--pipes is about pipes, and --splice never uses none; remove one of them",
        ),
        (
            &["--splice=never", "--pipe-size=64KiB"],
            "--pipe-size is about pipes, and --splice never uses none; remove one of them",
        ),
        (
            &["--log-format=json"],
            "--log-format is for lines of the access log, which is off; add --access-log PATH, or remove it",
        ),
        (
            &["--mode=http", "--log-format=combined", "--access-log=off"],
            "--log-format is for lines of the access log, which is off; add --access-log PATH, or remove it",
        ),
        (
            &["--mode=http", "--log-user"],
            "--log-user names users in the access log, which is off, and at the admin endpoint; add --access-log PATH or \
             --admin ADDR, or remove it",
        ),
    ] {
        assert_eq!(plan_on(&host(), flags).expect_err("it does nothing").to_string(), expected, "{flags:?}");
    }
    for flags in [
        &["--splice=never"][..],
        &["--pipes=8", "--pipe-size=64KiB"],
        &["--log-format=json", "--access-log=-"],
        &["--mode=http", "--log-user", "--access-log=-"],
        &["--mode=http", "--log-user", "--admin=127.0.0.1:9180"],
    ] {
        plan_on(&host(), flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
    }
}

#[test]
fn names_are_looked_up_as_the_flags_say() {
    let resolver = |flags: &[&str]| plan(flags).resolver;
    let default = resolver(&[]);
    assert_eq!((default.servers.len(), default.timeout), (0, Duration::from_secs(10)));
    let given = resolver(&[
        "--resolver=10.0.0.53",
        "--resolver=[2001:db8::53]:5353",
        "--resolver=2001:db8::54",
        "--resolver=10.0.0.53:53",
        "--resolve-timeout=2s",
    ]);
    let servers = ["10.0.0.53:53", "[2001:db8::53]:5353", "[2001:db8::54]:53"];
    assert_eq!(given.servers, servers.map(|server| server.parse().expect("an address")), "each once");
    assert_eq!(given.timeout, Duration::from_secs(2));
    for (flag, expected) in [
        ("auto", ResolveInterval::Auto),
        ("off", ResolveInterval::Off),
        ("0", ResolveInterval::Off),
        ("30s", ResolveInterval::Every(Duration::from_secs(30))),
    ] {
        let flag = format!("--resolve-interval={flag}");
        assert_eq!(group(&service(&[&flag])).resolve_interval, expected, "{flag}");
    }
    assert_eq!(group(&service(&[])).resolve_interval, ResolveInterval::Auto);
}

#[test]
fn a_time_for_a_header_that_is_not_expected_is_refused() {
    assert_eq!(
        refused(&["--accept-proxy-timeout=5s"]),
        "the following required arguments were not provided: --accept-proxy"
    );
}

#[test]
fn proxy_headers_are_taken_from_the_networks_given() {
    let from = |flags: &[&str]| service(flags).accept_proxy_from;
    assert_eq!(from(&["--accept-proxy"]), []);
    let networks = from(&["--accept-proxy", "--accept-proxy-from=10.0.0.0/8", "--accept-proxy-from=unix:"]);
    assert_eq!(networks, [Network::Ip("10.0.0.0/8".parse().expect("a network")), Network::Unix]);
    assert_eq!(
        refused(&["--accept-proxy-from=10.0.0.0/8"]),
        "the following required arguments were not provided: --accept-proxy"
    );
    let line = refused(&["--accept-proxy", "--accept-proxy-from=balancer"]);
    assert!(
        line.ends_with("give an address or a network, such as 10.0.0.0/8 or 2001:db8::/32, or unix:"),
        "{line}"
    );
}

#[test]
fn flags_about_requests_need_http_and_make_sense() {
    for flag in ["--trace", "--upgrade=h2c", "--underscore-headers=pass", "--trust=10.0.0.0/8"] {
        let error = plan_on(&host(), &[flag]).expect_err("a flag of the other mode").to_string();
        let name = flag.split('=').next().expect("a name");
        assert_eq!(error, format!("{name} applies to HTTP mode only; add --mode http, or remove it"));
    }
    let http = |flags: &[&str]| match service(&[&["--mode=http"], flags].concat()).mode {
        Mode::Http(http) => http,
        Mode::Stream => panic!("another mode"),
    };
    let default = http(&[]);
    assert!(!default.trace && !default.underscores && default.upgrades.is_empty());
    let set = http(&["--trace", "--underscore-headers=pass", "--upgrade=h2c", "--upgrade=TLS/1.2"]);
    assert!(set.trace && set.underscores);
    assert_eq!(set.upgrades, ["h2c", "TLS/1.2"]);
    for (flag, expected) in [
        ("--upgrade=a b", "give the name of a protocol, such as h2c or TLS/1.2"),
        ("--upgrade=TLS/", "give the name of a protocol, such as h2c or TLS/1.2"),
        ("--set-host=a b", "give HOST or HOST:PORT"),
        ("--set-host=a:x", "give HOST or HOST:PORT"),
        ("--set-header=Content_Length: 5", "this field cannot be changed, because the proxy needs it"),
    ] {
        let line = refused(&[flag]);
        assert!(line.ends_with(expected), "{line}");
    }
}

#[test]
fn tls_to_servers_is_with_the_name_of_their_address_or_the_one_given() {
    let tls_name = |service: &Service| group(service).servers[0].tls_name().cloned();
    let with_address = service(&["--upstream-tls", "--upstream-insecure"]);
    assert_eq!(tls_name(&with_address), Some("192.0.2.1".try_into().expect("an address")));
    assert!(group(&with_address).tls.as_ref().is_some_and(|tls| tls.trusts_any_certificate));
    let with_name = service(&["--upstream-tls", "--upstream-insecure", "--upstream-name=iis.corp"]);
    assert_eq!(tls_name(&with_name), Some("iis.corp".try_into().expect("a name")));
    assert_eq!(tls_name(&service(&[])), None);
}

#[test]
fn tls_flags_that_do_not_go_together_say_what_would() {
    let usage = |flags: &[&str]| plan_on(&host(), flags).expect_err("flags that contradict").to_string();
    let line = usage(&["--sni-route=a.test=192.0.2.2:443", "--upstream-tls"]);
    assert!(line.starts_with("--upstream-tls would wrap the clients' own TLS"), "{line}");
    let line = usage(&["--sni-route=a.test=192.0.2.2:443", "--mode=http"]);
    assert!(line.starts_with("--mode http needs to read requests"), "{line}");
    let line = usage(&["--tls-cert=a", "--tls-cert=b", "--tls-key=c"]);
    assert!(line.starts_with("--tls-cert is given 2 times and --tls-key 1 times"), "{line}");
    let line = usage(&["--upstream=unix:/run/site", "--upstream-tls", "--upstream-insecure"]);
    assert!(line.ends_with("add --upstream-name NAME"), "{line}");
    for (flags, expected) in [
        (
            &["--tls-cert=a", "--alpn-route=h2=192.0.2.2:443"][..],
            "the argument '--tls-cert <FILE>' cannot be used with '--alpn-route <PROTOCOL=ADDR>'",
        ),
        (&["--tls-key=a"], "required arguments were not provided: --tls-cert <FILE>"),
        (&["--tls-client-ca=a"], "required arguments were not provided: --tls-cert <FILE>"),
        (&["--peek-timeout=1s"], "required arguments were not provided: <--sni-route"),
        (&["--upstream-ca=a"], "required arguments were not provided: --upstream-tls"),
        (&["--upstream-name=a"], "required arguments were not provided: --upstream-tls"),
        (
            &["--upstream-tls", "--upstream-ca=a", "--upstream-insecure"],
            "cannot be used with '--upstream-insecure'",
        ),
        (&["--sni-route=a.test"], "give NAME=HOST:PORT"),
        (&["--sni-route=192.0.2.1=192.0.2.2:443"], "give NAME=HOST:PORT"),
        (&["--sni-route=a.*.test=192.0.2.2:443"], "give NAME=HOST:PORT"),
        (&["--sni-route=a.test=192.0.2.2:0"], "give the server's port"),
        (&["--alpn-route==192.0.2.2:443"], "give PROTOCOL=HOST:PORT"),
        (&["--upstream-tls", "--upstream-name=a b"], "give the host name or the IP address"),
    ] {
        let line = refused(flags);
        assert!(line.contains(expected), "{flags:?}: {line}");
    }
}

#[test]
fn what_changes_replies_is_off_until_it_is_asked_for() {
    let http = |flags: &[&str]| match service(&[&["--mode=http"][..], flags].concat()).mode {
        Mode::Http(http) => (http.rewrite_redirects, http.secure_cookies),
        Mode::Stream => panic!("--mode http was given"),
    };
    assert_eq!(http(&[]), (false, false));
    assert_eq!(http(&["--rewrite-redirects"]), (true, false));
    let usage = |flags: &[&str]| plan_on(&host(), flags).expect_err("flags that contradict").to_string();
    let line = usage(&["--mode=http", "--secure-cookies"]);
    assert!(line.ends_with("add --tls-cert, or remove it"), "{line}");
    for flag in ["--rewrite-redirects", "--secure-cookies"] {
        assert_eq!(
            usage(&[flag]),
            format!("{flag} applies to HTTP mode only; add --mode http, or remove it")
        );
    }
}

#[test]
fn a_service_that_redirects_has_no_servers() {
    let parsed = |flags: &[&str]| {
        let arguments = ["iisplice", "proxy", "--listen", "127.0.0.1:8080"].iter().chain(flags);
        Cli::try_parse_from(arguments).map_err(|error| crate::cli::one_line(&error))
    };
    let plan = |flags: &[&str]| match parsed(flags).expect("a well formed command line").command {
        Command::Proxy(proxy) => {
            proxy.settings(&host()).map(|effective| effective.plan).map_err(|error| error.to_string())
        }
        _ => panic!("another command"),
    };
    for (flag, port) in [("--redirect-to-https", 443), ("--redirect-to-https=8443", 8443)] {
        let service = plan(&["--mode=http", flag]).expect("a plan").services.remove(0).service;
        assert_eq!(service.groups().count(), 0);
        assert!(matches!(service.mode, Mode::Http(http) if http.redirect_to_https == Some(port)));
    }
    let line = plan(&["--redirect-to-https"]).expect_err("not HTTP");
    assert_eq!(line, "--redirect-to-https applies to HTTP mode only; add --mode http, or remove it");
    let line = plan(&["--mode=http", "--redirect-to-https", "--set-host=a"]).expect_err("of no use");
    assert_eq!(
        line,
        "--set-host changes what is forwarded, and --redirect-to-https forwards nothing; remove one of them"
    );
    for flag in ["--upstream=192.0.2.1:80", "--tls-cert=a", "--sni-route=a=192.0.2.1:80"] {
        let line = parsed(&["--mode=http", "--redirect-to-https", flag]).expect_err("of no use");
        assert!(line.contains("'--redirect-to-https [<PORT>]' cannot be used with"), "{line}");
    }
    for flag in ["--upstream-tls", "--send-proxy=v1"] {
        let line = plan(&["--mode=http", "--redirect-to-https", flag]).expect_err("of no use");
        assert_eq!(
            line,
            format!(
                "{} is about servers, and --redirect-to-https has none; remove one of them",
                flag.trim_end_matches("=v1")
            )
        );
    }
    assert!(parsed(&["--mode=http", "--redirect-to-https=0"]).is_err());
}

#[test]
fn unfinished_talk_gets_a_share_of_the_memory() {
    let bytes = |host: &Host, flags: &[&str]| plan_on(host, flags).map(|plan| plan.workers[0].peek_bytes_max);
    let with_memory = |memory_bytes| Host { memory_bytes, ..host() };
    let http = &["--mode=http", "--workers=2"];
    assert_eq!(bytes(&with_memory(Some(4 << 30)), http).expect("a plan"), 128 << 20);
    assert_eq!(bytes(&with_memory(Some(1 << 40)), http).expect("a plan"), 512 << 20, "1GiB at most");
    assert_eq!(bytes(&with_memory(Some(1 << 20)), http).expect("a plan"), 256 << 10, "a few heads");
    assert_eq!(bytes(&with_memory(None), http).expect("a plan"), 256 << 10);
    let asked = |flags: &[&str]| bytes(&host(), &[http, flags].concat());
    assert_eq!(asked(&["--peek-memory=16MiB"]).expect("a plan"), 8 << 20);
    let error = asked(&["--peek-memory=1MiB", "--head-limit=1MiB"]).expect_err("too little").to_string();
    assert_eq!(error, "--peek-memory 1024KiB is too small for 2 workers; give at least 8192KiB");
    let error = bytes(&host(), &["--peek-memory=1MiB"]).expect_err("nothing to limit").to_string();
    assert!(error.starts_with("--peek-memory limits what clients send before they are served"), "{error}");
    assert!(bytes(&host(), &["--peek-memory=1MiB", "--accept-proxy"]).is_ok());
}

#[test]
fn a_flag_that_would_do_nothing_is_refused() {
    let unix = &["--listen=unix:/run/a.sock", "--upstream=192.0.2.1:80"][..];
    let redirects = &["--listen=127.0.0.1:1", "--mode=http", "--redirect-to-https"][..];
    let by_protocol = &["--listen=127.0.0.1:1", "--alpn-route=h2=192.0.2.1:80"][..];
    for (base, flags, expected) in [
        (
            &LEAST[..],
            &["--mode=http", "--host-route=a=b:1", "--peek-timeout=1s"][..],
            "required arguments were not provided: <--sni-route",
        ),
        (
            &LEAST,
            &["--sni-route=a=b:1", "--tls-cert=x", "--peek-timeout=1s"],
            "--peek-timeout applies to TLS that is passed through",
        ),
        (unix, &["--defer-accept"], "--defer-accept applies to TCP listeners only"),
        (unix, &["--tcp-fastopen=5"], "--tcp-fastopen applies to TCP listeners only"),
        (unix, &["--steer=cpu"], "--steer cpu applies to TCP listeners only"),
        (redirects, &["--body-timeout=1s"], "--body-timeout changes what is forwarded"),
        (redirects, &["--connect-timeout=1s"], "--connect-timeout is about servers, and --redirect-to-https"),
        (redirects, &["--balance=random-two"], "--balance is about servers, and --redirect-to-https"),
        (
            redirects,
            &["--tls-min-version=1.3"],
            "--tls-min-version applies to TLS that ends here; add --tls-cert",
        ),
        (by_protocol, &["--tls-key=x"], "--tls-key applies to TLS that ends here; add --tls-cert"),
    ] {
        let arguments = ["iisplice", "proxy"].iter().chain(base).chain(flags);
        let said = match Cli::try_parse_from(arguments) {
            Err(error) => crate::cli::one_line(&error),
            Ok(Cli { command: Command::Proxy(proxy), .. }) => {
                proxy.settings(&host()).map(|_| ()).expect_err("it would do nothing").to_string()
            }
            Ok(_) => panic!("another command"),
        };
        assert!(said.contains(expected), "{flags:?}: {said}");
    }
}
