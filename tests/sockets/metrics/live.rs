//! What is true while connections live, and what is said of those that failed.

use std::fs;

use iisplice::proxy::record::End;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::Metrics;
use crate::admin::{Admin, start};
use crate::support::{
    Launch, Peer, Server, exchange, pair, receive_pattern, refusing, send_pattern, wait_until,
};

#[test]
fn gauges_and_bytes_are_true_while_a_connection_lives() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()));
    let (client, upstream) = pair(&proxy, &server);
    let bytes = |metrics: &Metrics| {
        ["iisplice_to_upstream_bytes_total", "iisplice_to_client_bytes_total"]
            .map(|name| metrics.sum(name, &[]))
    };
    let before = bytes(&Metrics::of(&admin));
    for _ in 0..3 {
        client.send(b"hello");
        upstream.expect(b"hello");
        upstream.send(b"good morning");
        client.expect(b"good morning");
    }
    let metrics = Metrics::of(&admin);
    assert_eq!(bytes(&metrics), [before[0] + 15, before[1] + 36]);
    let labels = [("service", "default"), ("group", "default"), ("server", server.address())];
    assert_eq!(metrics.sum("iisplice_connections_active", &labels), 1);
    assert_eq!(metrics.sum("iisplice_connections_active", &[]), 1, "it is counted once");
    assert_eq!(metrics.sum("iisplice_worker_connections_active", &[]), 1);
    assert_eq!(metrics.sum("iisplice_server_connections", &labels[1..]), 1);
    assert_eq!(metrics.sum("iisplice_server_state", &[("state", "up")]), 1);
    assert_eq!(metrics.sum("iisplice_connections_ended_total", &[]), 0);
    exchange(&client, &upstream);
    drop((client, upstream));
    wait_until("the connection to end", || {
        Metrics::of(&admin).sum("iisplice_connections_ended_total", &[]) == 1
    });
    let metrics = Metrics::of(&admin);
    for name in
        ["iisplice_connections_active", "iisplice_worker_connections_active", "iisplice_server_connections"]
    {
        assert_eq!(metrics.sum(name, &[]), 0, "{name}");
    }
}

#[test]
fn bulk_that_goes_through_a_pipe_is_counted_as_such_and_all_is_given_back() {
    const BYTES: u64 = 20_000_000;
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()));
    let (client, upstream) = pair(&proxy, &server);
    let before = Metrics::of(&admin).sum("iisplice_to_client_bytes_total", &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| send_pattern(&upstream, BYTES, None));
        receive_pattern(&client, BYTES, None);
    });
    let metrics = Metrics::of(&admin);
    assert_eq!(metrics.sum("iisplice_to_client_bytes_total", &[]), before + BYTES);
    let spliced = metrics.sum("iisplice_spliced_bytes_total", &[]);
    drop((client, upstream));
    let record = proxy.record();
    let share = record.number("spliced");
    let total = (record.bytes("to_upstream_bytes") + record.bytes("to_client_bytes")) as f64;
    assert!((spliced as f64 / total - share).abs() < 0.001, "{spliced} of {total} is not {share}");
    wait_until("everything to be given back", || {
        let metrics = Metrics::of(&admin);
        ["buffers", "pipes"].iter().all(|what| metrics.sum(&format!("iisplice_worker_{what}_lent"), &[]) == 0)
    });
    assert!(metrics.sum("iisplice_worker_turn_completions_count", &[]) > 0);
}

#[test]
fn every_word_of_an_end_is_there_from_the_start() {
    let server = Server::v4();
    let (_proxy, admin) = start(Launch::to(server.address()));
    let metrics = Metrics::of(&admin);
    for end in End::ALL {
        let labels = [("service", "default"), ("end", end.as_str())];
        assert_eq!(metrics.count("iisplice_connections_ended_total", &labels), 1, "{}", end.as_str());
    }
}

#[test]
fn clients_that_get_no_server_are_counted_by_the_cause() {
    let (_port, refused) = refusing();
    let launch = Launch::to(&refused).flags("--deny 127.0.0.3 --health tcp --health-interval 50ms");
    let (proxy, admin) = start(launch);
    wait_until("the check to fail", || {
        Metrics::of(&admin).sum("iisplice_server_state", &[("state", "down")]) == 1
    });
    Peer::connect(proxy.address()).expect_end();
    Peer::connect_from("127.0.0.3".parse().expect("an address"), proxy.address()).expect_end();
    wait_until("both to end", || {
        let refused = Metrics::of(&admin).by("iisplice_connections_refused_total", "cause");
        refused == [("denied".to_owned(), 1), ("no-server".to_owned(), 1)].into()
    });
    let metrics = Metrics::of(&admin);
    let of_group = [("group", "default"), ("end", "no-server")];
    assert_eq!(metrics.sum("iisplice_connections_ended_total", &of_group), 1);
    assert_eq!(metrics.sum("iisplice_server_state_changes_total", &[]), 1);
}

