//! Messages by chance, from seeds: nearly sound ones, of which some are damaged.

use fastrand::Rng;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"];
const TARGETS: [&str; 14] = [
    "/",
    "/a",
    "/a?b",
    "//a",
    "/a/./b/../c",
    "/%7Ea",
    "/a;b=c",
    "/?a=%00",
    "/a?b?c",
    "/a%2fb",
    "/~a",
    "/a=b&c",
    "http://b/c",
    "http://b:81/c?d",
];
const HOSTS: [&str; 5] = ["a", "a.example", "a:80", "127.0.0.1", "[::1]"];
const FIELDS: [&[u8]; 22] = [
    b"Accept: */*\r\n",
    b"Accept:*/*\r\n",
    b"Cookie: a=b; c=d\r\n",
    b"X-Empty:\r\n",
    b"X-Blank: \t \r\n",
    b"X-Long-Name-With-Many-Parts: v\r\n",
    b"X-Text: M\xfcller \xe2\x82\xac\r\n",
    b"X-Odd!#$%&'*+.^`|~: v\r\n",
    b"X_Under_Score: v\r\n",
    b"X-Forwarded-For: 192.0.2.1\r\n",
    b"Connection: X-Empty\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: close\r\n",
    b"Connection: Transfer-Encoding, Content-Length, Host\r\n",
    b"Keep-Alive: timeout=5\r\n",
    b"TE: trailers\r\n",
    b"Authorization: NTLM TlRMTVNTUAAB\r\n",
    b"Content-Type: text/plain\r\n",
    b"Range: bytes=0-1\r\n",
    b"Content_Length: 3\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Proxy-Connection: close\r\n",
];
const EXTENSIONS: [&str; 10] = ["", "", "", " ", "\t ", ";a", ";a=b", ";a=\"b\"", ";a=\"\\\"\";c", ";a;b=c"];
const TRAILERS: [&str; 6] = [
    "A: b\r\n",
    "Content-Length: 3\r\n",
    "X-Empty:\r\n",
    "Host: b\r\n",
    "Transfer-Encoding: chunked\r\n",
    "X: \u{e9}\r\n",
];
/// What damages a message.
const DAMAGE: [u8; 16] = *b"\r\n\0 \t:;,\"0a\x7f\x80\xff\x0b/";
/// Content that could pass for framing.
const CONTENT: [&[u8]; 5] =
    [b"", b"hello", b"0\r\n\r\n", b"GET /b HTTP/1.1\r\nHost: b\r\n\r\n", b"\r\n\r\n\0\xff\n"];

fn pick<'a, T: ?Sized>(rng: &mut Rng, among: &[&'a T]) -> &'a T {
    among[rng.usize(..among.len())]
}

fn chunks(rng: &mut Rng, out: &mut Vec<u8>) {
    for _ in 0..rng.usize(..3) {
        let content = pick(rng, &CONTENT[1..]);
        let zeros = "0".repeat(rng.usize(..4));
        out.extend_from_slice(format!("{zeros}{:x}{}\r\n", content.len(), pick(rng, &EXTENSIONS)).as_bytes());
        out.extend_from_slice(content);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0{}\r\n", pick(rng, &EXTENSIONS)).as_bytes());
    for _ in 0..rng.usize(..3).saturating_sub(1) {
        out.extend_from_slice(pick(rng, &TRAILERS).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Fields, framing and a body.
fn rest(rng: &mut Rng, out: &mut Vec<u8>) {
    for _ in 0..rng.usize(..4) {
        out.extend_from_slice(pick(rng, &FIELDS));
    }
    match rng.u8(..5) {
        0 => out.extend_from_slice(b"\r\n"),
        1 | 2 => {
            let content = pick(rng, &CONTENT);
            out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
            out.extend_from_slice(content);
        }
        _ => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            chunks(rng, out);
        }
    }
}

/// One byte in four messages is another, one more or one less.
fn damage(rng: &mut Rng, message: &mut Vec<u8>) {
    if rng.u8(..4) > 0 {
        return;
    }
    let at = rng.usize(..message.len());
    let byte = DAMAGE[rng.usize(..DAMAGE.len())];
    match rng.u8(..3) {
        0 => message[at] = byte,
        1 => message.insert(at, byte),
        _ => drop(message.remove(at)),
    }
}

pub(crate) fn request(seed: u64) -> Vec<u8> {
    let rng = &mut Rng::with_seed(seed);
    let version = if rng.u8(..8) == 0 { "1.0" } else { "1.1" };
    let (method, target, host) = (pick(rng, &METHODS), pick(rng, &TARGETS), pick(rng, &HOSTS));
    let mut out = format!("{method} {target} HTTP/{version}\r\nHost: {host}\r\n").into_bytes();
    rest(rng, &mut out);
    damage(rng, &mut out);
    out
}

/// And the method of the request that it answers.
pub(crate) fn reply(seed: u64) -> (String, Vec<u8>) {
    const STATUS_LINES: [&[u8]; 8] = [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 404 f\xfcr\r\n",
        b"HTTP/1.1  403.1 Forbidden\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 200\r\nHTTP/1.1 200 OK\r\n",
        b"\r\nHTTP/1.1 500 \r\n",
    ];
    const ODD_FIELDS: [&[u8]; 6] = [
        b"X-Odd : v\r\n",
        b"no colon\r\n",
        b"A: b\r\n c\r\n",
        b"A: b\n",
        b"(a): b\r\n",
        b"Set-Cookie: a=b\r\n",
    ];
    let rng = &mut Rng::with_seed(seed);
    let mut out = pick(rng, &STATUS_LINES).to_vec();
    for _ in 0..rng.usize(..3) {
        out.extend_from_slice(pick(rng, &ODD_FIELDS));
    }
    rest(rng, &mut out);
    damage(rng, &mut out);
    let method = if rng.u8(..8) == 0 { "HEAD" } else { "GET" };
    (method.to_owned(), out)
}
