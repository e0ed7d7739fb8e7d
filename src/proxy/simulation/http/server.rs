//! A server end: it answers requests, and knows which client may send them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use super::line::{Part, Parting};
use super::login::{ServerLogin, Verdict};
use super::message::{Body, End, Framing, Head};
use super::notes::TunnelBytes;
use crate::proxy::simulation::peer::Registry;
use crate::uring::sim::Dice;

/// The behaviour of a server.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) body_bytes_max: u64,
    /// In a thousand: it answers before the request is complete.
    pub(super) early: u32,
    /// In a thousand: the reply is the last one.
    pub(super) last: u32,
    /// In a thousand: it never answers.
    pub(super) hangs: u32,
    /// How it closes after its last reply.
    pub(super) parting: Parting,
    /// Whether a reply may end with the stream.
    pub(super) ends_replies: bool,
    /// Bytes that it sends through a tunnel. Without this it stays with HTTP.
    pub(super) tunnel_bytes: Option<u64>,
    /// The scheme it offers to a client that must log in.
    pub(super) scheme: &'static str,
}

/// What a server end saw.
#[derive(Debug, Default)]
pub(super) struct ServerNotes {
    pub(super) number: u32,
    /// The server's address.
    pub(super) address: Option<SocketAddr>,
    /// The hosts of its requests, and what their paths begin with.
    pub(super) asked: BTreeSet<(String, String)>,
    /// What its requests had as cookies.
    pub(super) cookies: BTreeSet<String>,
    /// Whether the stream ended within a request.
    pub(super) was_cut_short: bool,
    /// Its replies, by the numbers of their requests.
    pub(super) replies: BTreeMap<u64, Sent>,
    pub(super) tunnel: Option<TunnelBytes>,
    /// Whether it will never answer.
    pub(super) hangs: bool,
    /// The users that have logged in.
    pub(super) identities: BTreeSet<String>,
    /// The last reply; none while a request awaits one.
    pub(super) answered: Option<Answered>,
    /// The replies after which others came.
    pub(super) followed: Vec<Answered>,
}

impl ServerNotes {
    /// The server's address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address.expect("it is a server's end")
    }

    /// When it sent its replies.
    pub(super) fn replied_at(&self) -> impl Iterator<Item = Instant> {
        self.followed.iter().chain(&self.answered).map(|reply| reply.at)
    }

    /// Another request came behind the last reply.
    fn is_asked(&mut self) {
        self.followed.extend(self.answered.take());
    }
}

/// The last reply of a server end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) at: Instant,
    /// Whether its client has to go on with a login.
    pub(super) is_within_login: bool,
}

/// The body of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) framing: Framing,
    pub(super) bytes: u64,
}

/// A request whose head has arrived.
struct Request {
    /// Its number among all requests of the client.
    exchange: u64,
    end: End,
    body: Body,
    is_whole: bool,
    is_http10: bool,
    then: Then,
    /// `WWW-Authenticate` of the reply.
    challenge: Option<String>,
}

/// What a client wants after the reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    More,
    Nothing,
    Tunnel,
}

/// See the module docs.
pub(super) struct Server {
    script: Script,
    notes: Rc<RefCell<ServerNotes>>,
    registry: Rc<Registry>,
    client: Option<u32>,
    login: ServerLogin,
    /// The number of the last request.
    last: Option<u64>,
    /// How many requests have begun, and how many replies.
    asked: u64,
    answered: u64,
    request: Option<Request>,
    waits_for_body: Option<bool>,
    tunnel: Option<Body>,

    has_closed: bool,
    has_heard_end: bool,
}

impl Server {
    pub(super) fn new(script: Script, notes: Rc<RefCell<ServerNotes>>, registry: &Rc<Registry>) -> Self {
        Self {
            script,
            notes,
            registry: Rc::clone(registry),
            client: None,
            login: ServerLogin::default(),
            last: None,
            asked: 0,
            answered: 0,
            request: None,
            waits_for_body: None,
            tunnel: None,

            has_closed: false,
            has_heard_end: false,
        }
    }

