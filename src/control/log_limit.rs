//! A limit on log lines that clients and servers cause: a number per second for each cause, then a sum.
//!
//! ```text
//! worker --event--> admits? --yes--> line
//!                      `--no--> count --once a second--> "and 6,931 more: ..."
//! ```
//!
//! A cause is a call site that logs, and there the values of the fields `cause`, `status` and `upstream` if the event
//! has them. An event beyond the limit costs a few atomic operations: it is not formatted, and no lock is taken. The
//! table of causes has a fixed size; causes that do not fit share one entry.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The rooms whose lines clients and servers can cause, DNS servers among them.
const ROOMS: [&str; 3] = ["iisplice::proxy", "iisplice::upstream", "iisplice::control::names"];

/// Most lines of one cause within a second.
const LINES_A_SECOND: u64 = 20;

/// How often pending sums are logged.
const SUM_INTERVAL: Duration = Duration::from_secs(1);

/// Most causes that are counted separately.
const CAUSES_MAX: usize = 256;

/// Most characters of a message that a sum repeats.
const MESSAGE_CHARS_MAX: usize = 300;

/// The limit on this process's log.
static LIMIT: OnceLock<Limit> = OnceLock::new();

/// The layer that suppresses events beyond the limit.
pub(super) fn layer() -> Limited {
    Limited(LIMIT.get_or_init(Limit::default))
}

/// Starts the thread that logs the sums. Without it they are logged at the end.
pub(super) fn start() {
    let limit = LIMIT.get_or_init(Limit::default);
    let _ = thread::Builder::new().name("log-sums".to_owned()).spawn(|| limit.sum_up_forever());
}

/// Logs all pending sums; called at the end of the process, before its last line.
pub(super) fn flush() {
    if let Some(limit) = LIMIT.get() {
        limit.log_sums();
    }
}

/// See [`layer`].
pub(super) struct Limited(&'static Limit);

impl<S: Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_limited = *metadata.level() <= Level::INFO && is_in_room(metadata.target());
        !is_limited || self.0.admits(event)
    }
}

fn is_in_room(target: &str) -> bool {
    let is_below = |rest: &str| rest.is_empty() || rest.starts_with("::");
    ROOMS.iter().any(|room| target.strip_prefix(room).is_some_and(is_below))
}

struct Limit {
    begin: Instant,
    causes: [Cause; CAUSES_MAX],
    /// Whether sums are pending.
    has_sums: AtomicBool,
    summing: OnceLock<Thread>,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
            causes: [const { Cause::new() }; CAUSES_MAX],
            has_sums: AtomicBool::new(false),
            summing: OnceLock::new(),
        }
    }
}

impl Limit {
    fn admits(&self, event: &Event<'_>) -> bool {
        let mut hasher = DefaultHasher::new();
        event.metadata().callsite().hash(&mut hasher);
        event.record(&mut CauseIn(&mut hasher));
        // Zero marks a free entry.
        let cause = self.cause(hasher.finish() | 1);
        let second = self.begin.elapsed().as_secs();
        if cause.admits(second) {
            cause.about.get_or_init(|| About::of(event));
            return true;
        }
        cause.more.fetch_add(1, Ordering::Relaxed);
        if !self.has_sums.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.summing.get()
        {
            thread.unpark();
        }
        false
    }

    fn cause(&self, key: u64) -> &Cause {
        let begin = key as usize % CAUSES_MAX;
        let places = (begin..CAUSES_MAX).chain(0..begin).map(|place| &self.causes[place]);
        for cause in places {
            let taken = cause.key.compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire);
            if taken.is_ok() || taken == Err(key) {
                return cause;
            }
        }
        &self.causes[begin]
    }

    fn sum_up_forever(&self) {
        // There is only one such thread: a second would find this set.
        let _ = self.summing.set(thread::current());
        loop {
            while !self.has_sums.load(Ordering::Acquire) {
                thread::park();
            }
            thread::sleep(SUM_INTERVAL);
            self.log_sums();
        }
    }

    fn log_sums(&self) {
        self.has_sums.store(false, Ordering::Release);
        for cause in &self.causes {
            let Some(About { level, line }) = cause.about.get() else { continue };
            let more = Grouped(match cause.more.swap(0, Ordering::Relaxed) {
                0 => continue,
                more => more,
            });
            match *level {
                Level::ERROR => tracing::error!("and {more} more: {line}"),
                Level::WARN => tracing::warn!("and {more} more: {line}"),
                _ => tracing::info!("and {more} more: {line}"),
            }
        }
    }
}

/// The state of a cause.
struct Cause {
    key: AtomicU64,
    /// The current second (upper half) and its number of lines (lower half).
    window: AtomicU64,
    /// Suppressed lines that are not in a sum yet.
    more: AtomicU64,
    about: OnceLock<About>,
}

impl Cause {
    const fn new() -> Self {
        Self {
            key: AtomicU64::new(0),
            window: AtomicU64::new(0),
            more: AtomicU64::new(0),
            about: OnceLock::new(),
        }
    }

