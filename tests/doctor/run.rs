//! A run of the doctor, and what it printed.

use std::process::Command;

use serde_json::Value;

/// What `iisplice doctor --json` found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) exit_code: Option<i32>,
    pub(crate) json: Value,
}

/// Runs the doctor with these arguments.
pub(crate) fn doctor(arguments: &[&str]) -> Report {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.arg("doctor").arg("--json").args(arguments).env_remove("IISPLICE_PASSWORD");
    let output = command.output().expect("the binary was built");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{arguments:?}: {error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    Report { exit_code: output.status.code(), json }
}

impl Report {
    /// The findings with this id, each as its severity and what was seen.
    pub(crate) fn all(&self, id: &str) -> Vec<(&str, &str)> {
        let findings = self.json["findings"].as_array().expect("a list");
        let text = |finding: &'_ Value, key: &str| finding[key].as_str().map(str::to_owned);
        assert!(findings.iter().all(|finding| text(finding, "id").is_some()));
        findings
            .iter()
            .filter(|finding| finding["id"] == id)
            .map(|finding| {
                (finding["severity"].as_str().expect("a word"), finding["saw"].as_str().expect("text"))
            })
            .collect()
    }

    /// Asserts that there is one finding with this id, of this severity, that saw `text`.
    #[track_caller]
    pub(crate) fn has(&self, id: &str, severity: &str, text: &str) {
        let all = self.all(id);
        let [(found, saw)] = all[..] else { panic!("{id}: {all:?} in {:#}", self.json) };
        assert!(found == severity && saw.contains(text), "{id}: {found}: {saw}; wanted {severity}: {text}");
    }
}