    fn begin_request(&mut self, head: &Head) -> Request {
        let words: Vec<_> = head.start_line.split(' ').collect();
        let &[method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = &words[..] else {
            panic!("{:?}", head.start_line)
        };
        let (target, is_secret) = match target.strip_suffix("/secret") {
            Some(target) => (target, true),
            None => (target, false),
        };
        let mut parts = target.rsplitn(3, '/');
        let mut number = || parts.next().and_then(|number| number.parse::<u32>().ok()).expect("two numbers");
        let (exchange, client) = (u64::from(number()), number());
        let area = parts.next().expect("a path begins with a slash");
        assert!(self.client.is_none_or(|before| before == client), "two clients on one connection");
        self.client = Some(client);
        self.registry.pairs.borrow_mut().join(client, self.notes.borrow().number);
        // Others may go to other servers.
        let is_next = self.last.is_none_or(|last| last < exchange);
        assert!(is_next, "requests of client {client}: {exchange} is repeated");
        self.last = Some(exchange);
        assert_eq!(self.asked, self.answered, "a request before the reply to the one before it");
        let host = head.value("host").expect("every request has one");
        self.notes.borrow_mut().asked.insert((host.to_owned(), area.to_owned()));
        self.notes.borrow_mut().cookies.extend(head.value("cookie").map(str::to_owned));
        self.asked += 1;
        self.notes.borrow_mut().is_asked();
        let end = if method == "GET" { End::After(0) } else { End::of(head) };
        assert!(end != End::Close, "a request without an end");
        let is_http10 = version == "HTTP/1.0";
        Request {
            exchange,
            end,
            body: Body::new(client, exchange),
            is_whole: false,
            is_http10,
            then: if head.says_upgrade() {
                Then::Tunnel
            } else if head.says_close() || is_http10 && head.value("connection") != Some("keep-alive") {
                Then::Nothing
            } else {
                Then::More
            },
            challenge: self.challenge(head.value("authorization"), is_secret),
        }
    }

    /// Continues a login, or demands one.
    fn challenge(&mut self, authorization: Option<&str>, is_secret: bool) -> Option<String> {
        let Some(authorization) = authorization else {
            assert!(!self.login.is_within(), "another request in the middle of a login");
            return (is_secret && self.login.identity.is_none()).then(|| self.script.scheme.to_owned());
        };
        // Never the same challenge twice.
        let server_challenge = u64::from(self.notes.borrow().number) << 32 | self.asked;
        match self.login.answer(authorization, server_challenge) {
            Verdict::Challenge(challenge) => Some(challenge),
            Verdict::LoggedIn => {
                self.notes.borrow_mut().identities.extend(self.login.identity.clone());
                None
            }
        }
    }

    fn answer(&mut self, request: &Request, out: &mut VecDeque<u8>, dice: &mut Dice) {
        let notes = &mut *self.notes.borrow_mut();
        let (number, exchange) = (notes.number, request.exchange);
        self.answered += 1;
        if dice.chance(100) {
            out.extend(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n");
        }
        let client = self.client.expect("a request has arrived");
        let mut echo = format!("X-Echo: {number}/{client}/{exchange}\r\n");
        if let Some(identity) = &self.login.identity {
            let _ = write!(echo, "X-User: {identity}\r\n");
        }
        if let Some(bytes) = self.script.tunnel_bytes
            && request.then == Then::Tunnel
        {
            let fields = format!("{echo}Upgrade: websocket\r\nConnection: Upgrade\r\n");
            out.extend(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n").bytes());
            Body::tunnel(number).write(Framing::Sized, bytes, dice, out);
            notes.replies.insert(exchange, Sent { framing: Framing::None, bytes: 0 });
            notes.tunnel = Some(TunnelBytes { sent: bytes, received: 0 });
            self.tunnel = Some(Body::tunnel(client));
            return;
        }
        let bytes = dice.number(0, self.script.body_bytes_max as usize) as u64;
        let framing = dice.one_of(&[
            Framing::None,
            Framing::Sized,
            Framing::Sized,
            Framing::Chunked,
            Framing::UntilClose,
        ]);
        // A login continues on the same connection.
        let may_end = !self.login.is_within();
        let is_last = may_end
            && (framing == Framing::UntilClose && dice.chance(300) || dice.chance(self.script.last))
            || request.then == Then::Nothing;
        let framing = match framing {
            Framing::UntilClose if !is_last || !self.script.ends_replies => Framing::Sized,
            // For HTTP/1.0 the connection would end with the chunks.
            Framing::Chunked if request.is_http10 && !may_end => Framing::Sized,
            framing => framing,
        };
        let status = if request.challenge.is_some() { "401 Unauthorized" } else { "200 OK" };
        let (status, mut fields) = match framing {
            Framing::None if request.challenge.is_none() => ("204 No Content", String::new()),
            Framing::None => (status, "Content-Length: 0\r\n".to_owned()),
            Framing::Sized => (status, format!("Content-Length: {bytes}\r\n")),
            Framing::Chunked => (status, "Transfer-Encoding: chunked\r\n".to_owned()),
            Framing::UntilClose => (status, String::new()),
        };
        if let Some(challenge) = &request.challenge {
            let _ = write!(fields, "WWW-Authenticate: {challenge}\r\n");
        }
        if is_last && (framing != Framing::UntilClose || dice.chance(500)) {
            fields.push_str("Connection: close\r\n");
        } else if request.is_http10 && !is_last {
            fields.push_str("Connection: keep-alive\r\n");
        }
        out.extend(format!("HTTP/1.1 {status}\r\n{echo}{fields}\r\n").bytes());
        let bytes = if framing == Framing::None { 0 } else { bytes };
        if framing != Framing::None {
            Body::new(number, exchange).write(framing, bytes, dice, out);
        }
        notes.replies.insert(exchange, Sent { framing, bytes });
        self.has_closed = is_last;
    }
}

impl Part for Server {
    fn read(&mut self, unread: &mut Vec<u8>) {
        loop {
            let Some(request) = self.request.as_mut().filter(|request| !request.is_whole) else {
                if let Some(tunnel) = &mut self.tunnel {
                    tunnel.check(unread);
                    unread.clear();
                    if let Some(bytes) = &mut self.notes.borrow_mut().tunnel {
                        bytes.received = tunnel.read_bytes();
                    }
                    return;
                }
                let Some(head) = Head::take(unread) else { return };
                assert!(self.request.is_none(), "a request before the reply to the one before it: {head:?}");
                self.request = Some(self.begin_request(&head));
                continue;
            };
            request.is_whole = request.end.read(unread, Some(&mut request.body));
            if !request.is_whole {
                return;
            }
            if self.answered == self.asked {
                // The reply was sent first.
                self.request = None;
            }
        }
    }

    fn ended(&mut self, unread: &[u8]) {
        self.has_heard_end = true;
        self.notes.borrow_mut().was_cut_short = match &self.request {
            None => !unread.is_empty(),
            // A request that was answered early no longer matters.
            Some(request) => !request.is_whole && self.answered < self.asked,
        };
    }

    fn write(&mut self, out: &mut VecDeque<u8>, now: Instant, dice: &mut Dice) {
        let Some(request) = &self.request else { return };
        if self.answered == self.asked || self.has_closed || self.notes.borrow().hangs {
            return;
        }
        if self.waits_for_body.is_none() {
            self.notes.borrow_mut().hangs = dice.chance(self.script.hangs);
        }
        let waits = *self.waits_for_body.get_or_insert_with(|| !dice.chance(self.script.early));
        if waits && !request.is_whole || self.notes.borrow().hangs {
            return;
        }
        self.waits_for_body = None;
        if let Some(request) = self.request.take() {
            self.answer(&request, out, dice);
            let is_within_login = self.login.is_within() || request.challenge.is_some();
            self.notes.borrow_mut().answered = Some(Answered { at: now, is_within_login });
            if !request.is_whole {
                self.request = Some(request);
            }
        }
    }

    fn listens(&self, _out: &VecDeque<u8>) -> bool {
        true
    }

    fn is_through(&self) -> bool {
        self.has_closed || self.has_heard_end || self.tunnel.is_some()
    }

    fn gives_up(&self) -> bool {
        false
    }

    fn parting(&self) -> Parting {
        if self.has_closed { self.script.parting } else { Parting::Orderly }
    }
}
