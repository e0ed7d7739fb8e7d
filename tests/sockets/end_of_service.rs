//! SIGTERM and SIGINT: clients that wait are served, and those that are served may finish within the drain time-out.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::support::{Launch, Peer, Proxy, Server, exchange, pair, wait_until};

fn sessions_finish_after(signal: Signal) {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).start();
    let (client, upstream) = pair(&proxy, &server);
    proxy.signal(signal);
    proxy.wait_until_closed();
    exchange(&client, &upstream);
    drop(client);
    upstream.expect_end();
    drop(upstream);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    proxy.record().expect_end("client-close");
    proxy.wait_to_say("stopped; all connections have ended");
}

#[test]
fn after_sigterm_sessions_finish_and_no_new_client_is_accepted() {
    sessions_finish_after(Signal::SIGTERM);
}

#[test]
fn after_sigint_sessions_finish_and_no_new_client_is_accepted() {
    sessions_finish_after(Signal::SIGINT);
}

/// Those who send clients here have time to hear of the stop.
#[test]
fn a_drain_that_is_delayed_serves_clients_until_it_begins() {
    let server = Server::v4();
    let admin = "--admin 127.0.0.1:0 --drain-timeout 1h";
    let mut proxy = Launch::to(server.address()).flags("--drain-delay 1h").flags(admin).start();
    let readyz = |proxy: &Proxy| Admin::of(proxy).get("/readyz").status;
    assert_eq!(readyz(&proxy), 200);
    proxy.signal(Signal::SIGTERM);
    proxy.wait_to_say("stopping; accepting clients until the drain begins");
    assert_eq!(readyz(&proxy), 503);
    let pairs: Vec<_> = (0..3).map(|_| pair(&proxy, &server)).collect();
    assert_eq!(Admin::of(&proxy).get("/healthz").status, 200);
    // As without a delay.
    proxy.signal(Signal::SIGINT);
    assert_eq!(proxy.exit_code(), Some(0));
    assert_eq!(proxy.said("stopped immediately").len(), 1);
    drop(pairs);

    // It ends by itself, and then the drain is one as ever.
    let mut proxy = Launch::to(server.address()).flags("--drain-delay 200ms").flags(admin).start();
    let (client, upstream) = pair(&proxy, &server);
    proxy.signal(Signal::SIGTERM);
    proxy.wait_to_say("draining; accepting no more clients");
    exchange(&client, &upstream);
    drop((client, upstream));
    assert_eq!(proxy.exit_code(), Some(0));
    proxy.wait_to_say("stopped; all connections have ended");
}

#[test]
fn a_reload_changes_the_delay_of_a_drain() {
    let server = Server::v4();
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("iisplice.toml");
    let write = |delay: &str| {
        let group = format!("[group.g]\nservers = [\"{}\"]\n", server.address());
        let service = "[service.a]\nlisten = \"127.0.0.1:0\"\nupstream = \"g\"\n";
        std::fs::write(&file, format!("drain-delay = \"{delay}\"\n{service}{group}")).expect("it is written");
    };
    write("1h");
    let mut proxy = Launch::by_file(&file).start();
    write("0");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("changed: drain-delay");
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    assert!(proxy.said("accepting clients until").is_empty());
}

/// What the last line says, behind `text`.
fn sum_of(proxy: &Proxy, text: &str) -> String {
    let line = proxy.wait_to_say(text);
    let (_, sum) = line.split_once(text).expect("it was found by this");
    sum.to_owned()
}

#[test]
fn the_last_line_sums_up_all_workers() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--workers 2 --no-pin --drain-timeout 300ms").start();
    for _ in 0..10 {
        // The words of a pair, and no more; and one end after the other.
        let (client, upstream) = pair(&proxy, &server);
        drop(client);
        upstream.expect_end();
    }
    let (client, upstream) = pair(&proxy, &server);
    upstream.finish();
    client.expect_end();
    drop((client, upstream));
    let records = proxy.records(11);
    let words = |name| records.iter().map(|record| record.bytes(name)).sum::<u64>();
    let cut = pair(&proxy, &server);
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    drop(cut);
    let (up, down) = (words("to_upstream_bytes") + 8, words("to_client_bytes") + 6);
    let sum = sum_of(&proxy, "stopped; all connections have ended: ");
    let expected = format!(
        "connections=12 to_upstream_bytes={up} to_client_bytes={down} client-close=10 upstream-close=1 drain=1 "
    );
    assert!(sum.starts_with(&expected), "expected {expected:?} in: {sum}");
    assert!(sum.contains("log_lines_dropped=0"), "{sum}");
}

