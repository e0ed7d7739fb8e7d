//! The access log: one line of text for each session or request.
//!
//! ```text
//! session ends --Record--> LogSender::send (never waits) --channel--> a thread of `control`: Format::append_line -> file
//! ```
//!
//! The data path only moves a [`Record`] into a bounded channel; another thread formats and writes it later. When that
//! thread cannot keep up (a disk that stalls), the channel fills, and further lines are counted as dropped.

mod request_line;
mod values;

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::SystemTime;

use serde::Serialize;

use super::record::{Connect, Record, RequestRecord};
use request_line::RequestLine;
use values::{Number, Value, is_visible, milliseconds};

/// Format of an access log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `key=value` pairs, `-` for a missing value.
    Text,
    /// A JSON object, `null` for a missing value.
    Json,
    /// nginx's `combined`; for requests only.
    Combined,
}

/// A message to the writer.
#[derive(Debug)]
pub enum Entry {
    /// A line for a session.
    Record(Record),
    /// A line for a request.
    Request(Box<RequestRecord>),
    /// No line: the writer checks its other work.
    Wake,
}

/// The sending end of the log; clones feed the same log.
#[derive(Debug, Clone)]
pub struct LogSender {
    entries: SyncSender<Entry>,
    dropped_lines: Arc<AtomicU64>,
}

/// Creates a log that queues at most `records_max` records.
pub fn channel(records_max: usize) -> (LogSender, Receiver<Entry>) {
    let (entries, receiver) = sync_channel(records_max);
    (LogSender { entries, dropped_lines: Arc::default() }, receiver)
}

impl LogSender {
    /// Hands a record to the writer, or counts it as dropped when the channel is full. Never waits.
    pub fn send(&self, record: Record) {
        self.send_entry(Entry::Record(record));
    }

    /// Same as [`send`](Self::send), for a request.
    pub fn send_request(&self, record: RequestRecord) {
        self.send_entry(Entry::Request(Box::new(record)));
    }

