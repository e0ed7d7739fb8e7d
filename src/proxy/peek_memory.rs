//! The memory that unfinished input of clients takes: incomplete request heads, TLS hellos, TLS handshakes and PROXY
//! headers.
//!
//! It has a limit. Beyond it the oldest inputs are closed, because the newest are the most likely to complete soon.
//! Input that is complete, or a connection that is being served, does not count.
//!
//! ```text
//!   begin -> holds bytes, then more ... -> dropped: complete, or the connection is closed
//!                      '--beyond the limit--> the oldest are closed
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::uring::LARGE_BYTES;

/// See the module docs. One for each worker.
pub(super) struct PeekMemory {
    bytes_max: Cell<usize>,
    /// Bytes of all entries in the table.
    bytes: Cell<usize>,
    /// In the order in which they began. Entries that must close are no longer in here.
    inputs: RefCell<BTreeMap<u64, Input>>,
    next_number: Cell<u64>,
}

#[derive(Default)]
struct Input {
    bytes: usize,
    waker: Option<Waker>,
}

/// The reason for closing a connection with unfinished input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unfinished heads, hellos and handshakes exceed their memory")]
pub(super) struct Exceeded;

impl From<Exceeded> for io::Error {
    fn from(exceeded: Exceeded) -> Self {
        Self::new(io::ErrorKind::OutOfMemory, exceeded)
    }
}

impl PeekMemory {
    pub(super) fn new(bytes_max: usize) -> Rc<Self> {
        Rc::new(Self {
            bytes_max: Cell::new(bytes_max),
            bytes: Cell::new(0),
            inputs: RefCell::default(),
            next_number: Cell::new(0),
        })
    }

    /// Sets the limit from now on. This may close some.
    pub(super) fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.set(bytes_max);
        self.close_oldest();
    }

    /// Begins an unfinished input of no bytes.
    pub(super) fn begin(self: &Rc<Self>) -> Unfinished {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.inputs.borrow_mut().insert(number, Input::default());
        Unfinished { memory: Rc::clone(self), number }
    }

    fn close_oldest(&self) {
        while self.bytes.get() > self.bytes_max.get() {
            let Some((_number, Input { bytes, waker })) = self.inputs.borrow_mut().pop_first() else {
                return;
            };
            self.bytes.set(self.bytes.get() - bytes);
            if let Some(waker) = waker {
                waker.wake();
            }
            tracing::warn!(
                bytes_max = self.bytes_max.get(),
                "unfinished heads, hellos and handshakes exceed their memory (setting peek-memory); closing the oldest"
            );
        }
    }
}

/// An unfinished input, until it is dropped.
pub(super) struct Unfinished {
    memory: Rc<PeekMemory>,
    number: u64,
}

impl Unfinished {
    /// Sets the number of bytes that it takes from now on. This may close another one, or this one.
    pub(super) fn holds(&self, bytes: usize) {
        let memory = &self.memory;
        if let Some(input) = memory.inputs.borrow_mut().get_mut(&self.number) {
            memory.bytes.set(memory.bytes.get() - input.bytes + bytes);
            input.bytes = bytes;
        }
        memory.close_oldest();
    }

    /// Completes when this input must be closed. Independent of this value, which may be dropped earlier.
    pub(super) fn exceeded(&self) -> impl Future<Output = Exceeded> + use<> {
        Closing { memory: Rc::clone(&self.memory), number: self.number }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(Input { bytes, .. }) = self.memory.inputs.borrow_mut().remove(&self.number) {
            self.memory.bytes.set(self.memory.bytes.get() - bytes);
        }
    }
}

struct Closing {
    memory: Rc<PeekMemory>,
    number: u64,
}

impl Future for Closing {
    type Output = Exceeded;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exceeded> {
        match self.memory.inputs.borrow_mut().get_mut(&self.number) {
            None => Poll::Ready(Exceeded),
            Some(input) => {
                input.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The least spare bytes, so that a head arriving byte by byte is not moved each time.
const SPARE_BYTES_MIN: usize = 1024;
/// Above this length the held bytes get pages of their own.
const LONG_BYTES: usize = 8 * 1024;

/// Appends to the held bytes with little memory to spare: many connections may hold bytes for long. Long input gets an
/// allocation that goes back to the kernel afterwards, and of which only written pages take memory.
pub(super) fn append_tightly(held: &mut Vec<u8>, more: &[u8]) {
    let needed = held.len() + more.len();
    if needed > held.capacity() {
        let roomy = needed + spare_bytes(needed);
        let roomy = if needed > LONG_BYTES { roomy.max(LARGE_BYTES) } else { roomy };
        held.reserve_exact(roomy - held.len());
    }
    held.extend_from_slice(more);
}

/// The most memory that holding this many bytes takes.
pub(super) fn memory_bytes(held: usize) -> usize {
    held + spare_bytes(held).max(PAGE_BYTES)
}

fn spare_bytes(held: usize) -> usize {
    (held / 8).max(SPARE_BYTES_MIN)
}

const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn must_close(input: &Unfinished) -> bool {
        pin!(input.exceeded()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn beyond_the_limit_the_oldest_must_close() {
        let memory = PeekMemory::new(100);
        let [first, second, third] = [40, 40, 20].map(|bytes| {
            let input = memory.begin();
            input.holds(bytes);
            input
        });
        let closing = || [&first, &second, &third].map(must_close);
        assert_eq!(closing(), [false; 3], "at the limit");
        third.holds(30);
        assert_eq!(closing(), [true, false, false], "beyond the limit");
        // An entry that must close no longer counts, whatever it holds until then.
        first.holds(1000);
        assert_eq!(memory.bytes.get(), 70);
        third.holds(100);
        assert_eq!(closing(), [true, true, false]);
        third.holds(101);
        assert_eq!(closing(), [true; 3], "one entry alone may exceed the limit");
        assert_eq!(memory.bytes.get(), 0);
    }

    #[test]
    fn a_lower_limit_closes_what_is_beyond_it() {
        let memory = PeekMemory::new(100);
        let [first, second] = [50, 50].map(|bytes| {
            let input = memory.begin();
            input.holds(bytes);
            input
        });
        memory.set_bytes_max(50);
        assert_eq!([must_close(&first), must_close(&second)], [true, false]);
        memory.set_bytes_max(100);
        second.holds(100);
        assert!(!must_close(&second));
    }

    #[test]
    fn complete_input_makes_room() {
        let memory = PeekMemory::new(100);
        let first = memory.begin();
        first.holds(10);
        for _ in 0..10 {
            memory.begin().holds(90);
        }
        assert!(!must_close(&first));
        assert_eq!((memory.bytes.get(), memory.inputs.borrow().len()), (10, 1));
        drop(first);
        assert_eq!((memory.bytes.get(), memory.inputs.borrow().len()), (0, 0));
    }

    #[test]
    fn held_bytes_have_little_spare_memory() {
        let mut held = Vec::new();
        for _ in 0..64_000 {
            append_tightly(&mut held, b"x");
        }
        assert!(held.capacity() <= memory_bytes(64_000), "{} bytes", held.capacity());
        append_tightly(&mut held, &[0; 10_000]);
        assert_eq!(held.len(), 74_000);
        let mut long = Vec::new();
        append_tightly(&mut long, &[0; 10_000]);
        assert!(long.capacity() >= LARGE_BYTES, "long input goes back to the kernel");
    }
}
