//! Channel bindings: what Extended Protection compares.

use sha2::{Digest, Sha256, Sha384, Sha512};

use super::ntlmv2::md5;
use crate::protocol::der::{self, DerError, OID, SEQUENCE, context};

/// What ties a login to the TLS connection it came over (RFC 5929 `tls-server-end-point`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelBindings([u8; 16]);

impl ChannelBindings {
    /// Computes the bindings from the server's certificate in DER.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn of_certificate(certificate: &[u8]) -> Result<Self, CertificateError> {
        let hash = match signature_hash(certificate)? {
            SignatureHash::Sha256 => Sha256::digest(certificate).to_vec(),
            SignatureHash::Sha384 => Sha384::digest(certificate).to_vec(),
            SignatureHash::Sha512 => Sha512::digest(certificate).to_vec(),
        };
        Ok(Self::of_certificate_hash(&hash))
    }

    /// Computes the bindings from the hash of the server's certificate: that of the certificate's signature, but
    /// SHA-256 instead of MD5 and SHA-1 (RFC 5929 section 4.1).
    ///
    /// The value is MD5 over `gss_channel_bindings_struct` (MS-NLMP 2.2.2.1, RFC 2744 3.11): four empty address fields,
    /// the length of the application data, the application data.
    pub fn of_certificate_hash(certificate_hash: &[u8]) -> Self {
        const PREFIX: &[u8] = b"tls-server-end-point:";
        // A certificate hash is at most 64 bytes.
        let len = (PREFIX.len() + certificate_hash.len()) as u32;
        Self(md5(&[&[0; 16], &len.to_le_bytes(), PREFIX, certificate_hash]))
    }

    /// The value of the AV pair.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Why a certificate has no bindings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// It does not parse.
    #[error("the certificate is damaged: {0}")]
    Damaged(#[from] DerError),
    /// Its signature algorithm uses no hash, or one that RFC 5929 section 4.1 does not cover.
    #[error("channel bindings are not defined for the certificate's signature algorithm")]
    NotDefined,
}

enum SignatureHash {
    Sha256,
    Sha384,
    Sha512,
}

/// The hash function of the certificate's signature; SHA-256 instead of MD5 and SHA-1 (RFC 5929 section 4.1).
fn signature_hash(certificate: &[u8]) -> Result<SignatureHash, CertificateError> {
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue } (RFC 5280 section 4.1)
    let (_, rest) = der::expect(SEQUENCE, der::only(SEQUENCE, certificate)?)?;
    let (algorithm, _) = der::expect(SEQUENCE, rest)?;
    let (oid, parameters) = der::expect(OID, algorithm)?;
    match oid {
        MD5_RSA | SHA1_RSA | SHA1_ECDSA | SHA256_RSA | SHA256_ECDSA => Ok(SignatureHash::Sha256),
        SHA384_RSA | SHA384_ECDSA => Ok(SignatureHash::Sha384),
        SHA512_RSA | SHA512_ECDSA => Ok(SignatureHash::Sha512),
        RSA_PSS => pss_hash(parameters),
        _ => Err(CertificateError::NotDefined),
    }
}

/// RSASSA-PSS-params (RFC 4055 section 3.1): `[0]` names the hash, SHA-1 if it is absent.
fn pss_hash(parameters: &[u8]) -> Result<SignatureHash, CertificateError> {
    let fields = der::only(SEQUENCE, parameters)?;
    let Ok((algorithm, _)) = der::expect(context(0), fields) else { return Ok(SignatureHash::Sha256) };
    let (oid, _) = der::expect(OID, der::only(SEQUENCE, algorithm)?)?;
    match oid {
        SHA1 | SHA256 => Ok(SignatureHash::Sha256),
        SHA384 => Ok(SignatureHash::Sha384),
        SHA512 => Ok(SignatureHash::Sha512),
        _ => Err(CertificateError::NotDefined),
    }
}

/// 1.2.840.113549.1.1, RSA with this last number.
const fn rsa(last: u8) -> [u8; 9] {
    [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last]
}

/// 2.16.840.1.101.3.4.2, SHA-2 with this last number.
const fn sha2(last: u8) -> [u8; 9] {
    [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last]
}

const MD5_RSA: &[u8] = &rsa(4);
const SHA1_RSA: &[u8] = &rsa(5);
const RSA_PSS: &[u8] = &rsa(10);
const SHA256_RSA: &[u8] = &rsa(11);
const SHA384_RSA: &[u8] = &rsa(12);
const SHA512_RSA: &[u8] = &rsa(13);
/// 1.2.840.10045.4
const SHA1_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const SHA256_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SHA384_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const SHA512_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
/// 1.3.14.3.2.26
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA256: &[u8] = &sha2(1);
const SHA384: &[u8] = &sha2(2);
const SHA512: &[u8] = &sha2(3);

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of a certificate that is read, signed with this algorithm.
    fn certificate(oid: &[u8], parameters: &[u8]) -> Vec<u8> {
        let algorithm = [der::element(OID, oid), parameters.to_vec()].concat();
        let parts =
            [der::element(SEQUENCE, b""), der::element(SEQUENCE, &algorithm), b"\x03\x01\x00".to_vec()];
        der::element(SEQUENCE, &parts.concat())
    }

    fn expect_hash(certificate: &[u8], hash: &[u8], why: &str) {
        let expected = ChannelBindings::of_certificate_hash(hash);
        assert_eq!(ChannelBindings::of_certificate(certificate), Ok(expected), "{why}");
    }

    #[test]
    fn the_hash_is_that_of_the_signature_but_never_md5_or_sha1() {
        for oid in [MD5_RSA, SHA1_RSA, SHA1_ECDSA, SHA256_RSA, SHA256_ECDSA] {
            let certificate = certificate(oid, b"\x05\x00");
            expect_hash(&certificate, &Sha256::digest(&certificate), &format!("{oid:x?}"));
        }
        for oid in [SHA384_RSA, SHA384_ECDSA] {
            let certificate = certificate(oid, b"");
            expect_hash(&certificate, &Sha384::digest(&certificate), &format!("{oid:x?}"));
        }
        for oid in [SHA512_RSA, SHA512_ECDSA] {
            let certificate = certificate(oid, b"");
            expect_hash(&certificate, &Sha512::digest(&certificate), &format!("{oid:x?}"));
        }
    }

    #[test]
    fn pss_names_its_hash_in_its_parameters() {
        let named = der::element(context(0), &der::element(SEQUENCE, &der::element(OID, SHA384)));
        let with_name = certificate(RSA_PSS, &der::element(SEQUENCE, &named));
        expect_hash(&with_name, &Sha384::digest(&with_name), "SHA-384");
        let by_default = certificate(RSA_PSS, &der::element(SEQUENCE, b""));
        expect_hash(&by_default, &Sha256::digest(&by_default), "SHA-1 by default");
    }

    #[test]
    fn what_has_no_hash_has_no_bindings() {
        let ed25519 = certificate(&[0x2b, 0x65, 0x70], b"");
        assert_eq!(ChannelBindings::of_certificate(&ed25519), Err(CertificateError::NotDefined));
    }

    #[test]
    fn every_prefix_is_damaged() {
        let whole = certificate(SHA256_RSA, b"\x05\x00");
        for len in 0..whole.len() {
            let refused = ChannelBindings::of_certificate(&whole[..len]);
            assert!(matches!(refused, Err(CertificateError::Damaged(_))), "{len} bytes");
        }
    }
}
