//! The likely cause of a client's loops.

use super::codes;
use super::evidence::{Code, Evidence};
use crate::protocol::login::{Step, Symptom};

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The legs of one login come to the server on different connections.
    Split,
    /// Challenges are sent, and what answers them does not come.
    Unanswered,
    /// The client sends no credentials.
    NoCredentials,
    Password,
    NoSuchUser,
    Locked,
    Disabled,
    PasswordExpired,
    /// The account may not log in here, now or this way.
    Restricted,
    Spn,
    Clock,
    /// Extended Protection.
    Binding,
    NoController,
    NtlmBlocked,
    /// Kerberos' encryption types.
    Encryption,
    /// The user is logged in, and may not read the file.
    Acl,
    /// A filter, or the application.
    Application,
    /// Too many connections or requests of an address.
    Restriction,
    /// The server refused the last message of NTLM.
    NtlmRefused,
    /// The server refused a ticket.
    KerberosRefused,
    /// NTLM's first message gets no challenge.
    NoChallenge,
    /// The log does not say.
    Unknown,
}

/// The cause that most of the evidence is for.
pub(super) fn of(evidence: &Evidence) -> Cause {
    of_codes(&evidence.codes)
        .or_else(|| of_steps(evidence))
        .or_else(|| of_connections(evidence))
        .or_else(|| of_first_legs(&evidence.codes))
        .unwrap_or(Cause::Unknown)
}

/// A code that names a cause outweighs those of the legs before it, which every login has.
fn of_codes(codes: &[(Code, u32)]) -> Option<Cause> {
    let causes = codes.iter().filter_map(|(code, times)| {
        let cause = match code.substatus {
            3 => Some(Cause::Acl),
            4 | 5 => Some(Cause::Application),
            501..=509 => Some(Cause::Restriction),
            _ => codes::cause(code.win32),
        };
        Some((cause?, *times))
    });
    causes.max_by_key(|(_, times)| *times).map(|(cause, _)| cause)
}

/// The code that says most: one that names a cause, otherwise the most frequent one.
pub(super) fn telling_code(codes: &[(Code, u32)]) -> Option<Code> {
    let weight = |(code, times): &&(Code, u32)| (of_codes(&[(*code, 1)]).is_some(), *times);
    codes.iter().max_by_key(weight).map(|(code, _)| *code)
}

fn of_steps(evidence: &Evidence) -> Option<Cause> {
    let verdicts = [
        (Cause::Split, Step::Type3WithoutType2),
        (Cause::NtlmRefused, Step::Type3Refused),
        (Cause::KerberosRefused, Step::KerberosRefused),
        (Cause::NoChallenge, Step::Type1Unanswered),
        (Cause::Password, Step::Basic),
    ];
    let most = verdicts.into_iter().max_by_key(|(_, step)| evidence.step(*step));
    if let Some((cause, step)) = most
        && evidence.step(step) > 0
    {
        return Some(cause);
    }
    if evidence.step(Step::Type1) + evidence.step(Step::KerberosContinue) > 0 {
        return Some(Cause::Unanswered);
    }
    (evidence.step(Step::Challenged) > 0).then_some(Cause::NoCredentials)
}

/// Where the log tells connections apart, and most legs are on another one than the leg before.
fn of_connections(evidence: &Evidence) -> Option<Cause> {
    let legs = evidence.on_the_same + evidence.elsewhere;
    let is_challenged =
        evidence.codes.is_empty() || evidence.codes.iter().any(|(code, _)| code.substatus == 1);
    (legs >= 2 && evidence.elsewhere > evidence.on_the_same && is_challenged).then_some(Cause::Split)
}

/// IIS logs 401.2 for a request without credentials, and 401.1 for each message of a login that it does not end.
fn of_first_legs(codes: &[(Code, u32)]) -> Option<Cause> {
    if codes.is_empty() {
        return None;
    }
    Some(if codes.iter().any(|(code, _)| code.substatus == 1) {
        Cause::Unanswered
    } else {
        Cause::NoCredentials
    })
}

