//! A client: it asks for one thing after the other, and knows what it may be answered.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::line::Part;
use super::message::{Body, End, Framing, Head};
use crate::proxy::simulation::peer::Acquaintance;
use crate::uring::sim::Dice;

/// What a client does.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) requests: u64,
    pub(super) body_bytes_max: u64,
    /// It does not wait for a reply before it asks again.
    pub(super) pipelines: bool,
    /// It says with the last request that it is the last.
    pub(super) says_close: bool,
    /// It ends its stream behind the last request, and not behind the last reply.
    pub(super) ends_early: bool,
}

/// What a client saw.
#[derive(Debug, Default)]
pub(super) struct ClientNotes {
    /// Replies that came to their end, in order: their statuses. One of the proxy's own may be the last.
    pub(super) statuses: Vec<u16>,
    /// It was told that there will be no more.
    pub(super) was_told_last: bool,
    /// The stream ended within a message.
    pub(super) was_cut_short: bool,
    /// The server's end that replied last, and of how many bytes a body had that ended with the stream.
    pub(super) until_close: Option<(u32, u64)>,
}

/// A reply whose head has come.
struct Reply {
    status: u16,
    end: End,
    body: Option<Body>,
    body_bytes: u64,
    server: Option<u32>,
}

/// See the module's head.
pub(super) struct Client {
    number: u32,
    script: Script,
    notes: Rc<RefCell<ClientNotes>>,
    acquaintance: Rc<Acquaintance>,
    asked: u64,
    reply: Option<Reply>,
    has_heard_end: bool,
}

impl Client {
    pub(super) fn new(
        number: u32,
        script: Script,
        notes: Rc<RefCell<ClientNotes>>,
        acquaintance: &Rc<Acquaintance>,
    ) -> Self {
        let acquaintance = Rc::clone(acquaintance);
        Self { number, script, notes, acquaintance, asked: 0, reply: None, has_heard_end: false }
    }

    fn answered(&self) -> u64 {
        self.notes.borrow().statuses.len() as u64
    }

    /// The head of a reply; nothing when another one follows it.
    fn begin_reply(&self, head: &Head) -> Option<Reply> {
        let mut words = head.start_line.split(' ');
        assert_eq!(words.next(), Some("HTTP/1.1"), "{}", head.start_line);
        let status = words.next().and_then(|status| status.parse().ok()).expect("a status");
        if status < 200 {
            return None;
        }
        self.notes.borrow_mut().was_told_last = head.says_close();
        let Some(echo) = head.value("x-echo") else {
            let is_ours = head.value("x-request-id").is_some() && head.says_close() && status >= 400;
            assert!(is_ours, "a reply of nobody's to client {}: {head:?}", self.number);
            return Some(Reply { status, end: End::of(head), body: None, body_bytes: 0, server: None });
        };
        let mut numbers = echo.split('/').map(|number| number.parse::<u32>().expect("a number"));
        let mut number = || numbers.next().expect("three numbers");
        let (server, client, exchange) = (number(), number(), number());
        assert_eq!(client, self.number, "client {} got a reply to another one's request", self.number);
        assert_eq!(u64::from(exchange), self.answered(), "replies to client {client} in another order");
        assert!(u64::from(exchange) < self.asked, "a reply before its request");
        self.acquaintance.pairs.borrow_mut().join(client, server);
        let end = if status == 204 { End::After(0) } else { End::of(head) };
        let body = Some(Body::new(server, u64::from(exchange)));
        Some(Reply { status, end, body, body_bytes: 0, server: Some(server) })
    }
}

impl Part for Client {
    fn read(&mut self, unread: &mut Vec<u8>) {
        loop {
            let Some(reply) = &mut self.reply else {
                let Some(head) = Head::take(unread) else { return };
                assert!(!self.notes.borrow().was_told_last, "something behind the last reply: {head:?}");
                self.reply = self.begin_reply(&head);
                continue;
            };
            let before = unread.len();
            let is_whole = match &mut reply.body {
                Some(body) => reply.end.read_body(unread, body),
                // A page for people.
                None => reply.end.read(unread, |_page| ()),
            };
            reply.body_bytes += (before - unread.len()) as u64;
            if !is_whole {
                return;
            }
            self.notes.borrow_mut().statuses.push(reply.status);
            self.reply = None;
        }
    }

    fn ended(&mut self, unread: &[u8]) {
        self.has_heard_end = true;
        let notes = &mut *self.notes.borrow_mut();
        match self.reply.take() {
            Some(Reply { end: End::Close, status, server: Some(server), body_bytes, .. }) => {
                notes.until_close = Some((server, body_bytes));
                notes.statuses.push(status);
            }
            Some(_) => notes.was_cut_short = true,
            None => notes.was_cut_short = !unread.is_empty(),
        }
    }

    fn write(&mut self, out: &mut VecDeque<u8>, dice: &mut Dice) {
        let may_ask = || out.is_empty() && (self.script.pipelines || self.asked == self.answered());
        if self.asked == self.script.requests || self.gives_up() || !may_ask() {
            return;
        }
        let (number, exchange) = (self.number, self.asked);
        self.asked += 1;
        let bytes = dice.number(0, self.script.body_bytes_max as usize) as u64;
        let framing = match bytes {
            0 => Framing::None,
            _ => dice.one_of(&[Framing::None, Framing::Sized, Framing::Chunked]),
        };
        let method = if framing == Framing::None { "GET" } else { "POST" };
        let field = match framing {
            Framing::Sized => format!("Content-Length: {bytes}\r\n"),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::None | Framing::UntilClose => String::new(),
        };
        let is_last = self.asked == self.script.requests && self.script.says_close;
        let close = if is_last { "Connection: close\r\n" } else { "" };
        out.extend(
            format!("{method} /{number}/{exchange} HTTP/1.1\r\nHost: web\r\n{field}{close}\r\n").bytes(),
        );
        if framing != Framing::None {
            Body::new(number, exchange).write(framing, bytes, dice, out);
        }
    }

    fn is_through(&self) -> bool {
        let is_through = self.answered() == self.script.requests
            || self.script.ends_early && self.asked == self.script.requests;
        is_through || self.gives_up()
    }

    fn gives_up(&self) -> bool {
        self.has_heard_end || self.notes.borrow().was_told_last && self.reply.is_none()
    }
}
