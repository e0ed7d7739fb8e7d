//! What becomes of memory that was freed.

/// An allocation of so many bytes or more is a large one.
pub const LARGE_BYTES: usize = 32 * 1024;

/// Has large allocations go back to the kernel when they are freed, for all of the process.
///
/// glibc keeps what it has below 128 KiB, and with the first larger one that is freed it raises that mark, up to 32 MiB
/// (mallopt(3), `M_MMAP_THRESHOLD`): what thousands of long heads took for a moment would stay with the process. Nothing
/// on the way of a message is as large.
pub fn return_large_allocations() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) may be called at any time, from any thread.
    if unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES as i32) } == 0 {
        tracing::debug!("the allocator keeps what was freed");
    }
}
