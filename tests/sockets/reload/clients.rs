//! Who may connect, and how much of it, before and after.

use super::*;

fn is_closed(listener: &str, server: &Server) {
    Peer::connect(listener).expect_close();
    server.expect_no_connection();
}

#[test]
fn new_connections_are_admitted_by_the_new_lists_and_established_ones_stay() {
    let server = Server::v4();
    let listener = free();
    let text = |keys: &str| service("a", &[&listener], &server, keys);
    let file = File::new(&text(""));
    let proxy = file.start();
    let held = expect_served(&listener, &server);
    for (keys, is_served) in [
        ("deny = \"127.0.0.0/8\"", false),
        ("deny = [\"192.0.2.0/24\", \"unix:\"]", true),
        ("allow = \"192.0.2.0/24\"", false),
        ("allow = [\"192.0.2.0/24\", \"127.0.0.1\"]", true),
        ("", true),
    ] {
        file.reload(&proxy, &text(keys));
        if is_served {
            expect_served(&listener, &server);
        } else {
            is_closed(&listener, &server);
        }
        exchange(&held.0, &held.1);
    }
    let said = file.refuse(&proxy, &text("allow = \"10.0.0.0/33\""));
    assert!(said.contains("allow: "), "{said}");
}

#[test]
fn a_service_that_stays_knows_its_clients() {
    let server = Server::v4();
    let (listener, other) = (free(), free());
    let text = |name: &str, keys: &str| {
        let keys = format!("{keys}\nidle-timeout = \"1h\"");
        format!("workers = 2\nno-pin = true\n{}", service(name, &[&listener], &server, &keys))
            + &service("other", &[&other], &server, "connections-per-client = 1")
    };
    let file = File::new(&text("a", "connections-per-client = 2"));
    let proxy = file.start();
    let (one, two) = (expect_served(&listener, &server), expect_served(&listener, &server));
    is_closed(&listener, &server);
    // Each service counts for itself.
    let _held = expect_served(&other, &server);
    // Nothing changes, then the limit is lower than what the client has, then higher.
    file.reload(&proxy, &text("a", "connections-per-client = 2"));
    is_closed(&listener, &server);
    file.reload(&proxy, &text("a", "connections-per-client = 1"));
    is_closed(&listener, &server);
    file.reload(
        &proxy,
        &text("a", "connections-per-client = 3\nconnection-rate-per-client = \"1/m,burst=2\""),
    );
    let three = expect_served(&listener, &server);
    is_closed(&listener, &server);
    // Connections of before give back what they took.
    let ended = proxy.records(1).len();
    drop((one, three));
    proxy.records(ended + 2);
    let four = expect_served(&listener, &server);
    // The rate goes on, too.
    drop(four);
    file.reload(
        &proxy,
        &text("a", "connections-per-client = 3\nconnection-rate-per-client = \"1/m,burst=2\""),
    );
    is_closed(&listener, &server);
    exchange(&two.0, &two.1);
    is_closed(&other, &server);
}
