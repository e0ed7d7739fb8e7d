mod mistakes;
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
            "--access-log=-",
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
