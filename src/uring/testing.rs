//! For tests: a connection on a ring of the kernel.

use std::cell::Cell;
use std::future::Future;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use super::{Listener, PipeSet, Ring, RingOptions, Socket};

/// Buffers of the ring.
pub(super) const BUFFERS: u16 = 4;
/// Bytes of each.
pub(super) const BUFFER_BYTES: u32 = 65536;

/// Runs `session` on a ring of the kernel with an accepted connection and its peer.
pub(super) fn with_peer<F: Future<Output = ()> + 'static>(
    session: impl FnOnce(Ring, Socket, TcpStream) -> F + 'static,
) {
    let options =
        RingOptions { entries: 8, buffers: BUFFERS, buffer_bytes: BUFFER_BYTES, spin: Duration::ZERO };
    let ring = Ring::open(&options, PipeSet::default()).expect("a ring");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("the backlog has room");
    let listener = Listener::new(&ring, listener.into());
    let done = Rc::new(Cell::new(false));
    let was_done = Rc::clone(&done);
    ring.spawn({
        let ring = ring.clone();
        async move {
            listener.readable().await.expect("a listener can be polled");
            let (socket, _) = listener.accept().expect("one waits");
            session(ring, socket, peer).await;
            done.set(true);
        }
    });
    ring.run().expect("a ring can be entered");
    assert!(was_done.get());
}
