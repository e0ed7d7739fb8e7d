//! A client: it sends one request after the other, and knows which replies it may get.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Instant;

use super::line::{Part, Parting};
use super::login::ClientLogin;
use super::message::{Body, End, Framing, Head};
use super::notes::{Answer, Asked, ClientNotes, Origin, Over, Place, TunnelBytes, UntilClose};
use crate::proxy::simulation::peer::Registry;
use crate::uring::sim::Dice;

/// The behaviour of a client.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// Number of things it requests; a login takes more requests.
    pub(super) wishes: u64,
    pub(super) body_bytes_max: u64,
    pub(super) hearing: Hearing,
    pub(super) farewell: Farewell,
    pub(super) parting: Parting,
    pub(super) is_http10: bool,
    /// How it logs in, where it has to.
    pub(super) scheme: Option<&'static str>,
    /// In a thousand: it requests something that needs a login.
    pub(super) secret: u32,
    /// In a thousand: it begins to log in where no login is demanded.
    pub(super) logs_in: u32,
    /// Each of its logins uses another user.
    pub(super) changes_user: bool,
    /// The last thing it requests is a tunnel, for this many bytes.
    pub(super) tunnel_bytes: Option<u64>,
    /// The host that it asks for.
    pub(super) home: &'static str,
    /// In a thousand: it asks for one of these instead.
    pub(super) strays: u32,
    pub(super) others: &'static [&'static str],
    /// What the paths of its requests begin with.
    pub(super) areas: &'static [&'static str],
    /// The cookies that it sends, if it has any.
    pub(super) cookies: Option<String>,
}

/// When a client reads replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    Always,
    /// Always, and it sends the next request without waiting for a reply.
    Ahead,
    /// Not before its request is sent completely.
    Late,
}

/// How a client ends its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Its stream ends after the last reply.
    None,
    /// The last request announces that it is the last.
    Said,
    /// Its stream ends after the last request.
    Early,
}

/// A reply whose head has arrived.
struct Reply {
    status: u16,
    end: End,
    body: Option<Body>,
    body_bytes: u64,
    origin: Origin,
    changes_protocol: bool,
}

/// The stage of a client's login.
enum Stage {
    None,
    /// The first message is next.
    Begins,
    /// The first message was sent.
    Begun,
    /// The answer to this challenge is next.
    Challenged(String),
    /// The answer was sent.
    Answered,
}

/// See the module docs.
pub(super) struct Client {
    number: u32,
    script: Script,
    notes: Rc<RefCell<ClientNotes>>,
    registry: Rc<Registry>,
    /// Number of requests, and of those for something wished.
    asked: u64,
    wished: u64,
    logins: u32,
    login: Option<ClientLogin>,
    stage: Stage,
    /// What the login is for.
    login_place: Option<Place>,
    /// The identities that replies must name, by server end.
    identities: BTreeMap<u32, String>,
    has_offered_tunnel: bool,
    reply: Option<Reply>,
    tunnel: Option<Body>,
    has_heard_end: bool,
}

impl Client {
    pub(super) fn new(
        number: u32,
        script: Script,
        notes: Rc<RefCell<ClientNotes>>,
        registry: &Rc<Registry>,
    ) -> Self {
        Self {
            number,
            script,
            notes,
            registry: Rc::clone(registry),
            asked: 0,
            wished: 0,
            logins: 0,
            login: None,
            stage: Stage::None,
            login_place: None,
            identities: BTreeMap::new(),
            has_offered_tunnel: false,
            reply: None,
            tunnel: None,
            has_heard_end: false,
        }
    }

    fn answered(&self) -> u64 {
        self.notes.borrow().answers.len() as u64
    }