impl Cause {
    /// What is likely, and what it rests on.
    pub(super) fn why(self, evidence: &Evidence) -> String {
        let text = match self {
            Self::Split => {
                "the legs of one login reach IIS on different connections: something between the client and IIS pools \
                 upstream connections, or spreads one login over several servers"
            }
            Self::Unanswered => {
                "IIS sends a challenge, and the answer to it does not arrive on that connection: a proxy that pools \
                 upstream connections sends it elsewhere, or the client gives up (it has no password for this site)"
            }
            Self::NoCredentials => {
                "the client never sends credentials: a monitor or a script without a login, a browser whose zone does not \
                 log in by itself, or a proxy that removes Authorization"
            }
            Self::Password => {
                "the password is wrong; with a right password NTLMv1, Extended Protection behind another certificate, or \
                 the loopback check of IIS look the same"
            }
            Self::NoSuchUser => {
                "the domain does not know the user: a typing error, or another domain's user without a trust"
            }
            Self::Locked => {
                "the account is locked, mostly by a stored old password that something keeps sending"
            }
            Self::Disabled => "the account is disabled or has expired",
            Self::PasswordExpired => {
                "the password has expired or must be changed, which a browser cannot do at a login"
            }
            Self::Restricted => {
                "the account may not log in at this server, at this hour, from this workstation, or over the network"
            }
            Self::Spn => {
                "the ticket is for another account than the one that IIS decrypts it with: the SPN of the name that \
                 clients use is missing, held twice, or held by another account"
            }
            Self::Clock => {
                "the clocks of client, IIS and domain controller differ by more than 5 minutes, which Kerberos refuses"
            }
            Self::Binding => {
                "Extended Protection: the login is bound to another certificate than that of IIS, because TLS ends before \
                 IIS, or the client does not bind"
            }
            Self::NoController => "IIS reaches no domain controller for the user's domain",
            Self::NtlmBlocked => "NTLM is switched off by policy, and the client has no Kerberos ticket",
            Self::Encryption => {
                "client, account and domain controller have no encryption type in common (RC4 is off, no AES keys)"
            }
            Self::Acl => "401.3: the login works, and the user has no right to the file",
            Self::Application => "401.4 or 401.5: a filter or the application refuses after the login",
            Self::Restriction => {
                "IIS refuses the address for too many connections or requests (dynamic IP restrictions): behind a proxy \
                 all clients have its address"
            }
            Self::NtlmRefused => Symptom::Type3Refused.explanation(),
            Self::KerberosRefused => Symptom::KerberosRefused.explanation(),
            Self::NoChallenge => Symptom::Type1WithoutType2.explanation(),
            Self::Unknown => return unknown(evidence),
        };
        let servers = if evidence.other_server > 0 { "; the 401s come from several servers" } else { "" };
        format!("{text}{servers}")
    }

    /// What to do.
    pub(super) fn fix(self) -> &'static str {
        match self {
            Self::Split => {
                "give each client connection an upstream connection of its own: iisplice proxy, or stream mode of the \
                 balancer; in nginx: no keepalive (1.29.7 and later pool by default), in HAProxy: http-reuse never"
            }
            Self::Unanswered => {
                "run iisplice doctor URL --user USER through the proxy and, with --compare, directly; log c-port in IIS \
                 (a custom field, REMOTE_PORT): if it changes within a login, connections are pooled"
            }
            Self::NoCredentials => {
                "if it is a monitor, let it take 401 for up; for browsers add the site to the intranet zone \
                 (AuthServerAllowlist, network.automatic-ntlm-auth.trusted-uris); let proxies pass Authorization"
            }
            Self::Password => {
                "Get-WinEvent -FilterHashtable @{LogName='Security'; Id=4625} -MaxEvents 20 (on IIS: its Sub Status \
                 names the cause); clear stored passwords with cmdkey /list and cmdkey /delete"
            }
            Self::NoSuchUser | Self::Disabled | Self::PasswordExpired | Self::Restricted => {
                "Get-ADUser USER -Properties Enabled,LockedOut,PasswordExpired,AccountExpirationDate,LogonWorkstations; \
                 Get-WinEvent -FilterHashtable @{LogName='Security'; Id=4625} -MaxEvents 20 on IIS"
            }
            Self::Locked => {
                "find what sends the old password (event 4740 on the domain controller names the computer), then \
                 Unlock-ADAccount USER"
            }
            Self::Spn => {
                "setspn -Q HTTP/NAME (exactly one account: the application pool's if useAppPoolCredentials is true, the \
                 computer's otherwise); setspn -X finds SPNs that are held twice"
            }
            Self::Clock => "w32tm /query /status on IIS and client, w32tm /resync; timedatectl on this host",
            Self::Binding => {
                "show the certificate of IIS where TLS ends, or do not end TLS before IIS (stream mode); else tokenChecking=None"
            }
            Self::NoController => "nltest /sc_verify:DOMAIN on IIS; Test-ComputerSecureChannel",
            Self::NtlmBlocked => {
                "make Kerberos work (setspn -Q HTTP/NAME, a name instead of an address in the URL), or allow NTLM for the \
                 server: Network security: Restrict NTLM"
            }
            Self::Encryption => {
                "Set-ADUser ACCOUNT -KerberosEncryptionType AES128,AES256 and a new password for it; klist purge on the client"
            }
            Self::Acl => "icacls PATH on IIS; give the users' group read rights",
            Self::Application => {
                "look at authorization in web.config, at ISAPI filters, and at the application's log"
            }
            Self::Restriction => {
                "Get-WebConfiguration system.webServer/security/dynamicIpSecurity; set enableProxyMode, or take the proxy out"
            }
            Self::NtlmRefused => Symptom::Type3Refused.check(),
            Self::KerberosRefused => Symptom::KerberosRefused.check(),
            Self::NoChallenge => Symptom::Type1WithoutType2.check(),
            Self::Unknown => {
                "run iisplice doctor URL --user USER; look at sc-substatus and sc-win32-status in the log of IIS, or let \
                 iisplice proxy --mode http --access-log write one, and run this on it"
            }
        }
    }

    /// Whether it is sure that nothing is broken for who sends credentials.
    pub(super) fn is_harmless(self) -> bool {
        self == Self::NoCredentials
    }
}

