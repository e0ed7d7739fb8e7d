//! Host names and what stands under them: routes, certificates.

use std::collections::HashMap;

/// Something for each of many host names, wildcards among them.
#[derive(Debug, Clone)]
pub struct Names<T> {
    exact: HashMap<String, T>,
    /// Under what comes behind the asterisk: `.example.com`.
    wildcard: HashMap<String, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T> Names<T> {
    /// What stands under exactly this name or pattern, to be set; case does not matter.
    pub fn entry(&mut self, name: &str) -> std::collections::hash_map::Entry<'_, String, T> {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix('*') {
            Some(suffix) => self.wildcard.entry(suffix.to_owned()),
            None => self.exact.entry(name),
        }
    }

    /// What stands under this name, which is in lower case: the name itself comes first, then the longest wildcard.
    /// One stands for any number of labels, at least one.
    pub fn get(&self, name: &str) -> Option<&T> {
        let longest_first = || name.match_indices('.').filter(|(at, _)| *at > 0).map(|(at, _)| &name[at..]);
        self.exact.get(name).or_else(|| longest_first().find_map(|suffix| self.wildcard.get(suffix)))
    }

    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_special_name_comes_first() {
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
