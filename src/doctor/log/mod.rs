//! An access log: clients that are not let in, and why.
//!
//! ```text
//! bytes -> lines -> format (combined, IIS W3C, iisplice's) -> Entry -> clients (tries, loops) -> evidence -> cause -> Findings
//! ```
//!
//! A log may be larger than memory: lines, clients, and what is kept of each are bounded. Lines that cannot be read are
//! counted and said. Start with [`read`], then `clients.rs`.

mod cause;
mod clients;
mod codes;
mod entry;
mod evidence;
mod format;
mod id;
mod lines;
mod time;

use std::io::{self, BufRead};
use std::time::{Duration, SystemTime};

pub use id::Id;

use self::clients::{Client, Clients, Loops};
use self::entry::{Read, Unread};
use self::format::{Format, Reader};
use self::lines::{Line, Lines};
use super::{Finding, Findings};
use crate::words;

/// Most clients with a finding of their own.
const FINDINGS_MAX: usize = 20;

/// Most lines that are read before a file in no known format is given up.
const LINES_TO_KNOW: u64 = 100_000;

/// Requests from which on a client's share of 401s says something.
const REQUESTS_TO_JUDGE: u64 = 10;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system's or the pipe's fault.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// No line is in a known format.
    #[error(
        "no line is in a known format; give a log in nginx's combined format, in IIS' W3C format with its #Fields: line, or \
         of iisplice proxy (text, json or combined)"
    )]
    Unknown,
    /// What Windows PowerShell writes.
    #[error("the file is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8 FILE | iisplice doctor --log -")]
    Utf16,
    /// A packed file.
    #[error("the file is compressed; unpack it first: zcat FILE | iisplice doctor --log -")]
    Packed,
}

/// What was counted while reading.
#[derive(Debug, Default)]
struct Counted {
    requests: u64,
    connections: u64,
    formats: [u64; Format::ALL.len()],
    /// Unread lines by reason, with the number of the first.
    unread: [(u64, u64); Unread::ALL.len()],
    since: Option<u64>,
    until: Option<u64>,
}

/// Reads a log to its end.
///
/// # Errors
/// When no line can be read, or the reader fails.
pub fn read(mut from: impl BufRead) -> Result<Findings, Error> {
    refuse_other_files(from.fill_buf()?)?;
    let (mut lines, mut reader) = (Lines::new(from), Reader::default());
    let (mut counted, mut clients) = (Counted::default(), Clients::default());
    loop {
        let number = lines.number + 1;
        let Some(line) = lines.next()? else { break };
        let Line::Whole(line) = line else {
            counted.unread(Unread::TooLong, number);
            continue;
        };
        let line = String::from_utf8_lossy(line);
        let (format, read) = reader.read(&line);
        if let Some(format) = format {
            counted.formats[format as usize] += 1;
        }
        match read {
            Read::Request(entry) => {
                counted.requests += 1;
                counted.since = counted.since.or(entry.at);
                counted.until = entry.at.or(counted.until);
                clients.take(&entry, number);
            }
            Read::Connection => counted.connections += 1,
            Read::NoRequest => {}
            Read::Unread(why) => counted.unread(why, number),
        }
        if number == LINES_TO_KNOW && !counted.knows_a_format() {
            return Err(Error::Unknown);
        }
    }
    if counted.unread_total() > 0 && !counted.knows_a_format() {
        return Err(Error::Unknown);
    }
    Ok(findings(&counted, clients))
}

fn refuse_other_files(head: &[u8]) -> Result<(), Error> {
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Err(Error::Utf16);
    }
    // gzip, zstd, xz, bzip2
    let packed: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"];
    if packed.iter().any(|magic| head.starts_with(magic)) {
        return Err(Error::Packed);
    }
    Ok(())
}

impl Counted {
    fn unread(&mut self, why: Unread, line: u64) {
        let (times, first) = &mut self.unread[why as usize];
        *times += 1;
        if *times == 1 {
            *first = line;
        }
    }

    fn unread_total(&self) -> u64 {
        self.unread.iter().map(|(times, _)| times).sum()
    }

    fn knows_a_format(&self) -> bool {
        self.formats.iter().any(|lines| *lines > 0)
    }
}

