//! Servers that answer requests by themselves, each with its number.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::thread;

use socket2::Socket;

use super::server::Server;
use super::uninterrupted;

/// A server whose every reply has its number as its body. It ends with the test's process.
pub(crate) struct Site {
    /// As it is written on the command line.
    pub(crate) address: String,
    listener: Socket,
    connections: Arc<Mutex<Vec<Socket>>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// So many of them, with the numbers from 0.
    pub(crate) fn some(count: u8) -> Vec<Self> {
        (0..count).map(|number| Self::new(number, "")).collect()
    }

    /// One whose replies have these lines more.
    pub(crate) fn new(number: u8, lines: &'static str) -> Self {
        let server = Server::v4();
        let (connections, heads) =
            (Arc::<Mutex<Vec<Socket>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let site = Self {
            address: server.address().to_owned(),
            listener: server.listener().try_clone().expect("a descriptor"),
            connections: Arc::clone(&connections),
            heads: Arc::clone(&heads),
        };
        thread::spawn(move || {
            while let Ok((socket, _)) = uninterrupted(|| server.listener().accept()) {
                let kept = socket.try_clone().expect("a descriptor");
                connections.lock().expect("no panic while locked").push(kept);
                let heads = Arc::clone(&heads);
                thread::spawn(move || serve(&socket, number, lines, &heads));
            }
        });
        site
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic while locked").clone()
    }

    /// Ends it with all its connections: who connects to it is refused.
    pub(crate) fn end(&self) {
        self.listener.shutdown(Shutdown::Both).expect("it listens");
        for connection in self.connections.lock().expect("no panic while locked").drain(..) {
            // Its client may have left.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn serve(mut socket: &Socket, number: u8, lines: &str, heads: &Mutex<Vec<String>>) {
    let mut unread = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some(end) = unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = unread.drain(..end + 4).collect();
            heads.lock().expect("no panic while locked").push(String::from_utf8_lossy(&head).into_owned());
            let reply = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 1\r\n\r\n{number}");
            if socket.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
        match uninterrupted(|| socket.read(&mut buffer)) {
            Ok(received) if received > 0 => unread.extend_from_slice(&buffer[..received]),
            _ => return,
        }
    }
}
