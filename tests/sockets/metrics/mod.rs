//! `/metrics`: what it says is what happened, while it happens and afterwards.

mod agreement;
mod documented;
mod live;
mod logins;
mod tls;

use std::collections::BTreeMap;

use crate::admin::Admin;

/// The lines of `/metrics`, by name and labels.
pub(crate) struct Metrics(Vec<(String, BTreeMap<String, String>, f64)>);

impl Metrics {
    pub(crate) fn of(admin: &Admin) -> Self {
        let reply = admin.get("/metrics");
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.field("content-type").starts_with("application/openmetrics-text"), "{reply:?}");
        assert!(reply.body.ends_with("# EOF\n"), "{reply:?}");
        let lines = reply.body.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(parse).collect())
    }

    /// The sum of all lines with this name and these labels among theirs.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.found(name, labels).sum::<f64>() as u64
    }

    /// How many lines have this name and these labels among theirs.
    fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.found(name, labels).count()
    }

    fn found(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| of.get(*label).is_some_and(|found| found == value))
        };
        self.0.iter().filter(move |line| line.0 == name && has(&line.1)).map(|line| line.2)
    }

    /// What every label of this name says, with its sum.
    fn by(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (found, labels, value) in &self.0 {
            if found == name && *value > 0.0 {
                let word = labels.get(label).unwrap_or_else(|| panic!("{name} without {label}"));
                *sums.entry(word.clone()).or_default() += *value as u64;
            }
        }
        sums
    }
}

/// No label here has a quote or a comma in it.
fn parse(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a line: {line}"));
    let value = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
    let Some((name, labels)) = name.split_once('{') else { return (name.to_owned(), BTreeMap::new(), value) };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels without an end: {line}"));
    let pair = |pair: &str| {
        let (label, value) = pair.split_once('=').unwrap_or_else(|| panic!("not a label: {line}"));
        (label.to_owned(), value.trim_matches('"').to_owned())
    };
    (name.to_owned(), labels.split(',').map(pair).collect(), value)
}
