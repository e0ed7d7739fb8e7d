//! One client's connection, from its first byte to its last.
//!
//! ```text
//! head -> which user -> body -> page -> reply -> again
//!              |
//!              401 and another round, or a final 401
//! ```
//!
//! Only this value knows who is logged in: when the connection ends, so does the login.

use std::sync::Arc;

use super::faults::Fault;
use super::login::{LoginState, Verdict};
use super::paths::{Page, Route, route};
use super::pause::pause;
use super::reply::Reply;
use super::site::Site;
use super::stream::{End, Stream};
use super::websocket;
use crate::protocol::http1::body::{Body, BodyError, BodyLength};
use crate::protocol::http1::request::{RequestError, Scan, header_slots, resume_head};

/// Largest body that is echoed.
const ECHO_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) struct Session {
    site: Arc<Site>,
    stream: Stream,
    connection: u64,
    login: LoginState,
    /// Number of successful logins, and of requests read.
    logins: u64,
    requests: u64,
}

/// The stored parts of a request's head.
#[allow(clippy::struct_excessive_bools, reason = "independent facts about a request")]
struct Request {
    is_head: bool,
    route: Route,
    authorization: Option<Vec<u8>>,
    body: BodyLength,
    /// Whether a body must follow but its length is missing.
    lacks_length: bool,
    expects_continue: bool,
    keep_alive: bool,
    /// `Sec-WebSocket-Key` of a request that otherwise qualifies for an upgrade.
    websocket_key: Option<Vec<u8>>,
}

/// What happens to the connection after a request.
enum Then {
    /// It serves the next request.
    Again,
    /// It closes cleanly.
    Close,
    /// It continues with WebSocket.
    WebSocket,
    /// It closes without a reply; with `Faults::reset` this is a reset.
    Drop,
}

/// Why a request ends the connection.
enum Wrong {
    Request(RequestError),
    Body(BodyError),
    TooLarge,
    End(End),
}

impl From<End> for Wrong {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl Session {
    pub(super) fn new(site: Arc<Site>, stream: Stream) -> Self {
        let connection = site.next_connection();
        Self { site, stream, connection, login: LoginState::default(), logins: 0, requests: 0 }
    }

    /// Serves until the connection ends.
    pub(super) async fn serve(mut self) {
        let then = loop {
            match self.serve_one().await {
                Ok(Then::Again) => {}
                Ok(then) => break then,
                Err(wrong) => break self.complain(wrong).await,
            }
        };
        match then {
            Then::Drop | Then::Again => {}
            Then::Close => self.stream.finish().await,
            Then::WebSocket => {
                if let Err(end) = websocket::echo(&mut self.stream).await {
                    tracing::debug!(connection = self.connection, %end, "WebSocket ended");
                }
                self.stream.finish().await;
            }
        }
    }

    /// Sends a last reply to a client whose request was invalid, if it is still connected.
    async fn complain(&mut self, wrong: Wrong) -> Then {
        let reply = match wrong {
            Wrong::End(end) => {
                tracing::debug!(connection = self.connection, %end, "connection ended");
                return Then::Drop;
            }
            Wrong::Request(error @ RequestError::TransferEncoding) => {
                Reply::bad_request(501, &error.to_string())
            }
            Wrong::Request(error @ RequestError::Expectation) => Reply::bad_request(417, &error.to_string()),
            Wrong::Request(error) => Reply::bad_request(400, &error.to_string()),
            Wrong::Body(error) => Reply::bad_request(400, &error.to_string()),
            Wrong::TooLarge => Reply::bad_request(413, "The body is too large to echo."),
        };
        match reply.send(&mut self.stream, false, self.site.settings.date_skew, None).await {
            Ok(_) => Then::Close,
            Err(_) => Then::Drop,
        }
    }

    async fn serve_one(&mut self) -> Result<Then, Wrong> {
        let request = self.read_request().await?;
        self.requests += 1;
        if request.lacks_length {
            return self.reply(&request, Reply::bad_request(411, "The request has no Content-Length.")).await;
        }
        let entry = if request.route.public { Entry::In(None) } else { self.authenticate(&request).await? };
        match entry {
            Entry::In(last_token) => self.serve_page(&request, last_token).await,
            Entry::Out(reply) => {
                self.read_body(&request, None).await?;
                self.reply(&request, reply).await
            }
            Entry::Fault => Ok(Then::Close),
        }
    }

    async fn read_request(&mut self) -> Result<Request, Wrong> {
        let mut scan = Scan::default();
        loop {
            let mut slots = header_slots();
            let limit_bytes = self.site.settings.header_limit_bytes;
            let head = resume_head(self.stream.received(), limit_bytes, &mut scan, &mut slots)
                .map_err(Wrong::Request)?;
            let Some(head) = head else {
                self.stream.receive().await?;
                continue;
            };
            let first = |name| head.values(name).next().map(<[u8]>::to_vec);
            let upgrades = head.method == "GET"
                && head.connection.upgrade
                && head.has_item("upgrade", "websocket")
                && first("sec-websocket-version").is_some_and(|version| version == b"13");
            let request = Request {
                is_head: head.method == "HEAD",
                // A page's name is ASCII.
                route: route(std::str::from_utf8(head.target).unwrap_or_default()),
                authorization: first("authorization"),
                body: head.body,
                lacks_length: head.body == BodyLength::None && matches!(head.method, "POST" | "PUT"),
                expects_continue: head.expects_continue,
                keep_alive: head.keep_alive,
                websocket_key: if upgrades { first("sec-websocket-key") } else { None },
            };
            let length_bytes = head.length_bytes;
            self.stream.consume(length_bytes);
            return Ok(request);
        }
    }

