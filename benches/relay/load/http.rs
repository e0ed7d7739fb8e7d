//! HTTP as the server speaks it: enough for the requests of the load, and cheap.

use std::sync::LazyLock;

use memchr::memmem;

use super::errand::{LAST, REPLY_BYTES};

/// A longer head than any request of the load has.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A request as far as it has arrived.
#[derive(Debug, Default)]
pub(super) struct Request {
    head: Vec<u8>,
    /// Bytes of the body that are still to come.
    body_bytes: usize,
}

/// What the server does once a request is there.
#[derive(Debug)]
pub(super) enum Answer {
    /// Sends this, and so many bytes of filling.
    Message(&'static [u8], usize),
    /// Sends this and endless bytes.
    Source(&'static [u8]),
    /// Takes endless bytes.
    Sink,
    /// Sends this, and answers messages from now on.
    Upgrade(&'static [u8]),
    /// Closes: the load sends no such request.
    Refuse,
}

static SMALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {REPLY_BYTES}\r\n\r\n").into_bytes();
    reply.extend(body());
    reply
});

/// The body in chunks of 128 B, as of a page that is made while it is sent.
static CHUNKED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body().chunks(128) {
        reply.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        reply.extend(chunk);
        reply.extend(b"\r\n");
    }
    reply.extend(b"0\r\n\r\n");
    reply
});

/// A head of 3 KB, which fits nginx's default of a page.
static LONG_HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut reply = b"HTTP/1.1 200 OK\r\n".to_vec();
    for nth in 0..20 {
        reply.extend(format!("X-Field-{nth:02}: {}\r\n", "x".repeat(130)).into_bytes());
    }
    reply.extend(format!("Content-Length: {REPLY_BYTES}\r\n\r\n").into_bytes());
    reply.extend(body());
    reply
});

const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n";
/// The reply to the key that the load sends (RFC 6455, 1.3).
const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Bytes of the reply to `/large`.
const LARGE_BYTES: usize = 1 << 20;
static LARGE: LazyLock<Vec<u8>> =
    LazyLock::new(|| format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n").into_bytes());

fn body() -> [u8; REPLY_BYTES] {
    let mut body = [b'x'; REPLY_BYTES];
    body[REPLY_BYTES - 1] = LAST;
    body
}

impl Request {
    /// Takes received bytes; returns the answer if they complete the request.
    pub(super) fn take(&mut self, received: &[u8]) -> Option<Answer> {
        if self.body_bytes > 0 {
            self.body_bytes = self.body_bytes.saturating_sub(received.len());
            return (self.body_bytes == 0).then(|| Answer::Message(&SMALL, 0));
        }
        self.head.extend_from_slice(received);
        let Some(end) = memmem::find(&self.head, b"\r\n\r\n") else {
            return (self.head.len() > HEAD_BYTES_MAX).then_some(Answer::Refuse);
        };
        let answer = answer(&self.head[..end]);
        if let Some(length) = content_length(&self.head[..end])
            && !matches!(answer, Answer::Sink)
        {
            self.body_bytes = length.saturating_sub(self.head.len() - end - 4);
        }
        self.head.clear();
        (self.body_bytes == 0).then_some(answer)
    }
}

fn answer(head: &[u8]) -> Answer {
    let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/chunked")) => Answer::Message(&CHUNKED, 0),
        (Some(b"GET"), Some(b"/long-head")) => Answer::Message(&LONG_HEAD, 0),
        (Some(b"GET"), Some(b"/large")) => Answer::Message(&LARGE, LARGE_BYTES),
        (Some(b"GET"), Some(b"/endless")) => Answer::Source(ENDLESS),
        (Some(b"POST"), Some(b"/endless")) => Answer::Sink,
        (Some(b"GET"), Some(b"/ws")) => Answer::Upgrade(UPGRADE),
        (Some(b"GET" | b"POST"), Some(_)) => Answer::Message(&SMALL, 0),
        _ => Answer::Refuse,
    }
}

/// The value of `Content-Length` in a head, if it has one.
fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        let value = std::str::from_utf8(&value[1..]).ok()?;
        name.eq_ignore_ascii_case(b"content-length").then(|| value.trim().parse().ok())?
    })
}
