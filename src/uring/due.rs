//! Deadlines in the order in which they are due: a binary heap whose entries know their places, so that any can be taken out.
//!
//! An entry takes 20 bytes. In a B-tree it took twice that, since nodes that fill in order stay half empty; and every idle
//! session has one.

use std::num::NonZeroU32;

use super::task::Name;

/// Names a deadline from its insertion to its removal. Its number is never 0, so that an `Option` of it takes no more room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(NonZeroU32);

impl Handle {
    fn new(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("four billion deadlines take more memory than there is"))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The place of a handle whose deadline has passed.
const PASSED: u32 = u32::MAX;

struct Entry {
    /// Nanoseconds since the ring began.
    at: u64,
    handle: Handle,
    /// Who is woken.
    task: Name,
}

/// The deadlines of one ring, the earliest at hand.
#[derive(Default)]
pub(super) struct Due {
    /// No entry is due before its parent: that of entry n is at (n - 1) / 2.
    heap: Vec<Entry>,
    /// For each handle the index of its entry in the heap; for a free handle the next free one.
    places: Vec<u32>,
    free: Option<Handle>,
}

impl Due {
    /// When the earliest deadline is.
    pub(super) fn earliest(&self) -> Option<u64> {
        self.heap.first().map(|first| first.at)
    }

    /// Adds a deadline, until [`remove`](Self::remove).
    pub(super) fn insert(&mut self, at: u64, task: Name) -> Handle {
        let handle = if let Some(handle) = self.free {
            let next = self.places[handle.index()];
            self.free = NonZeroU32::new(next).map(Handle);
            handle
        } else {
            self.places.push(PASSED);
            Handle::new(self.places.len() - 1)
        };
        let last = self.heap.len();
        self.heap.push(Entry { at, handle, task });
        self.rise(last);
        handle
    }

    /// Takes a deadline out, whether it has passed or not. The handle is another's from now on.
    pub(super) fn remove(&mut self, handle: Handle) {
        let place = self.places[handle.index()];
        if place != PASSED {
            self.take(place as usize);
        }
        self.places[handle.index()] = self.free.map_or(0, |next| next.0.get());
        self.free = Some(handle);
    }

    /// Takes the earliest deadline out of the order, if it has passed at `now`; returns whom it wakes.
    pub(super) fn pass(&mut self, now: u64) -> Option<Name> {
        if self.heap.first()?.at > now {
            return None;
        }
        let entry = self.take(0);
        self.places[entry.handle.index()] = PASSED;
        Some(entry.task)
    }

    fn take(&mut self, place: usize) -> Entry {
        let entry = self.heap.swap_remove(place);
        if place < self.heap.len() {
            let place = self.rise(place);
            self.sink(place);
        }
        entry
    }

    /// Moves an entry towards the first one as far as it is due earlier. Returns its place.
    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 {
            let parent = (place - 1) / 2;
            if !self.is_before(place, parent) {
                break;
            }
            self.heap.swap(place, parent);
            self.note_place(place);
            place = parent;
        }
        self.note_place(place);
        place
    }

    /// Moves an entry away from the first one as far as another is due earlier.
    fn sink(&mut self, mut place: usize) {
        loop {
            let child = 2 * place + 1;
            if child >= self.heap.len() {
                break;
            }
            let other = child + 1;
            let child = if other < self.heap.len() && self.is_before(other, child) { other } else { child };
            if !self.is_before(child, place) {
                break;
            }
            self.heap.swap(child, place);
            self.note_place(place);
            place = child;
        }
        self.note_place(place);
    }

    fn is_before(&self, one: usize, other: usize) -> bool {
        self.heap[one].at < self.heap[other].at
    }

    fn note_place(&mut self, place: usize) {
        let handle = self.heap[place].handle;
        self.places[handle.index()] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Random insertions, removals and passings, beside a map that is sorted by nature.
    #[test]
    fn deadlines_pass_in_order_whatever_is_taken_out() {
        let mut dice = fastrand::Rng::with_seed(11);
        for _ in 0..200 {
            let (mut due, mut model) = (Due::default(), BTreeMap::<(u64, u32), Handle>::new());
            let mut passed = Vec::new();
            let mut next_task = 1;
            for _ in 0..dice.usize(1..400) {
                match dice.u8(0..10) {
                    0..=4 => {
                        let at = dice.u64(0..50);
                        let handle = due.insert(at, Name::for_test(next_task));
                        assert!(!model.values().any(|other| *other == handle), "two have the same handle");
                        assert!(!passed.contains(&handle), "the handle of one that was not removed");
                        model.insert((at, next_task), handle);
                        next_task += 1;
                    }
                    5..=7 if !model.is_empty() => {
                        let key = *model.keys().nth(dice.usize(0..model.len())).expect("not empty");
                        due.remove(model.remove(&key).expect("it is there"));
                    }
                    8 if !passed.is_empty() => due.remove(passed.swap_remove(dice.usize(0..passed.len()))),
                    _ => {
                        let now = dice.u64(0..50);
                        while let Some(task) = due.pass(now) {
                            let first = model.first_key_value().expect("it was inserted").0.0;
                            let key = *model
                                .keys()
                                .find(|key| Name::for_test(key.1) == task)
                                .expect("it was inserted");
                            assert_eq!(key.0, first, "an earlier one was left out");
                            assert!(first <= now);
                            passed.push(model.remove(&key).expect("it is there"));
                        }
                        assert!(model.keys().all(|key| key.0 > now), "one that has passed was left");
                    }
                }
                assert_eq!(due.earliest(), model.keys().next().map(|key| key.0));
            }
        }
    }
}
