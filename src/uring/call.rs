//! The system calls that a ring needs, and how one of them failed.

use std::fmt;
use std::io;

/// A system call that a ring needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `io_uring_setup(2)`, and mapping what it made.
    Setup,
    /// `io_uring_enter(2)`.
    Enter,
    /// `io_uring_register(2)` with `IORING_REGISTER_PROBE`.
    RegisterProbe,
    /// `io_uring_register(2)` with `IORING_REGISTER_PBUF_RING`.
    RegisterBuffers,
    /// `io_uring_register(2)` with `IORING_REGISTER_RESTRICTIONS`.
    RegisterRestrictions,
    /// `io_uring_register(2)` with `IORING_REGISTER_ENABLE_RINGS`.
    EnableRings,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setup => "io_uring_setup",
            Self::Enter => "io_uring_enter",
            Self::RegisterProbe => "io_uring_register (IORING_REGISTER_PROBE)",
            Self::RegisterBuffers => "io_uring_register (IORING_REGISTER_PBUF_RING)",
            Self::RegisterRestrictions => "io_uring_register (IORING_REGISTER_RESTRICTIONS)",
            Self::EnableRings => "io_uring_register (IORING_REGISTER_ENABLE_RINGS)",
        })
    }
}

/// A call that failed, and how.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) call: Call,
    pub(super) source: io::Error,
}

impl Failed {
    /// What turns an error of `call` into this.
    pub(super) fn at(call: Call) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { call, source }
    }
}
