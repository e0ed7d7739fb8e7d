//! What cannot be seen from outside, and the commands that show it, filled in with the names that were found.

use super::login::ServerFacts;
use crate::doctor::Command;

/// What stands for the name of the site in IIS, which nothing tells from outside; the first command shows it.
const SITE: &str = "SITE";
const FILTER: &str = "/system.webServer/security/authentication/windowsAuthentication";

/// The commands for a site that clients call `host`.
pub(super) fn commands(host: &str, port: u16, facts: Option<&ServerFacts>) -> Vec<Command> {
    let named = |name: fn(&ServerFacts) -> &Option<String>, otherwise: &str| {
        facts.and_then(|facts| name(facts).clone()).unwrap_or_else(|| otherwise.to_owned())
    };
    let computer = named(|facts| &facts.nb_computer, "SERVER");
    let domain = named(|facts| &facts.dns_domain, "DOMAIN");
    let property = |name: &str| {
        format!(
            "Get-WebConfigurationProperty -PSPath 'MACHINE/WEBROOT/APPHOST' -Location '{SITE}' -Filter '{FILTER}' -Name '{name}'"
        )
    };
    let list = [
        (
            "the account that has the SPN of this name; with none or two there is no Kerberos",
            format!("setspn -Q HTTP/{host}"),
        ),
        ("SPNs that two accounts have", "setspn -X".to_owned()),
        ("the SPNs of the server's own account", format!("setspn -L {computer}")),
        ("a ticket for this name, on a client of the domain", format!("klist get HTTP/{host}")),
        (
            "whether the server may pass users on (delegation)",
            format!(
                "Get-ADComputer {computer} -Properties TrustedForDelegation,TrustedToAuthForDelegation,msDS-AllowedToDelegateTo"
            ),
        ),
        ("the server's channel to its domain, which NTLM needs", format!("nltest /sc_verify:{domain}")),
        (
            "the name of the site in IIS, which replaces SITE below",
            format!("Get-WebBinding -Port {port} | Select-Object ItemXPath, bindingInformation"),
        ),
        ("the providers and their order in applicationHost.config", property("providers.collection")),
        (
            "kernel-mode authentication: HTTP.sys decrypts tickets with the computer's key",
            property("useKernelMode"),
        ),
        (
            "whether the key of the application pool's account does so instead",
            property("useAppPoolCredentials"),
        ),
        ("Extended Protection", property("extendedProtection.tokenChecking")),
        ("whether a login counts for one request only", property("authPersistSingleRequest")),
        (
            "the accounts of the application pools, which need the SPN if their key is used",
            "appcmd list apppool /text:name,processModel.identityType,processModel.userName".to_owned(),
        ),
    ];
    list.into_iter().map(|(shows, command)| Command { shows: shows.to_owned(), command }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_have_the_names_that_were_found() {
        let facts = ServerFacts {
            nb_computer: Some("WEB1".to_owned()),
            dns_domain: Some("corp.test".to_owned()),
            ..ServerFacts::default()
        };
        let commands = commands("intranet.corp.test", 443, Some(&facts));
        let has = |text: &str| commands.iter().any(|command| command.command == text);
        assert!(has("setspn -Q HTTP/intranet.corp.test"), "{commands:?}");
        assert!(
            has("setspn -L WEB1")
                && has("klist get HTTP/intranet.corp.test")
                && has("nltest /sc_verify:corp.test")
        );
        for part in [
            "useKernelMode",
            "useAppPoolCredentials",
            "providers.collection",
            "appcmd list apppool",
            "Get-ADComputer WEB1",
        ] {
            assert!(commands.iter().any(|command| command.command.contains(part)), "{part}");
        }
    }
}
