//! Lookups of hosts as every program of this host makes them (getaddrinfo(3)): the hosts file, the name service switch,
//! search domains.
//!
//! Nothing can end such a lookup early. Each has a thread of its own, which is left behind when the time is over.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use tokio::sync::oneshot;

/// Most lookups at once, those that are left behind among them.
const LOOKUPS_MAX: usize = 64;

const NO_THREAD: &str = "the lookup has no thread";

/// Lookups of this process.
static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// The addresses of a host at a port, or why there are none.
pub type Looked = Result<Vec<SocketAddr>, String>;

/// The addresses of a host, in the resolver's order. Waits for at most `timeout`.
///
/// # Errors
/// What the resolver says, or that it does not answer.
pub fn addresses(host: &str, port: u16, timeout: Duration) -> Looked {
    let (sender, answer) = channel();
    // Without a receiver the time is over.
    begin(host, port, move |looked| drop(sender.send(looked)));
    match answer.recv_timeout(timeout) {
        Ok(looked) => looked,
        Err(RecvTimeoutError::Timeout) => Err(late(timeout)),
        Err(RecvTimeoutError::Disconnected) => Err(NO_THREAD.to_owned()),
    }
}

/// The same for a task. It may be dropped at any time.
pub(super) async fn look_up(host: &str, port: u16) -> Looked {
    let (sender, answer) = oneshot::channel();
    begin(host, port, move |looked| drop(sender.send(looked)));
    answer.await.unwrap_or_else(|_| Err(NO_THREAD.to_owned()))
}

/// What is said of a resolver that takes longer than this.
pub(super) fn late(timeout: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(timeout))
}

/// Begins a lookup, unless too many are left behind.
fn begin(host: &str, port: u16, done: impl FnOnce(Looked) + Send + 'static) {
    let Some(counted) = Counted::new() else {
        return done(Err(format!("{LOOKUPS_MAX} earlier lookups still wait for an answer")));
    };
    let host = host.to_owned();
    let work = move || {
        let looked = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        drop(counted);
        done(looked.map_err(|error| words(&error)));
    };
    // A thread that handles no signals: settings are read before the process takes them.
    let mut handled_elsewhere = SigSet::all();
    // Of a call that the sandbox denies: the kernel ends what blocks it, and names nothing.
    handled_elsewhere.remove(Signal::SIGSYS);
    let mask = handled_elsewhere.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let started = thread::Builder::new().name("lookup".to_owned()).spawn(work);
    if let Ok(mask) = mask {
        // It was valid a moment ago.
        let _ = mask.thread_set_mask();
    }
    if let Err(error) = started {
        // What was to be called went with the thread: the receiver learns that there will be no answer.
        tracing::debug!(%error, "cannot start a thread for a lookup");
    }
}

/// The words of `gai_strerror`(3), without those that std puts before them.
pub fn words(error: &io::Error) -> String {
    let words = error.to_string();
    words.strip_prefix("failed to lookup address information: ").unwrap_or(&words).to_owned()
}

/// Counts a lookup until this is dropped.
struct Counted;

impl Counted {
    fn new() -> Option<Self> {
        let more = |count| (count < LOOKUPS_MAX).then_some(count + 1);
        LOOKUPS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok().then_some(Self)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_the_hosts_file_is_found() {
        let found = addresses("localhost", 80, Duration::from_secs(60)).expect("it is in every hosts file");
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80), "{found:?}");
    }

    #[test]
    fn a_lookup_that_takes_too_long_is_given_up() {
        // Nothing is as fast as this.
        let said = addresses("no-such-host.invalid", 80, Duration::ZERO).expect_err("there was no time");
        assert_eq!(said, "no answer within 0s");
    }
}
