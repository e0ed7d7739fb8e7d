//! Messages on their way to the service manager: in order, and kept while it cannot take them.

use std::collections::VecDeque;
use std::io;
use std::sync::Weak;
use std::thread;
use std::time::{Duration, Instant};

use super::address::NotifyAddress;
use super::message::Message;
use super::socket::NotifySocket;

/// Most messages that wait: of more the oldest is lost.
const WAITING_MAX: usize = 64;

/// How soon the next attempt follows one that failed.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// How long the last messages may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// See the module docs.
#[derive(Debug)]
pub(super) struct Outbox {
    socket: NotifySocket,
    waiting: VecDeque<Message>,
    /// Whether the last attempt failed because nothing listens there.
    is_dead: bool,
}

impl Outbox {
    pub(super) fn to(address: NotifyAddress) -> Self {
        Self { socket: NotifySocket::to(address), waiting: VecDeque::new(), is_dead: false }
    }

    /// Sends the message, or keeps it for later if it is one that lasts.
    pub(super) fn push(&mut self, message: Message) {
        self.flush();
        if self.is_waiting() {
            if message.is_lasting() {
                self.keep(message);
            }
        } else if !self.send(&message) && message.is_lasting() {
            self.keep(message);
        }
    }

    /// Whether messages wait to be sent.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what waits, as far as possible.
    pub(super) fn flush(&mut self) {
        while let Some(message) = self.waiting.pop_front() {
            if !self.send(&message) {
                self.waiting.push_front(message);
                return;
            }
        }
    }

    /// Sends what waits if that is possible soon.
    pub(super) fn finish(mut self) {
        let end = Instant::now() + LAST_WORDS;
        self.flush();
        while self.is_waiting() && !self.is_dead && Instant::now() < end {
            thread::sleep(RETRY / 10);
            self.flush();
        }
    }

    fn keep(&mut self, message: Message) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(message);
    }

    fn send(&mut self, message: &Message) -> bool {
        let descriptor = match message.descriptor().map(Weak::upgrade) {
            // It is closed.
            Some(None) => return true,
            open => open.flatten(),
        };
        match self.socket.send(message.bytes(), descriptor.as_deref()) {
            Ok(()) => {
                self.is_dead = false;
                true
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock && !std::mem::replace(&mut self.is_dead, true) {
                    tracing::warn!(%error, "cannot reach the service manager (NOTIFY_SOCKET); trying again, and serving all the same");
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    fn outbox(path: &Path) -> Outbox {
        Outbox::to(NotifyAddress::parse(path.as_os_str()).expect("a path"))
    }

    fn receiver(path: &Path) -> UnixDatagram {
        let receiver = UnixDatagram::bind(path).expect("a free path");
        receiver.set_nonblocking(true).expect("a socket");
        receiver
    }

    fn received(receiver: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 4096];
        let next =
            || receiver.recv(&mut bytes).ok().map(|len| String::from_utf8_lossy(&bytes[..len]).into_owned());
        std::iter::from_fn(next).collect()
    }

    fn lasting(number: usize) -> Message {
        Message::lasting().field("N", number)
    }

    #[test]
    fn a_receiver_that_is_full_gets_what_lasts_in_order_and_later() {
        let directory = TempDir::new().expect("a directory for temporary files");
        let path = directory.path().join("notify");
        let receiver = receiver(&path);
        let mut outbox = outbox(&path);
        let mut number = 0;
        while !outbox.is_waiting() {
            outbox.push(lasting(number));
            number += 1;
        }
        outbox.push(Message::passing().field("N", "passing"));
        outbox.push(lasting(number));
        let mut all = received(&receiver);
        outbox.flush();
        all.extend(received(&receiver));
        let wanted: Vec<_> = (0..=number).map(|number| format!("N={number}\n")).collect();
        assert_eq!(all, wanted);
    }

    #[test]
    fn a_receiver_that_comes_back_gets_what_lasts() {
        let directory = TempDir::new().expect("a directory for temporary files");
        let path = directory.path().join("notify");
        let mut outbox = outbox(&path);
        outbox.push(lasting(0));
        let first = receiver(&path);
        outbox.flush();
        assert_eq!(received(&first), ["N=0\n"]);
        drop(first);
        std::fs::remove_file(&path).expect("it is there");
        outbox.push(lasting(1));
        outbox.push(Message::passing().field("N", "passing"));
        let second = receiver(&path);
        outbox.push(lasting(2));
        assert_eq!(received(&second), ["N=1\n", "N=2\n"]);
    }

    #[test]
    fn a_receiver_that_never_comes_costs_a_bounded_amount_of_memory_and_no_time() {
        let mut outbox =
            Outbox::to(NotifyAddress::parse(OsStr::new("@iisplice nothing listens here")).expect("a name"));
        for number in 0..1000 {
            outbox.push(lasting(number));
        }
        assert_eq!(outbox.waiting.len(), WAITING_MAX);
        outbox.finish();
    }
}
