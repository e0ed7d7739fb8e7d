//! Stream services of a worker, and how they change with the settings.

use std::sync::Arc;

use super::farm::Farm;
use super::groups::Founder;
use super::{admissions, choices};
use crate::proxy::routes::Routes;
use crate::proxy::settings::Service;
use crate::upstream::GroupSettings;
use crate::uring::sim::Dice;

/// Most services at a time.
const SERVICES_MAX: usize = 3;

/// The services that there are at a time, each at its own place.
type Services = [Option<Arc<Service>>; SERVICES_MAX];

/// The services at first, and after each of so many changes. Adds their servers to the farm.
pub(super) fn generations(changes: usize, farm: &mut Farm, dice: &mut Dice) -> Vec<Vec<Arc<Service>>> {
    let accept_proxy = std::array::from_fn(|_| dice.chance(400));
    let homes = std::array::from_fn(|number| number);
    let founder = Founder::new(false, 0);
    let mut maker = Maker { farm, founder, groups: Vec::new(), homes, accept_proxy };
    let count = dice.one_of(&[1, 1, 2, 3]);
    let mut services: Services =
        std::array::from_fn(|number| (number < count).then(|| maker.service(number, None, None, dice)));
    let mut all = vec![services.clone()];
    for _ in 0..changes {
        services = maker.changed(&services, dice);
        all.push(services.clone());
    }
    all.into_iter().map(|services| services.into_iter().flatten().collect()).collect()
}

struct Maker<'a> {
    farm: &'a mut Farm,
    founder: Founder,
    /// The groups as they are now.
    groups: Vec<Arc<GroupSettings>>,
    /// Whose listeners each service has, by the numbers of the services at first.
    homes: [usize; SERVICES_MAX],
    /// Whether clients send a PROXY header to these listeners. It never changes, because clients do not know what the
    /// service is.
    accept_proxy: [bool; SERVICES_MAX],
}

impl Maker<'_> {
    /// A service with this group, or with one of its own or with that of another service; in place of the one `before`.
    fn service(
        &mut self,
        number: usize,
        group: Option<Arc<GroupSettings>>,
        before: Option<&Service>,
        dice: &mut Dice,
    ) -> Arc<Service> {
        let group = group.unwrap_or_else(|| self.group(dice));
        let home = self.homes[number];
        let service = choices::service(home, Routes::all(group), dice);
        let name = format!("service{number}").into();
        let (accept_proxy, admission) = (self.accept_proxy[home], admissions::admission(dice));
        let mut service = Service { name, accept_proxy, admission, ..service };
        if let Some(before) = before {
            service.inherit(before);
        }
        Arc::new(service)
    }

    fn group(&mut self, dice: &mut Dice) -> Arc<GroupSettings> {
        if !self.groups.is_empty() && dice.chance(200) {
            return Arc::clone(&self.groups[dice.number(0, self.groups.len() - 1)]);
        }
        let group = Arc::new(self.founder.group(dice));
        self.farm.add(&group, dice);
        self.groups.push(Arc::clone(&group));
        group
    }

    /// What the services become.
    fn changed(&mut self, before: &Services, dice: &mut Dice) -> Services {
        for group in &mut self.groups {
            if dice.chance(500) {
                *group = Arc::new(self.founder.changed(group, dice));
                self.farm.add(group, dice);
            }
        }
        let mut after = std::array::from_fn(|number| self.successor(number, before[number].as_ref(), dice));
        if after.iter().all(Option::is_none) {
            after[0] = Some(self.service(0, None, None, dice));
        }
        if dice.chance(200) {
            let one = dice.number(0, SERVICES_MAX - 1);
            self.exchange_listeners(&mut after, one, (one + 1) % SERVICES_MAX);
        }
        after
    }

    /// Gives each of two services the listeners of the other, if clients send both the same.
    fn exchange_listeners(&mut self, services: &mut Services, one: usize, other: usize) {
        let (Some(first), Some(second)) = (&services[one], &services[other]) else { return };
        if first.accept_proxy == second.accept_proxy {
            let with = |to: &Service, from: &Service| {
                Arc::new(Service { listeners: from.listeners.clone(), ..to.clone() })
            };
            let (first, second) = (with(first, second), with(second, first));
            (services[one], services[other]) = (Some(first), Some(second));
            self.homes.swap(one, other);
        }
    }

    fn successor(
        &mut self,
        number: usize,
        before: Option<&Arc<Service>>,
        dice: &mut Dice,
    ) -> Option<Arc<Service>> {
        let Some(before) = before else {
            return dice.chance(400).then(|| self.service(number, None, None, dice));
        };
        let group = before.routes.default.as_ref().expect("everything goes to one group");
        let now = self.groups.iter().find(|now| now.name == group.name).expect("groups stay known");
        match dice.number(0, 9) {
            0..=1 => None,
            2..=3 if Arc::ptr_eq(group, now) => Some(Arc::clone(before)),
            2..=7 => Some(self.service(number, Some(Arc::clone(now)), Some(before), dice)),
            _ => Some(self.service(number, None, Some(before), dice)),
        }
    }
}
