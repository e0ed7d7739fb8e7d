//! The listeners of the process, by address: bound for all workers before anything else changes, and kept from one set of
//! services to the next.
//!
//! ```text
//!   services --prepare--> kept: sockets and queues stay | new: bound | left out
//!                |--tune---> the kept ones get their new options
//!                '--commit-> new sockets to the workers, files of what was left out are removed
//! ```
//!
//! The workers own the sockets. What is remembered here does not keep one open.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use super::Error;
use crate::proxy::bind::{self, SocketFile};
use crate::proxy::settings::{Listener, Service};
use crate::uring::{Address, SocketOptions};

/// The listeners that clients can connect to.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
    /// Addresses of listeners that may still accept clients that wait, with their sockets.
    closing: Vec<(Address, Vec<Weak<OwnedFd>>)>,
}

/// A listener, and what it was made for.
#[derive(Debug)]
struct Open {
    /// The service of its clients.
    service: Arc<str>,
    /// The address in the settings, where a port may be 0.
    written: Address,
    /// With the address that it is bound to.
    settings: Listener,
    tcp: SocketOptions,
    /// One for each worker.
    sockets: Vec<Weak<OwnedFd>>,
    /// The file of a Unix socket.
    file: Option<SocketFile>,
}

/// The listeners of a set of services, before they come into use. Dropping this closes those that are new.
#[derive(Debug)]
pub(super) struct Prepared {
    /// In the order of the services.
    next: Vec<Next>,
}

#[derive(Debug)]
struct Next {
    service: Arc<str>,
    written: Address,
    settings: Listener,
    tcp: SocketOptions,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// One that is open.
    Kept(usize),
    /// Bound now.
    New { sockets: Vec<Arc<OwnedFd>>, file: Option<SocketFile> },
}

/// Whether an open listener is the one that a service of this name wants at this address.
type Match = fn(&Open, &(Arc<str>, Address)) -> bool;

/// How listeners differ from those before, by address.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: Vec<Address>,
    pub(super) removed: Vec<Address>,
}

/// A listener's address, and the file of a Unix socket.
pub(super) type WithFile<'a> = (&'a Address, Option<&'a SocketFile>);

/// New sockets by address.
pub(crate) type Sockets = Vec<(Address, Arc<OwnedFd>)>;

impl Listeners {
    /// Binds all listeners of the first services, and writes the addresses into them that they are bound to. Returns the
    /// sockets for each worker.
    ///
    /// # Errors
    /// The first listener that cannot be bound.
    pub(crate) fn open(
        &mut self,
        services: &mut [Service],
        worker_cpus: &[Option<usize>],
    ) -> Result<Vec<Sockets>, Error> {
        let prepared = self.prepare(services, worker_cpus)?;
        Ok(self.commit(prepared, worker_cpus.len()).0)
    }

    /// Finds or binds a listener for every one of the services, and writes the addresses into them that they are bound to.
    /// `worker_cpus` are as for [`bind::bind`].
    ///
    /// # Errors
    /// The first listener that cannot be bound.
    pub(super) fn prepare(
        &self,
        services: &mut [Service],
        worker_cpus: &[Option<usize>],
    ) -> Result<Prepared, Error> {
        let mut kept = self.kept(services).into_iter();
        let mut next = Vec::new();
        for service in services {
            for listener in &mut service.listeners {
                let written = listener.address.clone();
                let source = if let Some(nth) = kept.next().flatten() {
                    listener.address = self.open[nth].settings.address.clone();
                    Source::Kept(nth)
                } else {
                    let is_shared = self.covers(&written);
                    let bound = bind::bind(listener, &service.tcp, worker_cpus, is_shared)?;
                    listener.address = bound.address;
                    Source::New { sockets: bound.sockets, file: bound.file }
                };
                next.push(Next {
                    service: Arc::clone(&service.name),
                    written,
                    settings: listener.clone(),
                    tcp: service.tcp,
                    source,
                });
            }
        }
        Ok(Prepared { next })
    }

