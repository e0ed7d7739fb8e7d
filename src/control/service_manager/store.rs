//! Listening sockets that the service manager keeps over a restart (`FDSTORE` of `sd_notify`(3)): clients that come meanwhile
//! wait in their queues, and the next process gets the sockets back.

use std::os::fd::OwnedFd;
use std::sync::Weak;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::message::Message;
use crate::uring::Address;

/// How the names of what this program stores begin.
const PREFIX: &str = "iisplice-worker-";

/// What a name must not have.
const NO_PART_OF_A_NAME: &AsciiSet = &CONTROLS.add(b':').add(b'%').add(b' ');

/// A socket of a listener.
#[derive(Debug, Clone)]
pub(in crate::control) struct Kept {
    name: String,
    socket: Weak<OwnedFd>,
}

impl Kept {
    /// That of this worker.
    pub(in crate::control) fn new(address: &Address, worker: usize, socket: Weak<OwnedFd>) -> Self {
        let address = address.to_string();
        let address = utf8_percent_encode(&address, NO_PART_OF_A_NAME);
        Self { name: format!("{PREFIX}{worker}-{address}"), socket }
    }

    fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.socket.ptr_eq(&other.socket)
    }
}

/// The number of the worker whose socket has this name, if this program has stored it.
pub(super) fn worker(name: &str) -> Option<usize> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// What the service manager keeps.
#[derive(Debug)]
pub(super) struct Store {
    /// Most descriptors that it keeps.
    most: usize,
    kept: Vec<Kept>,
}

impl Store {
    /// One that keeps at most so many, and from a process before this one what has these names: that is stored anew.
    pub(super) fn new(most: usize, stored: Vec<String>) -> Self {
        let kept = stored.into_iter().map(|name| Kept { name, socket: Weak::new() });
        Self { most, kept: kept.collect() }
    }

    /// What is to be said so that it keeps these and no others.
    pub(super) fn replace(&mut self, next: Vec<Kept>) -> Vec<Message> {
        if next.len() > self.most {
            tracing::warn!(
                most = self.most,
                needed = next.len(),
                "the service manager keeps fewer sockets than listeners have; a restart refuses some clients: raise FileDescriptorStoreMax="
            );
        }
        let is_in = |all: &[Kept], one: &Kept| all.iter().any(|other| other.is(one));
        let gone = self.kept.iter().filter(|one| !is_in(&next, one));
        let gone = gone.map(|one| Message::lasting().field("FDSTOREREMOVE", 1).field("FDNAME", &one.name));
        let new = next.iter().filter(|one| !is_in(&self.kept, one));
        let new = new.map(|one| {
            let message = Message::lasting().field("FDSTORE", 1).field("FDNAME", &one.name);
            message.with(one.socket.clone())
        });
        let messages = gone.chain(new).collect();
        self.kept = next;
        messages
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;

    fn said(messages: &[Message]) -> Vec<String> {
        messages.iter().map(|message| String::from_utf8_lossy(message.bytes()).into_owned()).collect()
    }

    #[test]
    fn a_name_has_the_worker_and_what_a_name_may_have() {
        for (address, name) in [
            (Address::Ip("127.0.0.1:80".parse().expect("an address")), "iisplice-worker-3-127.0.0.1%3A80"),
            (Address::Ip("[::1]:80".parse().expect("an address")), "iisplice-worker-3-[%3A%3A1]%3A80"),
            (Address::Unix("/run/ä b".into()), "iisplice-worker-3-unix%3A/run/%C3%A4%20b"),
        ] {
            let kept = Kept::new(&address, 3, Weak::new());
            assert_eq!(kept.name, name);
            assert_eq!(worker(&kept.name), Some(3));
        }
        for name in
            ["", "unknown", "iisplice.socket", "iisplice-worker-", "iisplice-worker-x-1", "iisplice-worker-1"]
        {
            assert_eq!(worker(name), None, "{name}");
        }
    }

    #[test]
    fn only_what_changes_is_said() {
        let sockets =
            [(); 3].map(|()| Arc::new(OwnedFd::from(File::open("/dev/null").expect("it is there"))));
        let at = |worker, nth: usize| {
            Kept::new(&Address::Unix("/a".into()), worker, Arc::downgrade(&sockets[nth]))
        };
        let mut store = Store::new(2, vec!["iisplice-worker-7-unix%3A/a".to_owned()]);
        let store_one = |worker| format!("FDSTORE=1\nFDNAME=iisplice-worker-{worker}-unix%3A/a\n");
        let remove_one = |worker| format!("FDSTOREREMOVE=1\nFDNAME=iisplice-worker-{worker}-unix%3A/a\n");
        let first = [remove_one(7), store_one(0), store_one(1)];
        assert_eq!(said(&store.replace(vec![at(0, 0), at(1, 1)])), first);
        assert_eq!(said(&store.replace(vec![at(0, 0), at(1, 1)])), [""; 0]);
        assert_eq!(
            said(&store.replace(vec![at(0, 0), at(1, 2)])),
            [remove_one(1), store_one(1)],
            "bound anew"
        );
        assert_eq!(said(&store.replace(vec![])), [remove_one(0), remove_one(1)]);
    }
}
