//! What goes wrong with logins, as seen between client and server, and where to look.

/// A sign of trouble. One alone can be chance: the number is what matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Symptom {
    /// A Type 3 that does not follow a Type 2 on its connection.
    Type3WithoutType2,
    /// The client closed between a Type 2 and the verdict.
    ClosedByClient,
    /// The server closed between a Type 2 and the verdict.
    ClosedByUpstream,
    /// A Type 3 was answered 401.
    Type3Refused,
    /// A Kerberos ticket was answered 401.
    KerberosRefused,
    /// The server wants another NTLM login on a connection that is logged in.
    LoginNotKept,
    /// The client logs in with NTLM again on a connection that is logged in, unasked.
    LoginRepeated,
    /// A Type 1 was not answered by a Type 2.
    Type1WithoutType2,
}

impl Symptom {
    /// All symptoms, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 8] = [
        Self::Type3WithoutType2,
        Self::ClosedByClient,
        Self::ClosedByUpstream,
        Self::Type3Refused,
        Self::KerberosRefused,
        Self::LoginNotKept,
        Self::LoginRepeated,
        Self::Type1WithoutType2,
    ];

    /// The name in a log and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Type3WithoutType2 => "type3-without-type2",
            Self::ClosedByClient => "closed-by-client",
            Self::ClosedByUpstream => "closed-by-upstream",
            Self::Type3Refused => "type3-refused",
            Self::KerberosRefused => "kerberos-refused",
            Self::LoginNotKept => "login-not-kept",
            Self::LoginRepeated => "login-repeated",
            Self::Type1WithoutType2 => "type1-without-type2",
        }
    }

    /// What it means, in the form of a log line's first half.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Type3WithoutType2 => {
                "the last message of an NTLM login arrived on a connection that did not carry the earlier ones: \
                 something on the client side spreads one login over several connections"
            }
            Self::ClosedByClient => "the client closed the connection during an NTLM login",
            Self::ClosedByUpstream => "the server closed the connection during an NTLM login",
            Self::Type3Refused => "the server refused the last message of an NTLM login",
            Self::KerberosRefused => "the server refused a Kerberos ticket",
            Self::LoginNotKept => {
                "the server does not keep NTLM logins for the connection: every request logs in again, in three round \
                 trips"
            }
            Self::LoginRepeated => {
                "the client logs in with NTLM again, unasked, on a connection that is already logged in"
            }
            Self::Type1WithoutType2 => {
                "the server answered the first message of an NTLM login without a challenge, so the login cannot \
                 continue"
            }
        }
    }

    /// What to check, most likely first.
    pub fn check(self) -> &'static str {
        match self {
            Self::Type3WithoutType2 => {
                "a balancer or proxy in front of this one that pools connections: it must keep one connection for \
                 each client (TCP mode)"
            }
            Self::ClosedByClient => {
                "the client's time-outs, a cancelled password prompt, and anything between the client and this \
                 proxy that closes connections"
            }
            Self::ClosedByUpstream => {
                "a `Connection: close` in the 401, application pool recycling, and balancers or firewalls between \
                 this proxy and IIS"
            }
            Self::Type3Refused => {
                "the password, the account (locked, expired, from an untrusted domain), clients that only know \
                 NTLMv1, and, where TLS ends before IIS with another certificate, Extended Protection (tokenChecking)"
            }
            Self::KerberosRefused => {
                "the SPN of the name that clients use and the account that holds it, the clocks (5 minutes), and \
                 useAppPoolCredentials where the site runs as a domain account"
            }
            Self::LoginNotKept => {
                "authPersistSingleRequest in system.webServer/security/authentication/windowsAuthentication, and a \
                 proxy between this one and IIS that pools connections or adds a Via header"
            }
            Self::LoginRepeated => {
                "a client that logs in ahead of every request (curl with --ntlm and a new transfer each time, \
                 DisableNTLMPreAuth in old browsers), or a proxy in front of this one that shares connections"
            }
            Self::Type1WithoutType2 => {
                "whether the site offers the provider that the client uses (NTLM, Negotiate), whether the path needs no \
                 login at all, and a proxy between this one and IIS that drops WWW-Authenticate"
            }
        }
    }
}
