//! Provided buffers: the memory that received bytes arrive in.
//!
//! The kernel holds the free buffers and picks one when data arrives, so an idle connection holds none. A completed
//! receive turns the picked one into a [`Buffer`]; dropping that returns it to the kernel.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::ring::Ring;

/// The memory of all buffers of a ring, shared with the kernel.
///
/// Loans decide which part may be accessed: a buffer is the kernel's until a completion names it, then its `Buffer`'s
/// until that is dropped.
pub(crate) struct Region {
    bytes: Box<[UnsafeCell<u8>]>,
    buffer_bytes: u32,
    /// Distance between the beginnings of two buffers.
    stride: usize,
    count: u16,
}

/// Gap between two buffers. Small messages touch only the beginnings of buffers; the gap keeps these off the same few
/// lines of the processor's caches. 17 lines of 64 bytes.
const STAGGER_BYTES: usize = 17 * 64;

impl Region {
    /// Allocates `count` buffers of `buffer_bytes` each; pages never written to take no memory.
    ///
    /// # Panics
    /// When a buffer is larger than 16 MiB.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> Self {
        assert!(buffer_bytes <= BUFFER_BYTES_MAX, "a buffer handle holds smaller offsets");
        let stride = buffer_bytes as usize + STAGGER_BYTES;
        let zeroed = vec![0u8; usize::from(count) * stride].into_boxed_slice();
        // SAFETY: `UnsafeCell<u8>` has the layout of `u8`, and the box is given up for the new one.
        let bytes = unsafe { Box::from_raw(Box::into_raw(zeroed) as *mut [UnsafeCell<u8>]) };
        Self { bytes, buffer_bytes, stride, count }
    }

    /// Number of buffers.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Size of each buffer.
    pub(crate) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Address of a buffer.
    pub(crate) fn address(&self, index: u16) -> *mut u8 {
        self.bytes[usize::from(index) * self.stride].get()
    }
}

/// The state of all loans: how many buffers are lent, and which tasks wait for one.
pub(super) struct Loans {
    region: std::rc::Rc<Region>,
    lent: Cell<u16>,
    /// In order of arrival.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    next_waiting: Cell<u64>,
}

impl Loans {
    pub(super) fn new(region: std::rc::Rc<Region>) -> Self {
        Self { region, lent: Cell::new(0), waiting: RefCell::default(), next_waiting: Cell::new(0) }
    }

    /// Number of buffers, lent or not.
    pub(super) fn count(&self) -> u16 {
        self.region.count
    }

    /// Number of lent buffers.
    pub(super) fn lent(&self) -> u16 {
        self.lent.get()
    }

    /// Whether all buffers are lent.
    pub(super) fn all_lent(&self) -> bool {
        self.lent.get() == self.region.count
    }

    /// Starts a loan, after a completion has named the buffer.
    pub(super) fn lend(&self, ring: &Ring, index: u16, len: u32) -> Buffer {
        debug_assert!(len <= self.region.buffer_bytes, "the kernel wrote past a buffer");
        self.lent.set(self.lent.get() + 1);
        let (start, end) = (Offset::new(0), Offset::new(len));
        Buffer(Place::Lent(Loan { ring: ring.clone(), index, start, end }))
    }

    /// Wakes as many waiting tasks as there are free buffers; called once per turn. Free buffers may already be taken
    /// by receives whose completion has not been seen: a woken task then waits again.
    pub(super) fn serve_waiting(&self) {
        let mut waiting = self.waiting.borrow_mut();
        for _ in 0..self.region.count - self.lent.get() {
            let Some((_, waker)) = waiting.pop_first() else { return };
            waker.wake();
        }
    }
}

/// Completes when a buffer has been returned, first come first served. A task that waits has seen that bytes have
/// arrived for it.
#[must_use = "futures do nothing unless awaited"]
pub(super) struct BufferReturned {
    ring: Ring,
    number: Option<u64>,
}

impl BufferReturned {
    pub(super) fn new(ring: &Ring) -> Self {
        Self { ring: ring.clone(), number: None }
    }
}

impl Future for BufferReturned {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let loans = &this.ring.inner().loans;
        let mut waiting = loans.waiting.borrow_mut();
        match this.number {
            None => {
                let number = loans.next_waiting.get();
                loans.next_waiting.set(number + 1);
                waiting.insert(number, cx.waker().clone());
                this.number = Some(number);
                Poll::Pending
            }
            // The task was woken for another reason.
            Some(number) if waiting.contains_key(&number) => Poll::Pending,
            Some(_) => Poll::Ready(()),
        }
    }
}

