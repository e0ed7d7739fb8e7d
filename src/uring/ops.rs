//! Operations in flight: each owns what the kernel may still access, until its completion.
//!
//! ```text
//!           start             complete                   poll
//!   Free ----------> Once -------------> Once, result ----------> Free
//!                      | future dropped                            ^
//!                      v               complete                    |
//!                  Abandoned --------------------------------------+
//! ```
//!
//! Dropping the future asks the kernel to cancel, and leaves the slot, its descriptor and its memory alone until the
//! completion has arrived. A slot is named by its index and a generation that changes with each use, so a stale key can
//! never reach another operation. Slots are changed in place: moving them took a tenth of the worker's own time with
//! small messages.
//!
//! Receives and sends have slots of other kinds, since a receive may complete several times and a send need not be
//! awaited: see `receive.rs` and `send.rs`.

use std::future::Future;
use std::num::NonZeroU32;
use std::os::fd::{OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::buffers::Buffer;
use super::kernel::{Completion, IGNORED, Operation};
use super::receive::Receive;
use super::ring::Ring;
use super::send::Send;
use super::socket::Descriptor;
use super::task::{Name, polled};

/// The file that an operation in flight works on: closed after its last operation has completed, at the earliest.
pub(super) struct Held {
    pub(super) _descriptor: Rc<Descriptor>,
    /// A listening socket that other owners have as well.
    pub(super) _socket: Option<Arc<OwnedFd>>,
}

/// The name of a slot in use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    /// Never 0, so that a place for a key is as small as a key.
    generation: NonZeroU32,
}

