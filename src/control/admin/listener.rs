//! The connections of the admin endpoint, and their bounds.
//!
//! A connection has [`FIRST_REQUEST`] for its first request, and [`EXCHANGE`] after each one for the answer and the next
//! request: then it closes, whatever its client does. Of more than [`CONNECTIONS_MAX`] the one that has waited longest for
//! a request closes: clients that send half a request keep no other client out. Each has [`GRACE`] for its request before
//! that, so of a flood of clients no more are accepted than send theirs within it: the others wait in the backlog.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use futures_lite::future::{or, poll_once};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, spawn_local, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::routes::Site;
use crate::uring::Address;

/// Most connections at once.
const CONNECTIONS_MAX: usize = 64;

/// Descriptors that the endpoint takes at most: its listener and what its runtime needs besides the connections.
pub const DESCRIPTORS_MAX: u64 = CONNECTIONS_MAX as u64 + 8;

/// How long the first request of a connection may take.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// How long a connection is left open for its request, however many others there are.
const GRACE: Duration = Duration::from_millis(50);

/// Shortest sleep: the runtime asks the kernel for what has come before it is over.
const A_LOOK: Duration = Duration::from_millis(1);

/// Turns of the runtime after which all connections have read what had come for them: in the first it asks the kernel, and
/// each runs the task that accepts and up to 61 others.
const TURNS: usize = CONNECTIONS_MAX / 61 + 2;

/// From a request to the end of its answer, and to the next request.
const EXCHANGE: Duration = Duration::from_secs(60);

/// From one look whether all requests are answered to the next.
const LOOK: Duration = Duration::from_millis(5);

/// How long a last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Most bytes that are read ahead, and of a head.
const BUFFER_BYTES: usize = 32 * 1024;

/// Pause after an error of accept(2), such as a lack of descriptors.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// The listening socket.
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    /// Takes the bound socket over; within the runtime.
    pub(super) fn new(address: &Address, socket: &OwnedFd) -> io::Result<Self> {
        let socket = socket.try_clone()?;
        Ok(match address {
            Address::Ip(_) => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            Address::Unix(_) => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(listener)?)
            }
        })
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// A client's connection.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// What is known of an open connection.
struct Open {
    /// When it began to wait for a request.
    since: Cell<Instant>,
    /// When it closes.
    ends: Cell<Instant>,
    requests: Cell<u64>,
    /// Whether a request is being answered.
    is_busy: Cell<bool>,
}

impl Open {
    fn new() -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            since: Cell::new(now),
            ends: Cell::new(now + FIRST_REQUEST),
            requests: Cell::new(0),
            is_busy: Cell::new(false),
        })
    }

    fn begin_request(&self) {
        self.requests.set(self.requests.get() + 1);
        self.is_busy.set(true);
        self.ends.set(Instant::now() + EXCHANGE);
    }

    fn end_request(&self) {
        self.is_busy.set(false);
        self.since.set(Instant::now());
    }

    /// Completes when the connection's time is over.
    async fn over(&self) {
        while self.ends.get() > Instant::now() {
            sleep_until(self.ends.get()).await;
        }
    }
}

/// The open connections, in the order in which they began.
type Connections = Rc<RefCell<BTreeMap<u64, (Rc<Open>, Option<AbortHandle>)>>>;

/// Accepts clients until `closing`, and answers them, for ever. Drops `closed` when it accepts no more, and `answered` when all
/// requests are answered as well.
pub(super) async fn run(
    acceptor: Acceptor,
    site: Rc<Site>,
    closing: Arc<Notify>,
    (closed, answered): (Sender<()>, Sender<()>),
) {
    let connections = Connections::default();
    or(accept(acceptor, site, &connections), closing.notified()).await;
    drop(closed);
    while connections.borrow().values().any(|(open, _)| open.is_busy.get()) {
        sleep(LOOK).await;
    }
    drop(answered);
    // The process ends this.
    pending::<()>().await;
}

