//! What established connections keep, and what new ones get.

use super::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: web\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn established_connections_keep_their_time_outs_and_new_ones_get_theirs() {
    let server = Server::v4();
    let listener = free();
    let text = |idle: &str| service("a", &[&listener], &server, &format!("idle-timeout = \"{idle}\""));
    let file = File::new(&text("1h"));
    let proxy = file.start();
    let old = expect_served(&listener, &server);
    file.reload(&proxy, &text("2s"));
    let (client, upstream) = expect_served(&listener, &server);
    client.expect_close();
    upstream.expect_close();
    proxy.record().expect_end("idle");
    exchange(&old.0, &old.1);
    // And the other way round: this one began with the short one.
    let (client, _upstream) = expect_served(&listener, &server);
    file.reload(&proxy, &text("1h"));
    let (other, upstream) = expect_served(&listener, &server);
    client.expect_close();
    exchange(&other, &upstream);
    exchange(&old.0, &old.1);
}

#[test]
fn established_connections_keep_their_mode_and_servers() {
    let (one, two) = (Server::v4(), Server::v4());
    let listener = free();
    let http = "mode = \"http\"\nforwarded = \"off\"";
    let file = File::new(&service("a", &[&listener], &one, http));
    let proxy = file.start();
    let client = Peer::connect(&listener);
    client.send(GET);
    let upstream = one.accept();
    upstream.expect(GET);
    // The reload comes between a request and its reply.
    file.reload(&proxy, &service("a", &[&listener], &two, ""));
    for _ in 0..2 {
        upstream.send(OK);
        client.expect(OK);
        client.send(GET);
        upstream.expect(GET);
    }
    expect_served(&listener, &two);
    one.expect_no_connection();
    // From bytes to requests: the log names the logins of a service that was none of HTTP at start.
    // At another address: the kernel may give back the sockets of a killed process after its end (io_uring).
    let listener = free();
    let file = File::new(&service("a", &[&listener], &two, ""));
    let proxy = file.start();
    file.reload(&proxy, &service("a", &[&listener], &two, http));
    let client = Peer::connect(&listener);
    client.send(GET);
    let upstream = two.accept();
    upstream.expect(GET);
    upstream.send(OK);
    client.expect(OK);
    assert_eq!(proxy.record().get("status"), "200");
}

#[test]
fn a_server_that_stays_is_known_to_be_down() {
    let (taken, down) = refusing();
    let server = Server::v4();
    let listener = free();
    let text = |keys: &str| {
        let up = server.address();
        format!(
            "[service.a]\nlisten = \"{listener}\"\nupstream = \"g\"\n{keys}\n[group.g]\nservers = [\"{down}\", \"{up}\"]\neject-time = \"100ms\"\n"
        )
    };
    let file = File::new(&text(""));
    let proxy = file.start();
    for nth in 0..6 {
        if nth == 3 {
            file.reload(&proxy, &text("idle-timeout = \"1h\""));
        }
        expect_served(&listener, &server);
    }
    assert_eq!(proxy.said("server is down").len(), 1, "said once, over the reload");
    // It comes back, as the server of the new settings.
    taken.listen(16).expect("it is bound");
    wait_until("the server to be in use again", || {
        drop(Peer::connect(&listener));
        !proxy.said("server is up again").is_empty()
    });
}

#[test]
fn certificates_come_with_the_settings() {
    let server = Server::v4();
    let listener = free();
    let file = File::new("");
    let make = |name: &str| Identity::make(file.directory.path(), name, &["front.test"]);
    let (one, two) = (make("one"), make("two"));
    let text = |identity: &Identity| {
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        service("a", &[&listener], &server, &format!("tls-cert = \"{certificate}\"\ntls-key = \"{key}\""))
    };
    file.write(&text(&one));
    let proxy = file.start();
    let connect = |identity: &Identity| {
        let client = TlsPeer::connect(&listener, &Arc::new(identity.client(None)), "front.test");
        let upstream = server.accept();
        exchange(&client.plain, &upstream);
        (client, upstream)
    };
    let before = connect(&one);
    // Another file, and then the same file with another certificate.
    let said = file.reload(&proxy, &text(&two));
    assert!(
        said.contains("settings and certificates reloaded") && said.contains("certificates of a"),
        "{said}"
    );
    connect(&two);
    let renewed = make("two");
    let said = reload(&proxy);
    assert!(said.ends_with("changed: certificates of a"), "{said}");
    connect(&renewed);
    exchange(&before.0.plain, &before.1);
    // No TLS any more.
    file.reload(&proxy, &service("a", &[&listener], &server, ""));
    expect_served(&listener, &server);
}

