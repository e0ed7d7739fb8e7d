//! Fields of a head: which of them go on, and how a line is written.

/// body is passed on as it is framed.
const HOP_BY_HOP: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "te", "upgrade"];
/// Fields that a `Connection` field cannot remove: the next one would read another message.
const FRAMING: [&str; 4] = ["host", "content-length", "transfer-encoding", "authorization"];

/// Lines to take out and to put in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Names of fields to leave out.
    pub remove: Vec<String>,
    /// Fields to put in, in place of any of the same name.
    pub set: Vec<(String, String)>,
}

impl Edits {
    pub(super) fn drops(&self, name: &str) -> bool {
        self.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name))
            || self.set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.set {
            line(out, name, value.as_bytes());
        }
    }
}

/// `Connection` anew, for the connection that this head goes to.
pub(super) fn write_connection(out: &mut Vec<u8>, http11: bool, keep_alive: bool, upgrade: Option<&[u8]>) {
    match (upgrade, http11, keep_alive) {
        (Some(protocols), _, _) => {
            line(out, "Connection", b"Upgrade");
            line(out, "Upgrade", protocols);
        }
        (None, true, false) => line(out, "Connection", b"close"),
        (None, false, true) => line(out, "Connection", b"keep-alive"),
        (None, true, true) | (None, false, false) => {}
    }
}

/// `named`: does the message's own `Connection` field name it?
pub(super) fn is_hop_by_hop(name: &str, named: impl FnOnce(&str) -> bool) -> bool {
    is_one_of(name, &HOP_BY_HOP) || (named(name) && !is_one_of(name, &FRAMING))
}

pub(super) fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

pub(super) fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}