/// Accepts clients, each of which is answered in a task of its own.
async fn accept(acceptor: Acceptor, site: Rc<Site>, connections: &Connections) {
    let mut looked = Instant::now();
    for key in 0.. {
        let mut stream = loop {
            site.pace.keep();
            match acceptor.accept().await {
                Ok(stream) => break stream,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept an admin client; retrying after a pause");
                    sleep(ERROR_PAUSE).await;
                }
            }
        };
        if connections.borrow().len() >= CONNECTIONS_MAX && !close_oldest(connections, &mut looked).await {
            // Each of the others is being answered.
            let reply =
                last_word("503 Service Unavailable", "there are too many admin clients; try again later");
            let _ = poll_once(stream.write_all(reply.as_bytes())).await;
            continue;
        }
        let open = Open::new();
        connections.borrow_mut().insert(key, (Rc::clone(&open), None));
        let place = Place { connections: Rc::clone(connections), key };
        let task = spawn_local(serve(stream, open, Rc::clone(&site), place));
        if let Some((_, abort)) = connections.borrow_mut().get_mut(&key) {
            *abort = Some(task.abort_handle());
        }
    }
}

/// Completes when it is told to, and all connections have been looked at once more.
pub(super) async fn last_answers(ends: oneshot::Receiver<()>) {
    let _ = ends.await;
    look(A_LOOK).await;
}

/// Sleeps for `time`, and completes when all connections have read what had come by then; returns when that was.
async fn look(time: Duration) -> Instant {
    sleep(time.max(A_LOOK)).await;
    let now = Instant::now();
    for _ in 0..TURNS {
        yield_now().await;
    }
    now
}

/// Makes room for one more: closes the connection that has waited longest for a request, once it has had its time, and
/// what came within that has been looked at, which happened last at `looked`. False if none waits for one.
async fn close_oldest(connections: &Connections, looked: &mut Instant) -> bool {
    while connections.borrow().len() >= CONNECTIONS_MAX {
        let Some((key, since)) = oldest(connections) else { return false };
        let over = since + GRACE;
        if over > *looked {
            // It may ask for something meanwhile, or end. However late this thread runs, it looks at what has come before
            // it goes on; one look is enough for all whose time was over by then.
            *looked = look(over.saturating_duration_since(Instant::now())).await;
        } else if let Some((_, Some(abort))) = connections.borrow_mut().remove(&key) {
            abort.abort();
        }
    }
    true
}

/// The connection that has waited longest for a request, and since when.
fn oldest(connections: &Connections) -> Option<(u64, Instant)> {
    let connections = connections.borrow();
    let waiting = connections.iter().filter(|(_, (open, _))| !open.is_busy.get());
    waiting.map(|(key, (open, _))| (*key, open.since.get())).min_by_key(|(_, since)| *since)
}

/// A connection's place among those that are open; free when this is dropped.
struct Place {
    connections: Connections,
    key: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.borrow_mut().remove(&self.key);
    }
}

/// Answers a client's requests until its end, or until its time is over.
async fn serve(stream: Box<dyn Stream>, open: Rc<Open>, site: Rc<Site>, _place: Place) {
    let service = service_fn(|request| {
        let (open, site) = (Rc::clone(&open), Rc::clone(&site));
        Box::pin(async move {
            open.begin_request();
            site.pace.keep();
            let answer = site.answer(request).await;
            open.end_request();
            Ok::<_, Infallible>(answer)
        })
    });
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let served = async {
        // What a client sends that is not HTTP is its own fault, and it is told so.
        let _ = poll_fn(|cx| {
            site.pace.keep();
            connection.poll_without_shutdown(cx)
        })
        .await;
        false
    };
    let is_over = or(served, async {
        open.over().await;
        true
    });
    let is_over = is_over.await;
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if is_over && open.requests.get() == 0 && !parts.read_buf.is_empty() {
        let reply = last_word("408 Request Timeout", "the head of the request took too long");
        let _ = timeout(LAST_WORD, stream.write_all(reply.as_bytes())).await;
    }
    let _ = timeout(LAST_WORD, stream.shutdown()).await;
}

/// An answer to a client without a request.
fn last_word(status: &str, why: &str) -> String {
    let body = format!("{{\"error\":\"{why}\"}}\n");
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
