//! The obvious copying relay on tokio-uring: each direction has a buffer, and receives and sends in turn.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use anyhow::{Context, Result};
use tokio_uring::net::{TcpListener, TcpStream};

use crate::load::listen_on;

const BUFFER_BYTES: usize = 16 << 10;
const RING_ENTRIES: u32 = 1024;

/// Relays until the process ends.
pub(crate) fn run(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    tokio_uring::builder().entries(RING_ENTRIES).start(async move {
        let listener = listen_on(listen).with_context(|| format!("cannot listen on {listen}"))?;
        let listener = TcpListener::from_std(listener);
        loop {
            let (client, _) = listener.accept().await.context("cannot accept")?;
            tokio_uring::spawn(async move {
                // The client counts the error of a session that fails.
                let _ = session(client, upstream).await;
            });
        }
    })
}

async fn session(client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    let upstream = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (client, upstream) = (Rc::new(client), Rc::new(upstream));
    let up = tokio_uring::spawn(relay(Rc::clone(&client), Rc::clone(&upstream)));
    let down = relay(upstream, client).await;
    let up = up.await.unwrap_or(Ok(()));
    down.and(up)
}

/// Relays one direction up to its end, and passes the end on.
async fn relay(from: Rc<TcpStream>, to: Rc<TcpStream>) -> io::Result<()> {
    let outcome = copy(&from, &to).await;
    if outcome.is_err() {
        // This wakes the other direction, which shares both sockets.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
    outcome
}

async fn copy(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    use tokio_uring::buf::BoundedBuf;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (received, returned) = from.read(buffer).await;
        let count = received?;
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let (sent, slice) = to.write_all(returned.slice(..count)).await;
        sent?;
        buffer = slice.into_inner();
    }
}
