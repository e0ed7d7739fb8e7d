//! The ring that provides buffers to the kernel (`io_uring_register_buf_ring(3)`).
//!
//! The kernel uses buffers in the order in which they are provided, and so would cycle through all of them, each cold
//! in the caches by then. So it gets no more than a turn may need, and the most recently used ones.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::buffers::Region;

/// The kernel requires the ring to begin on a page.
const PAGE_BYTES: usize = 4096;

/// The least buffers that the kernel holds, if there are that many.
const DEPTH_MIN: u16 = 64;

/// Buffers for the kernel to pick from; this side writes the tail, the kernel reads from the head.
pub(super) struct ProvidedRing {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    tail: u16,
    /// Buffers in the ring that no completion has named.
    provided: u16,
    /// Target number of buffers held by the kernel: twice what a recent turn took.
    depth: u16,
    /// Buffers picked since the last turn.
    picked: u16,
    /// Free buffers outside the ring; the most recently used is on top.
    spare: Vec<u16>,
    region: Rc<Region>,
}

impl ProvidedRing {
    /// Registers a ring for the buffers of `region` and provides them all.
    pub(super) fn register(ring: &IoUring, group: u16, region: Rc<Region>) -> io::Result<Self> {
        // `Region` has at most 2^15 buffers, so this neither overflows nor exceeds the kernel's limit.
        let count = region.count().next_power_of_two();
        let layout = Layout::array::<BufRingEntry>(usize::from(count))
            .and_then(|layout| layout.align_to(PAGE_BYTES))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        // SAFETY: the layout's size is not zero: there is at least one buffer.
        let memory = unsafe { alloc_zeroed(layout) };
        #[allow(clippy::cast_ptr_alignment, reason = "the layout aligns it to a page")]
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else { handle_alloc_error(layout) };
        let spare = (0..region.count()).rev().collect();
        let (depth, mask) = (DEPTH_MIN, count - 1);
        let this = Self { entries, layout, mask, tail: 0, provided: 0, depth, picked: 0, spare, region };
        // SAFETY: the memory is `count` entries, begins on a page, and is freed only when the `IoUring` is
        // closed: `Linux` drops that first.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, group, 0) }?;
        Ok(this)
    }

    /// Size of each buffer.
    pub(super) fn buffer_bytes(&self) -> u32 {
        self.region.buffer_bytes()
    }

    /// Takes a buffer back. The caller must not access it any more.
    pub(super) fn take_back(&mut self, index: u16) {
        self.spare.push(index);
    }

    /// Notes that a completion has named a buffer.
    pub(super) fn note_picked(&mut self) {
        self.provided -= 1;
        self.picked += 1;
    }

    /// Gives the kernel the buffers that the next turn may need.
    pub(super) fn provide(&mut self) {
        let picked = std::mem::take(&mut self.picked);
        self.depth = (self.depth - 1).max(DEPTH_MIN).max(picked.saturating_mul(2));
        let before = self.tail;
        while self.provided < self.depth
            && let Some(index) = self.spare.pop()
        {
            // SAFETY: the masked index lies within the ring. The entry may be written: the kernel is done with those
            // before its head, and there are no more buffers than entries.
            let entry = unsafe { &mut *self.entries.as_ptr().add(usize::from(self.tail & self.mask)) };
            entry.set_addr(self.region.address(index) as u64);
            entry.set_len(self.region.buffer_bytes());
            entry.set_bid(index);
            self.tail = self.tail.wrapping_add(1);
            self.provided += 1;
        }
        if self.tail != before {
            // SAFETY: the tail shares memory with a part of entry 0 that the setters leave alone, and the kernel reads
            // it, so it is stored atomically; `Release` makes the entries visible before it.
            unsafe {
                let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
                AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
            }
        }
    }
}

/// A ring of provided buffers that the kernel never receives into: `benches/parts` measures its bookkeeping.
///
/// It is hidden from the documentation because nothing else has a use for it. The ring itself cannot be public: a caller that
/// takes back a buffer which was not picked would provide it twice.
#[doc(hidden)]
pub struct ProvidedTurns {
    // Declared before the memory that the kernel knows, so that it is closed first. No operation is ever queued in it.
    _ring: IoUring,
    provided: ProvidedRing,
}

impl ProvidedTurns {
    /// Opens a ring with this number of buffers of this size.
    ///
    /// # Errors
    /// When the kernel refuses the ring.
    pub fn open(buffers: u16, buffer_bytes: u32) -> io::Result<Self> {
        let ring = IoUring::new(1)?;
        let region = Rc::new(Region::new(buffers, buffer_bytes));
        let mut provided = ProvidedRing::register(&ring, 0, region)?;
        provided.provide();
        Ok(Self { _ring: ring, provided })
    }

    /// Makes a turn: picks buffers in the order in which they were provided, as the kernel does, takes them back, and provides
    /// the next ones. Returns how many were picked: `picks`, or as many as were provided.
    pub fn turn(&mut self, picks: u16) -> u16 {
        let ring = &mut self.provided;
        let picks = picks.min(ring.provided);
        for _ in 0..picks {
            let head = ring.tail.wrapping_sub(ring.provided);
            // SAFETY: the masked index lies within the ring, and no kernel changes the entry.
            let entry = unsafe { &*ring.entries.as_ptr().add(usize::from(head & ring.mask)) };
            let index = entry.bid();
            ring.note_picked();
            ring.take_back(index);
        }
        ring.provide();
        picks
    }
}

impl Drop for ProvidedRing {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the kernel no longer uses it, since `Linux` closes the ring first and a
        // `Ring` is only dropped when nothing is in flight (operations in flight keep it alive).
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) };
    }
}
