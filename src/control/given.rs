//! Listening sockets that this process was given when it started, by address and worker: they are used in place of new ones.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::Uid;

use super::handover::{Description, Role};
use crate::proxy::bind;
use crate::uring::Address;

/// The sockets that are not taken yet, and the numbers of those that are.
#[derive(Debug, Default)]
pub(super) struct Given {
    groups: Vec<GivenGroup>,
    /// How many there were.
    count: usize,
    taken: Vec<usize>,
}

/// The sockets of one listener.
#[derive(Debug)]
pub(super) struct GivenGroup {
    role: Role,
    /// As bound.
    pub(super) address: Address,
    /// As the settings of the process that gave it have it.
    written: Address,
    /// The service of its clients there.
    service: String,
    /// Each with its worker's number and its own in the order in which they were given.
    sockets: Vec<(usize, usize, Arc<OwnedFd>)>,
    /// Device and inode of a Unix socket's file.
    pub(super) file: Option<(u64, u64)>,
    /// Whether it is the service manager's: no more can be bound beside it.
    pub(super) is_of_unit: bool,
}

impl Given {
    /// One more.
    pub(super) fn add(&mut self, description: Description, socket: OwnedFd) {
        let Description { role, address, written, service, worker, file, is_of_unit } = description;
        let (address, socket) = (Address::from(address), Arc::new(socket));
        let one = (worker, self.count, socket);
        self.count += 1;
        let is_it = |group: &&mut GivenGroup| group.role == role && group.address == address;
        if let Some(group) = self.groups.iter_mut().find(is_it) {
            let place = group.sockets.partition_point(|(known, ..)| *known <= worker);
            group.sockets.insert(place, one);
            return;
        }
        let written = written.into();
        self.groups.push(GivenGroup {
            role,
            address,
            written,
            service,
            sockets: vec![one],
            file,
            is_of_unit,
        });
    }

    /// How many there were.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The owner of one that was given and has clients of this address.
    pub(super) fn owner(&self, address: &Address) -> Option<Uid> {
        let group = self.groups.iter().find(|group| group.address.overlaps(address))?;
        group.sockets.first().map(|(_, _, socket)| bind::owner(socket))
    }

    /// Takes the listeners for what services want, in their order.
    pub(super) fn take_listeners(&mut self, wanted: &[(Arc<str>, Address)]) -> Vec<Option<GivenGroup>> {
        type Match = fn(&GivenGroup, &(Arc<str>, Address)) -> bool;
        let is_bound: Match = |group, (_, address)| group.address == *address;
        // Port 0: the port that it got, in the same service if possible.
        let is_own: Match =
            |group, (service, address)| group.written == *address && *group.service == **service;
        let is_written: Match = |group, (_, address)| group.written == *address;
        let mut found: Vec<Option<GivenGroup>> = wanted.iter().map(|_| None).collect();
        for is_match in [is_bound, is_own, is_written] {
            for (found, wanted) in std::iter::zip(&mut found, wanted) {
                if found.is_none() {
                    *found = self.take(|group| group.role == Role::Listener && is_match(group, wanted));
                }
            }
        }
        found
    }

    /// Takes that of the admin endpoint.
    pub(super) fn take_admin(&mut self, address: &Address) -> Option<GivenGroup> {
        self.take(|group| group.role == Role::Admin && [&group.address, &group.written].contains(&address))
    }

    fn take(&mut self, is_it: impl Fn(&GivenGroup) -> bool) -> Option<GivenGroup> {
        let nth = self.groups.iter().position(is_it)?;
        let group = self.groups.remove(nth);
        // The file of a Unix socket can be removed or replaced: no client reaches it then.
        let is_usable = match (&group.address, group.file) {
            (Address::Unix(path), Some(file)) => is_at(path, file),
            _ => true,
        };
        if !is_usable {
            return None;
        }
        self.taken.extend(group.sockets.iter().map(|(_, number, _)| *number));
        Some(group)
    }

    /// The numbers of those that were taken, in the order in which they were given.
    pub(super) fn taken(&self) -> Vec<usize> {
        self.taken.clone()
    }
}

impl GivenGroup {
    /// The sockets in the order of their workers.
    pub(super) fn sockets(&self) -> Vec<Arc<OwnedFd>> {
        self.sockets.iter().map(|(_, _, socket)| Arc::clone(socket)).collect()
    }
}

fn is_at(path: &Path, (device, inode): (u64, u64)) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (device, inode))
}