    /// Counts one more line in this second, and returns whether it is within the limit.
    fn admits(&self, second: u64) -> bool {
        // Seconds count from one, so that the first differs from the initial state.
        let second = (second + 1) << 32;
        let next = |window: u64| match window & !u64::from(u32::MAX) {
            same if same == second && window - same >= LINES_A_SECOND => None,
            same if same == second => Some(window + 1),
            _other => Some(second + 1),
        };
        self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// The text of a sum: the message of the cause's first line, and the fields that distinguish causes.
struct About {
    level: Level,
    line: String,
}

impl About {
    fn of(event: &Event<'_>) -> Self {
        let mut words = Words::default();
        event.record(&mut words);
        let Words { message: mut line, fields } = words;
        if let Some((end, _)) = line.char_indices().nth(MESSAGE_CHARS_MAX) {
            line.truncate(end);
        }
        line += &fields;
        Self { level: *event.metadata().level(), line }
    }
}

fn tells_apart(field: &Field) -> bool {
    matches!(field.name(), "cause" | "status" | "upstream")
}

/// Hashes the fields that distinguish causes of one call site, without formatting any.
struct CauseIn<'a>(&'a mut DefaultHasher);

impl Visit for CauseIn<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if tells_apart(field) {
            value.hash(self.0);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if tells_apart(field) {
            value.hash(self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The text of a sum.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else if tells_apart(field) {
            write!(self.fields, " {field}={value:?}")
        } else {
            Ok(())
        };
    }
}

/// A number with thousands separators: 6,931.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (nth, digit) in digits.chars().enumerate() {
            if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while locked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `log` writes under a limit of its own, followed by the sums.
    fn lines(log: impl FnOnce()) -> Vec<String> {
        let limit: &'static Limit = Box::leak(Box::default());
        let written = Written::default();
        let writer = written.clone();
        let fmt = tracing_subscriber::fmt::layer()
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(fmt).with(Limited(limit));
        tracing::subscriber::with_default(subscriber, || {
            log();
            limit.log_sums();
            limit.log_sums();
        });
        let bytes = std::mem::take(&mut *written.0.lock().expect("no panic while locked"));
        String::from_utf8(bytes).expect("text").lines().map(|line| line.trim().to_owned()).collect()
    }

    /// The lines that contain `text`.
    fn count(lines: &[String], text: &str) -> usize {
        lines.iter().filter(|line| line.contains(text)).count()
    }

    #[test]
    fn what_is_beyond_the_limit_is_summed_up_by_cause() {
        let lines = lines(|| {
            for number in 0..7000 {
                tracing::warn!(target: "iisplice::proxy::session", number, "a client is refused; closing");
            }
            for (status, times) in [(400_u16, 50), (501, 5)] {
                for _ in 0..times {
                    tracing::info!(target: "iisplice::proxy", status, "request refused: {status}");
                }
            }
            for cause in ["late", "malformed"] {
                for _ in 0..22 {
                    tracing::warn!(target: "iisplice::proxy", cause, "no header");
                }
            }
        });
        let refused = count(&lines, "a client is refused; closing number=");
        // The second may have changed in between.
        assert!((20..=200).contains(&refused) && refused.is_multiple_of(20), "{refused}: {lines:#?}");
        let sum = format!("WARN and {} more: a client is refused; closing", Grouped(7000 - refused as u64));
        assert_eq!(count(&lines, &sum), 1, "{sum}: {lines:#?}");
        assert_eq!(count(&lines, "request refused: 501"), 5, "each status has its own limit: {lines:#?}");
        let others = count(&lines, "INFO request refused: 400 status=400");
        assert!(others < 50 && count(&lines, "more: request refused: 400 status=400") == 1, "{lines:#?}");
        for cause in ["late", "malformed"] {
            assert!(count(&lines, &format!("no header cause=\"{cause}\"")) >= 20, "{lines:#?}");
        }
    }

    #[test]
    fn lines_of_the_process_itself_and_those_for_debugging_are_not_limited() {
        let lines = lines(|| {
            for number in 0..40 {
                tracing::warn!(target: "iisplice::control::serve", number, "of the process");
                tracing::warn!(target: "iisplice::proxying", number, "of another room");
                tracing::debug!(target: "iisplice::proxy::session", number, "for debugging");
            }
        });
        for text in ["of the process", "of another room", "for debugging"] {
            assert_eq!(count(&lines, text), 40, "{text}");
        }
    }

    #[test]
    fn each_second_has_its_own_lines() {
        let cause = Cause::new();
        for second in [0, 1, 7] {
            let admitted = (0..100).filter(|_| cause.admits(second)).count();
            assert_eq!(admitted, LINES_A_SECOND as usize, "second {second}");
        }
    }

    #[test]
    fn more_causes_than_there_are_places_share_them() {
        let limit = Limit::default();
        for key in 1..=2 * CAUSES_MAX as u64 {
            limit.cause(key);
        }
        assert_eq!(limit.cause(5).key.load(Ordering::Relaxed), 5, "it keeps its place");
    }

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(1, "1"), (999, "999"), (6931, "6,931"), (1_000_000, "1,000,000")] {
            assert_eq!(Grouped(number).to_string(), text);
        }
    }
}
