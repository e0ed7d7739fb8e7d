//! The names for what an exchange was. Their meanings are tables in docs/http-mode.md.

use crate::words::words;

words! {
    /// What an exchange was for the login.
    pub enum Step {
        /// Without `Authorization`, and not answered 401.
        None = "none",
        /// Without `Authorization`, and answered 401.
        Challenged = "challenged",
        /// NTLM's first message, answered 401 with a challenge.
        Type1 = "type1",
        /// NTLM's first message, answered with anything else.
        Type1Unanswered = "type1-unanswered",
        /// NTLM's last message, not answered 401.
        Type3Ok = "type3-ok",
        /// NTLM's last message, answered 401.
        Type3Refused = "type3-refused",
        /// NTLM's last message, where the last reply was not the challenge that it answers, or was for another path; not
        /// answered 401, usually at a page that needs no login: it was no login.
        Type3WithoutType2 = "type3-without-type2",
        /// A Kerberos ticket, not answered 401.
        KerberosOk = "kerberos-ok",
        /// A Kerberos ticket, answered 401.
        KerberosRefused = "kerberos-refused",
        /// A Kerberos message, answered 401 with another one: the negotiation continues, with or without Kerberos.
        KerberosContinue = "kerberos-continue",
        /// Basic authentication.
        Basic = "basic",
        /// Anything else; or a login that got 400, 502, 503 or the like, which is no verdict.
        Other = "other",
    }
}

words! {
    /// How a client logs in.
    pub enum Mechanism {
        /// NTLM under its own name.
        Ntlm = "ntlm",
        /// NTLM under Negotiate, inside SPNEGO or bare, although that could have been Kerberos.
        NegotiateNtlm = "negotiate-ntlm",
        /// Kerberos under Negotiate.
        Kerberos = "kerberos",
    }
}

words! {
    /// A part of a login whose duration is meaningful: from the head of the request to the head of the reply.
    pub enum Leg {
        /// From the anonymous request to the 401 that offers Windows Authentication.
        AnonymousTo401 = "anonymous-401",
        /// From Type 1 to Type 2.
        Type1ToType2 = "type1-type2",
        /// From Type 3 to the reply, success or not. It includes the domain controller's time.
        Type3ToFinal = "type3-final",
        /// From a Kerberos ticket to the reply, success or not.
        KerberosToFinal = "kerberos-final",
    }
}
