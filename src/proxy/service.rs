//! A worker's view of a service, and of its listeners.

use std::rc::Rc;
use std::sync::Arc;

use super::routes::Routes;
use super::settings;
use crate::upstream::{Group, GroupSettings};
use crate::uring::Address;

/// A service as one worker sees it. A session holds the one that it began with, for its whole life.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) settings: Arc<settings::Service>,
    /// The routes of the settings, to this worker's groups.
    pub(super) routes: Routes<Rc<Group>>,
    /// Whether the requests of one client can go to several groups.
    pub(super) routes_by_path: bool,
}

/// A listener of a service, as sessions see it.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) service: Rc<Service>,
    /// The address that it is bound to, as it is in logs.
    pub(super) name: Arc<str>,
}

/// The services of the worker with this number. A group that several of them name takes turns over all of them.
pub(super) fn services(settings: &[Arc<settings::Service>], worker: usize) -> Vec<Rc<Service>> {
    let mut groups: Vec<(Arc<GroupSettings>, Rc<Group>)> = Vec::new();
    let mut group = |settings: &Arc<GroupSettings>| {
        if let Some((_, group)) = groups.iter().find(|(known, _)| Arc::ptr_eq(known, settings)) {
            return Rc::clone(group);
        }
        let group = Rc::new(Group::new(Arc::clone(settings), worker));
        groups.push((Arc::clone(settings), Rc::clone(&group)));
        group
    };
    settings
        .iter()
        .map(|settings| {
            let (routes, routes_by_path) =
                (settings.routes.map(&mut group), settings.routes.depend_on_path());
            Rc::new(Service { settings: Arc::clone(settings), routes, routes_by_path })
        })
        .collect()
}

impl Service {
    /// Its listeners, in the order of the settings, with the addresses that they are bound to.
    pub(super) fn listening(self: &Rc<Self>) -> impl Iterator<Item = (&Address, Rc<Listening>)> {
        self.settings.listeners.iter().map(|listener| {
            let name = listener.address.to_string().into();
            (&listener.address, Rc::new(Listening { service: Rc::clone(self), name }))
        })
    }
}
