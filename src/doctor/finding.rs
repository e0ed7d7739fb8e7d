//! What a probe found: how serious it is, what was seen, why it matters, what to do.

use serde::Serialize;

/// How serious a finding is, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Works, but not for everybody or not for long.
    Warning,
    /// Does not work.
    Broken,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::Broken => "broken",
        }
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about; the same in every version.
    pub id: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// What was seen, as a sentence without its stop.
    pub saw: String,
    /// Why it matters; empty if all is fine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What to do, a command where there is one; empty if all is fine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

impl Finding {
    /// All is as it should be.
    pub fn fine(id: &'static str, saw: impl AsRef<str>) -> Self {
        Self::new(id, Severity::Fine, saw.as_ref(), "", "")
    }

    /// Something that works, but not for everybody or not for long.
    pub fn warning(
        id: &'static str,
        saw: impl AsRef<str>,
        why: impl AsRef<str>,
        fix: impl AsRef<str>,
    ) -> Self {
        Self::new(id, Severity::Warning, saw.as_ref(), why.as_ref(), fix.as_ref())
    }

    /// Something that does not work.
    pub fn broken(
        id: &'static str,
        saw: impl AsRef<str>,
        why: impl AsRef<str>,
        fix: impl AsRef<str>,
    ) -> Self {
        Self::new(id, Severity::Broken, saw.as_ref(), why.as_ref(), fix.as_ref())
    }

    fn new(id: &'static str, severity: Severity, saw: &str, why: &str, fix: &str) -> Self {
        let [saw, why, fix] = [saw, why, fix].map(printable);
        Self { id, severity, saw, why, fix }
    }
}

/// Without what a terminal would obey: a finding may repeat what a server sent.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// All that was found, in the order in which it was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// One for each thing that was looked at.
    pub findings: Vec<Finding>,
    /// What was sent for that, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<String>,
    /// What a proxy in between changes, if there was something to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
    /// Commands that show what cannot be seen from here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
}

/// A finding that differs with and without the proxy in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is about.
    pub id: &'static str,
    /// At the URL that was given; nothing if it was not found there.
    pub here: Option<Side>,
    /// Past the proxy.
    pub direct: Option<Side>,
}

/// A finding on one side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// How serious it is.
    pub severity: Severity,
    /// What was seen.
    pub saw: String,
}

impl Side {
    /// That of a finding.
    pub fn of(finding: &Finding) -> Self {
        Self { severity: finding.severity, saw: finding.saw.clone() }
    }
}

/// A command to run elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Command {
    /// What it shows.
    pub shows: String,
    /// As it is typed.
    pub command: String,
}

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds all of another's.
    pub fn extend(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.sent.extend(other.sent);
        self.commands.extend(other.commands);
        if let Some(changes) = other.changes {
            self.changes.get_or_insert_default().extend(changes);
        }
    }

    /// The most serious of them.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Fine)
    }

    /// The number of findings of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// 0 fine, 1 warnings, 2 broken.
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            Severity::Fine => 0,
            Severity::Warning => 1,
            Severity::Broken => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_the_exit_code() {
        let mut findings = Findings::default();
        assert_eq!((findings.worst(), findings.exit_code()), (Severity::Fine, 0));
        findings.add(Finding::fine("a", "it is"));
        assert_eq!(findings.exit_code(), 0);
        findings.add(Finding::broken("b", "it is not", "", ""));
        findings.add(Finding::warning("c", "it is not always", "", ""));
        assert_eq!((findings.worst(), findings.exit_code()), (Severity::Broken, 2));
        assert_eq!(findings.count(Severity::Warning), 1);
    }

    #[test]
    fn what_a_server_sent_reaches_no_terminal_as_it_came() {
        let finding = Finding::fine("a", "Server: \u{1b}[31mred\r\n");
        assert_eq!(finding.saw, "Server: \u{fffd}[31mred\u{fffd}\u{fffd}");
    }
}
