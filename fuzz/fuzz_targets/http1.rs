//! Heads and bodies of HTTP/1.1: nothing panics, and what a proxy passes on reads the same to the next server.

#![no_main]

use iisplice::protocol::http1::body::Body;
use iisplice::protocol::http1::forward::{
    Edits, Offer, ReplyChanges, RequestChanges, target, write_reply, write_request,
};
use iisplice::protocol::http1::request::{Scan, header_slots, read_head, resume_head};
use iisplice::protocol::http1::response::{AnswerTo, read_next_head};
use libfuzzer_sys::fuzz_target;

const LIMIT_BYTES: usize = 64 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let edits = Edits::default();
    let mut scan = Scan::default();
    for end in (0..bytes.len()).step_by(7) {
        let _ = resume_head(&bytes[..end], LIMIT_BYTES, &mut scan, &mut header_slots());
    }
    let mut slots = header_slots();
    if let Ok(Some(request)) = read_head(bytes, LIMIT_BYTES, &mut slots) {
        let mut body = Body::new(request.body);
        let _ = body.advance(&bytes[request.length_bytes..], |_content| ());
        if let Ok(target) = target(request.method, request.target) {
            let mut head = Vec::new();
            let offer = Offer::of(&request, &[]);
            let changes = RequestChanges {
                target,
                host: None,
                forwarded: None,
                offer: offer.as_ref(),
                underscores: false,
                own_cookies: &[],
                edits: &edits,
            };
            write_request(&request, &changes, &mut head);
            let mut slots = header_slots();
            let again = read_head(&head, 2 * LIMIT_BYTES, &mut slots).expect("sound").expect("whole");
            assert_eq!((again.method, again.body), (request.method, request.body));
            assert_eq!(again.length_bytes, head.len());
        }
    }
    for answer_to in [AnswerTo::Usual, AnswerTo::Head] {
        let _ = read_next_head(bytes, answer_to, |reply| {
            let mut head = Vec::new();
            if reply.check_framing().is_err() {
                return;
            }
            let changes = ReplyChanges {
                to_http11: true,
                keep_alive: true,
                unchunked: false,
                origins: None,
                secure_cookies: false,
                own_cookie: None,
                edits: &edits,
            };
            write_reply(reply, &changes, &mut head);
            let again = read_next_head(&head, answer_to, |again| (again.status, again.body, again.length_bytes));
            assert_eq!(again.expect("sound").expect("whole"), (reply.status, reply.body, head.len()));
        });
    }
});
