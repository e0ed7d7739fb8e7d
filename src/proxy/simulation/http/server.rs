//! A server's end: it answers what it is asked, and knows who may ask it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::line::Part;
use super::message::{Body, End, Framing, Head};
use crate::proxy::simulation::peer::Acquaintance;
use crate::uring::sim::Dice;

/// What a server does.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) body_bytes_max: u64,
    /// In a thousand: it answers before the request is through.
    pub(super) early: u32,
    /// In a thousand: the reply is the last one.
    pub(super) last: u32,
}

/// What a server's end saw.
#[derive(Debug, Default)]
pub(super) struct ServerNotes {
    pub(super) number: u32,
    /// The stream ended within a request.
    pub(super) was_cut_short: bool,
    /// How long a body was that ended with the stream.
    pub(super) until_close_bytes: Option<u64>,
}

/// A request whose head has come.
struct Request {
    end: End,
    body: Body,
    is_whole: bool,
}

/// See the module's head.
pub(super) struct Server {
    script: Script,
    notes: Rc<RefCell<ServerNotes>>,
    acquaintance: Rc<Acquaintance>,
    client: Option<u32>,
    /// Requests that have begun, and replies.
    asked: u64,
    answered: u64,
    request: Option<Request>,
    waits_for_body: Option<bool>,
    has_closed: bool,
    has_heard_end: bool,
}

impl Server {
    pub(super) fn new(
        script: Script,
        notes: Rc<RefCell<ServerNotes>>,
        acquaintance: &Rc<Acquaintance>,
    ) -> Self {
        Self {
            script,
            notes,
            acquaintance: Rc::clone(acquaintance),
            client: None,
            asked: 0,
            answered: 0,
            request: None,
            waits_for_body: None,
            has_closed: false,
            has_heard_end: false,
        }
    }

    fn begin_request(&mut self, head: &Head) -> Request {
        let words: Vec<_> = head.start_line.split(' ').collect();
        let &[method, target, "HTTP/1.1"] = &words[..] else { panic!("{:?}", head.start_line) };
        let mut numbers = target.split('/').skip(1).map(|number| number.parse::<u32>().expect("a number"));
        let mut number = || numbers.next().expect("two numbers");
        let (client, exchange) = (number(), number());
        assert!(self.client.is_none_or(|before| before == client), "two clients on one connection");
        self.client = Some(client);
        self.acquaintance.pairs.borrow_mut().join(client, self.notes.borrow().number);
        assert_eq!(u64::from(exchange), self.asked, "requests of client {client}: one twice, or left out");
        assert_eq!(self.asked, self.answered, "a request before the reply to the one before it");
        assert_eq!(head.value("host"), Some("web"));
        self.asked += 1;
        let end = if method == "GET" { End::After(0) } else { End::of(head) };
        assert!(end != End::Close, "a request without an end");
        Request { end, body: Body::new(client, u64::from(exchange)), is_whole: false }
    }

    fn answer(&mut self, out: &mut VecDeque<u8>, dice: &mut Dice) {
        let notes = &mut *self.notes.borrow_mut();
        let (number, exchange) = (notes.number, self.answered);
        self.answered += 1;
        let bytes = dice.number(0, self.script.body_bytes_max as usize) as u64;
        let framing = dice.one_of(&[
            Framing::None,
            Framing::Sized,
            Framing::Sized,
            Framing::Chunked,
            Framing::UntilClose,
        ]);
        let is_last = framing == Framing::UntilClose && dice.chance(300) || dice.chance(self.script.last);
        let framing = if framing == Framing::UntilClose && !is_last { Framing::Sized } else { framing };
        if dice.chance(100) {
            out.extend(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n");
        }
        let (status, field) = match framing {
            Framing::None => ("204 No Content", String::new()),
            Framing::Sized => ("200 OK", format!("Content-Length: {bytes}\r\n")),
            Framing::Chunked => ("200 OK", "Transfer-Encoding: chunked\r\n".to_owned()),
            Framing::UntilClose => ("200 OK", String::new()),
        };
        let says_close = is_last && (framing != Framing::UntilClose || dice.chance(500));
        let close = if says_close { "Connection: close\r\n" } else { "" };
        let client = self.client.expect("somebody asked");
        let head = format!("HTTP/1.1 {status}\r\nX-Echo: {number}/{client}/{exchange}\r\n{field}{close}\r\n");
        out.extend(head.bytes());
        if framing != Framing::None {
            Body::new(number, exchange).write(framing, bytes, dice, out);
        }
        if framing == Framing::UntilClose {
            notes.until_close_bytes = Some(bytes);
        }
        self.has_closed = is_last;
    }
}

impl Part for Server {
    fn read(&mut self, unread: &mut Vec<u8>) {
        loop {
            let Some(request) = self.request.as_mut().filter(|request| !request.is_whole) else {
                let Some(head) = Head::take(unread) else { return };
                assert!(self.request.is_none(), "a request before the reply to the one before it: {head:?}");
                self.request = Some(self.begin_request(&head));
                continue;
            };
            request.is_whole = request.end.read_body(unread, &mut request.body);
            if !request.is_whole {
                return;
            }
            if self.answered == self.asked {
                // The reply was first.
                self.request = None;
            }
        }
    }

    fn ended(&mut self, unread: &[u8]) {
        self.has_heard_end = true;
        self.notes.borrow_mut().was_cut_short = match &self.request {
            None => !unread.is_empty(),
            // One that was answered early is nothing to it any more.
            Some(request) => !request.is_whole && self.answered < self.asked,
        };
    }

    fn write(&mut self, out: &mut VecDeque<u8>, dice: &mut Dice) {
        let Some(request) = &self.request else { return };
        if self.answered == self.asked || self.has_closed {
            return;
        }
        let waits = *self.waits_for_body.get_or_insert_with(|| !dice.chance(self.script.early));
        if waits && !request.is_whole {
            return;
        }
        if request.is_whole {
            self.request = None;
        }
        self.waits_for_body = None;
        self.answer(out, dice);
    }

    fn is_through(&self) -> bool {
        self.has_closed || self.has_heard_end
    }

    fn gives_up(&self) -> bool {
        false
    }
}
