//! `iisplice doctor` as an operator runs it: against the mock with each fault, and against servers that are scripted.

mod compare;
mod host;
mod identity;
mod limits;
mod log;
mod logins;
mod protection;
mod providers;
mod reach;
#[path = "../common/reserved.rs"]
mod reserved;
mod run;
mod script;
mod site;
mod time;
mod tls;

use std::fs;
use std::path::Path;

use iisplice::doctor::site::Id;

#[test]
fn every_finding_has_a_test() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    for entry in fs::read_dir(repository.join("tests/doctor")).expect("this directory") {
        tests += &fs::read_to_string(entry.expect("an entry").path()).expect("text");
    }
    for path in ["tests/interop/doctor.rs", "src/doctor/site/tests.rs"] {
        tests += &fs::read_to_string(repository.join(path)).expect("text");
    }
    let untested: Vec<_> =
        Id::ALL.into_iter().map(Id::as_str).filter(|id| !tests.contains(&format!("\"{id}\""))).collect();
    assert!(untested.is_empty(), "no test names {untested:?}");
}