    /// The open listener for each of the services' listeners, in their order.
    fn kept(&self, services: &[Service]) -> Vec<Option<usize>> {
        let of_service = |service: &Service| {
            let wanted = |listener: &Listener| (Arc::clone(&service.name), listener.address.clone());
            service.listeners.iter().map(wanted).collect::<Vec<_>>()
        };
        let wanted: Vec<_> = services.iter().flat_map(of_service).collect();
        let mut kept = vec![None; wanted.len()];
        let is_bound: Match = |open, (_, address)| open.settings.address == *address;
        // Port 0: the port that it got, in the same service if possible.
        let is_own: Match = |open, (service, address)| open.written == *address && open.service == *service;
        let is_written: Match = |open, (_, address)| open.written == *address;
        for is_match in [is_bound, is_own, is_written] {
            for (nth, wanted) in wanted.iter().enumerate() {
                let is_it = |(place, open): &(usize, &Open)| {
                    !kept.contains(&Some(*place)) && open.is_usable() && is_match(open, wanted)
                };
                if kept[nth].is_none() {
                    kept[nth] = self.open.iter().enumerate().find(is_it).map(|(place, _)| place);
                }
            }
        }
        kept
    }

    /// Whether a listener of this process has clients of this address: those who bind to it then are not others.
    fn covers(&self, address: &Address) -> bool {
        let is_open = |sockets: &[Weak<OwnedFd>]| sockets.iter().any(|socket| socket.strong_count() > 0);
        let open = self.open.iter().map(|open| (&open.settings.address, &open.sockets));
        let closing = self.closing.iter().map(|(address, sockets)| (address, sockets));
        open.chain(closing).any(|(own, sockets)| overlap(own, address) && is_open(sockets))
    }

