//! The pipes of relays that splice.

use std::fs::read_to_string;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

pub(super) const PIPE_BYTES: u32 = 1 << 20;

/// A pipe of [`PIPE_BYTES`].
pub(super) struct Pipe {
    pub(super) output: OwnedFd,
    pub(super) input: OwnedFd,
    pub(super) queued_bytes: usize,
}

impl Pipe {
    pub(super) fn new() -> Result<Self> {
        let (output, input) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
        if fcntl(&input, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES as i32)).is_err() {
            let limit = read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap_or_default();
            bail!("cannot make a pipe of 1 MiB; fs.pipe-user-pages-soft is {} pages", limit.trim());
        }
        Ok(Self { output, input, queued_bytes: 0 })
    }
}
