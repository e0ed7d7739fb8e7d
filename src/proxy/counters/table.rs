//! The cells of a worker by what they count for: those of what it serves now, and those of what it served before.
//!
//! A name that comes back goes on with its cells, so that none of its numbers ever shrinks. Their number has a bound: the
//! oldest cells of names that are gone, and that no session uses any more, are forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cells::{Cells, Key};

/// Most cells of names that are gone; about 500 KiB.
const GONE_MAX: usize = 256;

/// See the module docs. Its lock is taken when the services change and when they are read, never for a session.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    served: BTreeMap<Key, Arc<Cells>>,
    /// The oldest first.
    gone: VecDeque<Arc<Cells>>,
}

/// The cells of what is served next. When this is dropped they are those that are shown.
#[derive(Debug)]
pub(in crate::proxy) struct Next<'a> {
    lines: MutexGuard<'a, Lines>,
    served: BTreeMap<Key, Arc<Cells>>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next(&self) -> Next<'_> {
        Next { lines: self.lock(), served: BTreeMap::new() }
    }

    pub(super) fn served(&self) -> Vec<Arc<Cells>> {
        self.lock().served.values().map(Arc::clone).collect()
    }

    /// Those of what is served, and of what was.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<Arc<Cells>> {
        let lines = self.lock();
        lines.served.values().chain(&lines.gone).map(Arc::clone).collect()
    }
}

impl Next<'_> {
    /// The cells of a service, of a group of it, or of a server of that.
    pub(in crate::proxy) fn of(
        &mut self,
        service: &Arc<str>,
        group: Option<&Arc<str>>,
        server: Option<&Arc<str>>,
    ) -> Arc<Cells> {
        let key = Key { service: Arc::clone(service), group: group.cloned(), server: server.cloned() };
        if let Some(known) = self.served.get(&key).or_else(|| self.lines.served.get(&key)) {
            let known = Arc::clone(known);
            self.served.insert(key, Arc::clone(&known));
            return known;
        }
        let gone = self.lines.gone.iter().position(|cells| *cells.key() == key);
        let cells = gone.and_then(|nth| self.lines.gone.remove(nth));
        let cells = cells.unwrap_or_else(|| Arc::new(Cells::new(key.clone())));
        self.served.insert(key, Arc::clone(&cells));
        cells
    }
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        let served = std::mem::take(&mut self.served);
        let before = std::mem::replace(&mut self.lines.served, served);
        let Lines { served, gone } = &mut *self.lines;
        gone.extend(before.into_values().filter(|cells| !served.contains_key(cells.key())));
        let mut over = gone.len().saturating_sub(GONE_MAX);
        gone.retain(|cells| {
            let goes = over > 0 && Arc::strong_count(cells) == 1;
            over -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(table: &Table, services: &[&str]) -> Vec<Arc<Cells>> {
        let mut next = table.next();
        services.iter().map(|name| next.of(&Arc::from(*name), None, None)).collect()
    }

    fn shown(table: &Table) -> Vec<(String, u64)> {
        let served = table.served();
        served.iter().map(|cells| (cells.key().service.to_string(), cells.accepted.get())).collect()
    }

    #[test]
    fn a_name_goes_on_counting_however_often_it_comes_and_goes() {
        let table = Table::default();
        let [web, _shop] = &serve(&table, &["web", "shop"])[..] else { panic!("two") };
        web.accepted.add(5);
        serve(&table, &["shop"]);
        web.accepted.increase();
        assert_eq!(shown(&table), [("shop".to_owned(), 0)], "its series ends");
        serve(&table, &["web"]);
        assert_eq!(shown(&table), [("web".to_owned(), 6)]);
    }

    #[test]
    fn the_oldest_names_that_no_session_uses_are_forgotten() {
        let table = Table::default();
        let used = serve(&table, &["used"]).remove(0);
        for number in 0..2 * GONE_MAX {
            serve(&table, &[&format!("service{number}")]);
        }
        assert_eq!(table.lock().gone.len(), GONE_MAX);
        used.accepted.increase();
        serve(&table, &["used"]);
        assert_eq!(shown(&table), [("used".to_owned(), 1)]);
    }

    #[test]
    fn a_service_its_groups_and_their_servers_each_have_their_own() {
        let table = Table::default();
        let (web, iis, one) = (Arc::from("web"), Arc::from("iis"), Arc::from("10.0.0.1:80"));
        let mut next = table.next();
        let all = [
            next.of(&web, None, None),
            next.of(&web, Some(&iis), None),
            next.of(&web, Some(&iis), Some(&one)),
        ];
        assert!(Arc::ptr_eq(&all[2], &next.of(&web, Some(&iis), Some(&one))), "the same again");
        drop(next);
        assert_eq!(table.served().len(), all.len());
    }
}