#[test]
fn an_end_at_once_sums_up_what_had_ended() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--drain-timeout 1h").start();
    let (client, upstream) = pair(&proxy, &server);
    drop(client);
    upstream.expect_end();
    drop(upstream);
    proxy.records(1);
    let _open = pair(&proxy, &server);
    proxy.signal(Signal::SIGTERM);
    proxy.wait_to_say("received signal");
    // Within a second it would be the same request.
    proxy.signal(Signal::SIGINT);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    let sum = sum_of(&proxy, "stopped immediately; totals for connections already closed: ");
    assert!(sum.starts_with("connections=1 to_upstream_bytes=8 to_client_bytes=6 client-close=1 "), "{sum}");
}

#[test]
fn in_http_mode_the_last_line_counts_requests() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--mode http --forwarded off").start();
    let client = Peer::connect(proxy.address());
    let request = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    client.send(request);
    let upstream = server.accept();
    for turn in 0..3 {
        if turn > 0 {
            client.send(request);
        }
        upstream.expect(request);
        upstream.send(reply);
        client.expect(reply);
    }
    // One after the other: of two simultaneous ends it is unknown which came first.
    drop(client);
    upstream.expect_end();
    let refused = Peer::connect(proxy.address());
    refused.send(b"GET / HTTP/1.1\r\n\r\n");
    let mut page_bytes = 0;
    while let Ok(1) = refused.receive(&mut [0]) {
        page_bytes += 1;
    }
    drop(refused);
    proxy.wait_until_idle();
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    let sum = sum_of(&proxy, "stopped; all connections have ended: ");
    let (up, down) = (3 * request.len(), 3 * reply.len() + page_bytes);
    let expected = format!("connections=2 requests=4 to_upstream_bytes={up} to_client_bytes={down} ");
    assert!(sum.starts_with(&expected) && sum.contains(" client-close=1 bad-request=1 "), "{sum}");
}

#[test]
fn without_sessions_it_ends_at_once() {
    let mut proxy = Launch::to("127.0.0.1:9").flags("--drain-timeout 1h").start();
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
}

#[test]
fn who_waits_to_be_accepted_is_served_and_not_reset() {
    for workers in ["--workers 1 --no-pin", "--workers 2 --no-pin"] {
        let server = Server::v4();
        let mut proxy = Launch::to(server.address()).flags(workers).start();
        drop(pair(&proxy, &server));
        // While the process stands still the kernel connects clients, and they wait in the accept queue.
        proxy.signal(Signal::SIGSTOP);
        let clients: Vec<_> = (0..20).map(|_| Peer::connect(proxy.address())).collect();
        proxy.signal(Signal::SIGTERM);
        proxy.signal(Signal::SIGCONT);
        for client in &clients {
            client.send(b"waited");
        }
        for _ in &clients {
            let upstream = server.accept();
            upstream.expect(b"waited");
            upstream.send(b"served");
        }
        for client in &clients {
            client.expect(b"served");
            client.expect_end();
        }
        drop(clients);
        assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
        assert_eq!(proxy.records(21).len(), 21, "lines in the access log (left)");
    }
}

#[test]
fn who_waits_for_a_seat_is_served_after_sigterm() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--max-connections 1").start();
    let (client, upstream) = pair(&proxy, &server);
    let waiting: Vec<_> = (0..3).map(|_| Peer::connect(proxy.address())).collect();
    proxy.signal(Signal::SIGTERM);
    proxy.wait_to_say("received signal");
    exchange(&client, &upstream);
    drop((client, upstream));
    for client in waiting {
        let upstream = server.accept();
        exchange(&client, &upstream);
    }
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
}

