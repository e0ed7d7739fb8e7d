//! Requests and replies by hand.

use crate::capture::find;
use crate::refused;

/// Requests that the proxy passes on, with what is odd about them and right.
pub(crate) const SOUND: [&[u8]; 30] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a?b=c&d=%20 HTTP/1.1\r\nHost: a:8080\r\n\r\n",
    b"GET / HTTP/1.1\r\nhOST:\ta \r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"DELETE /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET /b HTTP/1.1\r\n\r",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked \r\n\r\n0005\r\nhello\r\n00000\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a;b=c;d=\"e\"\r\nhello\r\n0;f\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0\t\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b;\\\"c\"\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n",
    b"GET http://b/c HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET HTTP://b:81 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Authorization\r\nAuthorization: NTLM TlRM\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Negotiate YII=\r\nX-Empty:\r\nX-Text: M\xfcller\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
];

/// These and those of the tests over sockets, which are refused. Were one of them to pass, it would have to be read alike.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\n";
    let sound = SOUND.iter().map(|request| request.to_vec());
    let lines = refused::LINES.iter().map(|lines| [POST, lines, b"\r\n0\r\n\r\n"].concat());
    let heads = refused::HEADS.iter().map(|head| head.to_vec());
    let chunked = [POST, b"Transfer-Encoding: chunked\r\n\r\n"].concat();
    let chunks = refused::CHUNKS.iter().map(|chunks| [&chunked, *chunks].concat());
    sound.chain(lines).chain(heads).chain(chunks).collect()
}

/// Replies that pass, and how odd they are.
pub(crate) const REPLIES: [(&str, &[u8]); 24] = [
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("GET", b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 403.1 Forbidden\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1  200  OK\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\nX-Odd\t: v\r\n\r\nok"),
    ("GET", b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 200 OK\r\nno colon\r\n Content-Length: 3\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 404 f\xfcr M\xc3\xbcller\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 200 OK\nA: b\nContent-Length: 2\n\nok"),
    ("GET", b"HTTP/1.1 200 OK\nA: b\r\nContent-Length: 2\r\n\nok"),
    ("GET", b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\tc\r\nContent-Length:\r\n 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
    ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b\"\r\no\r\n00001  \r\nk\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n"),
    ("GET", b"HTTP/1.1 200 OK\r\n\r\nup to the end"),
    ("GET", b"HTTP/1.0 200 OK\r\n\r\nup to the end"),
    ("GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
    ("GET", b"HTTP/1.1 401 Unauthorized\r\nConnection: WWW-Authenticate\r\nWWW-Authenticate: NTLM TlRM\r\nContent-Length: 2\r\n\r\nok"),
];

/// What a reader does not serve, where the others agree on what it is.
pub(crate) fn may_refuse(reader: &str, bytes: &[u8]) -> bool {
    let [method, target, _version] = request_line(bytes);
    match reader {
        // It knows neither other targets than paths, nor NUL in a path, nor methods that are not in capitals, nor TRACE.
        "nginx" => {
            let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
            path == b"*"
                || find(path, b"%00").is_some()
                || method == b"TRACE"
                || !method.iter().all(|&byte| byte.is_ascii_uppercase() || byte == b'_' || byte == b'-')
        }
        // A host of digits and dots has to be an address.
        "Apache" => {
            let host = find(bytes, b"Host: ").map_or(&[][..], |at| &bytes[at + b"Host: ".len()..]);
            let host = host.split(|&byte| byte == b'\r' || byte == b':').next().unwrap_or_default();
            host.iter().all(|&byte| byte.is_ascii_digit() || byte == b'.')
        }
        // It takes neither bytes over 0x7F in a target nor blanks in front of an extension.
        "h11" => !target.is_ascii() || find(bytes, b" ;").is_some() || find(bytes, b"\t;").is_some(),
        _ => false,
    }
}

/// Does the reader keep a connection that the others keep?
pub(crate) fn keeps_alive(reader: &str, bytes: &[u8]) -> bool {
    // It knows `keep-alive` not at all.
    reader != "h11" || request_line(bytes)[2] == b"HTTP/1.1"
}

fn request_line(bytes: &[u8]) -> [&[u8]; 3] {
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    [(); 3].map(|()| words.next().unwrap_or_default())
}
