//! What is looked at, one id each.

use crate::words::words;

words! {
    /// What a finding of a site is about.
    pub enum Id {
        /// The name of the site has addresses.
        Name = "name",
        /// An address of the site accepts connections.
        Address = "address",
        /// An address of the site completes a TLS handshake, and which version it chooses.
        Tls = "tls",
        /// Versions of TLS that clients and auditors reject are off.
        TlsVersions = "tls-versions",
        /// The certificate is signed by an authority that this host trusts, with the intermediate certificates it needs.
        CertificateChain = "certificate-chain",
        /// The certificate is for the name in the URL.
        CertificateName = "certificate-name",
        /// The certificate is valid today, and for two more weeks.
        CertificateDates = "certificate-dates",
        /// The key is large enough, and the signature no SHA-1.
        CertificateKey = "certificate-key",
        /// All addresses of the site show the same certificate.
        CertificateSame = "certificate-same",
        /// HTTP/2 is not offered, or the site can do without: it carries no Windows Authentication.
        Http2 = "http2",
        /// The site answers a request without a login by asking for one.
        Protected = "protected",
        /// The site does not lead to another name.
        Redirect = "redirect",
        /// Replies are HTTP/1.1, whose connections last.
        HttpVersion = "http-version",
        /// No proxy on the way adds Via.
        Via = "via",
        /// The site offers Negotiate or NTLM.
        Providers = "providers",
        /// Negotiate is offered before NTLM, so that browsers try Kerberos.
        ProviderOrder = "provider-order",
        /// Basic, which sends the password itself, is not offered without TLS.
        Basic = "basic",
        /// Negotiate takes Kerberos, and is not NTLM only.
        Kerberos = "kerberos",
        /// A 401 leaves the connection open for the login.
        KeepAlive = "keep-alive-401",
        /// New connections are anonymous before a login here.
        FreshConnection = "fresh-connection",
        /// The site answers the first message of NTLM with a challenge, and takes the user's login.
        LoginNtlm = "login-ntlm",
        /// The same for NTLM in Negotiate.
        LoginNegotiate = "login-negotiate",
        /// Requests after a login need no other one.
        Persistence = "persistence",
        /// The site says that a login lasts (Persistent-Auth).
        PersistentAuth = "persistent-auth",
        /// No other client gets a connection that is logged in.
        Leak = "leak",
        /// The messages of two logins at once do not meet on one connection to the server.
        ServerConnection = "server-connection",
        /// Whether logins must be bound to the TLS connection (Extended Protection): off, allow or require.
        ExtendedProtection = "extended-protection",
        /// The certificate here is the one of the server behind the proxy (when compared).
        SameCertificate = "same-certificate",
        /// The clock behind the Date header agrees with this host's.
        ClockDate = "clock-date",
        /// The clock behind NTLM challenges agrees with this host's.
        ClockNtlm = "clock-ntlm",
        /// The names that the server gives itself in its challenge.
        ServerNames = "server-names",
        /// Clients can get a Kerberos ticket for the name in the URL.
        KerberosName = "kerberos-name",
        /// A header as large as a Kerberos ticket passes.
        RequestHead = "request-head",
        /// A POST of 1 MB without a login gets its 401.
        Body = "body-401",
        /// Expect: 100-continue is passed on.
        Continue = "expect-continue",
        /// A POST of 1 MB passes with the last message of a login.
        Post = "post",
        /// An idle connection stays open, with its login.
        Idle = "idle",
        /// A slow reply arrives as it is made.
        Buffering = "buffering",
        /// A connection that is logged in upgrades to WebSocket.
        WebSocket = "websocket",
        /// The site takes no PROXY header from this host.
        ProxyHeader = "proxy-header",
        /// The probes ended in time.
        Time = "time",
    }
}