    /// Handles the head of a reply; none for an interim reply.
    fn begin_reply(&mut self, head: &Head) -> Option<Reply> {
        let mut words = head.start_line.split(' ');
        assert_eq!(words.next(), Some("HTTP/1.1"), "{}", head.start_line);
        let status = words.next().and_then(|status| status.parse().ok()).expect("a status");
        let changes_protocol = status == 101;
        if status < 200 && !changes_protocol {
            assert!(!self.script.is_http10, "HTTP/1.0 knows no interim replies");
            return None;
        }
        let goes_on = !self.script.is_http10 || head.value("connection") == Some("keep-alive");
        self.notes.borrow_mut().was_told_last = head.says_close() || !goes_on;
        let end = match status {
            101 | 204 => End::After(0),
            _ => End::of(head),
        };
        let Some(echo) = head.value("x-echo") else {
            let origin = self.own_reply(status, head);
            // Such a request never reached the server's login.
            self.notes.borrow_mut().is_within_login = false;
            return Some(Reply { status, end, body: None, body_bytes: 0, origin, changes_protocol });
        };
        let mut numbers = echo.split('/').map(|number| number.parse::<u32>().expect("a number"));
        let mut number = || numbers.next().expect("three numbers");
        let (server, client, exchange) = (number(), number(), number());
        assert_eq!(client, self.number, "client {} got a reply to another client's request", self.number);
        assert_eq!(u64::from(exchange), self.answered(), "replies to client {client} in another order");
        assert!(u64::from(exchange) < self.asked, "a reply before its request");
        assert!(!changes_protocol || self.has_offered_tunnel && head.says_upgrade(), "{head:?}");
        assert!(!self.script.is_http10 || !matches!(end, End::Chunk(_)), "chunks for HTTP/1.0");
        self.registry.pairs.borrow_mut().join(client, server);
        self.go_on_with_login(server, status, head);
        let body = Some(Body::new(server, u64::from(exchange)));
        Some(Reply { status, end, body, body_bytes: 0, origin: Origin::Server(server), changes_protocol })
    }

    /// The origin of a reply that the proxy gave in a server's place.
    fn own_reply(&mut self, status: u16, head: &Head) -> Origin {
        // A login belongs to a server.
        self.stage = Stage::None;
        if let (301 | 308, Some(location)) = (status, head.value("location")) {
            return Origin::Redirect(location.to_owned());
        }
        let may_go_on = matches!(status, 404 | 502 | 503 | 504);
        let is_refusal = head.value("x-request-id").is_some() && status >= 400;
        assert!(
            is_refusal && (head.says_close() || may_go_on),
            "a reply of unknown origin to client {}: {head:?}",
            self.number
        );
        Origin::Refusal
    }

    /// Follows the login of the connection by what a reply says.
    fn go_on_with_login(&mut self, server: u32, status: u16, head: &Head) {
        let challenge = head.value("www-authenticate").map(str::to_owned);
        match (std::mem::replace(&mut self.stage, Stage::None), status, challenge) {
            (Stage::Begun, 401, Some(challenge)) => {
                self.identities.remove(&server);
                self.stage = Stage::Challenged(challenge);
            }
            (Stage::Answered, 200..=299, _) => {
                let login = self.login.as_ref().expect("a login that was begun");
                self.identities.insert(server, login.identity());
            }
            (Stage::None, 401, Some(_)) => {
                let identity = self.identities.get(&server);
                assert_eq!(identity, None, "client {} was logged in", self.number);
                self.stage = Stage::Begins;
                self.login_place = Some(self.notes.borrow().asked[self.answered() as usize].place);
            }
            // A pipelined request.
            (Stage::Begins, ..) => self.stage = Stage::Begins,
            (Stage::None, 101 | 200..=299, None) => {}
            _ => panic!("not part of a login of client {}: {head:?}", self.number),
        }
        let identity = head.value("x-user");
        let expected = self.identities.get(&server).map(String::as_str);
        assert_eq!(identity, expected, "the identity of client {} in the reply", self.number);
        self.notes.borrow_mut().is_within_login = matches!(self.stage, Stage::Challenged(_));
    }

