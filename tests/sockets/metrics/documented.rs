//! The page about metrics has every metric as it is exported, and the alert rules and the dashboard name no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use iisplice::mock::settings::{Accounts, Settings};
use iisplice::mock::{self, Mock};
use tempfile::TempDir;

use super::agreement::load;
use super::parse;
use crate::admin::start;
use crate::support::{Identity, Launch};

/// Labels that Prometheus and its functions add.
const OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

/// A family: what kind it is, what it says of itself, and the labels of its lines.
#[derive(Debug, PartialEq, Eq)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The families of the text by the names that queries use; a histogram by its own.
fn exported(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut helps = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name.to_owned(), help.to_owned());
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            last = format!("{name}{suffix}");
            let help = helps.remove(name).unwrap_or_else(|| panic!("{name} without help"));
            let labels = BTreeSet::new();
            families.insert(last.clone(), Family { kind: kind.to_owned(), help, labels });
        } else if !line.starts_with('#') {
            let (name, labels, _) = parse(line);
            let family = families.get_mut(&last).expect("its type comes first");
            assert!(name.starts_with(&last), "{line}");
            family.labels.extend(labels.into_keys().filter(|label| label != "le"));
        }
    }
    families
}

/// The rows of the page's tables of metrics.
fn documented() -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    for line in read("docs/metrics.md").lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, help] = cells[..] else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else { continue };
        let labels = labels.split(", ").filter_map(|label| label.strip_prefix('`')?.strip_suffix('`'));
        let labels = labels.map(str::to_owned).collect();
        let family = Family { kind: kind.to_owned(), help: help.to_owned(), labels };
        assert!(families.insert(name.to_owned(), family).is_none(), "{name} is there twice");
    }
    families
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn site() -> Mock {
    let mut accounts = Accounts::default();
    accounts.add("CORP", "alice", "secret");
    let listeners = vec!["127.0.0.1:0".parse().expect("an address")];
    mock::start(Settings::new(listeners, accounts)).expect("a mock")
}

/// Everything that can have a line has one: TLS with clients, requests, logins.
fn seen() -> BTreeMap<String, Family> {
    let site = site();
    let directory = TempDir::new().expect("a directory for temporary files");
    let identity = Identity::make(directory.path(), "front", &["127.0.0.1"]);
    let launch = Launch::to(&site.addresses()[0].to_string()).flags(&identity.flags());
    let (proxy, admin) = start(launch.flags("--mode http"));
    let url = format!("https://{}/whoami", proxy.address());
    load(&url, "ntlm", &["--ca", &identity.certificate.display().to_string()]);
    exported(&admin.get("/metrics").body)
}

#[test]
fn the_page_has_every_metric_as_it_is_exported() {
    let (exported, documented) = (seen(), documented());
    for (name, family) in &exported {
        let row = documented.get(name).unwrap_or_else(|| panic!("docs/metrics.md: add {name}: {family:?}"));
        assert_eq!((&row.kind, &row.help), (&family.kind, &family.help), "{name}");
        // Some labels have lines only where something has happened there.
        assert!(row.labels.is_superset(&family.labels), "{name}: {row:?} {family:?}");
    }
    let gone: Vec<_> = documented.keys().filter(|name| !exported.contains_key(*name)).collect();
    assert!(gone.is_empty(), "docs/metrics.md: {gone:?} are not exported");
}

/// The metrics that a text names, each with the labels that it selects by.
fn named(text: &str) -> BTreeSet<(String, Vec<String>)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for prefix in ["iisplice_", "process_"] {
        for (at, _) in text.match_indices(prefix) {
            if text[..at].ends_with(is_part) {
                continue;
            }
            let rest = &text[at..];
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let matchers = rest[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let matchers = matchers.map_or("", |(inside, _)| inside);
            let labels = matchers.split(',').filter_map(|one| one.split(['=', '!']).next());
            let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned).collect();
            found.insert((rest[..end].to_owned(), labels));
        }
    }
    found
}

#[test]
fn rules_and_panels_name_exported_metrics_and_their_labels_only() {
    let documented = documented();
    for path in ["deploy/monitoring/alerts.yml", "deploy/monitoring/grafana.json"] {
        let named = named(&read(path));
        assert!(named.len() > 10, "{path}: {named:?}");
        for (name, labels) in named {
            let of_histogram =
                ["_bucket", "_count", "_sum"].iter().filter_map(|part| name.strip_suffix(part));
            let mut histograms = of_histogram
                .filter(|name| documented.get(*name).is_some_and(|family| family.kind == "histogram"));
            let family = documented.get(&name).or_else(|| documented.get(histograms.next()?));
            let family = family.unwrap_or_else(|| panic!("{path}: {name} is not exported"));
            for label in labels {
                let is_known = OF_PROMETHEUS.contains(&&*label) || family.labels.contains(&label);
                assert!(is_known, "{path}: {name} has no label {label}");
            }
        }
    }
}

#[test]
fn the_page_and_the_rules_have_the_same_alerts() {
    let rules = read("deploy/monitoring/alerts.yml");
    let rules: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `Iisplice")?.split_once('`'));
    let rows: BTreeSet<_> = rows.map(|(name, _)| format!("Iisplice{name}")).collect();
    assert_eq!(rows, rules.into_iter().map(str::to_owned).collect());
}
