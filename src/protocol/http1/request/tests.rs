use proptest::prelude::*;

use super::*;

const LIMIT_BYTES: usize = 1024;

/// What the tests compare.
#[derive(Debug, PartialEq)]
struct Seen {
    method: String,
    target: String,
    length_bytes: usize,
    body: BodyLength,
    keep_alive: bool,
    expects_continue: bool,
}

fn read(input: &[u8]) -> Result<Option<Seen>, RequestError> {
    let mut slots = header_slots();
    Ok(read_head(input, LIMIT_BYTES, &mut slots)?.map(|head| Seen {
        method: head.method.to_owned(),
        target: String::from_utf8_lossy(head.target).into_owned(),
        length_bytes: head.length_bytes,
        body: head.body,
        keep_alive: head.keep_alive,
        expects_continue: head.expects_continue,
    }))
}

fn with(lines: &str) -> Result<Option<Seen>, RequestError> {
    read(format!("POST /echo HTTP/1.1\r\nHost: web\r\n{lines}\r\n").as_bytes())
}

fn body_of(lines: &str) -> Result<BodyLength, RequestError> {
    with(lines).map(|seen| seen.expect("a whole head").body)
}

#[test]
fn a_head_and_what_follows_it() {
    let head = b"POST /echo?a=b HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n";
    let seen = read(&[&head[..], b"hello"].concat()).unwrap().unwrap();
    let expected = Seen {
        method: "POST".into(),
        target: "/echo?a=b".into(),
        length_bytes: head.len(),
        body: BodyLength::Sized(5),
        keep_alive: true,
        expects_continue: true,
    };
    assert_eq!(seen, expected);
    for cut in 0..head.len() {
        assert_eq!(read(&head[..cut]), Ok(None), "cut at {cut}");
    }
}

#[test]
fn one_length_or_none() {
    assert_eq!(body_of(""), Ok(BodyLength::None));
    assert_eq!(body_of("Content-Length: 0\r\n"), Ok(BodyLength::Sized(0)));
    assert_eq!(body_of("Transfer-Encoding: Chunked\r\n"), Ok(BodyLength::Chunked));
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(body_of(both), Err(RequestError::TwoLengths));
    for value in ["", "-1", "+5", "0x5", "5, 5", "5 5", "99999999999999999999", "5\r\nContent-Length: 5"] {
        let lines = format!("Content-Length: {value}\r\n");
        assert_eq!(body_of(&lines), Err(RequestError::ContentLength), "{value:?}");
    }
    for value in ["gzip", "gzip, chunked", "chunked, chunked", "xchunked", "identity", ""] {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        assert_eq!(body_of(&lines), Err(RequestError::TransferEncoding), "{value:?}");
    }
    let old = read(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old, Err(RequestError::TransferEncoding));
}

#[test]
fn lines_that_others_read_differently() {
    for lines in ["A: 1\nB: 2\r\n", "A: 1\n"] {
        assert_eq!(with(lines), Err(RequestError::BareLf), "{lines:?}");
    }
    assert_eq!(read(b"GET / HTTP/1.1\nHost: web\n\n"), Err(RequestError::BareLf));
    for lines in
        ["A: 1\r\n folded\r\n", "A : 1\r\n", " A: 1\r\n", "A: 1\rB: 2\r\n", "A: \x001\r\n", ": 1\r\n"]
    {
        assert!(matches!(with(lines), Err(RequestError::Head(_))), "{lines:?}");
    }
}

