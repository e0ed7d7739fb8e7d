//! Listening sockets that the service manager passes on: those of its units, and those that it kept over a restart.

use std::fs;
use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::{Manager, Passing};
use crate::admin::Admin;
use crate::reserved;
use crate::support::{Launch, PATIENCE, Peer, Proxy, Server, exchange, wait_for, wait_until};

fn listener() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener.into(), address)
}

/// A connection that no process has accepted yet, which has sent a word.
fn waiting(address: &str) -> Peer {
    let client = Peer::connect(address);
    client.send(b"first");
    client
}

/// Waits for the next client to be served.
fn served(client: &Peer, server: &Server) -> Peer {
    let upstream = server.accept();
    upstream.expect(b"first");
    exchange(client, &upstream);
    upstream
}

#[test]
fn sockets_of_units_are_used_by_address_and_keep_their_clients() {
    let (server, directory) = (Server::v4(), TempDir::new().expect("a directory for temporary files"));
    let ((tcp, address), (admin, admin_address)) = (listener(), listener());
    let path = directory.path().join("socket");
    let unix = UnixListener::bind(&path).expect("a free path");
    let before = waiting(&address.to_string());
    // Another name of the same file.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("a free path");
    let flags = format!(
        "--listen unix:{} --listen {address} --listen 127.0.0.1:0 --admin {admin_address} --workers 2 --no-pin",
        link.display()
    );
    let passing = Passing::of(vec![("web", tcp), ("admin.socket", admin), ("unix", unix.into())]);
    let mut proxy = passing.with(Launch::to(server.address()).flags(&flags)).start();
    assert_eq!(proxy.listeners()[1], address.to_string());
    let upstream = served(&before, &server);
    assert_eq!(Admin::of(&proxy).get("/readyz").status, 200);
    for _ in 0..8 {
        let client = waiting(proxy.address());
        drop((served(&client, &server), client));
    }
    let own = waiting(&proxy.listeners()[2]);
    drop((served(&own, &server), own));
    let said = proxy.wait_to_say("listening on sockets that the service manager passed on");
    assert!(said.contains(&address.to_string()), "{said}");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("settings reloaded");
    let after = waiting(&address.to_string());
    drop((served(&after, &server), after));
    proxy.signal(Signal::SIGTERM);
    drop((before, upstream));
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
    assert!(path.exists(), "its file is the service manager's");
}

#[test]
fn a_socket_that_no_listener_can_have_is_one_clear_line() {
    let taken = reserved::address();
    let launch = || Launch::to("127.0.0.1:9").flags(&format!("--listen {taken}"));
    let fails = |name: &str, socket: OwnedFd, wanted: &str| {
        let (code, said) = Passing::of(vec![(name, socket)]).with(launch()).fail();
        assert_eq!(code, Some(2), "{said:?}");
        let [line] = &said[..] else { panic!("one line: {said:?}") };
        assert!(line.contains(wanted), "{wanted}: {line}");
    };
    let (other, address) = listener();
    fails(
        "web.socket",
        other,
        &format!(
            "the service manager passed on a socket for {address} (web.socket), which is no listener's; add --listen \
             {address}, or remove it from its unit"
        ),
    );
    let datagrams = UnixDatagram::unbound().expect("a socket");
    fails(
        "log",
        datagrams.into(),
        "descriptor 3 (log) of the service manager is a socket for datagrams; a socket unit needs",
    );
    let (listening, address) = listener();
    let connection = TcpStream::connect(address).expect("it listens");
    fails("c", connection.into(), "is a socket that does not listen");
    drop(listening);
    let (read, _write) = std::io::pipe().expect("a pipe");
    fails("p", read.into(), "is no socket");
    // As of `ListenStream=PORT`.
    let both = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
    both.set_only_v6(false).and_then(|()| both.set_reuse_address(true)).expect("a socket");
    both.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, taken.port())).into()).expect("a free port");
    both.listen(1).expect("it is bound");
    fails("both", both.into(), &format!("for {taken} write ListenStream={taken} into its unit"));
}

#[test]
fn descriptors_for_another_process_are_left_alone() {
    let server = Server::v4();
    let launch = Launch::to(server.address()).environment("LISTEN_FDS", "1").environment("LISTEN_PID", "1");
    let proxy = launch.start();
    let client = waiting(proxy.address());
    served(&client, &server);
    let launch = Launch::to(server.address());
    let (code, said) = Passing::of(Vec::new()).counting("7").with(launch).fail();
    assert_eq!(code, Some(2), "{said:?}");
    assert!(said[0].contains("LISTEN_FDS=\"7\" in the environment is not the number"), "{said:?}");
}