impl Key {
    pub(super) fn user_data(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// A key of no table.
    #[cfg(test)]
    pub(super) fn for_test(index: u32) -> Self {
        Self { index, generation: NonZeroU32::MIN }
    }

    /// None for what no operation was queued with.
    fn from_user_data(user_data: u64) -> Option<Self> {
        let generation = NonZeroU32::new((user_data >> 32) as u32)?;
        Some(Self { index: user_data as u32, generation })
    }
}

pub(super) enum Slot {
    Free,
    /// An operation that completes once.
    Once {
        held: Held,
        course: Course,
    },
    Receiving(Receive),
    Sending(Send),
    /// An operation whose future was dropped.
    Abandoned {
        _held: Held,
    },
    /// A send whose result is not needed. The kernel reads the buffer, which stays in place when the slot moves.
    Detached {
        _descriptor: Rc<Descriptor>,
        _buffer: Buffer,
    },
}

/// Where an operation that completes once stands.
#[derive(Clone, Copy)]
pub(super) enum Course {
    /// The kernel has it. The completion wakes the waiter.
    InFlight { waiter: Option<Name> },
    /// Over, with its result.
    Over(i32),
}

pub(super) struct Entry {
    generation: NonZeroU32,
    pub(super) slot: Slot,
}

// An idle session has two.
const _: () = assert!(size_of::<Entry>() <= 48);

/// The operations of one ring.
#[derive(Default)]
pub(super) struct Ops {
    entries: Vec<Entry>,
    free: Vec<u32>,
    in_flight: usize,
}

impl Ops {
    /// Number of operations that the kernel still has.
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
            let generation = NonZeroU32::MIN;
            self.entries.push(Entry { generation, slot });
            Key { index: (self.entries.len() - 1) as u32, generation }
        }
    }

    pub(super) fn entry(&mut self, key: Key) -> &mut Entry {
        let entry = &mut self.entries[key.index as usize];
        assert_eq!(entry.generation, key.generation, "a slot was used again while it was still named");
        entry
    }

    /// Drops what the slot holds, and frees it.
    pub(super) fn free(&mut self, key: Key) {
        let entry = self.entry(key);
        entry.slot = Slot::Free;
        // The highest generation stays unused, so that no key looks like `IGNORED`.
        let next = entry.generation.checked_add(1).filter(|next| *next != NonZeroU32::MAX);
        entry.generation = next.unwrap_or(NonZeroU32::MIN);
        self.free.push(key.index);
    }

    /// Handles a completion with the buffer that it names, and wakes the waiting task. Returns the receive that is
    /// suspect from now on, if any.
    pub(super) fn complete(&mut self, completion: &Completion, buffer: Option<Buffer>) -> Option<Key> {
        let key = Key::from_user_data(completion.user_data)?;
        if completion.last {
            self.in_flight -= 1;
        }
        match &mut self.entry(key).slot {
            Slot::Once { course, .. } => {
                if let Course::InFlight { waiter: Some(waiter) } =
                    std::mem::replace(course, Course::Over(completion.result))
                {
                    waiter.wake();
                }
            }
            Slot::Receiving(receive) => {
                if receive.complete(completion, buffer) {
                    return Some(key);
                }
            }
            Slot::Sending(send) => {
                if send.complete(completion.result) {
                    self.free(key);
                }
            }
            Slot::Abandoned { .. } | Slot::Detached { .. } if completion.last => self.free(key),
            Slot::Abandoned { .. } | Slot::Detached { .. } => {}
            Slot::Free => unreachable!("a completion after the last one"),
        }
        None
    }

    /// Marks a receive as no longer suspect and returns its descriptor, unless the receive is over.
    pub(super) fn clear_suspect(&mut self, key: Key) -> Option<RawFd> {
        let entry = &mut self.entries[key.index as usize];
        match &mut entry.slot {
            Slot::Receiving(receive) if entry.generation == key.generation => receive.clear_suspect(),
            _ => None,
        }
    }

    /// Takes the unsent rest of a send out of its slot, if the send is over.
    pub(super) fn take_unsent(&mut self, key: Key) -> Option<(Buffer, i32)> {
        let slot = &mut self.entry(key).slot;
        match std::mem::replace(slot, Slot::Free) {
            Slot::Sending(send) if !send.is_in_flight() => {
                self.free(key);
                send.into_unsent()
            }
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Detaches a send, whose result is not needed; it continues.
    pub(super) fn detach(&mut self, key: Key) {
        let slot = &mut self.entry(key).slot;
        match std::mem::replace(slot, Slot::Free) {
            Slot::Sending(send) if send.is_in_flight() => *slot = send.into_detached(),
            _over => self.free(key),
        }
    }

    /// Detaches an operation. True when the kernel still has it and must be asked to cancel it.
    fn abandon(&mut self, key: Key) -> bool {
        let slot = &mut self.entry(key).slot;
        match std::mem::replace(slot, Slot::Free) {
            Slot::Once { held, course: Course::InFlight { .. } } => *slot = Slot::Abandoned { _held: held },
            Slot::Receiving(receive) if receive.is_armed() => {
                *slot = Slot::Abandoned { _held: receive.into_held() };
            }
            _over => {
                self.free(key);
                return false;
            }
        }
        true
    }
}

/// Abandons an operation.
pub(super) fn abandon(ring: &Ring, key: Key) {
    let inner = ring.inner();
    let is_in_flight = inner.ops.borrow_mut().abandon(key);
    if is_in_flight {
        inner.kernel.borrow_mut().push(Operation::Cancel { target: key.user_data() }, IGNORED);
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
    /// Queues an operation on the file of `held`, which points to no memory.
    pub(super) fn start(ring: &Ring, operation: Operation, held: Held) -> Self {
        let slot = Slot::Once { held, course: Course::InFlight { waiter: None } };
        let key = ring.inner().ops.borrow_mut().insert(slot);
        ring.inner().kernel.borrow_mut().push(operation, key.user_data());
        Self { ring: ring.clone(), key, taken: false }
    }
}

impl Future for InFlight {
    /// Same as in [`Completion`].
    type Output = i32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<i32> {
        let this = &mut *self;
        let mut ops = this.ring.inner().ops.borrow_mut();
        let Slot::Once { course, .. } = &mut ops.entry(this.key).slot else {
            unreachable!("polled after it was taken")
        };
        match course {
            Course::InFlight { waiter } => {
                *waiter = polled(cx);
                Poll::Pending
            }
            Course::Over(result) => {
                let result = *result;
                this.taken = true;
                ops.free(this.key);
                Poll::Ready(result)
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.taken {
            abandon(&self.ring, self.key);
        }
    }
}
