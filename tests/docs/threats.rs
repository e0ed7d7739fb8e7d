//! What is said to stop an attacker is shown by a test that exists.

use std::fs;

use super::page::{Page, repository};

#[test]
fn each_threat_is_answered_by_a_test_that_exists() {
    let page = Page::read("THREATS.md");
    let mut faults = Vec::new();
    let mut seen = 0;
    for (line, row) in page.tables.iter().flat_map(|table| &table.rows) {
        let shown = row.last().expect("a row has cells");
        if shown == "by hand" {
            continue;
        }
        let Some((path, name)) = shown.split_once(": ") else {
            faults.push(format!("THREATS.md:{line}: no test: {shown}"));
            continue;
        };
        let text = fs::read_to_string(repository().join(path)).unwrap_or_default();
        if !text.contains(&format!("fn {name}(")) {
            faults.push(format!("THREATS.md:{line}: {path} has no test {name}"));
        }
        seen += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen > 20, "{seen} rows were found");
}

#[test]
fn dependencies_come_from_one_registry_with_checksums() {
    let lock = fs::read_to_string(repository().join("Cargo.lock")).expect("it is in the repository");
    let mut seen = 0;
    for package in
        lock.split("[[package]]").skip(1).filter(|package| !package.contains("name = \"iisplice\""))
    {
        let name = package.lines().find(|line| line.starts_with("name")).unwrap_or_default();
        let of_registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        assert!(package.contains(of_registry) && package.contains("checksum = "), "{name}");
        seen += 1;
    }
    assert!(seen > 50, "{seen} dependencies were found");
}
