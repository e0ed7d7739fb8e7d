//! The names that the server gives itself, against the name in the URL.

use std::net::IpAddr;

use super::Id;
use super::login::{Scheme, ServerFacts};
use super::visit::Visit;

pub(super) fn probe(visit: &mut Visit<'_>) {
    let facts = visit.seen.server.as_ref().map(|(facts, _)| facts.clone());
    if let Some(facts) = &facts {
        let known = [
            ("NetBIOS", &facts.nb_domain, &facts.nb_computer),
            ("DNS", &facts.dns_domain, &facts.dns_computer),
            ("forest", &facts.dns_tree, &None),
        ];
        let mut listed: Vec<String> = known
            .into_iter()
            .filter_map(|(kind, domain, computer)| match (domain, computer) {
                (Some(domain), Some(computer)) => Some(format!("{kind}: {computer} in {domain}")),
                (Some(name), None) | (None, Some(name)) => Some(format!("{kind}: {name}")),
                (None, None) => None,
            })
            .collect();
        if listed.is_empty() {
            listed.push(facts.target.clone());
        }
        visit.fine(Id::ServerNames, format!("the server names itself {}", listed.join("; ")));
    }
    if visit.seen.offers(Scheme::Negotiate) {
        ticket(visit, facts.as_ref());
    }
}

/// Whether a client can get a ticket for the name: it asks its domain for `HTTP/name`.
fn ticket(visit: &mut Visit<'_>, facts: Option<&ServerFacts>) {
    let host = visit.host().to_owned();
    if host.parse::<IpAddr>().is_ok() {
        visit.warn(
            Id::KerberosName,
            format!("the URL has an address, {host}, and no name"),
            "there are no Kerberos tickets for addresses: clients fall back to NTLM",
            "use a name that has an SPN",
        );
        return;
    }
    let Some(facts) = facts else { return };
    match Kind::of(&host, facts) {
        Kind::Computer => visit.fine(
            Id::KerberosName,
            format!("{host} is the server's own name, for which it has SPNs (HOST/{host}) unless they were removed"),
        ),
        Kind::Alias => visit.fine(
            Id::KerberosName,
            format!("{host} is an alias in the server's domain: Kerberos needs the SPN HTTP/{host}, see below"),
        ),
        Kind::Foreign => visit.warn(
            Id::KerberosName,
            format!("{host} is in none of the server's domains"),
            format!("clients find no domain to ask for a ticket of HTTP/{host}, and fall back to NTLM"),
            format!("use a name in the server's domain, or map this one to it, and register the SPN HTTP/{host}"),
        ),
    }
}

/// What a name in a URL is to the server.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Computer,
    Alias,
    Foreign,
}

impl Kind {
    fn of(host: &str, facts: &ServerFacts) -> Self {
        let host = host.trim_end_matches('.');
        let same = |name: &Option<String>| name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(host));
        if same(&facts.dns_computer) || same(&facts.nb_computer) {
            return Self::Computer;
        }
        let lower = host.to_ascii_lowercase();
        let within = |domain: &Option<String>| {
            domain
                .as_ref()
                .is_some_and(|domain| lower.ends_with(&format!(".{}", domain.to_ascii_lowercase())))
        };
        // A short name is completed with the client's domain.
        let is_short = !host.contains('.') && host != "localhost";
        if is_short || within(&facts.dns_domain) || within(&facts.dns_tree) {
            Self::Alias
        } else {
            Self::Foreign
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_is_to_the_server() {
        let text = |text: &str| Some(text.to_owned());
        let facts = ServerFacts {
            nb_computer: text("WEB1"),
            dns_computer: text("web1.eu.corp.test"),
            dns_domain: text("eu.corp.test"),
            dns_tree: text("corp.test"),
            ..ServerFacts::default()
        };
        for (host, kind) in [
            ("web1.eu.corp.test", Kind::Computer),
            ("WEB1", Kind::Computer),
            ("intranet.EU.corp.test.", Kind::Alias),
            ("intranet.corp.test", Kind::Alias),
            ("intranet", Kind::Alias),
            ("intranet.example.com", Kind::Foreign),
            ("notcorp.test", Kind::Foreign),
            ("localhost", Kind::Foreign),
        ] {
            assert_eq!(Kind::of(host, &facts), kind, "{host}");
        }
    }
}
