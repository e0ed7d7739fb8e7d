//! Requests that two servers in a row could read differently: what request smuggling is made of.
//! `cases` has the list.

use super::cases::{CHUNKS, HEADS, LINES};
use super::{GET, OK, expect_end, proxy};
use crate::support::{Peer, Server};

/// What went wrong is answered by a refusal and the end; the server has heard nothing of it.
fn refused(request: &[u8]) {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    client.send(&[request, GET].concat());
    let mut begin = [0; 10];
    let received = client.receive(&mut begin).expect("an answer");
    let shown = request.escape_ascii();
    assert_eq!(begin[..received].escape_ascii().to_string(), "HTTP/1.1 4", "{shown}");
    end(&client);
    expect_end(&proxy, "bad-request");
    assert_eq!(proxy.record().get("upstream"), "-", "{shown} reached the server");
    assert_eq!(proxy.record().get("status").as_bytes()[0], b'4', "{shown}");
}

/// The proxy closes the connection; it need not wait for us to do so.
fn end(client: &Peer) {
    let _ = client.socket().shutdown(std::net::Shutdown::Write);
    client.expect_close();
}

#[test]
fn ambiguous_lines_are_refused() {
    for lines in LINES {
        refused(&[b"POST / HTTP/1.1\r\nHost: web\r\n", lines, b"\r\n0\r\n\r\n"].concat());
    }
}

#[test]
fn malformed_heads_are_refused() {
    for head in HEADS {
        refused(head);
    }
}

#[test]
fn malformed_chunks_are_refused_and_nothing_behind_them_is_a_request() {
    for chunks in CHUNKS {
        let server = Server::v4();
        let proxy = proxy(&server, "");
        let client = Peer::connect(proxy.address());
        let head = b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(&[head, chunks, GET].concat());
        let shown = chunks.escape_ascii();
        let mut begin = [0; 12];
        let received = client.receive(&mut begin).expect("an answer");
        assert_eq!(begin[..received].escape_ascii().to_string(), "HTTP/1.1 400", "{shown}");
        end(&client);
        expect_end(&proxy, "bad-request");
    }
}

#[test]
fn chunks_that_are_unusual_and_sound_pass() {
    let server = Server::v4();
    let proxy = proxy(&server, "");
    let client = Peer::connect(proxy.address());
    let request = b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: Chunked\r\n\r\n\
                    0001;a=\"b\"\r\na\r\n000000000000000000000000001  \r\nb\r\n1 ; a = \"\\\"\xfc;\" ;b=c\r\nc\r\n\
                    00;x\r\nA: b\r\n\r\n";
    client.send(request);
    let upstream = server.accept();
    upstream.expect(request);
    upstream.send(OK);
    client.expect(OK);
}
