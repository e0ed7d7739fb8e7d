//! Inputs that several benchmarks share: the logins of one user, and the heads that carry them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use iisplice::protocol::ntlm::{
    AwaitingAuthenticate, Client, ClientRandom, Credentials, FileTime, NtHash, Server,
};
use iisplice::protocol::spnego::{self, Mechanism, neg_token_init};

/// The time of every login.
pub(crate) const NOW: FileTime = FileTime(133_000_000_000_000_000);
/// The random bytes of the client.
pub(crate) const RANDOM: ClientRandom = ClientRandom { client_challenge: [0xaa; 8], session_key: [0x55; 16] };
/// The random bytes of the server.
pub(crate) const SERVER_CHALLENGE: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

/// Size of the Kerberos ticket of a user who is in several hundred groups.
pub(crate) const TICKET_BYTES: usize = 16 * 1024;

const PASSWORD: &str = "correct horse battery staple";

/// The user, with the password's hash.
pub(crate) fn credentials() -> Credentials {
    Credentials::new("CORP", "alice", PASSWORD)
}

/// A login of the user, as a browser makes it.
pub(crate) fn client(credentials: &Credentials) -> Client<'_> {
    Client::new(credentials).workstation("DESK-0042").target_name("HTTP/intranet.corp.example.com")
}

/// What a server stores of the user: the hash of the password.
pub(crate) fn hash() -> NtHash {
    NtHash::of_password(PASSWORD)
}

/// The site's server.
pub(crate) fn server() -> Server {
    Server {
        nb_domain: "CORP".into(),
        nb_computer: "WEB01".into(),
        dns_domain: "corp.example.com".into(),
        dns_computer: "web01.corp.example.com".into(),
    }
}

/// The three messages of an NTLM login, and the server's state before the third.
pub(crate) struct NtlmLogin {
    pub(crate) type1: Vec<u8>,
    pub(crate) type2: Vec<u8>,
    pub(crate) type3: Vec<u8>,
    pub(crate) awaiting: AwaitingAuthenticate,
}

/// A login of the user by NTLM.
pub(crate) fn ntlm_login() -> NtlmLogin {
    let credentials = credentials();
    let (client, type1) = client(&credentials).negotiate();
    let (awaiting, type2) = server().challenge(type1, SERVER_CHALLENGE, NOW).expect("a sound Type 1");
    let type3 = client.authenticate(&type2, &RANDOM, NOW).expect("a sound Type 2").message;
    NtlmLogin { type1: type1.to_vec(), type2, type3, awaiting }
}

/// The three tokens of a login by NTLM in SPNEGO, and the server's state before the third.
pub(crate) struct SpnegoLogin {
    pub(crate) init: Vec<u8>,
    pub(crate) challenge: Vec<u8>,
    pub(crate) authenticate: Vec<u8>,
    pub(crate) awaiting: spnego::AwaitingAuthenticate,
}

/// A login of the user by NTLM in SPNEGO.
pub(crate) fn spnego_login() -> SpnegoLogin {
    let credentials = credentials();
    let (client, init) = spnego::Client::new(client(&credentials)).negotiate();
    let (begun, challenge) = spnego::begin(&server(), &init, SERVER_CHALLENGE, NOW).expect("a sound token");
    let spnego::Begun::Challenged(awaiting) = begun else { panic!("the token has a Type 1") };
    let (_, authenticate) = client.authenticate(&challenge, &RANDOM, NOW).expect("a sound token");
    SpnegoLogin { init, challenge, authenticate, awaiting }
}

/// The mechanisms that a browser offers, its favourite first (MS-SPNG): Kerberos by both of its identifiers, `NegoEx`, NTLM.
pub(crate) const BROWSER_MECHANISMS: [Mechanism<'static>; 4] = [
    Mechanism::MsKerberos,
    Mechanism::Kerberos,
    Mechanism::Other(b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x1e"),
    Mechanism::Ntlm,
];

/// The token of a browser that has a Kerberos ticket of this size: an AP-REQ (RFC 4121 section 4.1) in SPNEGO.
pub(crate) fn kerberos_token(ticket_bytes: usize) -> Vec<u8> {
    let ap_req = der(0x6e, &vec![0x42; ticket_bytes]);
    let framed = [b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01\x00", &*ap_req].concat();
    neg_token_init(&BROWSER_MECHANISMS, Some(&der(0x60, &framed)))
}

/// A DER element of 128 to 65,535 bytes.
fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("less than 64 KiB").to_be_bytes();
    [&[tag, 0x82][..], &length, value].concat()
}

/// The value of `Authorization` or `WWW-Authenticate`.
pub(crate) fn header_value(scheme: &str, token: &[u8]) -> String {
    format!("{scheme} {}", BASE64_STANDARD.encode(token))
}

/// A browser's request for a page, with this `Authorization` if there is one.
pub(crate) fn browser_request(authorization: Option<&str>) -> String {
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    format!(
        "GET /sites/finance/Lists/Invoices/AllItems.aspx?View=%7B5F2A%7D&page=3 HTTP/1.1\r\n\
         Host: intranet.corp.example.com\r\n\
         Connection: keep-alive\r\n\
         Cache-Control: max-age=0\r\n\
         {authorization}\
         sec-ch-ua: \"Chromium\";v=\"142\", \"Microsoft Edge\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
         sec-ch-ua-mobile: ?0\r\n\
         sec-ch-ua-platform: \"Windows\"\r\n\
         Upgrade-Insecure-Requests: 1\r\n\
         User-Agent: {USER_AGENT}\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
         Sec-Fetch-Site: same-origin\r\n\
         Sec-Fetch-Mode: navigate\r\n\
         Sec-Fetch-User: ?1\r\n\
         Sec-Fetch-Dest: document\r\n\
         Referer: {REFERER}\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
         Cookie: ASP.NET_SessionId=4kq3v0yqz1d2nuyj0lq2f0zr; WSS_FullScreenMode=false\r\n\r\n"
    )
}

/// `User-Agent` of the request.
pub(crate) const USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                                     Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0";
/// `Referer` of the request.
pub(crate) const REFERER: &str = "https://intranet.corp.example.com/sites/finance/default.aspx";
