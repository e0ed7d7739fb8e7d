//! A client of the admin endpoint of a running proxy, for the commands that show what it does.
//!
//! It waits for the answer to one request at a time, each on a connection of its own, and for none longer than
//! [`TIMEOUT`], or what it is told instead. It must never start or stop anything by itself.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::uring::Address;

/// How long an answer may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of an answer.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens there, or not for this user.
    #[error("no proxy answers at {address}: {source}; {}", advice(.source))]
    Unreachable {
        /// Where it was asked.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// No answer in time.
    #[error(
        "no proxy answers at {address} within {within:?}; see its log, or whether something else listens there"
    )]
    TimedOut {
        /// Where it was asked.
        address: Address,
        /// How long it was waited for.
        within: Duration,
    },
    /// The connection ended before its answer, or carries something else than HTTP.
    #[error("{address} is no admin endpoint of iisplice: {why}; give the address of --admin")]
    Other {
        /// Where it was asked.
        address: Address,
        /// What is wrong.
        why: String,
    },
    /// It does not carry the request out.
    #[error("the proxy refuses the request ({}): {why}", status.as_u16())]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The reason that it gives.
        why: String,
    },
    /// No resources of our own.
    #[error("cannot ask the proxy: {0}")]
    Local(#[source] io::Error),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "start it with --admin, and give its address here"
        }
        io::ErrorKind::PermissionDenied => "run this as the proxy's user, or as a member of its group",
        _ => "give the address of --admin",
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The answer as JSON.
    ///
    /// # Errors
    /// It is something else.
    pub fn json(&self, address: &Address) -> Result<Value, Error> {
        serde_json::from_slice(&self.body).map_err(|_| Error::Other {
            address: address.clone(),
            why: format!("it answers with status {} and no JSON", self.status.as_u16()),
        })
    }
}

/// See the module docs.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    address: Address,
    within: Duration,
    token: Option<String>,
}

impl Client {
    /// A client of the endpoint at this address, which sends this token, if there is one.
    ///
    /// # Errors
    /// No descriptor.
    pub fn new(address: Address, token: Option<String>) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Local)?;
        Ok(Self { runtime, address, within: TIMEOUT, token })
    }

    /// Waits for answers for so long.
    #[must_use]
    pub fn waiting(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Where it asks.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What stands at a path, as JSON.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get(&self, path: &str) -> Result<Value, Error> {
        self.request(&Method::GET, path, &[])?.json(&self.address)
    }

    /// Sends a request without a body. Statuses besides 2xx are answers only if they are among `also`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn request(&self, method: &Method, path: &str, also: &[StatusCode]) -> Result<Answer, Error> {
        let address = || self.address.clone();
        let asked = self.runtime.block_on(async { timeout(self.within, self.ask(method, path)).await });
        let answer =
            asked.map_err(|_elapsed| Error::TimedOut { address: address(), within: self.within })??;
        if answer.status.is_success() || also.contains(&answer.status) {
            return Ok(answer);
        }
        let value = answer.json(&self.address)?;
        let why = value["error"].as_str().unwrap_or("it does not say why").to_owned();
        Err(Error::Refused { status: answer.status, why })
    }

    async fn ask(&self, method: &Method, path: &str) -> Result<Answer, Error> {
        let unreachable = |source| Error::Unreachable { address: self.address.clone(), source };
        match &self.address {
            Address::Ip(address) => {
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                self.exchange(stream, method, path, &address.to_string()).await
            }
            Address::Unix(at) => {
                let stream = UnixStream::connect(at).await.map_err(unreachable)?;
                self.exchange(stream, method, path, "localhost").await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        method: &Method,
        path: &str,
        host: &str,
    ) -> Result<Answer, Error> {
        let other = |why: String| Error::Other { address: self.address.clone(), why };
        let broken = |error: hyper::Error| other(error.to_string());
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| other(error.to_string()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| other(error.to_string()))?.to_bytes();
            Ok(Answer { status, body })
        };
        let moved = async {
            let ended = connection.await;
            // What has arrived is answered by the other future.
            tokio::task::yield_now().await;
            Err(other(
                ended.map_or_else(|error| error.to_string(), |()| "it closed the connection".to_owned()),
            ))
        };
        futures_lite::future::or(answered, moved).await
    }
}