    fn end_reply(&mut self, reply: &Reply) {
        let Reply { status, ref origin, changes_protocol, .. } = *reply;
        self.notes.borrow_mut().answers.push(Answer { status, origin: origin.clone() });
        if changes_protocol {
            let Origin::Server(server) = *origin else { panic!("the proxy changes to nothing") };
            self.tunnel = Some(Body::tunnel(server));
            // Whatever was demanded meanwhile.
            self.stage = Stage::None;
            self.notes.borrow_mut().tunnel = Some(TunnelBytes::default());
        }
    }

    /// Whether it may send a request before all replies have arrived.
    fn pipelines(&self) -> bool {
        self.script.hearing == Hearing::Ahead && matches!(self.stage, Stage::None) && !self.has_offered_tunnel
    }

    fn has_asked_all(&self) -> bool {
        self.wished == self.script.wishes && matches!(self.stage, Stage::None)
    }

    /// The `Authorization` value of the next request, if it takes part in a login.
    fn authorization(&mut self, dice: &mut Dice) -> Option<String> {
        let scheme = self.script.scheme?;
        if matches!(self.stage, Stage::None)
            && self.asked == self.answered()
            && dice.chance(self.script.logs_in)
        {
            self.stage = Stage::Begins;
            self.login_place = Some(self.any_place(dice));
        }
        let (value, next) = match std::mem::replace(&mut self.stage, Stage::None) {
            Stage::Begins => {
                let name = if self.script.changes_user { self.logins } else { 0 };
                self.logins += 1;
                let login = ClientLogin::new(scheme, format!("user{}.{name}", self.number));
                let message = login.type1();
                self.login = Some(login);
                (message, Stage::Begun)
            }
            Stage::Challenged(challenge) => {
                let login = self.login.as_ref().expect("a login that was begun");
                (login.type3(&challenge, dice), Stage::Answered)
            }
            stage => {
                self.stage = stage;
                return None;
            }
        };
        self.stage = next;
        Some(value)
    }

    fn any_place(&self, dice: &mut Dice) -> Place {
        let Script { home, strays, others, areas, .. } = self.script;
        let host = if dice.chance(strays) { dice.one_of(others) } else { home };
        Place { host, area: dice.one_of(areas) }
    }

    fn ask(&mut self, out: &mut VecDeque<u8>, dice: &mut Dice) {
        let mut fields = String::new();
        if let Some(cookies) = &self.script.cookies {
            let _ = write!(fields, "Cookie: {cookies}\r\n");
        }
        let authorization = self.authorization(dice);
        if let Some(value) = &authorization {
            let _ = write!(fields, "Authorization: {value}\r\n");
        }
        // The request that a login was begun for comes with the login's last message.
        let is_wish = !matches!(self.stage, Stage::Begun);
        if is_wish && self.wished < self.script.wishes {
            self.wished += 1;
        }
        let is_last = is_wish && self.wished == self.script.wishes;
        let needs_login = dice.chance(self.script.secret);
        let for_login = self.login_place.filter(|_| authorization.is_some());
        let place = for_login.unwrap_or_else(|| self.any_place(dice));
        let Place { host, area } = place;
        let secret = if needs_login { "/secret" } else { "" };
        let target = format!("{area}/{}/{}{secret}", self.number, self.asked);
        self.asked += 1;
        let is_tunnel =
            is_last && self.script.tunnel_bytes.is_some() && !needs_login && authorization.is_none();
        let connection =
            match (is_tunnel, is_last && self.script.farewell == Farewell::Said, self.script.is_http10) {
                (true, ..) => Some("Upgrade\r\nUpgrade: websocket"),
                (_, true, _) => Some("close"),
                (_, false, true) => Some("keep-alive"),
                _ => None,
            };
        self.has_offered_tunnel = is_tunnel;
        let bytes = dice.number(0, self.script.body_bytes_max as usize) as u64;
        let framing = match bytes {
            0 => Framing::None,
            _ if self.script.is_http10 => Framing::Sized,
            _ => dice.one_of(&[Framing::None, Framing::Sized, Framing::Chunked]),
        };
        let method = if framing == Framing::None { "GET" } else { "POST" };
        match framing {
            Framing::Sized => drop(write!(fields, "Content-Length: {bytes}\r\n")),
            Framing::Chunked => fields.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::None | Framing::UntilClose => {}
        }
        if let Some(connection) = connection {
            let _ = write!(fields, "Connection: {connection}\r\n");
        }
        let version = if self.script.is_http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        out.extend(format!("{method} {target} {version}\r\nHost: {host}\r\n{fields}\r\n").bytes());
        self.notes.borrow_mut().asked.push(Asked { place, target });
        if framing != Framing::None {
            Body::new(self.number, self.asked - 1).write(framing, bytes, dice, out);
        }
    }