    /// Gives listeners that stay the options that the services want.
    ///
    /// # Errors
    /// One cannot get them; all have those from before then.
    pub(super) fn tune(&self, prepared: &Prepared, worker_cpus: &[Option<usize>]) -> Result<(), Error> {
        let mut tuned: Vec<(&Open, &Next)> = Vec::new();
        for next in &prepared.next {
            let Source::Kept(nth) = next.source else { continue };
            let open = &self.open[nth];
            if (&open.settings, &open.tcp) == (&next.settings, &next.tcp) {
                continue;
            }
            tuned.push((open, next));
            let sockets = open.sockets();
            let (before, after) = ((&open.settings, &open.tcp), (&next.settings, &next.tcp));
            if let Err(error) = bind::tune(&sockets, before, after, worker_cpus) {
                for (open, next) in tuned {
                    let (before, after) = ((&open.settings, &open.tcp), (&next.settings, &next.tcp));
                    // What had them a moment ago can have them again.
                    let _ = bind::tune(&open.sockets(), after, before, worker_cpus);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Takes what was prepared into use. Returns the new sockets for each worker, and what has changed. The files of Unix
    /// sockets that are left out are removed; their sockets are the workers' to close.
    pub(super) fn commit(&mut self, prepared: Prepared, workers: usize) -> (Vec<Sockets>, Difference) {
        let mut before: Vec<_> = std::mem::take(&mut self.open).into_iter().map(Some).collect();
        let mut of_workers = vec![Sockets::new(); workers];
        let mut difference = Difference::default();
        for Next { service, written, settings, tcp, source } in prepared.next {
            let (sockets, file) = match source {
                Source::Kept(nth) => {
                    before[nth].take().map_or_else(Default::default, |open| (open.sockets, open.file))
                }
                Source::New { sockets, file } => {
                    difference.added.push(settings.address.clone());
                    let weak = sockets.iter().map(Arc::downgrade).collect();
                    for (of_worker, socket) in of_workers.iter_mut().zip(sockets) {
                        of_worker.push((settings.address.clone(), socket));
                    }
                    (weak, file)
                }
            };
            self.open.push(Open { service, written, settings, tcp, sockets, file });
        }
        self.closing.retain(|(_, sockets)| sockets.iter().any(|socket| socket.strong_count() > 0));
        for Open { settings, sockets, .. } in before.into_iter().flatten() {
            difference.removed.push(settings.address.clone());
            self.closing.push((settings.address, sockets));
        }
        (of_workers, difference)
    }

    /// Where clients connect to.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.open.iter().map(|open| &open.settings.address)
    }

    /// The listeners with the files of Unix sockets, once `prepared` is in use.
    pub(super) fn with_files<'a>(&'a self, prepared: &'a Prepared) -> Vec<WithFile<'a>> {
        let with_file = |next: &'a Next| {
            let file = match &next.source {
                Source::Kept(nth) => self.open[*nth].file.as_ref(),
                Source::New { file, .. } => file.as_ref(),
            };
            (&next.settings.address, file)
        };
        prepared.next.iter().map(with_file).collect()
    }
}

impl Open {
    /// Whether clients that connect to its address reach it: a file of a Unix socket can be removed or replaced.
    fn is_usable(&self) -> bool {
        match (&self.settings.address, &self.file) {
            (Address::Unix(path), Some(file)) => file.is_at(path),
            _ => true,
        }
    }

    fn sockets(&self) -> Vec<Arc<OwnedFd>> {
        self.sockets.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Whether a client of one address may reach a listener at the other.
fn overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Ip(one), Address::Ip(other)) => {
            one.port() == other.port()
                && one.is_ipv4() == other.is_ipv4()
                && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
        }
        // Each has a file of its own.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::routes::Routes;
    use crate::upstream::GroupSettings;

    fn address(text: &str) -> Address {
        Address::Ip(text.parse().expect("an address"))
    }

    fn service(name: &str, listeners: &[&Address]) -> Service {
        let listeners = listeners.iter().map(|address| Listener::at((*address).clone())).collect();
        Service::new(name, listeners, Routes::all(Arc::new(GroupSettings::new("g", Vec::new()))))
    }

    /// The addresses that the services' listeners are bound to, and the sockets of the only worker.
    fn take_over(
        listeners: &mut Listeners,
        mut services: Vec<Service>,
    ) -> (Vec<Address>, Sockets, Difference) {
        let prepared = listeners.prepare(&mut services, &[None]).expect("free addresses");
        let (mut sockets, difference) = listeners.commit(prepared, 1);
        let bound = services.iter().flat_map(|service| &service.listeners);
        (bound.map(|listener| listener.address.clone()).collect(), sockets.remove(0), difference)
    }

    #[test]
    fn a_listener_is_kept_by_its_address_and_port_0_by_its_service() {
        let any = address("127.0.0.1:0");
        let mut listeners = Listeners::default();
        let (first, mut sockets, difference) =
            take_over(&mut listeners, vec![service("a", &[&any, &any]), service("b", &[&any])]);
        assert_eq!((sockets.len(), difference.added.len()), (3, 3));
        let [a1, a2, b] = &first[..] else { panic!("three listeners") };

        // The services in another order, and one listener by the number of its port.
        let (second, new, difference) =
            take_over(&mut listeners, vec![service("b", &[&any]), service("a", &[&any, a2])]);
        assert_eq!(second, [b.clone(), a1.clone(), a2.clone()]);
        assert!(new.is_empty() && difference == Difference::default());

        // To another service, and away.
        let (third, new, difference) = take_over(&mut listeners, vec![service("c", &[&any])]);
        assert_eq!((&third[..], new.len(), difference.removed.len()), (&[b.clone()][..], 0, 2));

        // The worker still has the sockets that were left out: they share their address with one that comes back.
        let (fourth, new, difference) = take_over(&mut listeners, vec![service("c", &[b, a1])]);
        assert_eq!((&fourth[..], new.len()), (&[b.clone(), a1.clone()][..], 1));
        assert_eq!(difference, Difference { added: vec![a1.clone()], removed: vec![] });
        sockets.clear();
        take_over(&mut listeners, vec![service("c", &[b])]);
        assert_eq!(listeners.closing.len(), 1, "those that are closed are forgotten");
    }

    #[test]
    fn an_address_of_another_is_not_shared() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = Address::Ip(held.local_addr().expect("it is bound"));
        let mut listeners = Listeners::default();
        let (_, _sockets, _) = take_over(&mut listeners, vec![service("a", &[&address("127.0.0.1:0")])]);
        listeners.prepare(&mut [service("a", &[&taken])], &[None]).expect_err("another one listens there");
    }

    #[test]
    fn wildcards_overlap_with_addresses_of_their_family() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("[::]:80", "127.0.0.1:80", false),
            ("[::]:80", "[::1]:80", true),
        ] {
            assert_eq!(overlap(&address(one), &address(other)), expected, "{one} and {other}");
        }
    }
}
