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

use nix::unistd::Uid;

use super::Error;
use super::given::{Given, GivenGroup};
use super::handover::{At, Description, Role};
use super::service_manager::Kept;
use super::setting::setting;
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

/// A listener, and what it was made for. Sockets are in the order of their `SO_REUSEPORT` group.
#[derive(Debug)]
struct Open {
    /// The service of its clients.
    service: Arc<str>,
    /// The address in the settings, where a port may be 0.
    written: Address,
    /// With the address that it is bound to.
    settings: Listener,
    tcp: SocketOptions,
    /// One for each worker. After these, some that a process with more workers had: they get no more clients.
    sockets: Vec<Weak<OwnedFd>>,
    /// The file of a Unix socket.
    file: Option<SocketFile>,
    /// Whether the sockets are the service manager's.
    is_of_unit: bool,
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
    /// Bound now, or (`are_given`) some of them by another process.
    New { sockets: Vec<Arc<OwnedFd>>, file: Option<SocketFile>, are_given: bool, is_of_unit: bool },
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
        let prepared = self.prepare(services, worker_cpus.len(), &mut Given::default())?;
        prepared.listen(worker_cpus)?;
        Ok(self.commit(prepared, worker_cpus.len()).0)
    }

    /// Finds or binds a listener for every one of the services, and writes the addresses into them that they are bound to.
    /// New ones do not [`listen`](Prepared::listen) yet.
    ///
    /// # Errors
    /// The first listener that cannot be bound.
    pub(super) fn prepare(
        &self,
        services: &mut [Service],
        workers: usize,
        given: &mut Given,
    ) -> Result<Prepared, Error> {
        let wanted = wanted(services);
        let mut kept = self.kept(&wanted).into_iter();
        let mut next = Vec::new();
        let owner = |at| self.owner(at).or_else(|| given.owner(at));
        let owners: Vec<_> = wanted.iter().map(|(_, at)| owner(at)).collect();
        let mut owners = owners.into_iter();
        let mut taken = given.take_listeners(&wanted).into_iter();
        for service in services {
            for listener in &mut service.listeners {
                let written = listener.address.clone();
                let (taken, owner) = (taken.next().flatten(), owners.next().flatten());
                let source = if let Some(nth) = kept.next().flatten() {
                    listener.address = self.open[nth].settings.address.clone();
                    if self.open[nth].is_of_unit {
                        do_not_steer(listener);
                    }
                    Source::Kept(nth)
                } else if let Some(given) = taken {
                    listener.address = given.address.clone();
                    if given.is_of_unit {
                        do_not_steer(listener);
                    }
                    with_given(&given, listener, &service.tcp, workers)?
                } else {
                    let bound = bind::bind(listener, &service.tcp, workers, owner)?;
                    listener.address = bound.address;
                    Source::New {
                        sockets: bound.sockets,
                        file: bound.file,
                        are_given: false,
                        is_of_unit: false,
                    }
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
    fn kept(&self, wanted: &[(Arc<str>, Address)]) -> Vec<Option<usize>> {
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

    /// The owner of a listener of this process that has clients of this address.
    fn owner(&self, address: &Address) -> Option<Uid> {
        let one = |sockets: &[Weak<OwnedFd>]| sockets.iter().find_map(Weak::upgrade);
        let open = self.open.iter().map(|open| (&open.settings.address, &open.sockets));
        let closing = self.closing.iter().map(|(address, sockets)| (address, sockets));
        let mut all = open.chain(closing).filter(|(own, _)| own.overlaps(address));
        all.find_map(|(_, sockets)| one(sockets)).map(|socket| bind::owner(&socket))
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
            let (sockets, file, is_of_unit) = match source {
                Source::Kept(nth) => before[nth]
                    .take()
                    .map_or_else(Default::default, |open| (open.sockets, open.file, open.is_of_unit)),
                Source::New { sockets, file, is_of_unit, .. } => {
                    difference.added.push(settings.address.clone());
                    let weak = sockets.iter().map(Arc::downgrade).collect();
                    for (nth, socket) in sockets.into_iter().enumerate() {
                        of_workers[nth % workers].push((settings.address.clone(), socket));
                    }
                    if let Some(file) = &file {
                        file.remove_at_end();
                    }
                    (weak, file, is_of_unit)
                }
            };
            self.open.push(Open { service, written, settings, tcp, sockets, file, is_of_unit });
        }
        self.closing.retain(|(_, sockets)| sockets.iter().any(|socket| socket.strong_count() > 0));
        for open in before.into_iter().flatten() {
            open.turn_new_clients_away();
            difference.removed.push(open.settings.address.clone());
            self.closing.push((open.settings.address, open.sockets));
        }
        (of_workers, difference)
    }

    /// Whether any has more sockets than there are workers.
    pub(super) fn has_extra(&self, workers: usize) -> bool {
        self.open.iter().any(|open| open.sockets.len() > workers)
    }

    /// Forgets the sockets that no worker has any more: nothing was to arrive there.
    pub(super) fn forget_extra(&mut self, workers: usize) {
        for open in self.open.iter_mut().filter(|open| open.sockets.len() > workers) {
            open.sockets.truncate(workers);
            if let (false, Some(first)) = (open.settings.steer_by_cpu, open.sockets().first())
                && let Err(error) = bind::cease_to_steer(first)
            {
                let listener = &open.settings.address;
                tracing::debug!(%listener, %error, "cannot stop steering; new connections go on to all workers");
            }
        }
    }

    /// The sockets that a successor gets.
    pub(super) fn to_hand_over(&self) -> Vec<(Description, Arc<OwnedFd>)> {
        let of_one = |open: &Open| {
            let mut sockets = open.sockets();
            // Workers can share one.
            let mut seen = Vec::new();
            sockets.retain(|socket| {
                let is_new = !seen.contains(&Arc::as_ptr(socket));
                seen.push(Arc::as_ptr(socket));
                is_new
            });
            let description = Description {
                role: Role::Listener,
                address: At::from(&open.settings.address),
                written: At::from(&open.written),
                service: open.service.to_string(),
                worker: 0,
                file: open.file.as_ref().and_then(|file| file.id().ok()),
                is_of_unit: open.is_of_unit,
            };
            let one = move |(worker, socket)| (Description { worker, ..description.clone() }, socket);
            sockets.into_iter().enumerate().map(one).collect::<Vec<_>>()
        };
        self.open.iter().flat_map(of_one).collect()
    }

    /// The sockets that the service manager is to keep over a restart: those of the workers, but for its own.
    pub(super) fn to_keep(&self, workers: usize) -> Vec<Kept> {
        let of_one = |open: &Open| {
            let address = &open.settings.address;
            let count = match address {
                Address::Ip(_) => workers,
                // All workers share one.
                Address::Unix(_) => 1,
            };
            let sockets = open.sockets.iter().take(count).enumerate();
            sockets.map(|(worker, socket)| Kept::new(address, worker, socket.clone())).collect::<Vec<_>>()
        };
        self.open.iter().filter(|open| !open.is_of_unit).flat_map(of_one).collect()
    }

    /// The addresses of those whose sockets are the service manager's.
    pub(super) fn of_units(&self) -> impl Iterator<Item = &Address> {
        self.open.iter().filter(|open| open.is_of_unit).map(|open| &open.settings.address)
    }

    /// Leaves the files of all listeners to a process that gets their sockets after the end of this one.
    pub(super) fn leave_all(&self) {
        self.open.iter().filter_map(|open| open.file.as_ref()).for_each(SocketFile::keep);
    }

    /// Leaves the listeners at these addresses to a successor, with their files. The others turn new clients away: the successor
    /// serves those that can reach one of its own listeners.
    pub(super) fn leave(&self, addresses: &[Address]) {
        for open in &self.open {
            if !addresses.contains(&open.settings.address) {
                open.turn_new_clients_away();
            } else if let Some(file) = &open.file {
                file.keep();
            }
        }
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

impl Prepared {
    /// The new sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        let of_one = self.next.iter().filter_map(|next| match &next.source {
            Source::New { sockets, .. } => Some(sockets),
            Source::Kept(_) => None,
        });
        of_one.flatten().map(Arc::as_ref)
    }

    /// Has the new ones accept clients into their queues, and gives those that were given the options that the services
    /// want. `worker_cpus` are as for [`bind::listen`].
    ///
    /// # Errors
    /// The first listener that cannot.
    pub(super) fn listen(&self, worker_cpus: &[Option<usize>]) -> Result<(), Error> {
        for Next { settings, tcp, source, .. } in &self.next {
            if let Source::New { sockets, are_given, file, .. } = source {
                bind::listen(sockets, settings, tcp, worker_cpus, *are_given)?;
                if let Some(file) = file.as_ref().filter(|_| *are_given) {
                    file.set_mode(settings)?;
                }
            }
        }
        Ok(())
    }
}

/// What services want: the service and the written address of each listener, in their order.
fn wanted(services: &[Service]) -> Vec<(Arc<str>, Address)> {
    let of_service = |service: &Service| {
        let wanted = |listener: &Listener| (Arc::clone(&service.name), listener.address.clone());
        service.listeners.iter().map(wanted).collect::<Vec<_>>()
    };
    services.iter().flat_map(of_service).collect()
}

/// A listener with sockets that were given, and as many more as workers need.
fn with_given(
    given: &GivenGroup,
    listener: &Listener,
    tcp: &SocketOptions,
    workers: usize,
) -> Result<Source, Error> {
    let mut sockets = given.sockets();
    let file = match &given.address {
        _ if given.is_of_unit => {
            let count = workers.max(sockets.len());
            sockets = sockets.into_iter().cycle().take(count).collect();
            None
        }
        Address::Unix(path) => {
            sockets = sockets.first().map_or_else(Vec::new, |shared| vec![Arc::clone(shared); workers]);
            given.file.and_then(|_| SocketFile::of_another(path).ok())
        }
        Address::Ip(_) => {
            let missing = workers.saturating_sub(sockets.len());
            if let (Some(first), 1..) = (sockets.first(), missing) {
                let owner = bind::owner(first);
                sockets.extend(bind::bind(listener, tcp, missing, Some(owner))?.sockets);
            }
            None
        }
    };
    Ok(Source::New { sockets, file, are_given: true, is_of_unit: given.is_of_unit })
}

/// Where workers share a socket no program can choose among them.
fn do_not_steer(listener: &mut Listener) {
    if std::mem::take(&mut listener.steer_by_cpu) {
        let listener = &listener.address;
        tracing::warn!(%listener, "{} has no effect on a socket that the service manager passed on: all workers share it", setting("steer"));
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

    /// Keeps new clients out of the queues, which are reset when the sockets are closed: another listener gets those clients, or
    /// the kernel refuses them. A socket of the service manager outlives this process, and is not touched.
    fn turn_new_clients_away(&self) {
        if self.is_of_unit {
            return;
        }
        if let Err(error) = bind::turn_new_clients_away(&self.sockets(), &self.settings.address) {
            let listener = &self.settings.address;
            tracing::debug!(%listener, %error, "cannot turn new clients away from a listener that closes; one that comes just now may be reset");
        }
    }
}

#[cfg(test)]
mod tests;