fn findings(counted: &Counted, clients: Clients) -> Findings {
    let mut found = Findings::default();
    found.add(what_was_read(counted, &clients));
    if counted.requests == 0 && counted.connections > 0 {
        found.add(Finding::warning(
            Id::NoStatus.as_str(),
            format!(
                "{}, none of requests",
                words::counted(counted.connections, "line of connections", "lines of connections")
            ),
            "in TCP mode the proxy does not read requests, so its log has no statuses and no logins",
            "read the log of IIS, or serve with --mode http",
        ));
    }
    let forgotten_loops = clients.forgotten_loops;
    let clients = clients.finish();
    let looping = clients.iter().filter_map(|(name, client)| Some((name, client, client.loops.as_deref()?)));
    let (shown, more): (Vec<_>, Vec<_>) = looping.enumerate().partition(|(nth, _)| *nth < FINDINGS_MAX);
    for (_, (name, client, loops)) in shown {
        found.add(looped(name, client, loops));
    }
    let more = more.len() as u64 + forgotten_loops;
    if more > 0 {
        found.add(Finding::broken(
            Id::MoreLoops.as_str(),
            format!("{more} more clients are not let in, each with fewer 401s than those above"),
            "many clients at once point to something that they share: a proxy, the site's providers, its SPN",
            "mend the cause that most of the above have in common first, then read the log again from then on",
        ));
    }
    for (name, client) in clients.iter().filter(|(_, client)| logs_in_each_time(client)).take(FINDINGS_MAX) {
        let (refused, others) = (client.refused, client.others);
        found.add(Finding::warning(
            Id::EachRequest.as_str(),
            format!("{name}: {refused} 401s for {others} other replies: about two for each"),
            "every request logs in again, in three round trips: the connection is closed after each reply, or IIS does not \
             keep the login (authPersistSingleRequest, or a Via header)",
            "keep connections open on both sides of the proxy; Get-WebConfigurationProperty -Filter \
             system.webServer/security/authentication/windowsAuthentication -Name authPersistSingleRequest",
        ));
    }
    found
}

fn logs_in_each_time(client: &Client) -> bool {
    let Client { refused, others, loops, .. } = client;
    loops.is_none() && *others >= REQUESTS_TO_JUDGE && refused * 10 >= others * 17
}

fn looped(name: &str, client: &Client, loops: &Loops) -> Finding {
    let cause = cause::of(&loops.evidence);
    let more = if loops.paths_vary { " and others" } else { "" };
    let path = if loops.path.is_empty() { "-" } else { &loops.path };
    let others = match client.others {
        0 => ", and never anything else".to_owned(),
        others => format!("; {}", words::counted(others, "other reply", "other replies")),
    };
    let code = cause::telling_code(&loops.evidence.codes).map_or_else(String::new, |code| {
        format!("; 401.{} with {} (0x{:08X})", code.substatus, code.win32, code.win32)
    });
    let (refused, period) = (loops.refused, period(loops.since, loops.until));
    let saw = format!("{name}: {refused} times 401 for {path}{more}{period}{others}{code}");
    let why = cause.why(&loops.evidence);
    if cause.is_harmless() {
        return Finding::warning(Id::NoCredentials.as_str(), saw, why, cause.fix());
    }
    Finding::broken(Id::Loop.as_str(), saw, why, cause.fix())
}

fn what_was_read(counted: &Counted, clients: &Clients) -> Finding {
    let formats: Vec<_> = Format::ALL
        .into_iter()
        .filter(|format| counted.formats[*format as usize] > 0)
        .map(Format::name)
        .collect();
    let formats = if formats.is_empty() { String::new() } else { format!(" ({})", formats.join(", ")) };
    let forgotten = match clients.forgotten {
        0 => String::new(),
        forgotten => {
            format!("; {} not followed to the end", words::counted(forgotten, "client was", "clients were"))
        }
    };
    let period = period(counted.since, counted.until);
    let requests = words::counted(counted.requests, "request", "requests");
    let saw = format!("{requests}{formats}{period}{forgotten}");
    let unread = counted.unread_total();
    if unread == 0 {
        return Finding::fine(Id::Read.as_str(), saw);
    }
    let reasons = Unread::ALL.into_iter().zip(counted.unread).filter(|(_, (times, _))| *times > 0);
    let reasons: Vec<_> = reasons
        .map(|(why, (times, first))| format!("{times} {} (first: line {first})", why.reason()))
        .collect();
    let lines = words::counted(unread, "line", "lines");
    let saw = format!("{saw}; {lines} could not be read: {}", reasons.join(", "));
    if unread > counted.requests + counted.connections {
        return Finding::warning(
            Id::Read.as_str(),
            saw,
            "what is not read is not judged",
            "give the log of one site as its server writes it: for IIS with the #Fields: line",
        );
    }
    // A few lines that were cut by rotation, or are of something else, are no fault of the site.
    Finding::fine(Id::Read.as_str(), saw)
}

/// `, 2026-03-02T08:15:42Z to 2026-03-02T08:15:45Z`.
fn period(since: Option<u64>, until: Option<u64>) -> String {
    let shown = |at| {
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at));
        at.map_or_else(|| "-".to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string())
    };
    match (since, until) {
        (Some(since), Some(until)) if since != until => format!(", {} to {}", shown(since), shown(until)),
        (Some(at), _) | (_, Some(at)) => format!(", {}", shown(at)),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests;
