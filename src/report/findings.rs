//! What the doctor found, as text and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use console::Style;

use super::{ReportError, wrap, write_file};
use crate::doctor::{Change, Command, Findings, Severity};

/// Blanks before a line that belongs to the one above it; as wide as the longest severity and a blank.
const INDENT: usize = 8;

/// Prints the findings to standard output, in colour on a terminal.
///
/// # Errors
/// [`ReportError::Write`].
pub fn show(findings: &Findings, as_json: bool) -> Result<(), ReportError> {
    let path = std::path::Path::new("-");
    if as_json {
        return write_file(path, &|to| json(findings, to));
    }
    let text = text(findings, console::colors_enabled());
    write_file(path, &|to| to.write_all(text.as_bytes()))
}

fn json(findings: &Findings, to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, findings)?;
    to.write_all(b"\n")
}

/// The findings for people, a paragraph each.
pub fn text(findings: &Findings, is_coloured: bool) -> String {
    let mut out = String::new();
    for finding in &findings.findings {
        let word = style(finding.severity).force_styling(is_coloured).apply_to(finding.severity.as_str());
        let blanks = " ".repeat(INDENT - finding.severity.as_str().len());
        // Only the first line has colour, whose codes take no room: it is broken without them.
        let first = wrap::hanging(&format!("{}: {}", finding.id, finding.saw), INDENT);
        let _ = writeln!(out, "{word}{blanks}{}", first.trim_start());
        for (name, text) in [("why", &finding.why), ("fix", &finding.fix)] {
            if !text.is_empty() {
                out.push_str(&wrap::hanging(&format!("{name}: {text}"), INDENT));
                out.push('\n');
            }
        }
    }
    if let Some(changes) = &findings.changes {
        compared(&mut out, changes);
    }
    if !findings.commands.is_empty() {
        out.push_str("\nwhat cannot be seen from here; run on the server or a domain controller:\n");
        for Command { shows, command } in &findings.commands {
            // A command is never broken: it is there to be copied.
            let _ = writeln!(out, "{}\n    {command}", wrap::hanging(&format!("{shows}:"), 2));
        }
    }
    if !findings.sent.is_empty() {
        out.push_str("\nsent:\n");
        for line in &findings.sent {
            out.push_str(&wrap::hanging(line, 2));
            out.push('\n');
        }
    }
    let [broken, warnings, fine] =
        [Severity::Broken, Severity::Warning, Severity::Fine].map(|severity| findings.count(severity));
    let _ = writeln!(out, "\n{broken} broken, {warnings} warnings, {fine} fine");
    out
}

fn compared(out: &mut String, changes: &[Change]) {
    if changes.is_empty() {
        out.push_str("\nthe proxy in between changes nothing\n");
        return;
    }
    out.push_str("\nthe proxy in between changes:\n");
    for Change { id, here, direct } in changes {
        let _ = writeln!(out, "  {id}");
        for (name, side) in [("here", here), ("past the proxy", direct)] {
            let side = side.as_ref().map_or_else(
                || "not looked at".to_owned(),
                |side| format!("{}: {}", side.severity.as_str(), side.saw),
            );
            let _ = writeln!(out, "{}", wrap::hanging(&format!("{name}: {side}"), 4));
        }
    }
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Fine => Style::new().green(),
        Severity::Warning => Style::new().yellow().bold(),
        Severity::Broken => Style::new().red().bold(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Finding, Side};

    fn findings() -> Findings {
        let mut findings = Findings::default();
        findings.add(Finding::fine("address", "127.0.0.1:80 accepts connections"));
        let long =
            "a user who is in many groups has a ticket that is larger than that, and cannot log in at all";
        findings.add(Finding::broken("request-head", "8 KiB pass", long, "raise MaxFieldLength"));
        findings.sent.push("2 connections".to_owned());
        findings
    }

    #[test]
    fn a_finding_is_a_paragraph_that_fits_a_terminal() {
        let expected = "\
fine    address: 127.0.0.1:80 accepts connections
broken  request-head: 8 KiB pass
        why: a user who is in many groups has a ticket that is larger than that,
        and cannot log in at all
        fix: raise MaxFieldLength

sent:
  2 connections

1 broken, 0 warnings, 1 fine
";
        assert_eq!(text(&findings(), false), expected);
    }

    #[test]
    fn changes_and_commands_follow_the_findings() {
        let side = |severity, saw: &str| Some(Side { severity, saw: saw.to_owned() });
        let mut findings = Findings::default();
        findings.commands.push(Command { shows: "two of them".into(), command: "setspn -X".into() });
        findings.changes =
            Some(vec![Change { id: "via", here: side(Severity::Warning, "Via: 1.1 cache"), direct: None }]);
        let expected = "
the proxy in between changes:
  via
    here: warning: Via: 1.1 cache
    past the proxy: not looked at

what cannot be seen from here; run on the server or a domain controller:
  two of them:
    setspn -X

0 broken, 0 warnings, 0 fine
";
        assert_eq!(text(&findings, false), expected);
        findings.changes = Some(Vec::new());
        assert!(text(&findings, false).contains("the proxy in between changes nothing"));
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        assert!(text(&findings(), true).contains("\u{1b}[31m\u{1b}[1mbroken\u{1b}[0m"));
        assert!(!text(&findings(), false).contains('\u{1b}'));
    }

    #[test]
    fn programs_read_severities_as_words() {
        let mut out = Vec::new();
        json(&findings(), &mut out).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["findings"][1]["severity"], "broken");
        assert_eq!(read["findings"][0].get("fix"), None);
    }
}
