//! Values by host name, for routes and certificates.

use std::collections::HashMap;

/// A map from host names, including wildcards, to values.
#[derive(Debug, Clone)]
pub struct Names<T> {
    exact: HashMap<String, T>,
    /// Keyed by the part behind the asterisk: `.example.com`.
    wildcard: HashMap<String, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T> Names<T> {
    /// The entry for exactly this name or pattern; case does not matter.
    pub fn entry(&mut self, name: &str) -> std::collections::hash_map::Entry<'_, String, T> {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix('*') {
            Some(suffix) => self.wildcard.entry(suffix.to_owned()),
            None => self.exact.entry(name),
        }
    }

    /// The value for this name, which is in lower case: an exact name wins, then the longest wildcard. A wildcard
    /// stands for one or more labels.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.matches(name).next()
    }

    /// The values of all entries that this name matches, in the order in which [`get`](Self::get) looks for one.
    pub fn matches<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a T> {
        let longest_first = name.match_indices('.').filter(|(at, _)| *at > 0).map(|(at, _)| &name[at..]);
        self.exact.get(name).into_iter().chain(longest_first.filter_map(|suffix| self.wildcard.get(suffix)))
    }

    /// Every entry, as it was written, in lower case.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        let wildcards = self.wildcard.keys().map(|suffix| format!("*{suffix}"));
        self.exact.keys().cloned().chain(wildcards)
    }

    /// The same names, each with what `change` makes of its value.
    pub fn map<U>(&self, mut change: impl FnMut(&T) -> U) -> Names<U> {
        let mut changed = |values: &HashMap<String, T>| {
            values.iter().map(|(name, value)| (name.clone(), change(value))).collect()
        };
        Names { exact: changed(&self.exact), wildcard: changed(&self.wildcard) }
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.wildcard.values())
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_name_wins() {
        let mut names = Names::default();
        for name in ["Example.com", "*.example.com", "*.eu.example.com", "www.eu.example.com"] {
            names.entry(name).or_insert(name);
        }
        for (name, expected) in [
            ("example.com", Some("Example.com")),
            ("www.example.com", Some("*.example.com")),
            ("a.b.example.com", Some("*.example.com")),
            ("eu.example.com", Some("*.example.com")),
            ("www.eu.example.com", Some("www.eu.example.com")),
            ("ftp.eu.example.com", Some("*.eu.example.com")),
            (".example.com", None),
            ("badexample.com", None),
            ("com", None),
            ("", None),
        ] {
            assert_eq!(names.get(name).copied(), expected, "{name}");
        }
    }
}
