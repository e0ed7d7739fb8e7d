use std::time::Duration;

use super::*;

fn tcp() -> SocketOptions {
    SocketOptions { keepalive: Some(Duration::from_secs(60)), user_timeout: None }
}

#[test]
fn accepted_sockets_probe_a_silent_peer_for_as_long_again() {
    let anywhere = Listener::at(Address::Ip(([127, 0, 0, 1], 0).into()));
    let bound = bind(&anywhere, &tcp(), 1, None).expect("a port");
    listen(&bound.sockets, &anywhere, &tcp(), &[None], false).expect("a free port");
    let listener = SockRef::from(&bound.sockets[0]);
    listener.set_nonblocking(false).expect("a socket");
    let at = bound.address.to_sock_addr().expect("an IP address");
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    client.connect(&at).expect("it listens");
    let (accepted, _) = listener.accept().expect("a client");
    assert!(accepted.keepalive().expect("a socket"));
    assert_eq!(accepted.tcp_keepalive_time().expect("a socket"), Duration::from_secs(60));
    assert_eq!(accepted.tcp_keepalive_interval().expect("a socket"), Duration::from_secs(10));
    assert_eq!(accepted.tcp_keepalive_retries().expect("a socket"), 6);
}

#[test]
fn a_unix_socket_has_its_permissions_and_removes_only_its_own_file() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let path = directory.path().join("socket");
    let at = |unix_mode| Listener { unix_mode, ..Listener::at(Address::Unix(path.clone())) };
    for mode in [0o600, 0o660, 0o666, 0o777] {
        let _bound = bind(&at(mode), &tcp(), 2, None).expect("the directory is ours");
        let data = fs::symlink_metadata(&path).expect("it is bound");
        assert!(data.file_type().is_socket());
        assert_eq!(data.permissions().mode() & 0o7777, mode);
    }
    assert!(!path.exists(), "removed with the last socket");
    let first = bind(&at(0o660), &tcp(), 1, None).expect("the directory is ours");
    fs::remove_file(&path).expect("it is there");
    let second = bind(&at(0o660), &tcp(), 1, None).expect("the place is free");
    let is_at_path = |bound: &Bound| bound.file.as_ref().is_some_and(|file| file.is_at(&path));
    assert!(!is_at_path(&first) && is_at_path(&second));
    drop(first);
    assert!(path.exists(), "the file of the second socket");
    drop(second);
    assert!(!path.exists());
}
