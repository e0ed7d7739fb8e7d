//! What happens to freed memory.

/// The size from which an allocation counts as large.
pub const LARGE_BYTES: usize = 32 * 1024;

/// Makes large allocations go back to the kernel when they are freed, for the whole process.
///
/// glibc keeps freed memory below 128 KiB, and raises that threshold up to 32 MiB when larger allocations are freed
/// (mallopt(3), `M_MMAP_THRESHOLD`): what thousands of long heads took for a moment would stay with the process. No
/// allocation on the path of a message is that large.
pub fn return_large_allocations() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) may be called at any time, from any thread.
    if unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES as i32) } == 0 {
        tracing::debug!("cannot set the allocator's threshold; freed memory stays with the process");
    }
}
