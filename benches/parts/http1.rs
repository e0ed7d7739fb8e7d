//! `protocol::http1`: reading heads as the proxy does, and writing them as it forwards them.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use iisplice::protocol::http1::forward::{
    Believed, Edits, Forwarded, ReplyChanges, RequestChanges, target, write_reply, write_request,
};
use iisplice::protocol::http1::request::{RequestHead, Scan, header_slots, read_head, resume_head};
use iisplice::protocol::http1::response::{AnswerTo, ResponseHead, read_next_head};

use crate::inputs::{self, TICKET_BYTES};

/// The proxy's default limit of a head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Payload of a TCP segment on Ethernet.
const SEGMENT_BYTES: usize = 1460;

pub(crate) fn benches(criterion: &mut Criterion) {
    let ticket = inputs::header_value("Negotiate", &inputs::kerberos_token(TICKET_BYTES));
    let type3 = inputs::header_value("NTLM", &inputs::ntlm_login().type3);
    requests(criterion, "request", &inputs::browser_request(None), 17);
    requests(criterion, "request with a Type 3", &inputs::browser_request(Some(&type3)), 18);
    requests(criterion, "request with a 16 KB ticket", &inputs::browser_request(Some(&ticket)), 18);
    request_in_segments(criterion, &inputs::browser_request(Some(&ticket)));
    replies(criterion, "reply", &page(), 200);
    replies(criterion, "reply with a Type 2", &challenge(), 401);
}

/// The head of a page from IIS.
fn page() -> String {
    "HTTP/1.1 200 OK\r\n\
     Cache-Control: private\r\n\
     Content-Length: 18342\r\n\
     Content-Type: text/html; charset=utf-8\r\n\
     Content-Encoding: gzip\r\n\
     Vary: Accept-Encoding\r\n\
     Server: Microsoft-IIS/10.0\r\n\
     X-AspNet-Version: 4.0.30319\r\n\
     X-Powered-By: ASP.NET\r\n\
     Persistent-Auth: true\r\n\
     Set-Cookie: ASP.NET_SessionId=4kq3v0yqz1d2nuyj0lq2f0zr; path=/; HttpOnly; SameSite=Lax\r\n\
     Date: Wed, 25 Nov 2026 12:00:00 GMT\r\n\r\n"
        .into()
}

/// The head of the 401 that carries a Type 2.
fn challenge() -> String {
    let type2 = inputs::header_value("NTLM", &inputs::ntlm_login().type2);
    format!(
        "HTTP/1.1 401 Unauthorized\r\n\
         Content-Type: text/html; charset=us-ascii\r\n\
         Server: Microsoft-HTTPAPI/2.0\r\n\
         WWW-Authenticate: {type2}\r\n\
         Date: Wed, 25 Nov 2026 12:00:00 GMT\r\n\
         Content-Length: 341\r\n\r\n"
    )
}

fn requests(criterion: &mut Criterion, what: &str, head: &str, headers: usize) {
    let read = || {
        let mut slots = header_slots();
        let request = read_head(black_box(head.as_bytes()), HEAD_BYTES_MAX, &mut slots);
        let request = request.expect("a sound head").expect("a whole head");
        (request.length_bytes, request.headers.len())
    };
    assert_eq!(read(), (head.len(), headers));
    let edits = Edits::default();
    let write = |request: &RequestHead<'_, '_>| {
        let forwarded = Forwarded { client: "192.0.2.7", scheme: "https", believed: Believed::Nothing };
        let changes = RequestChanges {
            target: target(request.method, request.target).expect("a path"),
            host: None,
            forwarded: Some(forwarded),
            offer: None,
            underscores: true,
            own_cookies: &[],
            edits: &edits,
        };
        let mut out = Vec::with_capacity(request.length_bytes + 512);
        write_request(request, &changes, &mut out);
        out
    };
    let mut slots = header_slots();
    let request = read_head(head.as_bytes(), HEAD_BYTES_MAX, &mut slots);
    let request = request.expect("a sound head").expect("a whole head");
    let (written, mut slots) = (write(&request), header_slots());
    let read_back =
        read_head(&written, HEAD_BYTES_MAX, &mut slots).expect("a sound head").expect("a whole head");
    assert_eq!(read_back.values("x-forwarded-for").collect::<Vec<_>>(), [b"192.0.2.7"]);

    let mut group = criterion.benchmark_group(format!("http1/{what}"));
    group.throughput(Throughput::Bytes(head.len() as u64));
    group.bench_function("read", |b| b.iter(read));
    group.bench_function("write", |b| b.iter(|| write(black_box(&request))));
    group.finish();
}

/// A head that arrives in 16 segments. The reader looks at each byte once, so this takes little longer than `read`.
fn request_in_segments(criterion: &mut Criterion, head: &str) {
    let head = head.as_bytes();
    let read = || {
        let mut scan = Scan::default();
        for end in (SEGMENT_BYTES..head.len()).step_by(SEGMENT_BYTES) {
            let mut slots = header_slots();
            let so_far = resume_head(black_box(&head[..end]), HEAD_BYTES_MAX, &mut scan, &mut slots);
            assert!(so_far.expect("a sound head").is_none());
        }
        let mut slots = header_slots();
        let whole = resume_head(black_box(head), HEAD_BYTES_MAX, &mut scan, &mut slots);
        whole.expect("a sound head").expect("a whole head").length_bytes
    };
    assert_eq!(read(), head.len());

    let mut group = criterion.benchmark_group("http1/request with a 16 KB ticket");
    group.throughput(Throughput::Bytes(head.len() as u64));
    group.bench_function("read in segments", |b| b.iter(read));
    group.finish();
}

fn replies(criterion: &mut Criterion, what: &str, head: &str, status: u16) {
    let edits = Edits::default();
    let changes = ReplyChanges {
        to_http11: true,
        keep_alive: true,
        unchunked: false,
        origins: None,
        secure_cookies: false,
        own_cookie: None,
        edits: &edits,
    };
    let write = |reply: &ResponseHead<'_, '_>| {
        let mut out = Vec::with_capacity(reply.length_bytes + 512);
        write_reply(reply, &changes, &mut out);
        out
    };
    let whole = "a sound and whole head";
    let read = || {
        let head = black_box(head.as_bytes());
        read_next_head(head, AnswerTo::Usual, |reply| (reply.status, reply.length_bytes))
            .expect(whole)
            .expect(whole)
    };
    assert_eq!(read(), (status, head.len()));
    let written = read_next_head(head.as_bytes(), AnswerTo::Usual, write).expect(whole).expect(whole);
    assert!(written.len() >= head.len(), "nothing is left out");

    let mut group = criterion.benchmark_group(format!("http1/{what}"));
    group.throughput(Throughput::Bytes(head.len() as u64));
    group.bench_function("read", |b| b.iter(read));
    let seen = read_next_head(head.as_bytes(), AnswerTo::Usual, |reply| {
        group.bench_function("write", |b| b.iter(|| write(black_box(reply))));
    });
    seen.expect(whole).expect(whole);
    group.finish();
}
