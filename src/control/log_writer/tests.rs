use std::sync::Mutex;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};

use super::*;
use crate::proxy::record::Record;

/// Longer than anything here takes; only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn record(duration_ms: u64) -> Record {
    Record { duration: Duration::from_millis(duration_ms), ..Record::example() }
}

/// The durations that name the lines, in order.
fn durations(log: &str) -> Vec<&str> {
    let duration =
        |line: &str| line.split(' ').find_map(|field| field.strip_prefix("duration_ms=")).map(str::len);
    assert!(log.is_empty() || log.ends_with('\n'), "a torn line: {log:?}");
    log.lines()
        .map(|line| {
            assert!(duration(line).is_some(), "not a whole line: {line:?}");
            line.split("duration_ms=").nth(1).and_then(|rest| rest.split('.').next()).expect("checked above")
        })
        .collect()
}

fn wait_until(is_so: impl Fn() -> bool, otherwise: &str) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{otherwise}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_record_becomes_a_line_of_the_file_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    std::fs::write(&path, "an older line\n").expect("a file");
    let log = AccessLog { target: LogTarget::File(path.clone()), format: Format::Text };
    let writer = LogWriter::start(&log).expect("a writer");
    let sender = writer.sender();
    for nth in 0..1000 {
        sender.send(record(nth));
    }
    drop(sender);
    assert_eq!(writer.finish(PATIENCE), 0);
    let written = std::fs::read_to_string(&path).expect("the log");
    let written = written.strip_prefix("an older line\n").expect("what was there stays");
    assert_eq!(durations(written), (0..1000).map(|nth| nth.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_file_that_was_moved_away_is_left_alone_after_reopening() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let log = AccessLog { target: LogTarget::File(path.clone()), format: Format::Text };
    let writer = LogWriter::start(&log).expect("a writer");
    let sender = writer.sender();
    sender.send(record(1));
    wait_until(|| std::fs::metadata(&path).is_ok_and(|log| log.len() > 0), "the line was not written");
    std::fs::rename(&path, &moved).expect("the log is there");
    writer.reopen();
    // A reopened file exists immediately, without a line to write.
    wait_until(|| path.exists(), "the log was not reopened");
    sender.send(record(2));
    drop(sender);
    writer.finish(PATIENCE);
    assert_eq!(durations(&std::fs::read_to_string(moved).expect("the old log")), ["1"]);
    assert_eq!(durations(&std::fs::read_to_string(path).expect("the new log")), ["2"]);
}

#[test]
fn a_path_that_cannot_be_opened_is_told_at_start() {
    let log = AccessLog { target: LogTarget::File("/no/such/directory/log".into()), format: Format::Text };
    let error = LogWriter::start(&log).err().expect("no such directory");
    assert!(matches!(error, NoLog::Failed(error) if error.kind() == io::ErrorKind::NotFound));
}

/// An output that counts writes.
struct Counted(Arc<AtomicU64>);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that follow each other within tens of microseconds, as those of a busy worker do.
#[test]
fn lines_that_follow_each_other_share_a_write() {
    const LINES: u64 = 500;
    // A host that stalls between the lines spreads them: one attempt of several is enough.
    let attempts: Vec<u64> = (0..5)
        .map(|_| {
            let count = Arc::default();
            let writer = LogWriter::spawn(Box::new(Counted(Arc::clone(&count))), None, Format::Text)
                .expect("a writer");
            for nth in 0..LINES {
                writer.sender().send(record(nth));
                thread::sleep(Duration::from_micros(1));
            }
            assert_eq!(writer.finish(PATIENCE), 0);
            count.load(Ordering::Relaxed)
        })
        .collect();
    assert!(attempts.iter().any(|writes| *writes < LINES / 4), "{attempts:?} writes for {LINES} lines");
}

/// An output that reports each write, and waits for permission.
struct Stalled {
    writing: SyncSender<()>,
    go_on: Receiver<()>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Stalled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // If either end is gone, the test is over.
        let _ = self.writing.send(());
        let _ = self.go_on.recv();
        self.written.lock().expect("no panic while locked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_stalls_drops_lines_and_stops_no_connection() {
    let (writing, is_writing) = sync_channel(0);
    let (let_go, go_on): (Sender<()>, _) = channel();
    let written = Arc::default();
    let output = Box::new(Stalled { writing, go_on, written: Arc::clone(&written) });
    let writer = LogWriter::spawn(output, None, Format::Text).expect("a writer");
    let sender = writer.sender();
    sender.send(record(0));
    is_writing.recv().expect("the writer writes");
    // The writer is blocked in write(2) now: what does not fit into the channel is dropped, and `send` returns.
    for nth in 1..=RECORDS_MAX + 10 {
        sender.send(record(nth as u64));
    }
    assert_eq!(sender.dropped_lines().load(Ordering::Relaxed), 10);
    drop((sender, is_writing, let_go));
    assert_eq!(writer.finish(PATIENCE), 10);
    let written = written.lock().expect("no panic while locked");
    assert_eq!(durations(std::str::from_utf8(&written).expect("text")).len(), RECORDS_MAX + 1);
}

#[test]
fn a_writer_that_never_comes_back_does_not_hold_up_the_end() {
    let (writing, is_writing) = sync_channel(0);
    let (let_go, go_on): (Sender<()>, _) = channel();
    let output = Box::new(Stalled { writing, go_on, written: Arc::default() });
    let writer = LogWriter::spawn(output, None, Format::Text).expect("a writer");
    writer.sender().send(record(0));
    is_writing.recv().expect("the writer writes");
    writer.finish(Duration::from_millis(1));
    drop(let_go);
}

/// The result of each write in turn: a number of bytes taken, or an error.
struct Scripted(std::vec::IntoIter<Result<usize, i32>>, Arc<Mutex<Vec<u8>>>);

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.next() {
            Some(Ok(taken)) => {
                let taken = taken.min(bytes.len());
                self.1.lock().expect("no panic while locked").extend(&bytes[..taken]);
                Ok(taken)
            }
            Some(Err(errno)) => Err(io::Error::from_raw_os_error(errno)),
            None => {
                self.1.lock().expect("no panic while locked").extend(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines after a script of writes: what was written, how many were dropped, and the results of the flushes.
fn scripted(script: Vec<Result<usize, i32>>, flushes: &[&str]) -> (String, u64, Vec<bool>) {
    let written = Arc::default();
    let dropped = Arc::default();
    let mut lines =
        Lines::new(Box::new(Scripted(script.into_iter(), Arc::clone(&written))), Arc::clone(&dropped));
    let mut results = Vec::new();
    for flush in flushes {
        lines.buffered.push_str(flush);
        results.push(lines.flush().is_ok());
    }
    let written = written.lock().expect("no panic while locked").clone();
    (String::from_utf8(written).expect("text"), dropped.load(Ordering::Relaxed), results)
}

#[test]
fn a_short_or_interrupted_write_goes_on_where_it_was() {
    let script = vec![Ok(3), Err(libc::EINTR), Ok(1)];
    assert_eq!(scripted(script, &["one\ntwo\n"]), ("one\ntwo\n".to_owned(), 0, vec![true]));
}

#[test]
fn a_full_disk_drops_what_was_not_written_and_tears_no_later_line() {
    let script = vec![Ok(5), Err(libc::ENOSPC)];
    assert_eq!(
        scripted(script, &["one\ntwo\nthree\n", "four\n"]),
        ("one\nt\nfour\n".to_owned(), 2, vec![false, true])
    );
    let all_fails = vec![Err(libc::ENOSPC), Err(libc::EIO)];
    assert_eq!(
        scripted(all_fails, &["one\n", "two\n", "three\n"]),
        ("three\n".to_owned(), 2, vec![false, false, true])
    );
    // The line feed that ends a torn line also fails.
    let twice = vec![Ok(1), Err(libc::ENOSPC), Err(libc::ENOSPC)];
    assert_eq!(
        scripted(twice, &["one\n", "two\n", "three\n"]),
        ("o\nthree\n".to_owned(), 2, vec![false, false, true])
    );
    let takes_nothing = vec![Ok(0)];
    assert_eq!(scripted(takes_nothing, &["one\n", "two\n"]), ("two\n".to_owned(), 1, vec![false, true]));
}
