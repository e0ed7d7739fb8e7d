//! Provided buffers: the memory that received bytes arrive in.
//!
//! The kernel holds the free ones and picks one when data is there, so an idle connection holds none. A
//! completed receive turns the picked one into a [`Buffer`]; dropping that hands it back.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::ops::Deref;
use std::task::Waker;

use super::ring::Ring;

/// The memory of all buffers of a ring, shared with the kernel.
///
/// Who may touch which part follows from the loans: a buffer is the kernel's until a completion names it, then
/// its `Buffer`'s until that is dropped.
pub(crate) struct Region {
    bytes: Box<[UnsafeCell<u8>]>,
    buffer_bytes: u32,
    count: u16,
}

impl Region {
    /// `count` buffers of `buffer_bytes` each; pages nobody wrote to yet cost nothing.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> Self {
        let zeroed = vec![0u8; usize::from(count) * buffer_bytes as usize].into_boxed_slice();
        // SAFETY: `UnsafeCell<u8>` has the layout of `u8`, and the box is given up for the new one.
        let bytes = unsafe { Box::from_raw(Box::into_raw(zeroed) as *mut [UnsafeCell<u8>]) };
        Self { bytes, buffer_bytes, count }
    }

    /// How many buffers there are.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// The size of each.
    pub(crate) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Where a buffer begins.
    pub(crate) fn address(&self, index: u16) -> *mut u8 {
        self.bytes[usize::from(index) * self.buffer_bytes as usize].get()
    }
}

/// Who has which buffer, and who waits for one.
pub(super) struct Loans {
    region: std::rc::Rc<Region>,
    lent: Cell<u16>,
    waiting: RefCell<VecDeque<Waker>>,
}

impl Loans {
    pub(super) fn new(region: std::rc::Rc<Region>) -> Self {
        Self { region, lent: Cell::new(0), waiting: RefCell::default() }
    }

    pub(super) fn lent(&self) -> u16 {
        self.lent.get()
    }

    pub(super) fn buffer_bytes(&self) -> u32 {
        self.region.buffer_bytes
    }

    /// The loan begins: a completion named the buffer.
    pub(super) fn lend(&self, ring: &Ring, index: u16, len: u32) -> Buffer {
        debug_assert!(len <= self.region.buffer_bytes, "the kernel wrote past a buffer");
        self.lent.set(self.lent.get() + 1);
        Buffer { ring: ring.clone(), index, start: 0, end: len }
    }

    /// To be woken when a buffer is free again. Whoever waits has seen that bytes are there for it.
    pub(super) fn wait(&self, waker: &Waker) {
        self.waiting.borrow_mut().push_back(waker.clone());
    }

    /// Wakes as many of the waiting as there are free buffers; called once a turn. Free buffers may already be
    /// promised to receives whose completion has not been seen: then one that was woken waits again.
    pub(super) fn serve_waiting(&self) {
        let mut waiting = self.waiting.borrow_mut();
        let free = usize::from(self.region.count - self.lent.get()).min(waiting.len());
        for waker in waiting.drain(..free) {
            waker.wake();
        }
    }
}

/// Received bytes, in a buffer on loan from the worker's ring.
pub struct Buffer {
    ring: Ring,
    index: u16,
    start: u32,
    end: u32,
}

impl Buffer {
    /// Forgets the first `bytes`, which were dealt with.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "advance past the end of a buffer");
        self.start += bytes as u32;
    }

    /// Did the receive leave no room, so that more is likely to be waiting?
    pub fn is_full(&self) -> bool {
        self.end == self.ring.inner().loans.region.buffer_bytes
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let base = self.ring.inner().loans.region.address(self.index);
        // SAFETY: while this value lives the buffer is on loan to it alone: the kernel wrote `end` bytes (at
        // most the buffer's size, checked by `lend`) before the completion, and does not touch it again before
        // `provide`, which only `drop` calls. Nothing hands out a mutable view.
        unsafe { std::slice::from_raw_parts(base.add(self.start as usize), (self.end - self.start) as usize) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let inner = self.ring.inner();
        inner.loans.lent.set(inner.loans.lent.get() - 1);
        inner.kernel.borrow_mut().provide(self.index);
    }
}
