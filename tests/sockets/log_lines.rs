//! Log lines that clients and servers cause: so many a second for each cause, then a sum.

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::support::{Launch, Peer, Proxy, Server, refusing};

/// Clients of a storm: enough for several sums.
const CLIENTS: usize = 3000;
/// Lines of a cause within a second.
const LINES_A_SECOND: usize = 20;

/// What a storm that began then is allowed to log of one cause: seconds that it touched, and as many sums.
fn lines_max(began: Instant) -> usize {
    (began.elapsed().as_secs() as usize + 2) * (LINES_A_SECOND + 1)
}

/// Lines about `text`, and how many more the sums name.
fn lines_and_more(proxy: &Proxy, text: &str) -> (usize, usize) {
    let said = proxy.said(text);
    let mores: Vec<usize> = said
        .iter()
        .filter_map(|line| line.split_once("and ")?.1.split_once(" more: "))
        .map(|(number, _)| number.replace(',', "").parse().expect("a number"))
        .collect();
    (said.len() - mores.len(), mores.iter().sum())
}

/// Stops it, so that all that it had to say is said.
fn stop(proxy: &mut Proxy) {
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    proxy.wait_to_say("stopped");
}

#[test]
fn clients_that_are_refused_are_summed_up() {
    let server = Server::v4();
    let mut proxy = Launch::to(server.address()).flags("--accept-proxy").start();
    let began = Instant::now();
    for nth in 0..CLIENTS {
        let client = Peer::connect(proxy.address());
        if nth == CLIENTS / 2 {
            client.send(b"PROXY TCP4 19");
            client.finish();
        } else {
            client.send(b"GET / HTTP/1.1\r\n\r\n");
        }
        client.expect_close();
    }
    stop(&mut proxy);
    let (lines, more) = lines_and_more(&proxy, "no valid PROXY header received");
    assert_eq!(lines + more, CLIENTS, "lines and what they sum up (left)");
    assert!(lines <= lines_max(began), "{lines} lines");
    // The rare cause is not lost among the many.
    assert_eq!(proxy.said("ended after 13 bytes").len(), 1);
    let last = proxy.said("").pop().expect("it said something");
    assert!(last.contains("stopped"), "sums come before the last line: {last}");
}

#[test]
fn connections_that_fail_are_summed_up_for_each_server() {
    let (_held, down) = refusing();
    let (_too, other) = refusing();
    let mut proxy = Launch::to(&down).flags(&format!("--upstream {other}")).start();
    let began = Instant::now();
    for _ in 0..CLIENTS {
        Peer::connect(proxy.address()).expect_close();
    }
    stop(&mut proxy);
    for server in [&down, &other] {
        let (lines, more) = lines_and_more(
            &proxy,
            &format!("cannot connect to server; trying the next, if any upstream=\"{server}\""),
        );
        assert_eq!(lines + more, CLIENTS, "lines and what they sum up (left)");
        assert!(lines <= lines_max(began), "{lines} lines");
    }
}

#[test]
fn a_server_that_goes_down_or_comes_back_is_one_line() {
    let (held, down) = refusing();
    let other = Server::v4();
    let mut proxy = Launch::to(&down)
        .flags(&format!("--upstream {} --workers 2 --no-pin --eject-after 0", other.address()))
        .start();
    let served = |count| {
        for _ in 0..count {
            let client = Peer::connect(proxy.address());
            client.send(b"x");
            client.finish();
            other.accept().expect(b"x");
            client.expect_close();
        }
    };
    served(100);
    assert_eq!(proxy.wait_to_say_times("server is down", 1).len(), 1);
    held.listen(100).expect("a bound socket");
    let back = loop {
        let _client = Peer::connect(proxy.address());
        if let Some(line) = proxy.said("server is up again").pop() {
            break line;
        }
    };
    assert!(back.contains(&format!("upstream=\"{down}\"")) && back.contains(" failures="), "{back}");
    drop(held);
    for _ in 0..100 {
        drop(Peer::connect(proxy.address()));
    }
    proxy.wait_to_say_times("server is down", 2);
    // Ends the sessions that it has not accepted; it may be found to be down as well.
    drop(other);
    stop(&mut proxy);
    for (text, lines) in [("server is down", 2), ("server is up again", 1)] {
        let said = proxy.said(text);
        let about = said.iter().filter(|line| line.contains(&format!("upstream=\"{down}\""))).count();
        assert_eq!(about, lines, "{said:#?}");
    }
}
