//! The ring through which provided buffers go to the kernel (`io_uring_register_buf_ring(3)`).

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::buffers::Region;

/// The kernel wants the ring to begin on a page.
const PAGE_BYTES: usize = 4096;

/// The free buffers, in the order they will be used; we write its tail, the kernel reads on from its head.
pub(super) struct ProvidedRing {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    tail: u16,
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
        // SAFETY: the layout is not of size zero: there is at least one buffer.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else { handle_alloc_error(layout) };
        let mut this = Self { entries, layout, mask: count - 1, tail: 0, region };
        // SAFETY: the memory is `count` entries, begins on a page, and is freed only when the `IoUring` is
        // closed: `Linux` drops that first.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, group, 0) }?;
        for index in 0..this.region.count() {
            this.provide(index);
        }
        Ok(this)
    }

    /// The size of each buffer.
    pub(super) fn buffer_bytes(&self) -> u32 {
        self.region.buffer_bytes()
    }

    /// Hands a buffer to the kernel. The caller must not touch it any more.
    pub(super) fn provide(&mut self, index: u16) {
        // SAFETY: the masked index lies within the ring. The entry there is ours to write: the kernel is done
        // with those before its head, and there are no more buffers than entries. The tail shares memory with
        // a part of entry 0 that the setters leave alone, and the kernel reads it, so it is stored atomically;
        // `Release` makes the entry visible before it.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(usize::from(self.tail & self.mask));
            entry.set_addr(self.region.address(index) as u64);
            entry.set_len(self.region.buffer_bytes());
            entry.set_bid(index);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for ProvidedRing {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the kernel does not use it any more, since `Linux` closes the ring
        // first and a `Ring` is only dropped when nothing is in flight (operations in flight keep it alive).
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) };
    }
}