#[test]
fn who_does_not_finish_in_time_is_closed() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--drain-timeout 300ms").start();
    let (client, upstream) = pair(&proxy, &server);
    proxy.signal(Signal::SIGTERM);
    client.expect_close();
    upstream.expect_close();
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    proxy.record().expect_end("drain");
}

#[test]
fn who_is_stalled_when_the_time_is_over_is_closed() {
    for splice in ["--splice never", "--splice always"] {
        let server = Server::v4();
        let mut proxy = Launch::to(server.address()).flags("--drain-timeout 300ms").flags(splice).start();
        let (client, upstream) = pair(&proxy, &server);
        crate::support::stuff(&upstream);
        proxy.signal(Signal::SIGTERM);
        upstream.expect_close();
        assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
        client.expect_close();
        proxy.record().expect_end("drain");
    }
}

#[test]
fn after_sigquit_sessions_finish_and_no_new_client_is_accepted() {
    sessions_finish_after(Signal::SIGQUIT);
}

#[test]
fn the_same_signal_again_within_a_second_is_the_same_request() {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let server = Server::v4();
        let mut proxy = Launch::to(server.address()).start();
        let (client, upstream) = pair(&proxy, &server);
        proxy.signal(signal);
        proxy.wait_to_say("received signal");
        proxy.signal(signal);
        proxy.wait_to_say("counts once");
        exchange(&client, &upstream);
        drop((client, upstream));
        assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
        proxy.wait_to_say("stopped; all connections have ended");
    }
}

#[test]
fn sigint_twice_ends_it_at_once_however_soon() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--drain-timeout 1h").start();
    let (client, upstream) = pair(&proxy, &server);
    proxy.signal(Signal::SIGINT);
    proxy.wait_to_say("received signal");
    proxy.signal(Signal::SIGINT);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    client.expect_close();
    upstream.expect_close();
    proxy.wait_to_say("stopped immediately");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let server = Server::v4();
        let mut proxy = Launch::to(server.address()).flags("--drain-timeout 1h").start();
        let (client, upstream) = pair(&proxy, &server);
        proxy.signal(Signal::SIGTERM);
        proxy.wait_to_say("received signal");
        exchange(&client, &upstream);
        // The same signal within a second is the same request.
        thread::sleep(Duration::from_millis(1100));
        proxy.signal(second);
        assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
        client.expect_close();
        upstream.expect_close();
    }
}

#[test]
fn a_unix_listeners_file_is_gone_at_the_end() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("proxy");
    let mut proxy = Launch::to("127.0.0.1:9").flags(&format!("--listen unix:{}", path.display())).start();
    assert!(path.exists(), "it listens there");
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    assert!(!path.exists(), "the file is left behind");
}

#[test]
fn a_unix_listeners_file_that_a_crash_left_is_replaced() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("proxy");
    let flags = format!("--listen unix:{}", path.display());
    let server = Server::v4();
    let mut crashed = Launch::to(server.address()).flags(&flags).start();
    crashed.signal(Signal::SIGKILL);
    crashed.exit_code();
    assert!(path.exists(), "a crash leaves the file");
    // The kernel dismantles an unclosed ring after the process has ended, and with it the sockets that it watched.
    wait_until("no listener there", || UnixStream::connect(&path).is_err());
    let proxy = Launch::to(server.address()).flags(&flags).start();
    pair(&proxy, &server);
}

#[test]
fn a_unix_listeners_file_that_is_another_ones_by_then_stays() {
    let directory = TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("proxy");
    let server = Server::v4();
    let flags = format!("--listen unix:{}", path.display());
    let mut first = Launch::to(server.address()).flags(&flags).start();
    std::fs::remove_file(&path).expect("it is there");
    let second = Launch::to(server.address()).flags(&flags).start();
    first.signal(Signal::SIGTERM);
    assert_eq!(first.exit_code(), Some(0), "exit code (left)");
    let (client, upstream) = pair(&second, &server);
    exchange(&client, &upstream);
}
