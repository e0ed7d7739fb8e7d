//! The access log line of a request.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::time::SystemTime;

use serde::Serialize;

use super::values::{Number, Value, milliseconds};
use crate::protocol::login::Mechanism;
use crate::proxy::record::{Connect, RequestRecord};
use crate::uring::Address;

/// The fields of a line in order, with the same names in both formats.
#[derive(Serialize)]
pub(super) struct RequestLine<'a> {
    time: String,
    listener: &'a str,
    client: String,
    user: Option<&'a str>,
    method: Option<&'a str>,
    target: Option<Cow<'a, str>>,
    status: u16,
    request_bytes: u64,
    reply_bytes: u64,
    total_ms: f64,
    upstream_ms: Option<f64>,
    upstream: Option<&'a str>,
    connect: Option<&'static str>,
    request: String,
    step: &'static str,
    mechanism: Option<&'static str>,
    end: &'static str,
}

impl<'a> RequestLine<'a> {
    pub(super) fn new(record: &'a RequestRecord) -> Self {
        let (connection, number) = record.id;
        Self {
            // A clock before 1970 is wrong; humantime would panic.
            time: humantime::format_rfc3339_millis(record.started.max(SystemTime::UNIX_EPOCH)).to_string(),
            listener: &record.listener,
            client: record.client.to_string(),
            user: record.user.as_deref(),
            method: record.request.as_ref().map(|request| &*request.method),
            target: record.request.as_ref().map(|request| text(&request.target)),
            status: record.status,
            request_bytes: record.request_bytes,
            reply_bytes: record.reply_bytes,
            total_ms: milliseconds(record.total_time),
            upstream_ms: record.upstream_time.map(milliseconds),
            upstream: record.upstream.as_deref(),
            connect: record.connect.map(Connect::as_str),
            request: format!("{connection:016x}-{number}"),
            step: record.step.as_str(),
            mechanism: record.mechanism.map(Mechanism::as_str),
            end: record.end.as_str(),
        }
    }
}

impl Display for RequestLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn word(word: Option<&str>) -> Value<'_> {
            Value(word.unwrap_or("-"))
        }
        write!(f, "time={} listener={} client={}", self.time, Value(self.listener), Value(&self.client))?;
        write!(
            f,
            " user={} method={} target={}",
            word(self.user),
            word(self.method),
            word(self.target.as_deref())
        )?;
        write!(f, " status={} request_bytes={}", self.status, self.request_bytes)?;
        write!(f, " reply_bytes={} total_ms={:.3}", self.reply_bytes, self.total_ms)?;
        write!(f, " upstream_ms={} upstream={}", Number(self.upstream_ms), word(self.upstream))?;
        write!(f, " connect={}", self.connect.unwrap_or("-"))?;
        write!(f, " request={} step={} mechanism={}", self.request, self.step, word(self.mechanism))?;
        write!(f, " end={}", self.end)
    }
}

/// Appends nginx's `log_format combined`, which most log readers know:
/// `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`.
/// The time is UTC.
pub(super) fn append_combined(record: &RequestRecord, lines: &mut String) {
    let client = match &record.client {
        Address::Ip(address) => address.ip().to_canonical().to_string(),
        Address::Unix(_) => "unix:".to_owned(),
    };
    let body_bytes = record.reply_bytes.saturating_sub(record.reply_head_bytes);
    let user = record.user.as_deref().unwrap_or("-");
    // Unquoted, a user name with spaces would read as several fields.
    let mark = if user.contains(' ') { "\"" } else { "" };
    let user = Quoted(user.as_bytes());
    // Writing to a String does not fail.
    let _ = write!(lines, "{client} - {mark}{user}{mark} [{}] \"", clf_time(record.started));
    let words = record.request.as_ref();
    if let Some(request) = words {
        let version = if request.is_http11 { "HTTP/1.1" } else { "HTTP/1.0" };
        let _ = write!(lines, "{} {} {version}", Quoted(request.method.as_bytes()), Quoted(&request.target));
    }
    let referer = Quoted(words.and_then(|request| request.referer.as_deref()).unwrap_or(b"-"));
    let user_agent = Quoted(words.and_then(|request| request.user_agent.as_deref()).unwrap_or(b"-"));
    let _ = write!(lines, "\" {} {body_bytes} \"{referer}\" \"{user_agent}\"", record.status);
}

