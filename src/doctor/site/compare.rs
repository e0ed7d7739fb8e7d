//! What the proxy in between changes: the findings of both ways, side by side.

use super::Id;
use super::visit::Visit;
use crate::doctor::{Change, Finding, Findings, Severity, Side};

/// Findings whose text is the same at any address that serves the same site: a difference is a change.
const SAME_ANYWHERE: [Id; 16] = [
    Id::TlsVersions,
    Id::CertificateName,
    Id::CertificateDates,
    Id::CertificateKey,
    Id::Http2,
    Id::Protected,
    Id::HttpVersion,
    Id::Via,
    Id::Providers,
    Id::Kerberos,
    Id::KeepAlive,
    Id::PersistentAuth,
    Id::ExtendedProtection,
    Id::ServerNames,
    Id::RequestHead,
    Id::Continue,
];

/// The findings that differ, in the order of the findings here.
pub(super) fn changes(here: &Findings, direct: &Findings) -> Vec<Change> {
    let worst = |findings: &Findings, id: &str| -> Option<Side> {
        let of_id = findings.findings.iter().filter(|finding| finding.id == id);
        of_id.max_by_key(|finding| finding.severity).map(Side::of)
    };
    let mut ids: Vec<&'static str> = Vec::new();
    for Finding { id, .. } in here.findings.iter().chain(&direct.findings) {
        if !ids.contains(id) {
            ids.push(id);
        }
    }
    ids.into_iter()
        .filter_map(|id| {
            let (here, direct) = (worst(here, id), worst(direct, id));
            let severity = |side: &Option<Side>| side.as_ref().map(|side| side.severity);
            let is_same_anywhere = SAME_ANYWHERE.iter().any(|same| same.as_str() == id);
            let differs = severity(&here) != severity(&direct) || (is_same_anywhere && here != direct);
            differs.then_some(Change { id, here, direct })
        })
        .collect()
}

/// Whether a login that is bound to the certificate here can be accepted by the server.
pub(super) fn certificates(here: &mut Visit<'_>, direct: &Visit<'_>) {
    let (Some(shown), Some(own)) = (&here.seen.certificate, &direct.seen.certificate) else {
        if here.seen.certificate.is_some() && direct.way.is_some() {
            here.fine(Id::SameCertificate, "the server itself is asked without TLS, which ends before it");
        }
        return;
    };
    if shown == own {
        here.fine(Id::SameCertificate, "the certificate here is the server's own");
        return;
    }
    let protection = direct.findings.findings.iter().find(|f| f.id == Id::ExtendedProtection.as_str());
    let saw = "the certificate here is not the server's own";
    let why = "a browser binds its login to the certificate that it sees; the server compares it with its own (Extended Protection)";
    let fix = "show the server's own certificate where TLS ends, or pass TLS through, or turn Extended Protection off";
    match protection {
        Some(finding) if finding.saw.starts_with("off") => {
            here.fine(
                Id::SameCertificate,
                format!("{saw}, which does not matter: Extended Protection is off"),
            );
        }
        Some(finding) if finding.severity == Severity::Fine => {
            here.broken(Id::SameCertificate, saw, why, fix);
        }
        _ => here.warn(Id::SameCertificate, saw, why, fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(list: &[(Id, Severity, &str)]) -> Findings {
        let mut findings = Findings::default();
        for (id, severity, saw) in list {
            findings.add(match severity {
                Severity::Fine => Finding::fine(id.as_str(), saw),
                Severity::Warning => Finding::warning(id.as_str(), saw, "", ""),
                Severity::Broken => Finding::broken(id.as_str(), saw, "", ""),
            });
        }
        findings
    }

    #[test]
    fn what_differs_is_a_change_and_what_only_reads_differently_is_not() {
        let here = findings(&[
            (Id::Address, Severity::Fine, "10.0.0.1 accepts"),
            (Id::Address, Severity::Broken, "10.0.0.2 accepts none"),
            (Id::Providers, Severity::Fine, "NTLM"),
            (Id::ClockDate, Severity::Fine, "1 ms"),
            (Id::Leak, Severity::Broken, "LEAK"),
        ]);
        let direct = findings(&[
            (Id::Address, Severity::Fine, "10.0.0.3 accepts"),
            (Id::Providers, Severity::Fine, "Negotiate, NTLM"),
            (Id::ClockDate, Severity::Fine, "2 ms"),
            (Id::Leak, Severity::Fine, "none"),
            (Id::Persistence, Severity::Fine, "lasts"),
        ]);
        let changes = changes(&here, &direct);
        let ids: Vec<_> = changes.iter().map(|change| change.id).collect();
        assert_eq!(ids, ["address", "providers", "leak", "persistence"]);
        assert_eq!(changes[3].here, None);
    }
}
