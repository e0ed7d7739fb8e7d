//! A server: its addresses, and what all workers know of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustls::pki_types::ServerName;
use socket2::SockAddr;

use crate::protocol::login::Symptom;
use crate::uring::Address;

/// A server as the operator named it. All workers share it; they change only its numbers.
#[derive(Debug)]
pub struct Server {
    name: Arc<str>,
    tls_name: Option<ServerName<'static>>,
    places: Box<[Place]>,
    leases: AtomicUsize,
    symptoms: [AtomicU64; Symptom::ALL.len()],
}

/// One of a server's addresses.
#[derive(Debug)]
struct Place {
    address: Address,
    sock_addr: SockAddr,
    /// Attempts to connect that have failed since the last one that did not.
    failures: AtomicU64,
}

impl Server {
    /// `name` is how the operator wrote it, and its name in logs. `addresses` are tried in this order and never empty.
    /// `tls_name` is what the server must prove to be, where its group speaks TLS.
    ///
    /// # Errors
    /// An address that no socket can have, such as a Unix path that is too long.
    pub fn new(
        name: impl Into<Arc<str>>,
        addresses: Vec<Address>,
        tls_name: Option<ServerName<'static>>,
    ) -> io::Result<Self> {
        let place = |address: Address| {
            Ok(Place { sock_addr: address.to_sock_addr()?, address, failures: AtomicU64::new(0) })
        };
        Ok(Self {
            name: name.into(),
            tls_name,
            places: addresses.into_iter().map(place).collect::<io::Result<_>>()?,
            leases: AtomicUsize::new(0),
            symptoms: Default::default(),
        })
    }

    /// As the operator wrote it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The name that it must prove by its certificate.
    pub fn tls_name(&self) -> Option<&ServerName<'static>> {
        self.tls_name.as_ref()
    }

    /// Its addresses, in the order in which they are tried.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.places.iter().map(|place| &place.address)
    }

    /// How many sessions hold a lease of it, over all workers.
    pub fn leases(&self) -> usize {
        self.leases.load(Ordering::Relaxed)
    }

    /// How often a symptom was seen with this server.
    pub fn symptoms(&self, symptom: Symptom) -> u64 {
        self.symptoms[symptom as usize].load(Ordering::Relaxed)
    }

    /// Counts a symptom that a session saw with this server.
    pub fn count_symptom(&self, symptom: Symptom) {
        self.symptoms[symptom as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    pub(super) fn address(&self, place: usize) -> (&Address, &SockAddr) {
        let Place { address, sock_addr, .. } = &self.places[place];
        (address, sock_addr)
    }

    pub(super) fn lend(&self) {
        self.leases.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take_back(&self) {
        self.leases.fetch_sub(1, Ordering::Relaxed);
    }

    /// An attempt to connect failed. True when it is the first.
    pub(super) fn note_failure(&self, place: usize) -> bool {
        self.places[place].failures.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// An attempt to connect succeeded. Returns how many failed before it, if it is the first one after those.
    pub(super) fn note_success(&self, place: usize) -> Option<u64> {
        let failures = &self.places[place].failures;
        // Usually there are none: then nothing is written, which other workers would have to read again.
        let is_down = failures.load(Ordering::Relaxed) > 0;
        is_down.then(|| failures.swap(0, Ordering::Relaxed)).filter(|failures| *failures > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_goes_down_and_comes_back_once() {
        let address = |port: u16| Address::Ip(([192, 0, 2, 1], port).into());
        let server = Server::new("iis1:80", vec![address(1), address(2)], None).expect("IP addresses");
        assert_eq!(server.note_success(1), None);
        assert!(server.note_failure(1) && !server.note_failure(1));
        assert_eq!(server.note_success(0), None, "another address");
        assert_eq!(server.note_success(1), Some(2));
        assert_eq!(server.note_success(1), None);
        assert!(server.note_failure(1), "down once more");
    }
}