/// Bytes as text; bytes that are not UTF-8 become `\xXX`.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String does not fail.
            let _ = write!(text, "\\x{byte:02X}");
        }
    }
    text.into()
}

/// `23/Nov/2026:18:05:00 +0000`, converted from an HTTP date: `Mon, 23 Nov 2026 18:05:00 GMT`.
fn clf_time(time: SystemTime) -> String {
    let date = httpdate::fmt_http_date(time.max(SystemTime::UNIX_EPOCH));
    match date.split(' ').collect::<Vec<_>>()[..] {
        [_, day, month, year, time, _] => format!("{day}/{month}/{year}:{time} +0000"),
        _ => date,
    }
}

/// Text for quotation marks, escaped as nginx does: `\xXX` for bytes that could end it or are not printable.
struct Quoted<'a>(&'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        for run in self.0.chunk_by(|one, next| is_plain(one) == is_plain(next)) {
            match std::str::from_utf8(run) {
                Ok(text) if run.first().is_some_and(is_plain) => f.write_str(text)?,
                _ => run.iter().try_for_each(|byte| write!(f, "\\x{byte:02X}"))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::access_log::Format;

    fn line(record: &RequestRecord, format: Format) -> String {
        let mut line = String::new();
        format.append_request_line(record, &mut line);
        line
    }

    #[test]
    fn a_request_in_every_format() {
        assert_eq!(
            line(&RequestRecord::example(), Format::Text),
            "time=2023-11-14T22:13:20.042Z listener=0.0.0.0:80 client=192.0.2.7:51234 user=\"CORP\\\\alice\" \
             method=GET target=\"/a?b=\\\"c\\\"\" status=200 request_bytes=120 reply_bytes=1200 total_ms=1.500 \
             upstream_ms=1.204 upstream=iis1:80 connect=warm request=00000000000000ab-3 step=type3-ok mechanism=ntlm end=ok\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&line(&RequestRecord::example(), Format::Json)).expect("JSON");
        assert_eq!(json["target"], "/a?b=\"c\"");
        assert_eq!(json["user"], "CORP\\alice");
        assert_eq!(json["total_ms"], 1.5);
        assert_eq!(
            line(&RequestRecord::example(), Format::Combined),
            "192.0.2.7 - CORP\\x5Calice [14/Nov/2023:22:13:20 +0000] \"GET /a?b=\\x22c\\x22 HTTP/1.1\" 200 1000 \"-\" \
             \"curl/8\\x0A\\x1B[2J\"\n"
        );
    }

    #[test]
    fn a_target_that_is_not_utf_8_is_escaped() {
        let mut record = RequestRecord::example();
        if let Some(words) = &mut record.request {
            words.target = (*b"/M\xfcller?\xc3\xbc").into();
        }
        let text = line(&record, Format::Text);
        assert!(text.contains(" target=\"/M\\\\xFCller?\u{fc}\" "), "{text}");
        let json: serde_json::Value = serde_json::from_str(&line(&record, Format::Json)).expect("JSON");
        assert_eq!(json["target"], "/M\\xFCller?\u{fc}");
        let combined = line(&record, Format::Combined);
        assert!(combined.contains("\"GET /M\\xFCller?\\xC3\\xBC HTTP/1.1\""), "{combined}");
    }

    #[test]
    fn a_user_of_several_words_is_one_field() {
        let record = RequestRecord { user: Some("CORP\\anna \"b\" c".into()), ..RequestRecord::example() };
        let combined = line(&record, Format::Combined);
        assert!(combined.starts_with("192.0.2.7 - \"CORP\\x5Canna \\x22b\\x22 c\" [14/"), "{combined}");
    }

    #[test]
    fn an_unparsable_request_has_a_line() {
        let unread = RequestRecord {
            request: None,
            user: None,
            upstream: None,
            status: 400,
            ..RequestRecord::example()
        };
        assert!(line(&unread, Format::Text).contains(" user=- method=- target=- status=400 "));
        assert!(line(&unread, Format::Combined).contains(" - - [14/Nov/2023:22:13:20 +0000] \"\" 400 "));
        for format in [Format::Text, Format::Json, Format::Combined] {
            assert_eq!(
                line(&RequestRecord::example(), format)
                    .chars()
                    .filter(|c| c.is_control())
                    .collect::<String>(),
                "\n"
            );
        }
    }
}
