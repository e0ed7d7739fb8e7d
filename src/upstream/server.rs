//! A server: what the settings say of it, and what all workers know of it.

use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustls::pki_types::ServerName;
use socket2::SockAddr;

use crate::protocol::login::Symptom;
use crate::uring::Address;

/// A server as the settings name it. All workers share it, and it never changes: what they learn of the server stands in
/// its state, which the server of later settings can take over.
#[derive(Debug, Clone)]
pub struct Server {
    name: Arc<str>,
    tls_name: Option<ServerName<'static>>,
    places: Box<[Place]>,
    options: ServerOptions,
    state: Arc<State>,
}

/// What part of a group's connections a server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerOptions {
    /// Its share is this in proportion to the weights of the others.
    pub weight: NonZeroU16,
    /// Whether it is for connections that no other server can take.
    pub backup: bool,
    /// Whether it gets no connections.
    pub disabled: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { weight: NonZeroU16::MIN, backup: false, disabled: false }
    }
}

/// What all workers know of a server.
#[derive(Debug, Default)]
struct State {
    leases: AtomicUsize,
    symptoms: [AtomicU64; Symptom::ALL.len()],
}

/// One of a server's addresses.
#[derive(Debug, Clone)]
struct Place {
    address: Address,
    sock_addr: SockAddr,
    state: Arc<PlaceState>,
}

/// What all workers know of one of a server's addresses.
#[derive(Debug, Default)]
struct PlaceState {
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
            Ok(Place { sock_addr: address.to_sock_addr()?, address, state: Arc::default() })
        };
        Ok(Self {
            name: name.into(),
            tls_name,
            places: addresses.into_iter().map(place).collect::<io::Result<_>>()?,
            options: ServerOptions::default(),
            state: Arc::default(),
        })
    }

    /// The same server with these options.
    #[must_use]
    pub fn with_options(self, options: ServerOptions) -> Self {
        Self { options, ..self }
    }

    /// The same server with the state of `known`, which earlier settings named so: its leases, its symptoms, and the
    /// failures of the addresses that both have.
    #[must_use]
    pub fn inherit(&self, known: &Self) -> Self {
        let mut server = Self { state: Arc::clone(&known.state), ..self.clone() };
        for place in &mut server.places {
            if let Some(same) = known.places.iter().find(|other| other.address == place.address) {
                place.state = Arc::clone(&same.state);
            }
        }
        server
    }

    /// As the operator wrote it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What part of its group's connections it gets.
    pub fn options(&self) -> ServerOptions {
        self.options
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
        self.state.leases.load(Ordering::Relaxed)
    }

    /// How often a symptom was seen with this server.
    pub fn symptoms(&self, symptom: Symptom) -> u64 {
        self.state.symptoms[symptom as usize].load(Ordering::Relaxed)
    }

    /// Counts a symptom that a session saw with this server.
    pub fn count_symptom(&self, symptom: Symptom) {
        self.state.symptoms[symptom as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    pub(super) fn address(&self, place: usize) -> (&Address, &SockAddr) {
        let Place { address, sock_addr, .. } = &self.places[place];
        (address, sock_addr)
    }

    pub(super) fn lend(&self) {
        self.state.leases.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take_back(&self) {
        self.state.leases.fetch_sub(1, Ordering::Relaxed);
    }

    /// An attempt to connect failed. True when it is the first.
    pub(super) fn note_failure(&self, place: usize) -> bool {
        self.places[place].state.failures.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// An attempt to connect succeeded. Returns how many failed before it, if it is the first one after those.
    pub(super) fn note_success(&self, place: usize) -> Option<u64> {
        let failures = &self.places[place].state.failures;
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

    #[test]
    fn later_settings_go_on_with_what_is_known_of_a_server() {
        let address = |port: u16| Address::Ip(([192, 0, 2, 1], port).into());
        let server = |ports: &[u16]| {
            Server::new("iis1:80", ports.iter().copied().map(address).collect(), None).expect("IP addresses")
        };
        let old = server(&[1, 2]);
        old.lend();
        old.count_symptom(Symptom::Type3Refused);
        old.note_failure(1);
        let new = server(&[2, 3]).inherit(&old);
        assert_eq!(new.addresses().cloned().collect::<Vec<_>>(), [2, 3].map(address));
        assert_eq!((new.leases(), new.symptoms(Symptom::Type3Refused)), (1, 1));
        assert!(!new.note_failure(0), "this address is known to be down");
        assert!(new.note_failure(1), "this one is new");
        old.take_back();
        assert_eq!(new.leases(), 0, "a lease of the old settings counts for the server");
    }
}