    /// Sends its bytes into the tunnel, once.
    fn fill_tunnel(&self, out: &mut VecDeque<u8>, dice: &mut Dice) {
        let Some(tunnel) = &mut self.notes.borrow_mut().tunnel else { return };
        if let Some(bytes) = self.script.tunnel_bytes.filter(|bytes| tunnel.sent < *bytes) {
            Body::tunnel(self.number).write(Framing::Sized, bytes, dice, out);
            tunnel.sent = bytes;
        }
    }
}

impl Part for Client {
    fn read(&mut self, unread: &mut Vec<u8>) {
        loop {
            if let Some(tunnel) = &mut self.tunnel {
                tunnel.check(unread);
                unread.clear();
                if let Some(bytes) = &mut self.notes.borrow_mut().tunnel {
                    bytes.received = tunnel.read_bytes();
                }
                return;
            }
            let Some(reply) = &mut self.reply else {
                let Some(head) = Head::take(unread) else { return };
                assert!(!self.notes.borrow().was_told_last, "bytes after the last reply: {head:?}");
                self.reply = self.begin_reply(&head);
                continue;
            };
            let before = unread.len();
            // A reply of the proxy has an HTML page as its body.
            let is_whole = reply.end.read(unread, reply.body.as_mut());
            reply.body_bytes += before.saturating_sub(unread.len()) as u64;
            if !is_whole {
                return;
            }
            if let Some(reply) = self.reply.take() {
                self.end_reply(&reply);
            }
        }
    }

    fn ended(&mut self, unread: &[u8]) {
        self.has_heard_end = true;
        let notes = &mut *self.notes.borrow_mut();
        notes.over = Some(match self.reply.take() {
            Some(Reply {
                end: End::Close,
                status,
                origin: Origin::Server(server),
                body_bytes: bytes,
                ..
            }) => {
                let exchange = notes.answers.len();
                notes.answers.push(Answer { status, origin: Origin::Server(server) });
                Over::With(UntilClose { server, exchange, bytes })
            }
            None if unread.is_empty() => Over::BetweenReplies,
            Some(_) | None => Over::Within,
        });
    }

    fn write(&mut self, out: &mut VecDeque<u8>, _now: Instant, dice: &mut Dice) {
        self.fill_tunnel(out, dice);
        let may_ask = || out.is_empty() && (self.pipelines() || self.asked == self.answered());
        if !self.has_asked_all() && self.tunnel.is_none() && !self.gives_up() && may_ask() {
            self.ask(out, dice);
        }
        self.notes.borrow_mut().is_content = self.has_asked_all() && self.answered() == self.asked;
    }

    fn listens(&self, out: &VecDeque<u8>) -> bool {
        self.script.hearing != Hearing::Late || out.is_empty()
    }

    fn is_through(&self) -> bool {
        let has_all = self.script.farewell == Farewell::Early || self.answered() == self.asked;
        self.has_asked_all() && has_all || self.gives_up()
    }

    fn gives_up(&self) -> bool {
        let has_last = self.notes.borrow().was_told_last && self.reply.is_none();
        self.tunnel.is_none() && (self.has_heard_end || has_last)
    }

    fn parting(&self) -> Parting {
        self.script.parting
    }
}