#[test]
fn versions_and_persistence() {
    let keeps = |head: &str| read(head.as_bytes()).map(|seen| seen.unwrap().keep_alive);
    assert_eq!(keeps("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(true));
    assert_eq!(keeps("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n"), Ok(false));
    assert_eq!(keeps("GET / HTTP/1.0\r\n\r\n"), Ok(false));
    assert_eq!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), Ok(true));
    assert_eq!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n"), Ok(false));
    assert_eq!(keeps("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), Ok(true));
    assert_eq!(keeps("GET / HTTP/1.9\r\n\r\n"), Err(RequestError::Host));
    for head in
        ["GET / HTTP/2.0\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/0.9\r\n\r\n"]
    {
        assert_eq!(read(head.as_bytes()), Err(RequestError::Version), "{head:?}");
    }
    for head in
        ["GET /\r\n\r\n", "\x16\x03\x01\x02\x00\x01\r\n", "GET / HTTP/1\r\n\r\n", "GET / HTTP/1.10\r\n\r\n"]
    {
        assert_eq!(read(head.as_bytes()), Err(RequestError::RequestLine), "{head:?}");
    }
}

#[test]
fn one_host_and_known_expectations() {
    assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n"), Err(RequestError::Host));
    assert_eq!(with("Host: other\r\n"), Err(RequestError::Host));
    assert_eq!(with("Expect: tea\r\n"), Err(RequestError::Expectation));
}

#[test]
fn a_head_over_the_limit_whole_or_not() {
    let too_long = Err(RequestError::TooLong { limit_bytes: LIMIT_BYTES });
    let line = format!("A: {}\r\n", "x".repeat(LIMIT_BYTES));
    assert_eq!(with(&line), too_long);
    let unfinished = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(LIMIT_BYTES));
    assert_eq!(read(unfinished.as_bytes()), too_long);
}

#[test]
fn as_many_fields_as_the_limit_holds() {
    let lines = "A:\r\n".repeat(240);
    assert!(with(&lines).unwrap().is_some());
    let lines = "A:\r\n".repeat(256);
    assert_eq!(with(&lines), Err(RequestError::TooLong { limit_bytes: LIMIT_BYTES }));
}

#[test]
fn a_target_may_have_bytes_that_are_not_ascii() {
    let mut slots = header_slots();
    let head = read_head(b"GET /M\xfcller?\xc3\xbc HTTP/1.1\r\nHost: web\r\n\r\n", LIMIT_BYTES, &mut slots);
    assert_eq!(head.unwrap().unwrap().target, b"/M\xfcller?\xc3\xbc");
}

#[test]
fn hosts_and_users_are_one_at_most() {
    for (version, lines, expected) in [
        ("1.1", "Host:\r\n", Ok(())),
        ("1.1", "Host: [::1]:80\r\n", Ok(())),
        ("1.1", "Host: a b\r\n", Err(RequestError::HostSyntax)),
        ("1.0", "", Ok(())),
        ("1.0", "Host: a/\r\n", Err(RequestError::HostSyntax)),
        ("1.0", "Host: a\r\nHost: a\r\n", Err(RequestError::Host)),
        ("1.0", "Authorization: NTLM a\r\n", Ok(())),
        ("1.0", "Authorization: NTLM a\r\nauthorization: NTLM a\r\n", Err(RequestError::Authorization)),
    ] {
        let read = read(format!("GET / HTTP/{version}\r\n{lines}\r\n").as_bytes());
        assert_eq!(read.map(|seen| assert!(seen.is_some())), expected, "{version} {lines:?}");
    }
}

#[test]
fn expectations_are_judged_together() {
    for (lines, expected) in [
        ("Expect:\r\n", Ok(false)),
        ("Expect: ,\r\nExpect:\r\n", Ok(false)),
        ("Expect:\r\nExpect: 100-continue\r\n", Ok(true)),
        ("Expect: 100-continue, 100-Continue\r\n", Ok(true)),
        ("Expect: 100-continue\r\nExpect: tea\r\n", Err(RequestError::Expectation)),
        ("Expect:\r\nExpect: tea\r\n", Err(RequestError::Expectation)),
        ("Expect: 100-continue, tea\r\n", Err(RequestError::Expectation)),
        ("Expect: 100-continue;a=b\r\n", Err(RequestError::Expectation)),
    ] {
        assert_eq!(with(lines).map(|seen| seen.unwrap().expects_continue), expected, "{lines:?}");
    }
}

/// Reads a head whose input ends at each of these positions in turn.
fn read_in_pieces(
    input: &[u8],
    ends: impl IntoIterator<Item = usize>,
) -> Result<Option<usize>, RequestError> {
    let mut scan = Scan::default();
    for end in ends {
        let mut slots = header_slots();
        if let Some(head) = resume_head(&input[..end], LIMIT_BYTES, &mut scan, &mut slots)? {
            return Ok(Some(head.length_bytes));
        }
    }
    Ok(None)
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn changed_heads_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut head =
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
        let at = at.index(head.len());
        head[at] = byte;
        let _ = read(&head);
    }

    /// An error may come sooner, as soon as it shows.
    #[test]
    fn a_head_in_pieces_is_read_as_one_piece_is(
        at in any::<prop::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..4),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut head = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: \xfc\t1\r\n\r\nmore".to_vec();
        let at = at.index(head.len());
        head.splice(at..(at + 1).min(head.len()), bytes);
        let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut.index(head.len())).collect();
        ends.sort_unstable();
        ends.push(head.len());
        let whole = read_in_pieces(&head, [head.len()]);
        let pieces = read_in_pieces(&head, ends);
        prop_assert_eq!(pieces.is_err(), whole.is_err(), "{:?} {:?} {}", pieces, whole, head.escape_ascii());
        prop_assert_eq!(pieces.ok(), whole.ok());
    }
}