impl Drop for BufferReturned {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.ring.inner().loans.waiting.borrow_mut().remove(&number);
        }
    }
}

/// Received bytes, in a buffer on loan from the worker's ring, or parked in memory of their own.
pub struct Buffer(Place);

// Idle sessions carry the size of a buffer handle.
const _: () = assert!(size_of::<Buffer>() <= 16);

enum Place {
    Lent(Loan),
    /// Boxed as a whole, since idle sessions carry the size of a buffer handle.
    Parked(Box<Parked>),
}

struct Loan {
    ring: Ring,
    index: u16,
    start: Offset,
    end: Offset,
}

/// A place in a buffer, which has at most [`BUFFER_BYTES_MAX`], in little room.
#[derive(Clone, Copy)]
struct Offset([u8; 3]);

/// The largest size of a buffer.
const BUFFER_BYTES_MAX: u32 = (1 << 24) - 1;

impl Offset {
    fn new(bytes: u32) -> Self {
        let [low, middle, high, _zero] = bytes.to_le_bytes();
        Self([low, middle, high])
    }

    fn get(self) -> u32 {
        let Self([low, middle, high]) = self;
        u32::from_le_bytes([low, middle, high, 0])
    }
}

struct Parked {
    bytes: Box<[u8]>,
    start: usize,
}

impl Buffer {
    /// Removes the first `bytes`, which were handled.
    ///
    /// # Panics
    /// When the buffer has fewer bytes.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "advance past the end of a buffer");
        match &mut self.0 {
            Place::Lent(loan) => loan.start = Offset::new(loan.start.get() + bytes as u32),
            Place::Parked(parked) => parked.start += bytes,
        }
    }

    /// Whether the receive filled the buffer, so that more bytes are likely to wait.
    pub fn is_full(&self) -> bool {
        matches!(&self.0, Place::Lent(loan) if loan.end.get() == loan.region().buffer_bytes)
    }

    /// Moves the bytes to memory of their own when half of all buffers are lent, and returns the worker's buffer. For
    /// callers that may hold the bytes for long: otherwise as many stalled readers as there are buffers would stop all
    /// other connections.
    pub fn park_when_scarce(&mut self) {
        if let Place::Lent(loan) = &self.0 {
            let loans = &loan.ring.inner().loans;
            if loans.lent.get() > loans.region.count / 2 {
                *self = Self::parked(Box::from(&**self));
            }
        }
    }

    /// Appends the bytes of another buffer.
    pub(super) fn append(&mut self, other: &Self) {
        if let Place::Lent(loan) = &mut self.0
            && loan.room() >= other.len()
        {
            loan.append(other);
        } else {
            *self = Self::parked([&**self, &**other].concat().into());
        }
    }

    fn parked(bytes: Box<[u8]>) -> Self {
        Self(Place::Parked(Box::new(Parked { bytes, start: 0 })))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Lent(loan) => loan.bytes(),
            Place::Parked(parked) => &parked.bytes[parked.start..],
        }
    }
}

impl Loan {
    fn region(&self) -> &Region {
        &self.ring.inner().loans.region
    }

    fn room(&self) -> usize {
        (self.region().buffer_bytes - self.end.get()) as usize
    }

    fn bytes(&self) -> &[u8] {
        let base = self.region().address(self.index);
        let (start, end) = (self.start.get() as usize, self.end.get() as usize);
        // SAFETY: while this value lives the buffer is on loan to it alone: the kernel wrote `end` bytes (at
        // most the buffer's size, checked by `lend`) before the completion, or `append` did, and the kernel does not
        // touch it again before `provide`, which only `drop` calls. Nothing hands out a mutable view.
        unsafe { std::slice::from_raw_parts(base.add(start), end - start) }
    }

    /// Appends bytes from elsewhere.
    fn append(&mut self, other: &[u8]) {
        assert!(other.len() <= self.room(), "append past the end of a buffer");
        // SAFETY: the buffer is on loan to this value alone, and the room behind `end` is as long as was checked;
        // `other` is borrowed, so it is not in that room, of which nothing hands out a view.
        unsafe {
            let room = self.region().address(self.index).add(self.end.get() as usize);
            room.copy_from_nonoverlapping(other.as_ptr(), other.len());
        }
        self.end = Offset::new(self.end.get() + other.len() as u32);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let inner = self.ring.inner();
        inner.loans.lent.set(inner.loans.lent.get() - 1);
        inner.kernel.borrow_mut().provide(self.index);
    }
}
