//! The formats of access logs. Each line is read by itself, because logs are rotated, appended to each other and mixed.

mod combined;
mod own;
mod w3c;

use super::entry::{Read, Unread};

/// A format of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Combined,
    W3c,
    OwnText,
    OwnJson,
}

impl Format {
    pub(super) const ALL: [Self; 4] = [Self::W3c, Self::Combined, Self::OwnText, Self::OwnJson];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Combined => "combined",
            Self::W3c => "IIS W3C",
            Self::OwnText => "iisplice text",
            Self::OwnJson => "iisplice JSON",
        }
    }
}

/// Reads lines of all formats; remembers the last `#Fields:`.
#[derive(Debug, Default)]
pub(super) struct Reader {
    fields: Option<w3c::Fields>,
}

impl Reader {
    /// Reads a line, and says which format it is in, if it is in one.
    pub(super) fn read<'a>(&mut self, line: &'a str) -> (Option<Format>, Read<'a>) {
        let line = line.trim_matches(|c: char| c == ' ' || c == '\t' || c == '\0');
        if line.is_empty() {
            return (None, Read::NoRequest);
        }
        if let Some(directive) = line.strip_prefix('#') {
            let fields = w3c::fields(directive);
            // Many files have comments; only this line makes one a log.
            let format = fields.is_some().then_some(Format::W3c);
            self.fields = fields.or(self.fields.take());
            return (format, Read::NoRequest);
        }
        if let Some(read) = own::json(line) {
            return (Some(Format::OwnJson), read);
        }
        if let Some(read) = own::text(line) {
            return (Some(Format::OwnText), read);
        }
        if let Some(entry) = combined::entry(line) {
            return (Some(Format::Combined), Read::Request(entry));
        }
        match &self.fields {
            Some(fields) => (Some(Format::W3c), fields.read(line)),
            None => (None, Read::Unread(Unread::Unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_may_change_from_line_to_line() {
        let mut reader = Reader::default();
        let mut status = |line| match reader.read(line) {
            (Some(format), Read::Request(entry)) => Some((format, entry.status)),
            _ => None,
        };
        let row = "2026-03-02 08:15:42 10.0.0.5 GET /a - 80 - 192.0.2.7 Mozilla/5.0+(a;+[b]) - 401 2 5 3";
        assert_eq!(status(row), None, "no #Fields: yet");
        let fields = "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip \
                      cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken";
        assert_eq!(status(fields), None);
        assert_eq!(status(row), Some((Format::W3c, 401)));
        let combined = "192.0.2.7 - - [02/Mar/2026:08:15:42 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"curl\"";
        assert_eq!(status(combined), Some((Format::Combined, 200)));
        assert_eq!(status(row), Some((Format::W3c, 401)));
        assert_eq!(status("#Fields: c-ip sc-status"), None);
        assert_eq!(status("192.0.2.7 403"), Some((Format::W3c, 403)));
        assert_eq!(reader.read(row).1, Read::Unread(Unread::Columns));
    }
}
