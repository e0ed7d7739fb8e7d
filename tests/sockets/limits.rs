//! What one direction may hold, and how many sessions are served at once.

use nix::sys::signal::Signal;

use crate::support::{Launch, Peer, Proxy, Server, exchange, pair, receive_pattern, send_pattern, stuff_all};

const MIB: u64 = 1 << 20;

/// Sessions whose servers have sent until nothing more was taken, because the clients do not read; with what each sent.
fn stalled(proxy: &Proxy, server: &Server, count: usize) -> Vec<(Peer, Peer, u64)> {
    let pairs: Vec<_> = (0..count).map(|_| pair(proxy, server)).collect();
    let sent = stuff_all(pairs.iter().map(|(_, upstream)| upstream));
    pairs.into_iter().zip(sent).map(|((client, upstream), sent)| (client, upstream, sent)).collect()
}

/// The clients begin to read: all that was sent arrives.
fn resume(stalled: &[(Peer, Peer, u64)]) {
    std::thread::scope(|scope| {
        for (client, upstream, sent) in stalled {
            upstream.finish();
            scope.spawn(|| receive_pattern(client, *sent, None));
        }
    });
}

fn slow_readers_cost_no_memory(flags: &str) {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags(flags).start();
    let (client, upstream) = pair(&proxy, &server);
    let before = proxy.memory();
    let stalled = stalled(&proxy, &server, 24);
    let sent: u64 = stalled.iter().map(|(_, _, sent)| sent).sum();
    let grown = proxy.memory().saturating_sub(before);
    // Receive buffers are a megabyte at most; what was sent waits in the kernel's socket buffers, which are bounded.
    assert!(
        grown < 3 * MIB,
        "{sent} bytes were sent to 24 readers that stand still, and memory grew by {grown}"
    );
    exchange(&client, &upstream);
    proxy.expect_sleep();
    resume(&stalled);
}

#[test]
fn slow_readers_cost_no_memory_when_copied() {
    slow_readers_cost_no_memory("--splice never --buffers 64");
}

#[test]
fn slow_readers_cost_no_memory_when_spliced() {
    slow_readers_cost_no_memory("--splice always");
}

/// A reader that has said all it had to say, and then stands still: its server's bytes wait like anybody's.
fn slow_readers_that_ended_their_stream_cost_no_cpu(flags: &str) {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags(flags).start();
    let pairs: Vec<_> = (0..8).map(|_| pair(&proxy, &server)).collect();
    for (client, upstream) in &pairs {
        client.finish();
        upstream.expect_end();
    }
    let sent = stuff_all(pairs.iter().map(|(_, upstream)| upstream));
    proxy.expect_sleep();
    let sessions = pairs.into_iter().zip(sent);
    let stalled: Vec<_> = sessions.map(|((client, upstream), sent)| (client, upstream, sent)).collect();
    resume(&stalled);
}

#[test]
fn slow_readers_that_ended_their_stream_cost_no_cpu_when_copied() {
    slow_readers_that_ended_their_stream_cost_no_cpu("--splice never");
}

#[test]
fn slow_readers_that_ended_their_stream_cost_no_cpu_when_spliced() {
    slow_readers_that_ended_their_stream_cost_no_cpu("--splice always");
}

#[test]
fn a_stalled_direction_holds_one_buffer_and_leaves_the_others() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--splice never --buffers 4").start();
    let stalled = stalled(&proxy, &server, 3);
    // One buffer is left, and enough for any number of sessions that read what they are sent.
    for _ in 0..5 {
        pair(&proxy, &server);
    }
    assert!(proxy.said("out of receive buffers").is_empty(), "three stalled directions held four buffers");
    resume(&stalled);
}

#[test]
fn a_stalled_direction_holds_one_pipe_and_leaves_the_others() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--splice always --pipes 2").start();
    let stalled = stalled(&proxy, &server, 1);
    let (client, upstream) = pair(&proxy, &server);
    std::thread::scope(|scope| {
        scope.spawn(|| send_pattern(&upstream, 32 * MIB, None));
        scope.spawn(|| receive_pattern(&client, 32 * MIB, None));
    });
    drop((client, upstream));
    let spliced = proxy.record().number("spliced");
    assert!(spliced > 0.5, "the second pipe was to carry most of it, not {spliced}");
    resume(&stalled);
}

#[test]
fn more_connections_than_descriptors_allow_is_a_warning() {
    // 41 are for the process, its worker and its listener.
    for (connections, is_too_many) in [("100", true), ("80", true), ("79", false)] {
        let server = Server::v4();
        let mut proxy = Launch::to(server.address())
            .flags("--splice never --max-connections")
            .flags(connections)
            .descriptors_max(200)
            .start();
        pair(&proxy, &server);
        proxy.signal(Signal::SIGTERM);
        assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
        proxy.wait_to_say("stopped");
        let said = proxy.said("--max-connections");
        assert_eq!(said.len(), usize::from(is_too_many), "warnings (left): {said:?}");
        assert!(proxy.said(&format!("connections_max={connections}")).len() == 1, "it is used all the same");
        let needed = if connections == "100" { "raise the limit to 241" } else { "raise the limit to 201" };
        for part in ["WARN", "200 allows only 79 connections", needed, "LimitNOFILE=, ulimit -n"] {
            assert!(said.iter().all(|line| line.contains(part)), "expected {part:?} in: {said:?}");
        }
    }
}

#[test]
fn at_the_limit_new_clients_wait_and_are_served_when_one_leaves() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--max-connections 3").start();
    let mut seated: Vec<_> = (0..3).map(|_| pair(&proxy, &server)).collect();
    let waiting: Vec<_> = (0..4).map(|_| Peer::connect(proxy.address())).collect();
    for client in &waiting {
        client.send(b"waited");
    }
    proxy.expect_sleep();
    server.expect_no_connection();
    for (client, upstream) in &seated {
        exchange(client, upstream);
    }
    for client in waiting {
        drop(seated.remove(0));
        let upstream = server.accept();
        upstream.expect(b"waited");
        server.expect_no_connection();
        exchange(&client, &upstream);
        seated.push((client, upstream));
    }
}
