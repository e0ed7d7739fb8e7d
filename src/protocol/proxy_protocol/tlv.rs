//! What follows the addresses in version 2: elements of type, length and value (section 2.2.1 and following).

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;

/// Bits of the first byte of `SSL`.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_SESS: u8 = 0x04;

/// The TLS of a client that ended here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// The name that it asked for.
    pub authority: Option<String>,
    /// The protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// As `TLSv1.3`.
    pub version: &'static str,
    /// Whether it has proved a certificate.
    pub has_certificate: bool,
}

/// Appends the elements of a received header that concern the client and not that header, up to the first that is cut
/// off. What is known of TLS from `tls` replaces what they say.
pub(super) fn write(mut received: &[u8], tls: Option<&ClientTls>, out: &mut Vec<u8>) {
    while let [kind, high, low, rest @ ..] = received {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, rest)) = rest.split_at_checked(length) else { break };
        let is_dropped = match *kind {
            // The checksum is over the whole header; the other one is padding.
            CRC32C | NOOP => true,
            ALPN | AUTHORITY | SSL => tls.is_some(),
            _ => false,
        };
        if !is_dropped {
            element(*kind, value, out);
        }
        received = rest;
    }
    if let Some(tls) = tls {
        write_tls(tls, out);
    }
}

fn write_tls(tls: &ClientTls, out: &mut Vec<u8>) {
    if let Some(alpn) = &tls.alpn {
        element(ALPN, alpn, out);
    }
    if let Some(authority) = &tls.authority {
        element(AUTHORITY, authority.as_bytes(), out);
    }
    let client = if tls.has_certificate { CLIENT_SSL | CLIENT_CERT_SESS } else { CLIENT_SSL };
    // "zero if the client presented a certificate and it was successfully verified"
    let mut ssl = vec![client, 0, 0, 0, u8::from(!tls.has_certificate)];
    element(SSL_VERSION, tls.version.as_bytes(), &mut ssl);
    element(SSL, &ssl, out);
}

/// Names and protocols have at most 255 bytes, received values as many as they came with.
fn element(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(received: &[u8], tls: Option<&ClientTls>) -> Vec<u8> {
        let mut out = Vec::new();
        write(received, tls, &mut out);
        out
    }

    #[test]
    fn what_concerns_the_client_is_passed_on() {
        let received = b"\x02\0\x03web\x03\0\x04sums\x04\0\x02\0\0\x05\0\x02id\xea\0\x01x";
        assert_eq!(written(received, None), b"\x02\0\x03web\x05\0\x02id\xea\0\x01x");
        for end in 0..received.len() {
            // Elements that are cut off are not passed on.
            assert!(written(received, None).starts_with(&written(&received[..end], None)), "{end} bytes");
        }
    }

    #[test]
    fn tls_that_ended_here_replaces_what_was_said_of_it() {
        let received = b"\x01\0\x02h2\x02\0\x05other\x05\0\x02id\x20\0\x05\x01\0\0\0\0";
        let mut tls = ClientTls {
            authority: Some("web".to_owned()),
            alpn: Some(b"http/1.1".to_vec()),
            version: "TLSv1.3",
            has_certificate: false,
        };
        let with = |client: u8, verify: u8| {
            let mut ssl = vec![0x20, 0, 15, client, 0, 0, 0, verify, 0x21, 0, 7];
            ssl.extend(b"TLSv1.3");
            [&b"\x05\0\x02id\x01\0\x08http/1.1\x02\0\x03web"[..], &ssl].concat()
        };
        assert_eq!(written(received, Some(&tls)), with(1, 1));
        tls.has_certificate = true;
        assert_eq!(written(received, Some(&tls)), with(5, 0));
    }
}
