//! nginx's and Apache's `combined`, what others put before and behind it, and the common log format.
//!
//! ```text
//! 192.0.2.7 - CORP\alice [02/Mar/2026:08:15:42 +0000] "GET /a HTTP/1.1" 401 1293 "-" "Mozilla/5.0" "203.0.113.9" ...
//! ```

use std::borrow::Cow;

use super::super::entry::{Entry, address, forwarded_for, path};
use super::super::time;

/// Reads a line; `None` if it has another form.
pub(super) fn entry(line: &str) -> Option<Entry<'_>> {
    let (before, rest) = line.split_once(" [")?;
    let (at, rest) = rest.split_once("] ")?;
    let at = time::common(at)?;
    let (request, rest) = quoted(rest.trim_start())?;
    let mut words = rest.split_whitespace();
    let status = words.next()?.parse().ok().filter(|status| *status <= 999)?;
    let reply_bytes = words.next()?.parse().ok();
    let target = request.split(' ').nth(1).unwrap_or(request);
    Some(Entry {
        client: client(before, rest)?,
        at: Some(at),
        status,
        path: Cow::Borrowed(path(target)),
        reply_bytes,
        has_user: before.split_whitespace().last().is_some_and(|user| user != "-"),
        ..Entry::default()
    })
}

/// The client: as a later field of addresses names it, otherwise the first address of the line (a virtual host or what
/// syslog adds may stand before it), otherwise the first word, which is a name.
fn client<'a>(before: &'a str, after: &'a str) -> Option<Cow<'a, str>> {
    if let Some(ip) = forwarded(after) {
        return Some(Cow::Owned(ip));
    }
    let mut words = before.split_whitespace();
    let first = words.clone().next()?;
    match words.find_map(|word| address(word).filter(|(_, port)| port.is_none())) {
        Some((ip, _)) => Some(Cow::Owned(ip.to_string())),
        None => Some(Cow::Borrowed(first)),
    }
}

/// The first address of an `X-Forwarded-For` behind the user agent, as in nginx's format `main`.
fn forwarded(after: &str) -> Option<String> {
    let mut rest = after;
    for nth in 0.. {
        let start = rest.find('"')?;
        let (field, behind) = quoted(&rest[start..])?;
        // The first two are the referer and the user agent, which any client chooses freely.
        if nth >= 2
            && let Some(ip) = forwarded_for(field)
        {
            // Other fields hold addresses with a port: servers.
            let first = field.split(',').next().unwrap_or_default().trim();
            return address(first).is_some_and(|(_, port)| port.is_none()).then(|| ip.to_string());
        }
        rest = behind;
    }
    None
}

/// A field in quotation marks, as written, and what follows it. A backslash escapes (Apache), or begins `\x22` (nginx).
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (String, u16, String) {
        let entry = entry(line).unwrap_or_else(|| panic!("{line}"));
        (entry.client.into_owned(), entry.status, entry.path.into_owned())
    }

    #[test]
    fn lines_of_nginx_apache_and_iisplice_are_read() {
        let expected = ("192.0.2.7".to_owned(), 401, "/a".to_owned());
        let time = "[02/Mar/2026:08:15:42 +0000]";
        for line in [
            format!("192.0.2.7 - - {time} \"GET /a?b=c HTTP/1.1\" 401 1293 \"-\" \"Mozilla/5.0 (X; [1])\""),
            format!("192.0.2.7 - CORP\\x5Calice {time} \"GET /a HTTP/1.1\" 401 1293 \"-\" \"a \\x22b\\x22\""),
            format!("192.0.2.7 - \"anna \\x22b\\x22 c\" {time} \"GET /a HTTP/1.1\" 401 0 \"-\" \"-\""),
            format!("192.0.2.7 - - {time} \"GET /a HTTP/1.1\" 401 -"),
            format!(
                "www.corp.example:443 192.0.2.7 - - {time} \"GET /a HTTP/1.1\" 401 12 \"-\" \"a \\\"b\\\"\""
            ),
            format!(
                "<190>Mar  2 08:15:42 edge nginx: 192.0.2.7 - - {time} \"GET /a HTTP/2.0\" 401 1 \"-\" \"-\""
            ),
            format!("::ffff:192.0.2.7 - - {time} \"GET /a HTTP/1.1\" 401 12 \"-\" \"-\" 0.003 0.002 . -"),
            format!("10.0.0.1 - - {time} \"GET /a HTTP/1.1\" 401 1 \"-\" \"curl\" \"192.0.2.7, 10.0.0.9\""),
            format!("10.0.0.1 - - {time} \"GET /a HTTP/1.1\" 401 1 \"-\" \"curl\" 0.1 \"-\" \"192.0.2.7\""),
            format!("192.0.2.7 - - {time} \"GET /a HTTP/1.1\" 401 1 \"-\" \"10.1.1.1\" \"10.0.0.5:80\""),
            format!("192.0.2.7 - - {time} \"GET /a HTTP/1.1\" 401 1 \"10.1.1.1\" \"-\" \"unknown\""),
        ] {
            assert_eq!(read(&line), expected, "{line}");
        }
        let v6 = format!("2001:db8::7 - - {time} \"GET http://h/a HTTP/1.1\" 401 1 \"-\" \"-\"");
        assert_eq!(read(&v6), ("2001:db8::7".to_owned(), 401, "/a".to_owned()));
        let unix = format!("unix: - - {time} \"\" 400 0 \"-\" \"-\"");
        assert_eq!(read(&unix), ("unix:".to_owned(), 400, String::new()));
        let name = format!("pc7.corp.example - - {time} \"\\x16\\x03\\x01\" 400 0 \"-\" \"-\"");
        assert_eq!(read(&name).0, "pc7.corp.example");
    }

    #[test]
    fn every_cut_of_a_line_is_read_or_not_but_never_panics() {
        let line = "10.0.0.1 - é [02/Mar/2026:08:15:42 +0000] \"GET /ä HTTP/1.1\" 401 12 \"-\" \"ü\\\"\" \"192.0.2.7\"";
        for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
            let _ = entry(&line[..end]);
        }
        for other in [
            "a [b] c",
            "x - - [now] \"GET / HTTP/1.1\" 401 1",
            "1.2.3.4 - - [02/Mar/2026:08:15:42 +0000] \"GET",
        ] {
            assert_eq!(entry(other), None, "{other}");
        }
    }
}