#[test]
fn servers_that_do_not_accept_are_counted_and_the_next_one_takes_the_client() {
    let (_port, refused) = refusing();
    let server = Server::v4();
    let flags = format!("--upstream {refused} --upstream {} --eject-after 1", server.address());
    let (proxy, admin) = start(Launch::default().flags(&flags));
    let pairs: Vec<_> = (0..2).map(|_| pair(&proxy, &server)).collect();
    let metrics = Metrics::of(&admin);
    let failures = [("server", &*refused), ("cause", "refused")];
    assert_eq!(metrics.sum("iisplice_upstream_connect_failures_total", &failures), 1);
    assert_eq!(metrics.sum("iisplice_server_ejections_total", &[("server", &refused)]), 1);
    assert_eq!(metrics.sum("iisplice_server_state", &[("server", &refused), ("state", "ejected")]), 1);
    assert_eq!(metrics.sum("iisplice_upstream_connections_total", &[("server", server.address())]), 2);
    assert_eq!(metrics.sum("iisplice_connections_active", &[("server", server.address())]), 2);
    drop(pairs);
}

#[test]
fn clients_in_the_queue_are_counted_while_they_wait_and_how_long_they_did() {
    let server = Server::v4();
    let flags = format!("--upstream {},max-connections=1 --queue-timeout 1h", server.address());
    let (proxy, admin) = start(Launch::default().flags(&flags));
    let first = pair(&proxy, &server);
    let waiting = Peer::connect(proxy.address());
    wait_until("one to wait", || Metrics::of(&admin).sum("iisplice_queue_length", &[]) == 1);
    let group = |metrics: &Metrics| {
        let all = metrics.sum("iisplice_connections_active", &[("group", "default")]);
        all - metrics.sum("iisplice_connections_active", &[("server", server.address())])
    };
    assert_eq!(group(&Metrics::of(&admin)), 1, "it has a group and no server");
    drop(first);
    let upstream = server.accept();
    exchange(&waiting, &upstream);
    let metrics = Metrics::of(&admin);
    assert_eq!((metrics.sum("iisplice_queue_length", &[]), group(&metrics)), (0, 0));
    assert_eq!(metrics.sum("iisplice_queue_wait_seconds_count", &[]), 1);
}

#[test]
fn connections_that_wait_for_clients_are_counted_and_whether_a_client_got_one() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()).flags("--warm 1"));
    let upstream = server.accept();
    let waiting = || Metrics::of(&admin).sum("iisplice_server_warm", &[("server", server.address())]);
    wait_until("a connection to wait", || waiting() == 1);
    assert_eq!(Metrics::of(&admin).sum("iisplice_warm_hits_total", &[]), 0);
    let client = Peer::connect(proxy.address());
    exchange(&client, &upstream);
    let metrics = Metrics::of(&admin);
    assert_eq!(metrics.sum("iisplice_warm_hits_total", &[("server", server.address())]), 1);
    assert_eq!(metrics.sum("iisplice_upstream_connections_total", &[]), 1);
    assert_eq!(metrics.sum("iisplice_server_connections", &[]), 1);
    let next = server.accept();
    wait_until("another one to wait", || waiting() == 1);
    drop((client, upstream, next));
}

#[test]
fn the_process_says_what_every_exporter_does() {
    let server = Server::v4();
    let (proxy, admin) = start(Launch::to(server.address()));
    let metrics = Metrics::of(&admin);
    let open = metrics.sum("process_open_fds", &[]) as usize;
    // The connection that asked is one of them.
    assert!(open.abs_diff(proxy.descriptors()) <= 2, "{open}, not {}", proxy.descriptors());
    assert!(metrics.sum("process_resident_memory_bytes", &[]) > 1 << 20);
    assert!(metrics.sum("process_start_time_seconds", &[]) > 1_700_000_000);
    assert_eq!(metrics.sum("iisplice_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1);
    assert!(metrics.sum("iisplice_connections_max", &[]) > 0);
}

#[test]
fn lines_of_the_access_log_that_are_lost_are_counted_whichever_log_lost_them() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let (file, good) = (directory.path().join("iisplice.toml"), directory.path().join("access.log"));
    let server = Server::v4();
    let text = |log: &str| {
        format!(
            "access-log = \"{log}\"\nadmin = \"127.0.0.1:0\"\n[service.a]\nlisten = \"127.0.0.1:0\"\nupstream = \
             \"g\"\n[group.g]\nservers = \"{}\"\n",
            server.address()
        )
    };
    fs::write(&file, text("/dev/full")).expect("it is written");
    // What systemd says of LogsDirectory=: the sandbox lets a reload move the log there.
    let logs = directory.path().to_str().expect("text");
    let proxy = Launch::by_file(&file).logs_by_file().environment("LOGS_DIRECTORY", logs).start();
    let admin = Admin::of(&proxy);
    let lost = || Metrics::of(&admin).sum("iisplice_access_log_lines_dropped_total", &[]);
    assert_eq!(lost(), 0);
    for nth in 1..=3 {
        drop(pair(&proxy, &server));
        wait_until("the line to be lost", || lost() == nth);
    }
    fs::write(&file, text(good.to_str().expect("text"))).expect("it is written");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("settings reloaded");
    drop(pair(&proxy, &server));
    wait_until("a line to be written", || fs::read_to_string(&good).is_ok_and(|text| text.ends_with('\n')));
    assert_eq!(lost(), 3, "those of the log before count, and no others");
}
