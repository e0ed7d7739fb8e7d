//! Operations in flight: each owns what the kernel may still touch, until its completion.
//!
//! ```text
//!           start                complete               poll
//!   Free ----------> Waiting -------------> Finished ----------> Free
//!                       | future dropped                          ^
//!                       v               complete                  |
//!                   Abandoned ------------------------------------+
//! ```
//!
//! Dropping the future asks the kernel to cancel, and leaves the slot, its descriptor and its memory alone until
//! the completion has come. A slot is named by its index and a generation that changes with each use, so a
//! number kept too long can never reach another operation.
//!
//! A receive is in a slot of another kind, since it may complete several times: see `receive.rs`.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use socket2::SockAddr;

use super::buffers::Buffer;
use super::kernel::{Completion, Operation};
use super::receive::Receive;
use super::ring::Ring;
use super::socket::Descriptor;

/// `user_data` of cancellations, whose own completions say nothing of interest.
pub(super) const NOBODY: u64 = u64::MAX;

/// What an operation in flight keeps alive.
pub(super) struct Held {
    /// The file it works on: closed at the earliest when its last operation has completed.
    pub(super) descriptor: Rc<Descriptor>,
    /// The memory it reads from.
    pub(super) memory: Memory,
}

/// Memory that the kernel reads during an operation. All of it stays where it is when the value moves.
pub(super) enum Memory {
    /// None.
    Nothing,
    /// Bytes being sent on.
    Buffer(Buffer),
    /// Where to connect to: never looked at again, only kept.
    Address { _sock_addr: Rc<SockAddr> },
}

/// How an operation ended, with what it had borrowed.
pub(super) struct Finished {
    /// As in [`Completion`].
    pub(super) result: i32,
    /// What was held.
    pub(super) memory: Memory,
}

/// The name of a slot in use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    pub(super) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn from_user_data(user_data: u64) -> Self {
        Self { index: user_data as u32, generation: (user_data >> 32) as u32 }
    }
}

pub(super) enum Slot {
    Free,
    Waiting { held: Held, waker: Option<Waker> },
    Finished(Finished),
    Receiving(Receive),
    Abandoned { held: Held },
}

pub(super) struct Entry {
    generation: u32,
    pub(super) slot: Slot,
}

/// The operations of one ring.
#[derive(Default)]
pub(super) struct Ops {
    entries: Vec<Entry>,
    free: Vec<u32>,
    in_flight: usize,
}

/// What a completion sets free: to be dropped when the table is no longer borrowed, since closing a descriptor
/// or returning a buffer enters the ring again.
#[derive(Default)]
pub(super) struct Released {
    pub(super) buffer: Option<Buffer>,
    pub(super) descriptor: Option<Rc<Descriptor>>,
    pub(super) memory: Option<Memory>,
}

impl Ops {
    /// How many the kernel still has.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn insert(&mut self, slot: Slot) -> Key {
        self.in_flight += 1;
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.slot = slot;
            Key { index, generation: entry.generation }
        } else {
            self.entries.push(Entry { generation: 0, slot });
            Key { index: (self.entries.len() - 1) as u32, generation: 0 }
        }
    }

    pub(super) fn entry(&mut self, key: Key) -> &mut Entry {
        let entry = &mut self.entries[key.index as usize];
        assert_eq!(entry.generation, key.generation, "a slot was used again while it was still named");
        entry
    }

    pub(super) fn free(&mut self, key: Key) -> Slot {
        let entry = self.entry(key);
        let slot = std::mem::replace(&mut entry.slot, Slot::Free);
        // The highest generation stays unused, so that no key looks like `NOBODY`.
        entry.generation = if entry.generation == u32::MAX - 1 { 0 } else { entry.generation + 1 };
        self.free.push(key.index);
        slot
    }

    /// Takes a completion in and wakes whoever waits for it.
    pub(super) fn complete(&mut self, completion: &Completion, received: Option<Buffer>) -> Released {
        let key = Key::from_user_data(completion.user_data);
        if completion.last {
            self.in_flight -= 1;
        }
        let slot = &mut self.entry(key).slot;
        match slot {
            Slot::Waiting { .. } => {
                let Slot::Waiting { held: Held { descriptor, memory }, waker } =
                    std::mem::replace(slot, Slot::Free)
                else {
                    unreachable!("matched above")
                };
                *slot = Slot::Finished(Finished { result: completion.result, memory });
                if let Some(waker) = waker {
                    waker.wake();
                }
                Released { descriptor: Some(descriptor), ..Released::default() }
            }
            Slot::Receiving(receive) => receive.complete(completion, received),
            Slot::Abandoned { .. } => {
                let mut released = Released { buffer: received, ..Released::default() };
                if completion.last
                    && let Slot::Abandoned { held } = self.free(key)
                {
                    released.descriptor = Some(held.descriptor);
                    released.memory = Some(held.memory);
                }
                released
            }
            Slot::Free | Slot::Finished(_) => unreachable!("two last completions for one operation"),
        }
    }
}

/// An operation in flight, as a future.
#[must_use = "dropping an operation cancels it"]
pub(super) struct InFlight {
    ring: Ring,
    key: Key,
    taken: bool,
}

impl InFlight {
    /// Queues an operation. `held` must own the memory that `operation` points to.
    pub(super) fn start(ring: &Ring, operation: Operation, held: Held) -> Self {
        let key = ring.inner().ops.borrow_mut().insert(Slot::Waiting { held, waker: None });
        ring.inner().kernel.borrow_mut().push(operation, key.user_data());
        Self { ring: ring.clone(), key, taken: false }
    }
}

impl Future for InFlight {
    type Output = Finished;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finished> {
        let this = &mut *self;
        let mut ops = this.ring.inner().ops.borrow_mut();
        match &mut ops.entry(this.key).slot {
            Slot::Waiting { waker, .. } => {
                if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
            Slot::Finished(_) => {}
            Slot::Free | Slot::Receiving(_) | Slot::Abandoned { .. } => {
                unreachable!("polled after it was given up")
            }
        }
        this.taken = true;
        match ops.free(this.key) {
            Slot::Finished(finished) => Poll::Ready(finished),
            _ => unreachable!("checked above"),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let inner = self.ring.inner();
        let mut ops = inner.ops.borrow_mut();
        let entry = ops.entry(self.key);
        match std::mem::replace(&mut entry.slot, Slot::Free) {
            Slot::Waiting { held, .. } => {
                entry.slot = Slot::Abandoned { held };
                drop(ops);
                inner.kernel.borrow_mut().push(Operation::Cancel { target: self.key.user_data() }, NOBODY);
            }
            finished => {
                entry.slot = finished;
                let finished = ops.free(self.key);
                drop(ops);
                drop(finished);
            }
        }
    }
}
