//! iisplice's own lines, text and JSON: of a request, or of a connection.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::entry::{Entry, Read, Unread, address, hash, path};
use super::super::time;
use crate::protocol::login::Step;

/// The fields that matter here. Others are left alone, so that lines of later versions are read too.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client: Option<Cow<'a, str>>,
    #[serde(borrow)]
    listener: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    target: Option<Cow<'a, str>>,
    status: Option<u16>,
    reply_bytes: Option<u64>,
    #[serde(borrow)]
    upstream: Option<Cow<'a, str>>,
    #[serde(borrow)]
    request: Option<Cow<'a, str>>,
    #[serde(borrow)]
    step: Option<Cow<'a, str>>,
    #[serde(borrow)]
    end: Option<Cow<'a, str>>,
}

/// Reads a line of JSON; a prefix that a journal or a container's log adds is passed over.
pub(super) fn json(line: &str) -> Option<Read<'_>> {
    let start = line.find('{').filter(|start| line.ends_with('}') && !line[..*start].contains('"'))?;
    let fields: Fields<'_> = serde_json::from_str(&line[start..]).ok()?;
    fields.read()
}

/// Reads a line of `key=value`; a prefix is passed over.
pub(super) fn text(line: &str) -> Option<Read<'_>> {
    let start = match line.strip_prefix("time=") {
        Some(_) => 0,
        None => line.find(" time=")? + 1,
    };
    let mut fields = Fields::default();
    let mut rest = &line[start..];
    while !rest.is_empty() {
        let (key, value, behind) = pair(rest)?;
        rest = behind;
        if value == "-" {
            continue;
        }
        match key {
            "time" => fields.time = Some(value),
            "client" => fields.client = Some(value),
            "listener" => fields.listener = Some(value),
            "user" => fields.user = Some(value),
            "target" => fields.target = Some(value),
            "status" => fields.status = Some(value.parse().ok()?),
            "reply_bytes" => fields.reply_bytes = value.parse().ok(),
            "upstream" => fields.upstream = Some(value),
            "request" => fields.request = Some(value),
            "step" => fields.step = Some(value),
            "end" => fields.end = Some(value),
            _ => {}
        }
    }
    fields.read()
}

impl<'a> Fields<'a> {
    fn read(self) -> Option<Read<'a>> {
        // What makes the line one of iisplice's.
        let (Some(at), Some(client), Some(_), Some(_)) = (self.time, self.client, self.listener, self.end)
        else {
            return None;
        };
        let Some(status) = self.status else { return Some(Read::Connection) };
        if status > 999 {
            return Some(Read::Unread(Unread::Unknown));
        }
        // `NUMBER-NTH`: the connection, and its requests counted.
        let connection = self.request.as_deref().and_then(|request| request.rsplit_once('-'));
        let client = match address(&client) {
            Some((ip, _)) => Cow::Owned(ip.to_string()),
            None => client,
        };
        Some(Read::Request(Entry {
            client,
            at: time::rfc3339(&at),
            status,
            path: match self.target {
                Some(Cow::Borrowed(target)) => Cow::Borrowed(path(target)),
                Some(Cow::Owned(target)) => Cow::Owned(path(&target).to_owned()),
                None => Cow::Borrowed(""),
            },
            step: self.step.as_deref().and_then(step),
            connection: connection.map(|(connection, _)| hash(connection)),
            server: self.upstream.as_deref().map(hash),
            reply_bytes: self.reply_bytes,
            has_user: self.user.is_some(),
            ..Entry::default()
        }))
    }
}

fn step(word: &str) -> Option<Step> {
    Step::ALL.into_iter().find(|step| step.as_str() == word)
}

/// The first `key=value` or `key="value"`, and what follows.
fn pair(text: &str) -> Option<(&str, Cow<'_, str>, &str)> {
    let text = text.trim_start();
    let (key, rest) = text.split_once('=')?;
    if key.is_empty() || key.contains([' ', '"']) {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        return Some((key, Cow::Borrowed(value), behind.trim_start()));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((key, Cow::Owned(value), quoted[at + 1..].trim_start())),
            // What the backslash stands before is as good here as what it stands for.
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "time=2026-03-02T08:15:42.118Z listener=0.0.0.0:80 client=[2001:db8::7]:51234 \
                           user=\"CORP\\\\alice\" method=GET target=\"/a?b=\\\"c\\\"\" status=401 request_bytes=213 \
                           reply_bytes=561 total_ms=0.912 upstream_ms=0.897 upstream=iis1:80 request=3a9df1c200e1-2 \
                           step=type1 mechanism=ntlm end=ok";
    const CONNECTION: &str = "time=2026-03-02T08:15:42.118Z listener=\"unix:/run/a b\" client=unix: proxied=- \
                              upstream=- connect_ms=- first_byte_ms=- duration_ms=0.999 to_upstream_bytes=0 \
                              to_client_bytes=0 spliced=0.000 end=refused";

    fn request(line: &str) -> Entry<'_> {
        match text(line).or_else(|| json(line)) {
            Some(Read::Request(entry)) => entry,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn lines_of_both_forms_say_the_same() {
        let in_text = request(REQUEST);
        assert_eq!((&*in_text.client, in_text.status, &*in_text.path), ("2001:db8::7", 401, "/a"));
        assert_eq!((in_text.step, in_text.at), (Some(Step::Type1), Some(1_772_439_342)));
        assert_eq!((in_text.reply_bytes, in_text.has_user), (Some(561), true));
        let json = "{\"time\":\"2026-03-02T08:15:42.118Z\",\"listener\":\"0.0.0.0:80\",\
                    \"client\":\"[2001:db8::7]:51234\",\"user\":\"CORP\\\\alice\",\"method\":\"GET\",\
                    \"target\":\"/a?b=\\\"c\\\"\",\"status\":401,\"request_bytes\":213,\"reply_bytes\":561,\
                    \"total_ms\":0.9,\"upstream_ms\":null,\"upstream\":\"iis1:80\",\"request\":\"3a9df1c200e1-2\",\
                    \"step\":\"type1\",\"mechanism\":\"ntlm\",\"end\":\"ok\"}";
        assert_eq!(request(json), in_text);
        assert_eq!(request(&format!("Mar 02 08:15:42 edge iisplice[7]: {REQUEST}")), in_text);
        assert_eq!(request(&format!("Mar 02 08:15:42 edge iisplice[7]: {json}")), in_text);
    }

    #[test]
    fn a_line_of_a_connection_is_known_as_such() {
        assert_eq!(text(CONNECTION), Some(Read::Connection));
        let json_line = "{\"time\":\"2026-03-02T08:15:42.118Z\",\"listener\":\"a\",\"client\":\"unix:\",\
                         \"upstream\":null,\"connect_ms\":null,\"end\":\"refused\"}";
        assert_eq!(json(json_line), Some(Read::Connection));
    }

    #[test]
    fn every_cut_of_a_line_is_read_or_not_but_never_panics() {
        for line in [REQUEST, CONNECTION] {
            for end in 0..line.len() {
                let _ = text(&line[..end]);
            }
        }
        for other in ["time=now", "{}", "{\"status\":401}", "{\"status\":\"many\"}", "a time=b", "time=\"a\\"]
        {
            assert!(text(other).or_else(|| json(other)).is_none(), "{other}");
        }
    }
}
