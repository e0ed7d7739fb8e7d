//! A worker's view of a service, and of its listeners.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::counters::{Cells, Counters, Next};
use super::routes::Routes;
use super::settings::{self, Mode};
use crate::upstream::{Group, GroupSettings, Server};
use crate::uring::Address;

/// A service as one worker sees it. A session holds the one that it began with, for its whole life.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) settings: Arc<settings::Service>,
    /// The routes of the settings, to this worker's groups.
    pub(super) routes: Routes<Rc<Group>>,
    /// Whether the requests of one client can go to several groups.
    pub(super) routes_by_path: bool,
    /// Where its sessions count before they have a group.
    pub(super) cells: Arc<Cells>,
    groups: Vec<GroupCells>,
    /// The names of cookies that are the proxy's own, each once.
    pub(super) own_cookies: Box<[Arc<str>]>,
}

/// Where sessions of a service count that have chosen a group.
#[derive(Debug)]
struct GroupCells {
    /// Before a server has accepted.
    own: Arc<Cells>,
    servers: HashMap<Arc<str>, Arc<Cells>>,
}

/// A listener of a service, as sessions see it.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) service: Rc<Service>,
    /// The address that it is bound to, as it is in logs.
    pub(super) name: Arc<str>,
    /// Whether the operator has chosen which worker serves its clients.
    pub(super) is_steered: bool,
}

/// The services of the worker with this number, which counts in `counters`. A group that several of them name takes turns
/// over all of them. A group that a service of `before` had goes on as it is if its settings are the same, and otherwise
/// with what it remembers.
pub(super) fn services(
    settings: &[Arc<settings::Service>],
    worker: usize,
    before: &[Rc<Service>],
    counters: &Counters,
) -> Vec<Rc<Service>> {
    let mut cells = counters.next_cells();
    let known: Vec<&Rc<Group>> = before.iter().flat_map(|service| service.routes.groups()).collect();
    let mut groups: Vec<(Arc<GroupSettings>, Rc<Group>)> = Vec::new();
    let mut group = |settings: &Arc<GroupSettings>| {
        if let Some((_, group)) = groups.iter().find(|(known, _)| Arc::ptr_eq(known, settings)) {
            return Rc::clone(group);
        }
        let is_it = |known: &&&Rc<Group>| std::ptr::eq(known.settings(), Arc::as_ptr(settings));
        let had_its_name = |known: &&&Rc<Group>| known.settings().name == settings.name;
        let group = match known.iter().find(is_it) {
            Some(known) => Rc::clone(known),
            None => Rc::new(match known.iter().find(had_its_name) {
                Some(known) => known.succeed(Arc::clone(settings)),
                None => Group::new(Arc::clone(settings), worker),
            }),
        };
        groups.push((Arc::clone(settings), Rc::clone(&group)));
        group
    };
    settings
        .iter()
        .map(|settings| {
            let (routes, routes_by_path) =
                (settings.routes.map(&mut group), settings.routes.depend_on_path());
            let own = cells.of(&settings.name, None, None);
            let groups: Vec<_> =
                settings.groups().map(|group| GroupCells::new(settings, group, &mut cells)).collect();
            if matches!(settings.mode, Mode::Http(_)) {
                own.note_requests();
                groups.iter().flat_map(GroupCells::all).for_each(|cells| cells.note_requests());
            }
            let own_cookies = own_cookies(settings);
            let settings = Arc::clone(settings);
            Rc::new(Service { settings, routes, routes_by_path, cells: own, groups, own_cookies })
        })
        .collect()
}

impl GroupCells {
    fn new(service: &settings::Service, group: &GroupSettings, next: &mut Next<'_>) -> Self {
        let name = &service.name;
        let own = next.of(name, Some(&group.name), None);
        let server = |server: &Arc<Server>| {
            (Arc::clone(server.name()), next.of(name, Some(&group.name), Some(server.name())))
        };
        Self { own, servers: group.servers.iter().map(server).collect() }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Cells>> {
        self.servers.values().chain([&self.own])
    }
}

/// The names of the cookies by which its groups know their clients.
fn own_cookies(settings: &settings::Service) -> Box<[Arc<str>]> {
    let mut names: Vec<_> = settings
        .groups()
        .filter_map(|group| group.affinity.as_ref())
        .map(|own| Arc::clone(own.cookie()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into()
}

impl Service {
    /// Where sessions count that have chosen the group with this name, and its server if one has accepted.
    pub(super) fn cells_of(&self, group: Option<&str>, server: Option<&str>) -> &Arc<Cells> {
        let found = self.groups.iter().find(|cells| cells.own.key().group.as_deref() == group);
        let Some(group) = found else { return &self.cells };
        server.and_then(|server| group.servers.get(server)).unwrap_or(&group.own)
    }

    /// Its listeners, in the order of the settings, with the addresses that they are bound to.
    pub(super) fn listening(self: &Rc<Self>) -> impl Iterator<Item = (&Address, Rc<Listening>)> {
        self.settings.listeners.iter().map(|listener| {
            let (service, name) = (Rc::clone(self), listener.address.to_string().into());
            let is_steered = listener.steer_by_cpu;
            (&listener.address, Rc::new(Listening { service, name, is_steered }))
        })
    }
}
