//! Ready, reloading, stopping, and the line of status.

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

use super::Manager;
use crate::support::{Launch, Peer, Server, exchange, pair, refusing};

fn monotonic_us() -> u128 {
    Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock")).as_micros()
}

#[test]
fn it_is_told_of_the_start_of_reloads_good_and_bad_and_of_the_stop() {
    let (manager, server) = (Manager::new(), Server::v4());
    let file = manager.directory.path().join("settings.toml");
    let settings = |more: &str| {
        let text = format!(
            "{more}\n[service.a]\nlisten = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\n\
             upstream = \"g\"\n[group.g]\nservers = [\"{}\"]\n",
            server.address()
        );
        fs::write(&file, text).expect("a directory of ours");
    };
    settings("");
    let mut proxy = manager.of(Launch::by_file(&file)).start();

    let first = manager.all_until("READY=1");
    let [ready] = &first[..] else { panic!("the first message of all: {first:?}") };
    assert_eq!(ready.get("STATUS"), "serving 1 service on 2 addresses, 0 connections");
    let (client, upstream) = pair(&proxy, &server);
    manager.wait("STATUS=serving 1 service on 2 addresses, 1 connection");

    for (more, status) in [
        ("", "serving 1 service on 2 addresses, 1 connection"),
        ("drain-timeout = 7", "serving 1 service on 2 addresses, 1 connection; cannot reload settings, "),
        ("drain-timeout = \"9s\"", "serving 1 service on 2 addresses, 1 connection"),
    ] {
        settings(more);
        let before = monotonic_us();
        proxy.signal(Signal::SIGHUP);
        let all = manager.all_until("READY=1");
        let reloading = all.iter().find(|told| told.has("RELOADING=1")).expect("it is told");
        let at: u128 = reloading.get("MONOTONIC_USEC").parse().expect("a number");
        assert!((before..=monotonic_us()).contains(&at), "{before} {at}");
        let told = all.last().expect("it was waited for").get("STATUS");
        assert!(told.starts_with(status), "{more}: {told}");
        assert_eq!(told.contains("drain-timeout"), status.contains("cannot"), "{told}");
    }

    proxy.signal(Signal::SIGTERM);
    let stopping = manager.wait("STOPPING=1");
    assert_eq!(stopping.get("STATUS"), "stopping, 1 connection left");
    assert_eq!(stopping.get("EXTEND_TIMEOUT_USEC"), "20000000");
    exchange(&client, &upstream);
    drop(client);
    upstream.expect_end();
    drop(upstream);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    while let Some(told) = manager.next() {
        assert!(!told.has("READY") && !told.has("ERRNO"), "{told:?}");
    }
}

#[test]
fn a_start_that_fails_says_why() {
    let (manager, (_port, taken)) = (Manager::new(), refusing());
    let launch = Launch::to("127.0.0.1:9").flags(&format!("--listen {taken}"));
    let (code, said) = manager.of(launch).fail();
    assert_eq!(code, Some(1));
    let told = manager.wait("STATUS=");
    assert!(said.iter().any(|line| line.contains(told.get("STATUS"))), "{told:?} {said:?}");
    assert_eq!(told.get("ERRNO"), libc::EADDRINUSE.to_string());

    let (code, _) = manager.of(Launch::to("127.0.0.1:9").flags("--tls-cert /none --tls-key /none")).fail();
    assert_eq!(code, Some(2));
    assert!(manager.wait("STATUS=").get("STATUS").contains("/none"));
}

/// What happens to the notices costs clients nothing; those that matter come late rather than never.
#[test]
fn a_service_manager_that_reads_nothing_or_is_gone_holds_nothing_up() {
    let (manager, server) = (Manager::new(), Server::v4());
    let other = UnixDatagram::unbound().expect("a socket");
    other.set_nonblocking(true).expect("a socket");
    while other.send_to(b"full\n", manager.address()).is_ok() {}
    let mut proxy = manager.of(Launch::to(server.address())).start();
    let (client, upstream) = pair(&proxy, &server);
    for _ in 0..3 {
        proxy.signal(Signal::SIGHUP);
        exchange(&client, &upstream);
    }
    proxy.wait_to_say("settings reloaded");
    assert!(manager.wait("READY=1").has("STATUS=serving"), "it was kept");
    fs::remove_file(manager.address()).expect("it is there");
    drop(manager);
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("cannot reach the service manager (NOTIFY_SOCKET)");
    exchange(&client, &upstream);
    proxy.signal(Signal::SIGTERM);
    drop(client);
    upstream.expect_end();
    drop(upstream);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    assert_eq!(proxy.said("cannot reach the service manager").len(), 1);
}

#[test]
fn its_address_may_be_a_name_that_is_no_file_and_need_not_be_an_address() {
    let name = format!("iisplice test {}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("a name of ours");
    socket.set_read_timeout(Some(crate::support::PATIENCE)).expect("a time");
    let server = Server::v4();
    let launch = |address: &str| Launch::to(server.address()).environment("NOTIFY_SOCKET", address);
    let _proxy = launch(&format!("@{name}")).start();
    let mut bytes = [0; 4096];
    let len = socket.recv(&mut bytes).expect("it is told");
    assert!(bytes[..len].starts_with(b"READY=1\n"), "{:?}", String::from_utf8_lossy(&bytes[..len]));

    let proxy = launch("tcp:127.0.0.1:1").start();
    proxy.wait_to_say("NOTIFY_SOCKET in the environment is no address");
    drop(Peer::connect(proxy.address()));
}
