//! The names for what an exchange was.

/// What an exchange was for the login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing: no `Authorization`, and no 401.
    None,
    /// The request had no `Authorization` and was answered 401.
    Challenged,
    /// A Type 1 was answered by a Type 2.
    Type1,
    /// A Type 1 was answered by something else.
    Type1Unanswered,
    /// A Type 3 was accepted.
    Type3Ok,
    /// A Type 3 was answered 401.
    Type3Refused,
    /// A Type 3 that does not answer the Type 2 before it was not refused, usually at a page that needs no login. It
    /// was not a login.
    Type3WithoutType2,
    /// A Kerberos ticket was accepted.
    KerberosOk,
    /// A Kerberos ticket was answered 401.
    KerberosRefused,
    /// A Kerberos message was answered 401 with another: the negotiation continues, with or without Kerberos.
    KerberosContinue,
    /// Basic authentication.
    Basic,
    /// Anything else, or a login that was answered without a verdict.
    Other,
}

impl Step {
    /// The name in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Challenged => "challenged",
            Self::Type1 => "type1",
            Self::Type1Unanswered => "type1-unanswered",
            Self::Type3Ok => "type3-ok",
            Self::Type3Refused => "type3-refused",
            Self::Type3WithoutType2 => "type3-without-type2",
            Self::KerberosOk => "kerberos-ok",
            Self::KerberosRefused => "kerberos-refused",
            Self::KerberosContinue => "kerberos-continue",
            Self::Basic => "basic",
            Self::Other => "other",
        }
    }
}

/// How a client logs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// NTLM under its own name.
    Ntlm,
    /// NTLM under `Negotiate`, inside SPNEGO or bare: Kerberos was possible, at least nominally.
    NegotiateNtlm,
    /// Kerberos under `Negotiate`.
    Kerberos,
}

impl Mechanism {
    /// All mechanisms, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 3] = [Self::Ntlm, Self::NegotiateNtlm, Self::Kerberos];

    /// The name in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ntlm => "ntlm",
            Self::NegotiateNtlm => "negotiate-ntlm",
            Self::Kerberos => "kerberos",
        }
    }
}

/// A part of a login whose duration is meaningful: from the head of the request to the head of the reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leg {
    /// From the anonymous request to the 401 that offers Windows Authentication.
    AnonymousTo401,
    /// From Type 1 to Type 2.
    Type1ToType2,
    /// From Type 3 to the reply, success or not. It includes the domain controller's time.
    Type3ToFinal,
    /// From a Kerberos ticket to the reply, success or not.
    KerberosToFinal,
}

impl Leg {
    /// All legs, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 4] =
        [Self::AnonymousTo401, Self::Type1ToType2, Self::Type3ToFinal, Self::KerberosToFinal];

    /// The name in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnonymousTo401 => "anonymous-401",
            Self::Type1ToType2 => "type1-type2",
            Self::Type3ToFinal => "type3-final",
            Self::KerberosToFinal => "kerberos-final",
        }
    }
}
