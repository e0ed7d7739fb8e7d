//! The words for what an exchange was.

/// What an exchange was to the login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing: no `Authorization`, and no 401.
    None,
    /// The request brought nothing and was answered 401.
    Challenged,
    /// A Type 1 was answered by a Type 2.
    Type1,
    /// A Type 1 was answered by something else.
    Type1Unanswered,
    /// A Type 3 was accepted.
    Type3Ok,
    /// A Type 3 was answered 401.
    Type3Refused,
    /// A Type 3 that does not answer the Type 2 before it was not refused: at a page that needs no login, mostly. It has
    /// was no login.
    Type3WithoutType2,
    /// A Kerberos ticket was accepted.
    KerberosOk,
    /// A Kerberos ticket was answered 401.
    KerberosRefused,
    /// A Kerberos message was answered 401 with another: the negotiation goes on, with or without Kerberos.
    KerberosContinue,
    /// Basic authentication.
    Basic,
    /// Anything else, or a login that was answered without a verdict.
    Other,
}

impl Step {
    /// As it is in a log.
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

/// How somebody logs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// NTLM under its own name.
    Ntlm,
    /// NTLM under `Negotiate`, in SPNEGO or as such: Kerberos was possible, in name at least.
    NegotiateNtlm,
    /// Kerberos under `Negotiate`.
    Kerberos,
}

impl Mechanism {
    /// All of them, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 3] = [Self::Ntlm, Self::NegotiateNtlm, Self::Kerberos];

    /// As it is in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ntlm => "ntlm",
            Self::NegotiateNtlm => "negotiate-ntlm",
            Self::Kerberos => "kerberos",
        }
    }
}

/// A part of a login whose duration says something: from the head of the request to the head of the reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leg {
    /// The anonymous request, to the 401 that offers Windows Authentication.
    AnonymousTo401,
    /// Type 1 to Type 2.
    Type1ToType2,
    /// Type 3 to the reply, good or bad. The domain controller's time is in it.
    Type3ToFinal,
    /// A Kerberos ticket to the reply, good or bad.
    KerberosToFinal,
}

impl Leg {
    /// All of them, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 4] =
        [Self::AnonymousTo401, Self::Type1ToType2, Self::Type3ToFinal, Self::KerberosToFinal];

    /// As it is in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnonymousTo401 => "anonymous-401",
            Self::Type1ToType2 => "type1-type2",
            Self::Type3ToFinal => "type3-final",
            Self::KerberosToFinal => "kerberos-final",
        }
    }
}