    /// Reads the body to its end; the part to keep goes into `kept`.
    async fn read_body(&mut self, request: &Request, mut kept: Option<&mut Vec<u8>>) -> Result<(), Wrong> {
        let mut body = Body::new(request.body);
        if request.expects_continue && !body.is_complete() && self.stream.received().is_empty() {
            self.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()).await?;
        }
        loop {
            let taken = body
                .advance(self.stream.received(), |content| {
                    if let Some(kept) = &mut kept {
                        kept.extend_from_slice(content);
                    }
                })
                .map_err(Wrong::Body)?;
            self.stream.consume(taken);
            if kept.as_ref().is_some_and(|kept| kept.len() > ECHO_BYTES_MAX) {
                return Err(Wrong::TooLarge);
            }
            if body.is_complete() {
                return Ok(());
            }
            self.stream.receive().await?;
        }
    }

    async fn authenticate(&mut self, request: &Request) -> Result<Entry, End> {
        let Some(value) = &request.authorization else {
            if self.login.identity().is_some() {
                return Ok(Entry::In(None));
            }
            // The client gave up a login halfway.
            self.login = LoginState::Anonymous;
            return Ok(Entry::Out(self.unauthorized()));
        };
        Ok(match self.login.authorize(value, &self.site).await? {
            Verdict::In(last_token) => {
                self.logins += 1;
                Entry::In(last_token)
            }
            Verdict::GoOn(challenge) => Entry::Out(Reply::go_on(challenge)),
            Verdict::OtherScheme => Entry::Out(self.unauthorized()),
            Verdict::Malformed => {
                Entry::Out(Reply::bad_request(400, "The Authorization header is not base64."))
            }
            Verdict::Refused(reason) => {
                tracing::info!(connection = self.connection, reason, "login refused");
                Entry::Out(Reply { close: true, ..self.unauthorized() })
            }
            Verdict::Fault => Entry::Fault,
        })
    }

    fn unauthorized(&self) -> Reply {
        let providers = &self.site.settings.providers;
        Reply::unauthorized(providers.iter().map(|provider| provider.name().to_owned()).collect())
    }

    async fn serve_page(&mut self, request: &Request, last_token: Option<String>) -> Result<Then, Wrong> {
        let mut content = Vec::new();
        let kept = (request.route.page == Page::Echo).then_some(&mut content);
        self.read_body(request, kept).await?;
        let mut reply = match request.route.page {
            Page::Home => Reply::ok("text/html", b"<!DOCTYPE html>\r\n<h1>Mock IIS</h1>\r\n".to_vec()),
            Page::Whoami => Reply::ok("application/json", self.whoami(request.route.public)),
            Page::Bytes(length_bytes) => Reply::pattern(length_bytes),
            Page::Echo => Reply::ok("application/octet-stream", content),
            Page::Slow(duration) => {
                pause(duration).await.map_err(End::from)?;
                Reply::ok("text/plain", b"slow\n".to_vec())
            }
            Page::WebSocket => match &request.websocket_key {
                Some(key) => {
                    self.stream.send(websocket::accept_head(key)).await?;
                    return Ok(Then::WebSocket);
                }
                None => Reply::bad_request(426, "This page needs WebSocket version 13."),
            },
            Page::Missing => Reply::not_found(),
        };
        reply.challenges.extend(last_token);
        if !request.route.public && self.login.identity().is_some() {
            reply.persistent_auth = Some(!self.site.settings.single_request);
        }
        let then = self.reply(request, reply).await;
        if self.site.settings.single_request && !request.route.public {
            self.login = LoginState::Anonymous;
        }
        then
    }

    /// The user the connection belongs to; none on a public page, where IIS asks for no login.
    fn whoami(&self, public: bool) -> Vec<u8> {
        let identity = self.login.identity().filter(|_| !public);
        let body = serde_json::json!({
            "user": identity.map(|identity| &identity.user),
            "scheme": identity.map(|identity| identity.provider.name()),
            "connection": self.connection,
            "logins": self.logins,
            "requests": self.requests,
        });
        format!("{body}\n").into_bytes()
    }

    async fn reply(&mut self, request: &Request, mut reply: Reply) -> Result<Then, Wrong> {
        let settings = &self.site.settings;
        let fault = settings.faults.for_reply();
        if fault == Some(Fault::Reset) {
            return Ok(Then::Drop);
        }
        reply.close |= !request.keep_alive;
        let whole = reply.send(&mut self.stream, request.is_head, settings.date_skew, fault).await?;
        Ok(if reply.close || !whole { Then::Close } else { Then::Again })
    }
}

/// Whether a request reaches its page.
enum Entry {
    /// It reaches it; the last token of a login is sent with the reply.
    In(Option<String>),
    /// This reply is sent instead.
    Out(Reply),
    /// No reply is sent.
    Fault,
}
