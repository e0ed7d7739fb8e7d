//! Requests that two servers in a row could read differently, for all tests that try them.
//!
//! The cases are those of RFC 9112 sections 2.2, 3, 5.1, 5.2, 6.1, 6.3, 7.1 and 11.2, and of the catalogue of
//! `Transfer-Encoding` obfuscations in `PortSwigger`'s "HTTP Desync Attacks" (Kettle, 2019) and its HTTP Request
//! Smuggler: CL.TE, TE.CL, TE.TE, CL.CL, and the ways to hide a header from one of two parsers.

/// Header lines that make a POST with them ambiguous or malformed.
pub(crate) const LINES: [&[u8]; 40] = [
    // Two lengths (RFC 9112 section 6.3).
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: 5\r\nContent-Length: 5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 5, 6\r\n",
    // Lengths that are no numbers.
    b"Content-Length: +5\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 5 5\r\n",
    b"Content-Length: 5.0\r\n",
    b"Content-Length: \r\n",
    b"Content-Length: 18446744073709551621\r\n",
    // Encodings that only some take for chunked.
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: identity, chunked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: chunk\r\n",
    b"Transfer-Encoding: \"chunked\"\r\n",
    b"Transfer-Encoding: chunked;q=1\r\n",
    b"Transfer-Encoding: \r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n",
    b"Transfer-Encoding: chunked\0\r\n",
    // Headers that only some see.
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding\t: chunked\r\n",
    b"Content-Length : 5\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b"X: y\r\n Transfer-Encoding: chunked\r\n",
    b"X: y\r\n\tfolded\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\n chunked\r\n",
    b"Transfer-Encoding\r\n: chunked\r\n",
    b": chunked\r\n",
    b"Transfer\x00Encoding: chunked\r\n",
    b"Transfer-\xffEncoding: chunked\r\n",
];

/// Whole heads that are refused.
pub(crate) const HEADS: [&[u8]; 14] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GE\tT / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / http/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
];

/// Chunked bodies that are none (RFC 9112 section 7.1).
pub(crate) const CHUNKS: [&[u8]; 40] = [
    b"x\r\n",
    b"0x1\r\na\r\n0\r\n\r\n",
    b"+1\r\na\r\n0\r\n\r\n",
    b" 1\r\na\r\n0\r\n\r\n",
    b"1\na\r\n0\r\n\r\n",
    b"1\r\nab\r\n0\r\n\r\n",
    b"1\r\na\n0\r\n\r\n",
    b"1;a\nb\r\na\r\n0\r\n\r\n",
    b"10000000000000001\r\na\r\n0\r\n\r\n",
    b"\r\na\r\n0\r\n\r\n",
    b"0\r\nnot a trailer\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    // Behind a size only blanks and extensions by the grammar.
    b"1 2\r\na\r\n0\r\n\r\n",
    b"1 xyz\r\na\r\n0\r\n\r\n",
    b"1\x0b\r\na\r\n0\r\n\r\n",
    b"1\xa0\r\na\r\n0\r\n\r\n",
    b"1,a\r\na\r\n0\r\n\r\n",
    b"1;\r\na\r\n0\r\n\r\n",
    b"1; \r\na\r\n0\r\n\r\n",
    b"1;;a\r\na\r\n0\r\n\r\n",
    b"1;=b\r\na\r\n0\r\n\r\n",
    b"1;a=\r\na\r\n0\r\n\r\n",
    b"1;a b\r\na\r\n0\r\n\r\n",
    b"1;a=b c\r\na\r\n0\r\n\r\n",
    b"1;a=(b)\r\na\r\n0\r\n\r\n",
    b"1;a\0\r\na\r\n0\r\n\r\n",
    b"1;a=\"b\0\"\r\na\r\n0\r\n\r\n",
    b"1;a=\"b\nc\"\r\na\r\n0\r\n\r\n",
    b"1;a=\"b\rc\"\r\na\r\n0\r\n\r\n",
    b"1;a=\"b\r\na\r\n0\r\n\r\n",
    b"1;a\rb\r\na\r\n0\r\n\r\n",
    b"1 \na\r\n0\r\n\r\n",
    b"0;\r\n\r\n",
    b"0 0\r\n\r\n",
    // Trailers are held to what a head may have.
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\nA: \0\r\n\r\n",
    b"0\r\nA: b\rC: d\r\n\r\n",
    b"0\r\nA: b\n\r\n",
    b"0\r\nA(: b\r\n\r\n",
    b"0\r\n: b\r\n\r\n",
];
