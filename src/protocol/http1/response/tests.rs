use super::*;
use proptest::prelude::*;

type Whole = (u16, Vec<u8>, usize, bool);

/// Reads one reply from `input`: status, content, bytes taken, keep-alive.
fn whole(input: &[u8], answer_to: AnswerTo) -> Result<Option<Whole>, ResponseError> {
    let head = read_head(input, answer_to, |h| (h.status, h.length_bytes, h.body, h.keep_alive))?;
    let Some((status, mut taken, mut body, keep_alive)) = head else { return Ok(None) };
    let mut content = Vec::new();
    taken += body.advance(&input[taken..], |data| content.extend_from_slice(data))?;
    Ok(body.is_complete().then_some((status, content, taken, keep_alive)))
}

const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3;x=1\r\nabc\r\n0a\r\n0123456789\r\n0\r\nT: 1\r\n\r\n";

#[test]
fn content_length_bounds_the_body_and_leaves_what_follows() {
    let input = [SIZED, b"HTTP/1.1 "].concat();
    assert_eq!(whole(&input, AnswerTo::Usual), Ok(Some((200, b"hello".to_vec(), SIZED.len(), true))));
}

#[test]
fn chunks_are_joined_and_trailers_skipped() {
    let input = [CHUNKED, b"next"].concat();
    let expected = (200, b"abc0123456789".to_vec(), CHUNKED.len(), true);
    assert_eq!(whole(&input, AnswerTo::Usual), Ok(Some(expected)));
}

#[test]
fn every_prefix_is_incomplete_and_every_split_reads_the_same() {
    for reply in [SIZED, CHUNKED] {
        for cut in 0..reply.len() {
            assert_eq!(whole(&reply[..cut], AnswerTo::Usual), Ok(None), "cut at {cut}");
        }
    }
    let body_at = CHUNKED.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    for cut in body_at..CHUNKED.len() {
        let mut body = Body::chunked();
        let mut content = Vec::new();
        body.advance(&CHUNKED[body_at..cut], |d| content.extend_from_slice(d)).unwrap();
        body.advance(&CHUNKED[cut..], |d| content.extend_from_slice(d)).unwrap();
        assert_eq!((body, content.as_slice()), (Body::Complete, b"abc0123456789".as_slice()), "cut at {cut}");
    }
}

#[test]
fn replies_without_a_body_end_with_their_head() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(whole(head, AnswerTo::Head), Ok(Some((200, vec![], head.len(), true))));
    for status in ["204 No Content", "304 Not Modified"] {
        let input = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
        let reply = whole(input.as_bytes(), AnswerTo::Usual).unwrap().unwrap();
        assert_eq!((reply.1, reply.2), (vec![], input.len()), "{status}");
    }
}

#[test]
fn interim_replies_are_skipped_but_101_is_final() {
    let input = [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", SIZED].concat();
    assert_eq!(whole(&input, AnswerTo::Usual), Ok(Some((200, b"hello".to_vec(), input.len(), true))));
    let upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00";
    assert_eq!(whole(upgrade, AnswerTo::Usual), Ok(Some((101, vec![], upgrade.len() - 2, false))));
}

#[test]
fn a_body_without_length_ends_with_the_connection() {
    let input = b"HTTP/1.1 200 OK\r\n\r\nall of it";
    let (mut body, at, keep_alive) =
        read_head(input, AnswerTo::Usual, |h| (h.body, h.length_bytes, h.keep_alive)).unwrap().unwrap();
    assert!(!keep_alive);
    assert_eq!(body.advance(&input[at..], |d| assert_eq!(d, b"all of it")), Ok(9));
    assert!(!body.is_complete());
    assert_eq!(body.end_of_connection(), Ok(()));
    assert!(body.is_complete());
}

#[test]
fn an_early_end_of_the_connection_is_an_error() {
    let mut body = Body::Sized { remaining_bytes: 3 };
    assert_eq!(body.end_of_connection(), Err(ResponseError::CutShort));
}

#[test]
fn persistence_follows_version_and_connection_header() {
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: Close\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: foo, close\r\n", false),
        ("HTTP/1.0 200 OK\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", false),
    ] {
        let input = format!("{head}Content-Length: 0\r\n\r\n");
        let keep_alive = read_head(input.as_bytes(), AnswerTo::Usual, |h| h.keep_alive).unwrap();
        assert_eq!(keep_alive, Some(expected), "{head}");
    }
}

#[test]
fn lengths_that_are_not_one_number_are_refused() {
    for lengths in ["-1", "1, 2", "0x5", "", "99999999999999999999", "5\r\nContent-Length: 6"] {
        let input = format!("HTTP/1.1 200 OK\r\nContent-Length: {lengths}\r\n\r\n");
        assert_eq!(whole(input.as_bytes(), AnswerTo::Usual), Err(ResponseError::ContentLength), "{lengths}");
    }
}

#[test]
fn malformed_chunks_are_refused() {
    for chunks in ["g\r\n", "\r\n", "ffffffffffffffff0\r\n", "1\r\nab", "1\r\na\rX"] {
        let input = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let read = whole(input.as_bytes(), AnswerTo::Usual);
        assert!(matches!(read, Err(ResponseError::Chunk(_))), "{chunks:?}: {read:?}");
    }
}

#[test]
fn endless_trailers_are_refused() {
    let input = format!("0\r\n{}", "T: 1\r\n".repeat(64 * 1024));
    let read = Body::chunked().advance(input.as_bytes(), |_| {});
    assert_eq!(read, Err(ResponseError::Chunk(BodyError::Overhead)));
}

#[test]
fn framing_is_checked_for_those_behind_us() {
    let check = |lines: &str| {
        let input = format!("HTTP/1.{lines}\r\n\r\n");
        let read =
            read_next_head(input.as_bytes(), AnswerTo::Usual, |head| (head.status, head.check_framing()));
        let (_status, checked) = read?.expect("a whole head");
        checked
    };
    for lines in [
        "1 200 OK",
        "1 200 OK\r\nContent-Length: 5",
        "1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5",
        "1 200 OK\r\nTransfer-Encoding: CHUNKED",
        "1 204 No Content\r\nTransfer-Encoding: odd\r\nContent-Length: odd",
    ] {
        assert_eq!(check(lines), Ok(()), "{lines}");
    }
    for encoding in [
        "chunked, chunked",
        "identity, chunked",
        "chunked, identity",
        "identity",
        "gzip",
        "gzip, chunked",
        "",
        "chunked,",
    ] {
        let lines = format!("1 200 OK\r\nTransfer-Encoding: {encoding}");
        assert_eq!(check(&lines), Err(ResponseError::TransferEncoding), "{encoding}");
    }
    for lines in [
        "1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "0 200 OK\r\nTransfer-Encoding: chunked",
    ] {
        assert_eq!(check(lines), Err(ResponseError::TransferEncoding), "{lines}");
    }
    let both = check("1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5");
    assert_eq!(both, Err(ResponseError::TwoLengths));
}

proptest! {
    #[test]
    fn mutated_replies_never_panic(at in 0..CHUNKED.len(), byte: u8, cut in 0..CHUNKED.len()) {
        let mut input = CHUNKED[..cut].to_vec();
        if let Some(slot) = input.get_mut(at) {
            *slot = byte;
        }
        if let Ok(Some((_, content, taken, _))) = whole(&input, AnswerTo::Usual) {
            prop_assert!(content.len() <= taken && taken <= input.len());
        }
    }
}
