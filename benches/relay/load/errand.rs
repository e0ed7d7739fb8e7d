//! What clients do on their connections, and the bytes that they begin with.

use std::sync::LazyLock;

/// Bytes of a small request and of its reply.
pub(super) const REQUEST_BYTES: usize = 200;
pub(super) const REPLY_BYTES: usize = 1024;
/// Bytes of a large message, each way.
pub(super) const MESSAGE_BYTES: usize = 64 << 10;
/// The last byte of a reply over HTTP, and of nothing else in it.
pub(super) const LAST: u8 = b'~';

/// What a client does on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Requests of 200 B and replies of 1 KB in turn.
    PingPong,
    /// Messages of 64 KiB, there and back in turn.
    Messages,
    /// An upgrade to WebSocket, then messages of 200 B and of 1 KB in turn.
    WebSocket,
    /// One request, then an endless reply.
    Download,
    /// The same in HTTP.
    HttpDownload,
    /// One request, then a reply at [`HELD_BYTES_PER_S`](super::HELD_BYTES_PER_S).
    HeldDownload,
    /// An endless request.
    Upload,
    /// The same in HTTP.
    HttpUpload,
    /// One request and its reply; the server closes, and the client repeats this on a new connection.
    OneShot,
    /// One request and its reply; then the connection is idle.
    Once,
    /// The same in HTTP.
    HttpOnce,
}

impl Errand {
    /// The bytes of the request. The first one tells the server what to do.
    pub(super) fn request(self) -> &'static [u8] {
        static PING_PONG: [u8; REQUEST_BYTES] = raw(b'p');
        static DOWNLOAD: [u8; REQUEST_BYTES] = raw(b'd');
        static HELD: [u8; REQUEST_BYTES] = raw(b'h');
        static UPLOAD: [u8; REQUEST_BYTES] = raw(b'u');
        static ONE_SHOT: [u8; REQUEST_BYTES] = raw(b'c');
        static MESSAGE: [u8; MESSAGE_BYTES] = raw(b'm');
        static HTTP_ONCE: LazyLock<Vec<u8>> = LazyLock::new(|| padded("GET /small HTTP/1.1\r\n"));
        static HTTP_DOWNLOAD: LazyLock<Vec<u8>> = LazyLock::new(|| padded("GET /endless HTTP/1.1\r\n"));
        static HTTP_UPLOAD: LazyLock<Vec<u8>> =
            LazyLock::new(|| padded("POST /endless HTTP/1.1\r\nContent-Length: 1000000000000000\r\n"));
        static WEB_SOCKET: LazyLock<Vec<u8>> = LazyLock::new(|| {
            padded(
                "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            )
        });
        match self {
            Self::PingPong | Self::Once => &PING_PONG,
            Self::Messages => &MESSAGE,
            Self::WebSocket => &WEB_SOCKET,
            Self::Download => &DOWNLOAD,
            Self::HttpDownload => &HTTP_DOWNLOAD,
            Self::HeldDownload => &HELD,
            Self::Upload => &UPLOAD,
            Self::HttpUpload => &HTTP_UPLOAD,
            Self::OneShot => &ONE_SHOT,
            Self::HttpOnce => &HTTP_ONCE,
        }
    }

    /// Whether the client only receives, and messages are not counted.
    pub(super) const fn is_download(self) -> bool {
        matches!(self, Self::Download | Self::HttpDownload | Self::HeldDownload)
    }

    /// Whether the client only sends.
    pub(super) const fn is_upload(self) -> bool {
        matches!(self, Self::Upload | Self::HttpUpload)
    }

    /// Whether a reply is followed by the next request.
    pub(super) const fn repeats(self) -> bool {
        matches!(self, Self::PingPong | Self::Messages | Self::WebSocket)
    }
}

/// A WebSocket message from a client: a binary frame of 200 B in all, masked with zeros (RFC 6455, 5.2).
pub(super) static CLIENT_FRAME: [u8; REQUEST_BYTES] = {
    let mut frame = [b'x'; REQUEST_BYTES];
    let head = [0x82, 0xfe, 0, (REQUEST_BYTES - 8) as u8, 0, 0, 0, 0];
    let mut at = 0;
    while at < head.len() {
        frame[at] = head[at];
        at += 1;
    }
    frame
};

/// The server's: 1 KB in all.
pub(super) static SERVER_FRAME: [u8; REPLY_BYTES] = {
    let mut frame = [b'x'; REPLY_BYTES];
    let length = (REPLY_BYTES - 4) as u16;
    frame[0] = 0x82;
    frame[1] = 126;
    frame[2] = (length >> 8) as u8;
    frame[3] = length as u8;
    frame
};

const fn raw<const N: usize>(mark: u8) -> [u8; N] {
    let mut request = [b'x'; N];
    request[0] = mark;
    request
}

/// A head of at least 200 B that begins with these lines.
fn padded(lines: &str) -> Vec<u8> {
    let head = format!("{lines}Host: localhost\r\nUser-Agent: ");
    let padding = REQUEST_BYTES.saturating_sub(head.len() + 4).max(1);
    format!("{head}{}\r\n\r\n", "x".repeat(padding)).into_bytes()
}
