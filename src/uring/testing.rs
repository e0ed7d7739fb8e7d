//! Test support: a connection on a ring of the real kernel.

use std::cell::Cell;
use std::future::Future;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::Arc;

use super::{FeatureSet, Listener, PipeSet, Ring, RingOptions, Socket, Spin};

/// Buffers of the ring.
pub(super) const BUFFERS: u16 = 4;
/// Bytes of each buffer.
pub(super) const BUFFER_BYTES: u32 = 65536;

/// Runs `session` on a ring of the kernel with an accepted TCP connection and its peer.
pub(super) fn with_peer<F: Future<Output = ()> + 'static>(
    session: impl FnOnce(Ring, Socket, TcpStream) -> F + 'static,
) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("the backlog has room");
    run(listener.into(), |ring, socket| session(ring, socket, peer));
}

/// Same with a Unix socket.
pub(super) fn with_unix_peer<F: Future<Output = ()> + 'static>(
    session: impl FnOnce(Ring, Socket, UnixStream) -> F + 'static,
) {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let path = directory.path().join("listener");
    let listener = UnixListener::bind(&path).expect("a path that is free");
    let peer = UnixStream::connect(&path).expect("the backlog has room");
    run(listener.into(), |ring, socket| session(ring, socket, peer));
}

fn run<F: Future<Output = ()> + 'static>(
    listener: OwnedFd,
    session: impl FnOnce(Ring, Socket) -> F + 'static,
) {
    let options = RingOptions {
        entries: 8,
        buffers: BUFFERS,
        buffer_bytes: BUFFER_BYTES,
        spin: Spin::NEVER,
        without: FeatureSet::NONE,
    };
    let ring = Ring::open(&options, PipeSet::default()).expect("a ring");
    let listener = Listener::new(&ring, Arc::new(listener));
    let done = Rc::new(Cell::new(false));
    let was_done = Rc::clone(&done);
    ring.spawn({
        let ring = ring.clone();
        async move {
            listener.readable().await.expect("a listener can be polled");
            let (socket, _) = listener.accept().expect("one waits").stay();
            session(ring, socket).await;
            done.set(true);
        }
    });
    ring.run().expect("a ring can be entered");
    assert!(was_done.get());
}