    fn send_entry(&self, entry: Entry) {
        if self.entries.try_send(entry).is_err() {
            self.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Wakes the writer. A writer that is behind is awake already. Never waits.
    pub fn wake(&self) {
        match self.entries.try_send(Entry::Wake) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Lines lost since the start, dropped here or by the writer.
    pub fn dropped_lines(&self) -> &Arc<AtomicU64> {
        &self.dropped_lines
    }
}

impl Format {
    /// Appends the line of `record` with its line feed, which is the only one in it.
    pub fn append_line(self, record: &Record, lines: &mut String) {
        let line = Line::new(record);
        // Writing to a String does not fail, nor does serialising numbers and strings.
        match self {
            Self::Text | Self::Combined => drop(write!(lines, "{line}")),
            Self::Json => append_json(&line, lines),
        }
        lines.push('\n');
    }

    /// Same as [`append_line`](Self::append_line), for a request.
    pub fn append_request_line(self, record: &RequestRecord, lines: &mut String) {
        let line = RequestLine::new(record);
        match self {
            Self::Text => drop(write!(lines, "{line}")),
            Self::Json => append_json(&line, lines),
            Self::Combined => request_line::append_combined(record, lines),
        }
        lines.push('\n');
    }
}

/// The fields of a line in order, with the same names in both formats.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    listener: &'a str,
    client: String,
    proxied: Option<String>,
    upstream: Option<&'a str>,
    connect: Option<&'static str>,
    connect_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    duration_ms: f64,
    to_upstream_bytes: u64,
    to_client_bytes: u64,
    spliced: f64,
    end: &'static str,
}

impl<'a> Line<'a> {
    fn new(record: &'a Record) -> Self {
        let bytes = record.upstream_bytes + record.client_bytes;
        let spliced = if bytes == 0 { 0.0 } else { record.spliced_bytes as f64 / bytes as f64 };
        Self {
            // A clock before 1970 is wrong; humantime would panic.
            time: humantime::format_rfc3339_millis(record.started.max(SystemTime::UNIX_EPOCH)).to_string(),
            listener: &record.listener,
            client: record.client.to_string(),
            proxied: record.proxied.as_ref().map(ToString::to_string),
            upstream: record.upstream.as_deref(),
            connect: record.connect.map(Connect::as_str),
            connect_ms: record.connect_time.map(milliseconds),
            first_byte_ms: record.first_byte_time.map(milliseconds),
            duration_ms: milliseconds(record.duration),
            to_upstream_bytes: record.upstream_bytes,
            to_client_bytes: record.client_bytes,
            // Three digits are enough; rounding down keeps `1.0` for sessions where every byte was spliced.
            spliced: (spliced * 1000.0).floor() / 1000.0,
            end: record.end.as_str(),
        }
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "time={} listener={} client={}", self.time, Value(self.listener), Value(&self.client))?;
        write!(f, " proxied={}", Value(self.proxied.as_deref().unwrap_or("-")))?;
        write!(f, " upstream={}", Value(self.upstream.unwrap_or("-")))?;
        write!(f, " connect={}", self.connect.unwrap_or("-"))?;
        write!(f, " connect_ms={} first_byte_ms={}", Number(self.connect_ms), Number(self.first_byte_ms))?;
        write!(f, " duration_ms={:.3}", self.duration_ms)?;
        write!(f, " to_upstream_bytes={} to_client_bytes={}", self.to_upstream_bytes, self.to_client_bytes)?;
        write!(f, " spliced={:.3} end={}", self.spliced, self.end)
    }
}

/// Appends a line as JSON. Escapes also what serde leaves alone but a terminal or a line reader acts on.
fn append_json(line: &impl Serialize, lines: &mut String) {
    // Serialising numbers and strings does not fail.
    let json = serde_json::to_string(line).unwrap_or_default();
    if json.chars().all(is_visible) {
        lines.push_str(&json);
        return;
    }
    for c in json.chars() {
        if is_visible(c) {
            lines.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String does not fail.
                let _ = write!(lines, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proxy::record::End;
    use crate::uring::Address;

    /// The record of a client that was refused immediately.
    fn turned_away() -> Record {
        Record {
            listener: "unix:/run/a b".into(),
            client: Address::Unix(std::path::PathBuf::new()),
            proxied: None,
            upstream: None,
            connect: None,
            connect_time: None,
            first_byte_time: None,
            duration: Duration::from_micros(999),
            upstream_bytes: 0,
            client_bytes: 0,
            spliced_bytes: 0,
            end: End::Refused,
            ..Record::example()
        }
    }

    fn line(record: &Record, format: Format) -> String {
        let mut line = String::new();
        format.append_line(record, &mut line);
        line
    }

    #[test]
    fn a_line_of_text() {
        assert_eq!(
            line(&Record::example(), Format::Text),
            "time=2023-11-14T22:13:20.042Z listener=0.0.0.0:80 client=192.0.2.7:51234 proxied=[2001:db8::7]:4711 \
             upstream=iis2.corp:80 connect=cold connect_ms=1.204 first_byte_ms=12.000 duration_ms=61000.000 \
             to_upstream_bytes=1000 to_client_bytes=2000 spliced=0.666 end=client-close\n"
        );
        assert_eq!(
            line(&turned_away(), Format::Text),
            "time=2023-11-14T22:13:20.042Z listener=\"unix:/run/a b\" client=unix: proxied=- upstream=- connect=- \
             connect_ms=- first_byte_ms=- duration_ms=0.999 to_upstream_bytes=0 to_client_bytes=0 \
             spliced=0.000 end=refused\n"
        );
    }

    #[test]
    fn a_line_of_json() {
        assert_eq!(
            line(&Record::example(), Format::Json),
            "{\"time\":\"2023-11-14T22:13:20.042Z\",\"listener\":\"0.0.0.0:80\",\"client\":\"192.0.2.7:51234\",\
             \"proxied\":\"[2001:db8::7]:4711\",\"upstream\":\"iis2.corp:80\",\"connect\":\"cold\",\"connect_ms\":1.204,\
             \"first_byte_ms\":12.0,\"duration_ms\":61000.0,\"to_upstream_bytes\":1000,\"to_client_bytes\":2000,\
             \"spliced\":0.666,\"end\":\"client-close\"}\n"
        );
        assert_eq!(
            line(&turned_away(), Format::Json),
            "{\"time\":\"2023-11-14T22:13:20.042Z\",\"listener\":\"unix:/run/a b\",\"client\":\"unix:\",\
             \"proxied\":null,\"upstream\":null,\"connect\":null,\"connect_ms\":null,\"first_byte_ms\":null,\"duration_ms\":0.999,\
             \"to_upstream_bytes\":0,\"to_client_bytes\":0,\"spliced\":0.0,\"end\":\"refused\"}\n"
        );
    }

    #[test]
    fn a_client_cannot_forge_a_line_with_its_path() {
        let client = Address::Unix("/tmp/x\ntime=now end=\"\u{1b}[2J".into());
        let record = Record { client, ..Record::example() };
        for format in [Format::Text, Format::Json] {
            let line = line(&record, format);
            assert_eq!(line.chars().filter(|c| c.is_control()).collect::<String>(), "\n", "{line:?}");
        }
        assert!(line(&record, Format::Text).contains("client=\"unix:/tmp/x\\ntime=now end=\\\"\\u{1b}[2J\""));
    }

    #[test]
    fn invisible_and_line_ending_characters_are_escaped_in_both_formats() {
        for c in "\u{7f}\u{85}\u{9b}\u{ad}\u{61c}\u{200b}\u{200e}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0001}".chars() {
            let client = Address::Unix(format!("/tmp/a{c}é𝔸b").into());
            let record = Record { client: client.clone(), ..Record::example() };
            for format in [Format::Text, Format::Json] {
                assert!(!line(&record, format).contains(c), "{c:?} in {format:?}");
            }
            let text = format!("client=\"unix:/tmp/a{}é𝔸b\"", c.escape_unicode());
            assert!(line(&record, Format::Text).contains(&text), "{}", line(&record, Format::Text));
            let json: serde_json::Value = serde_json::from_str(&line(&record, Format::Json)).expect("JSON");
            assert_eq!(json["client"], client.to_string());
        }
    }

    #[test]
    fn a_clock_before_1970_does_not_stop_the_log() {
        let started = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert!(
            line(&Record { started, ..Record::example() }, Format::Text)
                .starts_with("time=1970-01-01T00:00:00.000Z ")
        );
    }

    #[test]
    fn a_full_channel_drops_and_counts_and_does_not_wait() {
        let (sender, receiver) = channel(2);
        for _ in 0..5 {
            sender.send(Record::example());
        }
        sender.wake();
        assert_eq!(sender.dropped_lines().load(Ordering::Relaxed), 3);
        drop(sender);
        assert_eq!(receiver.iter().count(), 2);
    }
}
