//! What is known of the process as a whole: by the names that every exporter uses, where there are such.

use std::fmt;
use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

use super::page::{About, Page};

const START: About =
    About::new("process_start_time", "When the process started, in seconds since 1970").seconds();
const CPU: About =
    About::new("process_cpu", "Time that the process has used on CPUs, its own and the system's");
const OPEN: About = About::new("process_open_fds", "Open file descriptors");
const MOST: About = About::new("process_max_fds", "Most file descriptors that may be open");
const RESIDENT: About = About::new("process_resident_memory", "Resident memory").bytes();

/// Writes what this host tells of the process, which started at `started` seconds after 1970.
pub(super) fn write(started: f64, page: &mut Page<'_>) -> fmt::Result {
    let one = |value: Option<f64>| value.map(|value| (Vec::new(), value));
    page.gauges(START, one(Some(started)))?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    page.seconds(CPU, one(usage.map(|usage| seconds(usage.user_time()) + seconds(usage.system_time()))))?;
    // One of them is the directory that is read.
    let open = fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1));
    page.gauges(OPEN, one(open.map(|open| open as f64)))?;
    let most = getrlimit(Resource::RLIMIT_NOFILE).ok();
    page.gauges(MOST, one(most.map(|(soft, _hard)| soft as f64)))?;
    page.gauges(RESIDENT, one(resident_bytes().map(|bytes| bytes as f64)))
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page_bytes as u64)
}
