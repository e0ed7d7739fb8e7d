//! `Connection`: what a message says about the connection it came on (RFC 9110 section 7.6.1), read once.

use std::collections::HashSet;

use super::syntax::trim;

/// The options of all `Connection` fields of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`.
    pub close: bool,
    /// `keep-alive`.
    pub keep_alive: bool,
    /// `upgrade`.
    pub upgrade: bool,
    /// All others, in lower case: names of fields that concern only this connection.
    named: HashSet<Vec<u8>>,
}

impl ConnectionOptions {
    /// Reads the values of the `Connection` fields, each byte once.
    pub fn read<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let mut options = Self::default();
        for item in list_items(values) {
            if item.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if item.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if item.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else {
                options.named.insert(item.to_ascii_lowercase());
            }
        }
        options
    }

    /// Whether this field is named as one that concerns only this connection.
    #[inline]
    pub fn names(&self, field: &str) -> bool {
        // Usually no field is named.
        !self.named.is_empty() && self.named.contains(field.to_ascii_lowercase().as_bytes())
    }
}

/// The items of a list in one or more fields (RFC 9110 section 5.6.1), without empty ones.
pub fn list_items<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> impl Iterator<Item = &'v [u8]> {
    values
        .into_iter()
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_names_of_all_fields() {
        let options = ConnectionOptions::read([&b"Close, ,X-Mine"[..], b" Keep-Alive ,\tx-other,UPGRADE"]);
        assert!(options.close && options.keep_alive && options.upgrade);
        assert!(options.names("X-MINE") && options.names("X-Other"));
        assert!(!options.names("Close") && !options.names("X") && !options.names(""));
    }

    #[test]
    fn empty_items_leave_nothing_to_compare_with() {
        let commas = vec![b','; 60_000];
        assert_eq!(ConnectionOptions::read([&commas[..]]), ConnectionOptions::default());
        let same = b"x-a,".repeat(15_000);
        assert_eq!(ConnectionOptions::read([&same[..]]).named.len(), 1);
    }
}
