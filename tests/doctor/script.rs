//! A server that answers each request as a test says, on connections that last.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A server on a free port; it ends with the test's process.
pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    /// Requests with a proof: a Type 3, alone or in SPNEGO.
    pub(crate) proofs: Arc<AtomicUsize>,
}

/// The challenge page of a site that offers both schemes.
pub(crate) const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\n\
    WWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n";

impl Script {
    /// `answer` gets the head of a request, and the number of its connection.
    pub(crate) fn start(answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let proofs = Arc::new(AtomicUsize::new(0));
        let (answer, counted) = (Arc::new(answer), Arc::clone(&proofs));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                thread::spawn(move || {
                    serve(stream, |head| {
                        counted.fetch_add(usize::from(has_proof(head)), Ordering::Relaxed);
                        answer(head, number)
                    });
                });
            }
        });
        Self { address, proofs }
    }

    /// The same answer to each request.
    pub(crate) fn always(reply: &str) -> Self {
        let reply = reply.to_owned();
        Self::start(move |_, _| reply.clone())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// Reads heads, skips bodies, answers; an empty answer closes, and so does one that says so.
fn serve(mut stream: TcpStream, mut answer: impl FnMut(&str) -> String) {
    let mut received = Vec::new();
    loop {
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
            let mut buffer = [0; 16 * 1024];
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => received.extend_from_slice(&buffer[..count]),
            }
            continue;
        };
        let head = String::from_utf8_lossy(&received[..end + 4]).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        received.drain(..end + 4);
        let mut left: usize = length.unwrap_or(0);
        while left > 0 {
            let here = left.min(received.len());
            received.drain(..here);
            left -= here;
            let mut buffer = [0; 16 * 1024];
            if left > 0 {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => received.extend_from_slice(&buffer[..count]),
                }
            }
        }
        let reply = answer(&head);
        if reply.is_empty()
            || stream.write_all(reply.as_bytes()).is_err()
            || reply.contains("Connection: close")
        {
            return;
        }
    }
}

fn token(head: &str) -> Option<(&str, Vec<u8>)> {
    use base64::Engine as _;
    let value = head.lines().find_map(|line| line.strip_prefix("Authorization: "))?;
    let (scheme, token) = value.split_once(' ')?;
    Some((scheme, base64::prelude::BASE64_STANDARD.decode(token).ok()?))
}

fn has_proof(head: &str) -> bool {
    token(head).is_some_and(|(_, token)| token.windows(12).any(|bytes| bytes == b"NTLMSSP\0\x03\0\0\0"))
}

/// What a server answers to the first message of a login: a challenge in the scheme of the message.
pub(crate) fn challenge(head: &str) -> Option<String> {
    use base64::Engine as _;
    use iisplice::protocol::ntlm::{FileTime, Server};
    use iisplice::protocol::spnego;
    let (scheme, token) = token(head)?;
    let server = Server {
        nb_computer: "WEB1".into(),
        nb_domain: "CORP".into(),
        dns_computer: "web1.corp.test".into(),
        dns_domain: "corp.test".into(),
    };
    let now = FileTime::from_system_time(std::time::SystemTime::now());
    let message = match scheme {
        "NTLM" => server.challenge(&token, [7; 8], now).ok()?.1,
        _ => spnego::begin(&server, &token, [7; 8], now).ok()?.1,
    };
    let token = base64::prelude::BASE64_STANDARD.encode(message);
    Some(format!(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {scheme} {token}\r\nContent-Length: 0\r\n\r\n"
    ))
}