#[test]
fn a_flag_command_line_looks_at_its_files_again() {
    let server = Server::v4();
    let directory = TempDir::new().expect("a directory for temporary files");
    let make = || Identity::make(directory.path(), "front", &["front.test"]);
    let first = make();
    let proxy = Launch::to(server.address()).flags(&first.flags()).start();
    let renewed = make();
    let said = reload(&proxy);
    assert!(
        said.contains("certificates reloaded") && said.contains("changed: certificates of default"),
        "{said}"
    );
    let client = TlsPeer::connect(proxy.address(), &Arc::new(renewed.client(None)), "front.test");
    exchange(&client.plain, &server.accept());
}

#[test]
fn the_number_of_connections_follows_the_settings() {
    let server = Server::v4();
    let listener = free();
    let text = |most: u32| format!("max-connections = {most}\n{}", service("a", &[&listener], &server, ""));
    let file = File::new(&text(1));
    let proxy = Launch::by_file(&file.path).flags("--workers 2 --no-pin").start();
    let first = expect_served(&listener, &server);
    let waiting = Peer::connect(&listener);
    waiting.send(b"waits");
    proxy.wait_to_say("maximum of connections reached");
    let said = file.reload(&proxy, &text(3));
    assert!(said.contains("changed: max-connections"), "{said}");
    let upstream = server.accept();
    upstream.expect(b"waits");
    let third = expect_served(&listener, &server);
    // Fewer than there are: those go on, and one more comes when two have left.
    file.reload(&proxy, &text(2));
    for (client, upstream) in [&first, &third] {
        exchange(client, upstream);
    }
    let next = Peer::connect(&listener);
    next.send(b"next");
    drop((first, third));
    server.accept().expect(b"next");
}

#[test]
fn a_second_service_for_a_group_changes_none_of_its_servers() {
    let server = Server::v4();
    let (listener, second) = (free(), free());
    let one = service("a", &[&listener], &server, "");
    let file = File::new(&one);
    let proxy = file.start();
    let two = format!("[service.b]\nlisten = \"{second}\"\nupstream = \"a\"\n{one}");
    let said = file.reload(&proxy, &two);
    assert!(said.ends_with(&format!("changed: service b added; listener {second} added")), "{said}");
    expect_served(&second, &server);
    let said = file.reload(&proxy, &one);
    assert!(said.ends_with(&format!("changed: service b removed; listener {second} removed")), "{said}");
}

#[test]
fn connections_opened_ahead_end_and_as_many_are_opened_by_the_new_settings() {
    let (one, two) = (Server::v4(), Server::v4());
    let listener = free();
    let text = |server: &Server, keys: &str| format!("{}{keys}\n", service("a", &[&listener], server, ""));
    let accept = |server: &Server, count| (0..count).map(|_| server.accept()).collect::<Vec<_>>();
    let file = File::new(&text(&one, "warm = 2"));
    let proxy = file.start();
    let before = accept(&one, 2);
    file.reload(&proxy, &text(&one, "warm = 2"));
    before.iter().for_each(Peer::expect_end);
    let before = accept(&one, 2);
    file.reload(&proxy, &text(&one, "warm = 3"));
    before.iter().for_each(Peer::expect_end);
    let before = accept(&one, 3);
    file.reload(&proxy, &text(&two, "warm = 1"));
    before.iter().for_each(Peer::expect_end);
    let before = accept(&two, 1);
    file.reload(&proxy, &text(&two, ""));
    before.iter().for_each(Peer::expect_end);
    expect_served(&listener, &two);
    one.expect_no_connection();
    two.expect_no_connection();
}