/// Sockets that are stored, by name.
fn stored(manager: &Manager, count: usize) -> Vec<(String, OwnedFd)> {
    let mut all = Vec::new();
    wait_for(&format!("{count} sockets to be stored"), || {
        if let Some((told, sockets)) = manager.receive().filter(|(told, _)| told.has("FDSTORE=1")) {
            all.extend(sockets.into_iter().map(|socket| (told.get("FDNAME").to_owned(), socket)));
        }
        (all.len() == count).then_some(())
    });
    all
}

fn stop(proxy: &mut Proxy) {
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0), "exit code (left)");
}

#[test]
fn clients_that_come_while_it_restarts_wait_and_are_served() {
    let (manager, server) = (Manager::new(), Server::v4());
    let path = manager.directory.path().join("socket");
    let file = manager.directory.path().join("settings.toml");
    let settings = |listeners: &str| {
        let text = format!(
            "[service.a]\nlisten = [{listeners}]\nupstream = \"g\"\n[group.g]\nservers = [\"{}\"]\n",
            server.address()
        );
        fs::write(&file, text).expect("a directory of ours");
    };
    let address = reserved::address();
    let unix = format!("\"unix:{}\"", path.display());
    settings(&format!("\"{address}\", {unix}"));
    let launch = |workers: usize| {
        let launch = Launch::by_file(&file).flags(&format!("--workers {workers} --no-pin --drain-timeout 0"));
        manager.of(launch).environment("FDSTORE", "16")
    };
    let mut first = launch(2).start();
    let kept = stored(&manager, 3);
    stop(&mut first);
    manager.wait("STOPPING=1");
    assert!(path.exists(), "the socket of this file is kept");

    // No proxy runs, and no client is refused.
    let clients: Vec<_> = (0..20).map(|_| waiting(&address.to_string())).collect();
    let mut over_unix = UnixStream::connect(&path).expect("it listens");
    over_unix.set_read_timeout(Some(PATIENCE)).expect("a time");
    std::io::Write::write_all(&mut over_unix, b"first").expect("it is connected");
    let named = |kept: &[(String, OwnedFd)]| {
        kept.iter().map(|(name, socket)| (name.clone(), socket.try_clone().expect("a descriptor"))).collect()
    };
    let mut second = Passing::named(named(&kept)).with(launch(1)).start();
    let upstreams: Vec<_> = (0..21).map(|_| server.accept()).collect();
    for upstream in &upstreams {
        upstream.expect(b"first");
        upstream.send(b"answer");
    }
    for client in &clients {
        client.expect(b"answer");
    }
    let mut answer = [0; 6];
    over_unix.read_exact(&mut answer).expect("it is served");

    // What is stored follows the settings.
    manager.wait("READY=1");
    settings(&format!("\"{address}\""));
    second.signal(Signal::SIGHUP);
    let gone = manager.wait("FDSTOREREMOVE=1");
    assert!(gone.get("FDNAME").contains("unix"), "{gone:?}");
    wait_until("its file to be removed", || !path.exists());
    drop((clients, over_unix, upstreams));
    stop(&mut second);
    manager.wait("STOPPING=1");

    // A socket that no listener has any more is not passed on again.
    settings(&unix);
    let third = Passing::named(named(&kept)).with(launch(2)).start();
    third.wait_to_say("no client can reach a listener by a socket that the service manager kept");
    let port = address.port().to_string();
    let (mut gone, mut kept) = (0, 0);
    for told in manager.all_until("READY=1") {
        let is_own = told.has("FDNAME=") && told.get("FDNAME").contains(&port);
        gone += usize::from(is_own && told.has("FDSTOREREMOVE=1"));
        kept += usize::from(is_own && told.has("FDSTORE=1"));
    }
    assert_eq!((gone, kept), (2, 0), "given up, and not stored again");
}

#[test]
fn a_store_that_is_too_small_is_said() {
    let (manager, server) = (Manager::new(), Server::v4());
    let launch = Launch::to(server.address()).flags("--workers 2 --no-pin").environment("FDSTORE", "1");
    let proxy = manager.of(launch).start();
    let line = proxy.wait_to_say("raise FileDescriptorStoreMax=");
    assert!(line.contains("most=1 needed=2"), "{line}");
}
