//! Old versions of TLS, which this build's TLS cannot speak: a hello by hand, and a look at the answer.

use std::net::SocketAddr;

use crate::doctor::site::Id;
use crate::doctor::site::visit::Visit;

/// Content type and handshake type of what a server answers with if it accepts.
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;

pub(super) fn probe(visit: &mut Visit<'_>, address: SocketAddr) {
    let hello = client_hello(visit.host());
    let answer = visit.connect(address).and_then(|mut wire| {
        wire.send(&hello)?;
        wire.read_raw()
    });
    // Closed, reset or an alert: all of them refuse.
    match answer.ok().as_deref().and_then(accepted) {
        None => visit.fine(Id::TlsVersions, "TLS 1.0 and 1.1 are off"),
        Some(version) => visit.warn(
            Id::TlsVersions,
            format!("{version} is on"),
            "auditors reject it, and an attacker on the way can lead a client down to it",
            "turn TLS 1.0 and 1.1 off (Windows: SCHANNEL\\Protocols; nginx: ssl_protocols TLSv1.2 TLSv1.3)",
        ),
    }
}

/// The version that a server chose, by the beginning of its answer: record header (5 bytes), handshake header (4), version.
fn accepted(answer: &[u8]) -> Option<&'static str> {
    if answer.first() != Some(&HANDSHAKE) || answer.get(5) != Some(&SERVER_HELLO) {
        return None;
    }
    match answer.get(9..11)? {
        [3, 1] => Some("TLS 1.0"),
        [3, 2] => Some("TLS 1.1"),
        _ => None,
    }
}

/// A hello of TLS 1.1 at most (RFC 4346 section 7.4.1.2), with what servers of that time took.
fn client_hello(host: &str) -> Vec<u8> {
    // ECDHE and RSA with AES-CBC and SHA-1, and 3DES.
    const SUITES: [u16; 7] = [0xc014, 0xc013, 0xc00a, 0xc009, 0x0035, 0x002f, 0x000a];
    let mut extensions = Vec::new();
    if host.parse::<std::net::IpAddr>().is_err() {
        let name = [&[0][..], &sized(host.as_bytes())].concat();
        extensions.extend([&[0, 0][..], &sized(&sized(&name))].concat());
    }
    // supported_groups: P-256, P-384, X25519; ec_point_formats: uncompressed.
    extensions.extend([&[0, 10][..], &sized(&sized(&[0, 23, 0, 24, 0, 29]))].concat());
    extensions.extend([0, 11, 0, 2, 1, 0]);

    let mut random = [0; 32];
    fastrand::fill(&mut random);
    let suites: Vec<u8> = SUITES.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let body = [&[3, 2][..], &random, &[0], &sized(&suites), &[1, 0], &sized(&extensions)].concat();
    // Its length has three bytes.
    let handshake = [&[1, 0][..], &sized(&body)].concat();
    [&[HANDSHAKE, 3, 1][..], &sized(&handshake)].concat()
}

/// With a length of two bytes before it.
fn sized(bytes: &[u8]) -> Vec<u8> {
    // A name has at most 255 bytes, and nothing here is longer than a few hundred.
    let length = bytes.len() as u16;
    [&length.to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hello_is_one_that_a_server_understands() {
        use crate::protocol::client_hello::{Progress, parse};
        let Ok(Progress::Hello(hello)) = parse(&client_hello("web.corp.test")) else { panic!("no hello") };
        assert_eq!(hello.server_name.as_deref(), Some("web.corp.test"));
        let Ok(Progress::Hello(hello)) = parse(&client_hello("127.0.0.1")) else { panic!("no hello") };
        assert_eq!(hello.server_name, None);
    }

    #[test]
    fn only_a_hello_of_an_old_version_is_accepted() {
        let answer = |version: u8, kind: u8| [22, 3, 1, 0, 50, kind, 0, 0, 46, 3, version, 1, 2, 3];
        assert_eq!(accepted(&answer(1, 2)), Some("TLS 1.0"));
        assert_eq!(accepted(&answer(2, 2)), Some("TLS 1.1"));
        assert_eq!(accepted(&answer(3, 2)), None);
        assert_eq!(accepted(&[21, 3, 1, 0, 2, 2, 70]), None);
        assert_eq!(accepted(&answer(1, 2)[..10]), None);
    }
}
