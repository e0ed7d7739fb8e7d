//! One thread: its runtime, its listening sockets, its sessions.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use super::Error;
use super::session::Session;
use super::site::Site;
use super::stream::Stream;

/// Most connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long to wait for a free descriptor.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Checks that a port is free, because sharing it would hide that it is taken.
pub(super) fn check_free(address: SocketAddr) -> Result<(), Error> {
    bind(address, false).map(drop).map_err(|reason| Error::Listen { address, reason })
}

/// Opens a listening socket whose port other threads can share.
///
/// With `resets` its connections end with a reset unless both ends closed cleanly (`SO_LINGER` of zero, which they
/// inherit).
pub(super) fn listen(address: SocketAddr, resets: bool) -> Result<std::net::TcpListener, Error> {
    let open = || {
        let socket = bind(address, true)?;
        if resets {
            socket.set_linger(Some(Duration::ZERO))?;
        }
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|reason| Error::Listen { address, reason })
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // As the proxy does: `[::]` and `0.0.0.0` are two listeners.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Starts a thread that serves `listeners` until `stop` changes; returns once it serves.
pub(super) fn start(
    site: Arc<Site>,
    listeners: Vec<std::net::TcpListener>,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, Error> {
    let (started, outcome) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("mock".to_owned())
        .spawn(move || match prepare(listeners) {
            Ok((runtime, listeners)) => {
                let _ = started.send(Ok(()));
                LocalSet::new().block_on(&runtime, serve(site, listeners, stop));
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        })
        .map_err(Error::Worker)?;
    match outcome.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(Error::Worker(error)),
        Err(_) => Err(Error::Worker(io::Error::other("the thread ended during start-up"))),
    }
}

/// The runtime waits for sockets to be ready, and no buffer is the kernel's meanwhile: at the end sessions are dropped
/// wherever they are.
fn prepare(listeners: Vec<std::net::TcpListener>) -> io::Result<(Runtime, Vec<TcpListener>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let within = runtime.enter();
    let listeners = listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
    drop(within);
    Ok((runtime, listeners))
}

async fn serve(site: Arc<Site>, listeners: Vec<TcpListener>, mut stop: watch::Receiver<bool>) {
    for listener in listeners {
        spawn_local(accept(Arc::clone(&site), listener));
    }
    // An error means that the sender is gone, so nothing else would stop this thread.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(site: Arc<Site>, listener: TcpListener) {
    let config = site.tls.as_ref().map(|tls| &tls.config);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => match Stream::new(socket, config, site.settings.idle_timeout) {
                Ok(stream) => {
                    spawn_local(Session::new(Arc::clone(&site), stream).serve());
                }
                Err(end) => tracing::warn!(%end, "cannot set up a connection; closing it"),
            },
            // The client has already closed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; retrying in 50 ms; check the descriptor limit (ulimit -n)");
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
        }
    }
}
