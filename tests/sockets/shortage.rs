//! Out of buffers, pipes and descriptors: who finds none waits, nothing spins, and all goes on by itself.

use std::thread;
use std::time::Instant;

use crate::support::{
    Launch, Peer, Proxy, Server, exchange, pair, receive_pattern, send_pattern, stuff, stuff_all, wait_for,
};

/// At most one line a second, and at least one.
fn expect_said_seldom(proxy: &Proxy, text: &str, since: Instant) {
    let said = proxy.said(text).len();
    let most = since.elapsed().as_secs() as usize + 1;
    assert!((1..=most).contains(&said), "{text:?} was said {said} times; 1 to {most} were right");
}

/// More stalled readers than buffers: new clients are still served.
#[test]
fn more_stalled_directions_than_buffers_leave_the_others_alone() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--splice never --buffers 4").start();
    let pairs: Vec<_> = (0..12).map(|_| pair(&proxy, &server)).collect();
    let sent = stuff_all(pairs.iter().map(|(_, upstream)| upstream));
    proxy.expect_sleep();
    let (late, late_upstream) = pair(&proxy, &server);
    exchange(&late, &late_upstream);
    thread::scope(|scope| {
        for ((client, upstream), sent) in pairs.iter().zip(sent) {
            upstream.finish();
            scope.spawn(move || receive_pattern(client, sent, None));
        }
    });
}

#[test]
fn with_one_buffer_all_take_turns() {
    const BYTES: u64 = 4 << 20;
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--splice never --buffers 1").start();
    let begin = Instant::now();
    let pairs: Vec<_> = (0..12).map(|_| pair(&proxy, &server)).collect();
    thread::scope(|scope| {
        for (client, upstream) in &pairs {
            scope.spawn(|| send_pattern(upstream, BYTES, None));
            scope.spawn(|| receive_pattern(client, BYTES, None));
            scope.spawn(|| send_pattern(client, BYTES, None));
            scope.spawn(|| receive_pattern(upstream, BYTES, None));
        }
    });
    expect_said_seldom(&proxy, "out of receive buffers", begin);
    drop(pairs);
    proxy.wait_until_idle();
}

/// Several streams at once where there is one pipe.
fn streams_share_a_pipe(flags: &str) {
    const BYTES: u64 = 24 << 20;
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--pipes 1").flags(flags).start();
    let pairs: Vec<_> = (0..5).map(|_| pair(&proxy, &server)).collect();
    thread::scope(|scope| {
        for (client, upstream) in &pairs {
            scope.spawn(|| send_pattern(upstream, BYTES, None));
            scope.spawn(|| receive_pattern(client, BYTES, None));
            scope.spawn(|| send_pattern(client, BYTES / 4, None));
            scope.spawn(|| receive_pattern(upstream, BYTES / 4, None));
        }
    });
    drop(pairs);
    let records = proxy.records(5);
    let shares = records.iter().map(|record| record.number("spliced"));
    assert!(shares.sum::<f64>() > 0.0, "nothing was spliced, though there is a pipe");
    proxy.wait_until_idle();
}

#[test]
fn with_one_pipe_several_streams_arrive_when_bulk_is_spliced() {
    streams_share_a_pipe("--splice auto");
}

#[test]
fn with_one_pipe_several_streams_arrive_when_all_is_spliced() {
    streams_share_a_pipe("--splice always");
}

#[test]
fn with_the_only_pipe_stalled_others_are_copied() {
    let server = Server::v4();
    let proxy = Launch::to(server.address()).flags("--pipes 1 --splice always").start();
    let (client, upstream) = pair(&proxy, &server);
    let sent = stuff(&upstream);
    let other = pair(&proxy, &server);
    thread::scope(|scope| {
        scope.spawn(|| send_pattern(&other.1, 8 << 20, None));
        scope.spawn(|| receive_pattern(&other.0, 8 << 20, None));
    });
    proxy.expect_sleep();
    upstream.finish();
    receive_pattern(&client, sent, None);
}

/// More clients than there are descriptors for: those that are served go on, the others wait, and when some are free
/// again new clients are served.
#[test]
fn without_descriptors_accepting_pauses_and_resumes() {
    let server = Server::v4();
    let proxy = Launch::to(server.address())
        .flags("--max-connections 1000 --splice never --connect-timeout 1s")
        .descriptors_max(40)
        .start();
    let begin = Instant::now();
    let early: Vec<_> = (0..4).map(|_| pair(&proxy, &server)).collect();
    let crowd: Vec<_> = (0..60).map(|_| Peer::connect(proxy.address())).collect();
    proxy.wait_to_say("out of file descriptors");
    proxy.expect_sleep();
    for (client, upstream) in &early {
        exchange(client, upstream);
    }
    expect_said_seldom(&proxy, "out of file descriptors", begin);
    // A client for whose server there is no descriptor keeps the others in the backlog: one at a time may be turned
    // away, when its connect time-out of a second is over.
    let records = proxy.records(0);
    let turned_away = records.iter().filter(|record| record.get("end") == "local-limit").count();
    let most = begin.elapsed().as_secs() as usize + 1;
    assert!(turned_away <= most, "{turned_away} clients were turned away; {most} were right");
    drop(crowd);
    // Those of the crowd that were connected upstream have left as well.
    let late = Peer::connect(proxy.address());
    late.send(b"late");
    wait_for("a client that came late to be served", || {
        let upstream = server.accept();
        let mut first = [0; 4];
        let received = upstream.receive(&mut first).unwrap_or_default();
        (&first[..received] == b"late").then_some(())
    });
}
