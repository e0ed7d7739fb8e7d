//! W3C extended log files, as IIS and HTTP.sys write them. `#Fields:` names the columns, and may change within a file.

use std::borrow::Cow;

use super::super::entry::{Entry, Read, Unread, address, forwarded_for, hash, path};
use super::super::time;

/// The columns of the rows that follow, by their places.
#[derive(Debug, Default)]
pub(super) struct Fields {
    count: usize,
    date: Option<usize>,
    time: Option<usize>,
    client: Option<usize>,
    /// A custom field with the client's address, where a proxy stands before IIS.
    forwarded: Option<usize>,
    client_port: Option<usize>,
    server: Option<usize>,
    path: Option<usize>,
    user: Option<usize>,
    status: Option<usize>,
    substatus: Option<usize>,
    win32: Option<usize>,
    reply_bytes: Option<usize>,
}

/// Reads the line behind its `#`; `None` if it is another directive.
pub(super) fn fields(directive: &str) -> Option<Fields> {
    let (name, columns) = directive.split_once(':')?;
    if !name.trim().eq_ignore_ascii_case("Fields") {
        return None;
    }
    let mut fields = Fields::default();
    for (place, column) in columns.split_ascii_whitespace().enumerate() {
        fields.count += 1;
        let slot = match column.to_ascii_lowercase().as_str() {
            "date" => &mut fields.date,
            "time" => &mut fields.time,
            "c-ip" => &mut fields.client,
            "x-forwarded-for" | "cs(x-forwarded-for)" | "x-real-ip" | "cs(x-real-ip)" => {
                &mut fields.forwarded
            }
            "c-port" | "remote_port" | "remote-port" | "s-connection" => &mut fields.client_port,
            "s-ip" => &mut fields.server,
            "cs-uri-stem" | "cs-uri" => &mut fields.path,
            "cs-username" => &mut fields.user,
            "sc-status" => &mut fields.status,
            "sc-substatus" => &mut fields.substatus,
            "sc-win32-status" => &mut fields.win32,
            "sc-bytes" => &mut fields.reply_bytes,
            _ => continue,
        };
        slot.get_or_insert(place);
    }
    Some(fields)
}

impl Fields {
    /// Reads a row. IIS writes `+` for blanks within a field, and `-` for none.
    pub(super) fn read<'a>(&self, row: &'a str) -> Read<'a> {
        let columns: Vec<&'a str> = row.split_ascii_whitespace().collect();
        if columns.len() != self.count {
            return Read::Unread(Unread::Columns);
        }
        let given = |place: Option<usize>| place.map(|place| columns[place]).filter(|value| *value != "-");
        if self.client.is_none() || self.status.is_none() {
            return Read::Unread(Unread::Fields);
        }
        let Some(status) = given(self.status) else {
            // HTTP.sys' own log: a connection that ended without a reply.
            return Read::NoRequest;
        };
        let (Ok(status), Some(connected)) = (status.parse(), given(self.client)) else {
            return Read::Unread(Unread::Unknown);
        };
        let client = match given(self.forwarded).and_then(forwarded_for) {
            Some(ip) => Cow::Owned(ip.to_string()),
            None => address(connected).map_or(connected.into(), |(ip, _)| ip.to_string().into()),
        };
        let at = match (given(self.date), given(self.time)) {
            (Some(date), Some(time)) => time::date_and_time(date, time),
            _ => None,
        };
        Read::Request(Entry {
            client,
            at,
            status,
            path: path(given(self.path).unwrap_or_default()).into(),
            substatus: given(self.substatus).and_then(|number| number.parse().ok()),
            win32: given(self.win32).and_then(win32),
            step: None,
            connection: given(self.client_port).map(|port| hash((connected, port))),
            server: given(self.server).map(hash),
            reply_bytes: given(self.reply_bytes).and_then(|bytes| bytes.parse().ok()),
            has_user: given(self.user).is_some(),
        })
    }
}

/// A code, in decimals as IIS writes it (some tools write a signed number), or in hexadecimals.
fn win32(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(digits, 16).ok();
    }
    text.parse::<i64>()
        .ok()
        .and_then(|code| u32::try_from(code).ok().or(i32::try_from(code).ok().map(|code| code as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(columns: &str, row: &'a str) -> Read<'a> {
        fields(&format!("Fields: {columns}")).expect("a #Fields: line").read(row)
    }

    fn entry<'a>(columns: &str, row: &'a str) -> Entry<'a> {
        match read(columns, row) {
            Read::Request(entry) => entry,
            other => panic!("{row}: {other:?}"),
        }
    }

    #[test]
    fn a_row_of_iis_is_read_with_its_codes() {
        let entry = entry(
            "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) \
             sc-status sc-substatus sc-win32-status time-taken",
            "2026-03-02 08:15:42 10.0.0.5 GET /app/a.aspx id=3 80 - 2001:db8::7 Mozilla/5.0 - 401 1 2148074254 15",
        );
        assert_eq!((&*entry.client, entry.status, &*entry.path), ("2001:db8::7", 401, "/app/a.aspx"));
        assert_eq!((entry.substatus, entry.win32), (Some(1), Some(0x8009_030e)));
        assert_eq!((entry.at, entry.has_user, entry.connection), (Some(1_772_439_342), false, None));
    }

    #[test]
    fn the_client_is_the_one_that_a_proxy_named_and_its_port_the_connection() {
        let columns = "c-ip c-port cs-username X-Forwarded-For sc-status";
        let one = entry(columns, "10.0.0.1 4711 CORP\\alice 203.0.113.9,+10.0.0.2 200");
        assert_eq!((&*one.client, one.has_user), ("203.0.113.9", true));
        let other = entry(columns, "10.0.0.1 4712 - - 401");
        assert_eq!((&*other.client, other.has_user), ("10.0.0.1", false));
        assert!(one.connection.is_some() && one.connection != other.connection);
    }

    #[test]
    fn rows_that_do_not_fit_are_not_read() {
        assert_eq!(read("c-ip sc-status", "192.0.2.7 401 5"), Read::Unread(Unread::Columns));
        assert_eq!(read("c-ip time-taken", "192.0.2.7 5"), Read::Unread(Unread::Fields));
        assert_eq!(read("date sc-status", "2026-03-02 401"), Read::Unread(Unread::Fields));
        assert_eq!(read("c-ip sc-status", "192.0.2.7 many"), Read::Unread(Unread::Unknown));
        assert_eq!(read("c-ip sc-status s-reason", "192.0.2.7 - Timer_ConnectionIdle"), Read::NoRequest);
        assert!(fields("Software: Microsoft Internet Information Services 10.0").is_none());
    }

    #[test]
    fn a_code_is_read_in_each_of_its_forms() {
        for text in ["2148074254", "0x8009030e", "0X8009030E", "-2146893042"] {
            assert_eq!(win32(text), Some(0x8009_030e), "{text}");
        }
        assert_eq!(win32("5"), Some(5));
        assert_eq!(win32("99999999999"), None);
    }
}