/// A log of a proxy says no more than statuses and lengths.
fn unknown(evidence: &Evidence) -> String {
    const POOLED: &str =
        "a proxy that pools upstream connections is the usual cause, a wrong password the next";
    match &evidence.lengths[..] {
        [(bytes, times)] if *times > 2 => format!(
            "every 401 has {bytes} bytes, so the login never comes to its second message: the client sends no \
             credentials, something removes Authorization or WWW-Authenticate, or connections are pooled"
        ),
        [_, _, ..] => format!("401s of different lengths alternate: logins begin again and again; {POOLED}"),
        _ => format!("the log does not say why; {POOLED}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::*;

    fn of_all<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Cause {
        let mut evidence = Evidence::default();
        entries.into_iter().for_each(|entry| evidence.add(&entry));
        of(&evidence)
    }

    fn code(substatus: u16, win32: u32) -> Entry<'static> {
        Entry { status: 401, substatus: Some(substatus), win32: Some(win32), ..Entry::default() }
    }

    fn step(word: &str) -> Entry<'static> {
        Entry {
            status: 401,
            step: Step::ALL.into_iter().find(|step| step.as_str() == word),
            ..Entry::default()
        }
    }

    #[test]
    fn the_codes_of_iis_name_the_cause() {
        const NO_CREDENTIALS: u32 = 0x8009_030e;
        let login = |last| [code(2, 5), code(1, NO_CREDENTIALS), last];
        assert_eq!(of_all(login(code(1, 0x8009_0308))), Cause::Split);
        assert_eq!(of_all(login(code(1, 1326))), Cause::Password);
        assert_eq!(of_all(login(code(1, 0xc000_006d))), Cause::Password);
        assert_eq!(of_all(login(code(1, 0x8009_0322))), Cause::Spn);
        assert_eq!(of_all(login(code(3, 5))), Cause::Acl);
        assert_eq!(of_all(login(code(5, 0))), Cause::Application);
        assert_eq!(of_all(login(code(501, 0))), Cause::Restriction);
        assert_eq!(of_all([code(2, 5), code(2, 5), code(2, 5)]), Cause::NoCredentials);
        assert_eq!(of_all(login(code(1, NO_CREDENTIALS))), Cause::Unanswered);
    }

    #[test]
    fn the_steps_of_iisplice_name_the_cause() {
        assert_eq!(of_all(["challenged", "type1", "type3-refused"].map(step)), Cause::NtlmRefused);
        assert_eq!(
            of_all(["challenged", "kerberos-refused", "kerberos-refused"].map(step)),
            Cause::KerberosRefused
        );
        assert_eq!(of_all(["challenged", "type1", "challenged", "type1"].map(step)), Cause::Unanswered);
        assert_eq!(of_all(["challenged", "challenged", "challenged"].map(step)), Cause::NoCredentials);
        assert_eq!(of_all(["type1-unanswered"].map(step)), Cause::NoChallenge);
        assert_eq!(of_all(["type1", "type3-without-type2"].map(step)), Cause::Split);
    }

    #[test]
    fn legs_on_other_connections_are_pooling() {
        let on = |connection: u64| Entry { connection: Some(connection), ..code(1, 0x8009_030e) };
        assert_eq!(of_all([1, 2, 3, 4].map(on)), Cause::Split);
        assert_eq!(of_all([1, 1, 1, 1].map(on)), Cause::Unanswered);
    }

    #[test]
    fn lengths_are_all_that_a_proxys_log_has() {
        let why = |lengths: &[u64]| {
            let mut evidence = Evidence::default();
            for bytes in lengths {
                evidence.add(&Entry { reply_bytes: Some(*bytes), ..Entry::default() });
            }
            of(&evidence).why(&evidence)
        };
        assert!(why(&[1293, 341, 1293, 341]).contains("alternate"));
        assert!(why(&[1293, 1293, 1293]).contains("every 401 has 1293 bytes"));
        assert!(why(&[]).contains("does not say why"));
    }
}
