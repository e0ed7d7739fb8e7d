//! A client that shows everything it gets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use iisplice::protocol::ntlm::{Client, ClientRandom, FileTime};
use iisplice::protocol::spnego;

/// Far longer than anything takes: only a test that hangs notices.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const RANDOM: ClientRandom = ClientRandom { client_challenge: [0xaa; 8], session_key: [0x55; 16] };

/// A connection to the mock.
pub(crate) struct Visitor<S> {
    pub(crate) stream: S,
    received: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).into_iter().next()
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
            .collect()
    }

    /// The token that follows `scheme` in `WWW-Authenticate`.
    pub(crate) fn token(&self, scheme: &str) -> Option<Vec<u8>> {
        let value = self.header("www-authenticate")?.strip_prefix(scheme)?.trim();
        BASE64_STANDARD.decode(value).ok()
    }

    /// A member of the JSON that `/whoami` answers with.
    pub(crate) fn json(&self, member: &str) -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(&self.body).expect("JSON")[member].clone()
    }
}

impl Visitor<TcpStream> {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(tcp(address))
    }
}

pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the mock listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

impl<S: Read + Write> Visitor<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the mock takes what is sent");
    }

    /// A whole reply, but for the body if it answers `HEAD`.
    pub(crate) fn read_reply(&mut self, to_head: bool) -> io::Result<Reply> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 50];
            let mut head = httparse::Response::new(&mut headers);
            let parsed = head.parse(&self.received).map_err(io::Error::other)?;
            if let httparse::Status::Complete(length_bytes) = parsed {
                let mut reply = Reply {
                    status: head.code.expect("a parsed head"),
                    headers: head
                        .headers
                        .iter()
                        .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()))
                        .collect(),
                    body: Vec::new(),
                };
                self.received.drain(..length_bytes);
                let body_bytes = match reply.header("content-length") {
                    Some(_) if to_head => 0,
                    Some(length) => length.parse().map_err(io::Error::other)?,
                    None => 0,
                };
                while self.received.len() < body_bytes {
                    self.receive()?;
                }
                reply.body = self.received.drain(..body_bytes).collect();
                return Ok(reply);
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.received.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }

    /// Whether the mock closes the connection without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.received.is_empty()
            && self.receive().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    }

    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.get_with(path, "")
    }

    /// `lines` are header lines, each with its CR LF.
    pub(crate) fn get_with(&mut self, path: &str, lines: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: mock\r\n{lines}\r\n"));
        self.read_reply(false).expect("a reply")
    }

    fn get_as(&mut self, path: &str, scheme: &str, token: &[u8]) -> Reply {
        self.get_with(path, &authorization(scheme, token))
    }

    /// Logs in by the scheme `NTLM`; the reply to the last message.
    pub(crate) fn ntlm(&mut self, client: Client<'_>, path: &str) -> Reply {
        self.ntlm_under("NTLM", client, path)
    }

    /// Plain NTLM messages under any scheme.
    pub(crate) fn ntlm_under(&mut self, scheme: &str, client: Client<'_>, path: &str) -> Reply {
        let (client, negotiate) = client.negotiate();
        let challenge = self.get_as(path, scheme, negotiate);
        let challenge = challenge.token(scheme).expect("a challenge");
        let answered = client.authenticate(&challenge, &RANDOM, now()).expect("a sound challenge");
        self.get_as(path, scheme, &answered.message)
    }

    /// Logs in by the scheme `Negotiate`, in SPNEGO; the reply to the last message.
    pub(crate) fn negotiate(&mut self, client: Client<'_>, path: &str) -> Reply {
        let (client, first) = spnego::Client::new(client).negotiate();
        let challenge = self.get_as(path, "Negotiate", &first).token("Negotiate").expect("a challenge");
        let (client, second) = client.authenticate(&challenge, &RANDOM, now()).expect("a sound challenge");
        let reply = self.get_as(path, "Negotiate", &second);
        if reply.status == 200 {
            client.finish(&reply.token("Negotiate").expect("a last token")).expect("a sound last token");
        }
        reply
    }
}

pub(crate) fn now() -> FileTime {
    FileTime::from_system_time(SystemTime::now())
}

/// The header line.
pub(crate) fn authorization(scheme: &str, token: &[u8]) -> String {
    format!("Authorization: {scheme} {}\r\n", BASE64_STANDARD.encode(token))
}
