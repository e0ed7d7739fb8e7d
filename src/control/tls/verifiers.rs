//! How servers prove their identity when an authority is not all that counts: by a certificate given as a pin, or not
//! at all.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use webpki::RawPublicKeyEntity;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// Sizes of RSA keys, in bits, whose signatures can be verified.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Signature schemes that cannot be verified here, offered only to servers whose certificates prove nothing anyway.
const UNVERIFIED: [SignatureScheme; 2] = [SignatureScheme::ECDSA_NISTP521_SHA512, SignatureScheme::ED448];

/// Whether it can be a pin.
pub(super) fn is_certificate(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok()
}

/// The result of checking a handshake's signature.
#[derive(Debug, PartialEq, Eq)]
enum Signature {
    Holds,
    Forged,
    /// The certificate or its key is of an unsupported kind.
    Unknown,
}

/// Checks a signature by the key in a certificate, whatever else may be wrong with it.
fn judge(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Signature {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Signature::Unknown };
    let key = parsed.public_key();
    if matches!(key.parsed(), Ok(PublicKey::RSA(key)) if !RSA_BITS.contains(&key.key_size())) {
        return Signature::Unknown;
    }
    let key = SubjectPublicKeyInfoDer::from(key.raw);
    let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return Signature::Unknown };
    let mapping = provider.signature_verification_algorithms.mapping;
    let algorithms = mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let mut judgement = Signature::Unknown;
    for algorithm in algorithms.map_or(&[][..], |(_, algorithms)| algorithms) {
        match key.verify_signature(*algorithm, message, signed.signature()) {
            Ok(()) => return Signature::Holds,
            Err(webpki::Error::InvalidSignatureForPublicKey) => judgement = Signature::Forged,
            Err(_) => {}
        }
    }
    judgement
}

/// Accepts any certificate, but requires the server to prove that it has its key, as far as that can be verified.
#[derive(Debug)]
pub(super) struct AcceptAny(pub(super) Arc<CryptoProvider>);

impl AcceptAny {
    fn judge(
        &self,
        verified: Result<HandshakeSignatureValid, Error>,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verified {
            Err(Error::InvalidCertificate(_)) => {}
            Err(_) if UNVERIFIED.contains(&signed.scheme) => {}
            other => return other,
        }
        match judge(message, certificate, signed, &self.0) {
            Signature::Holds | Signature::Unknown => Ok(HandshakeSignatureValid::assertion()),
            Signature::Forged => Err(CertificateError::BadSignature.into()),
        }
    }
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        let verified = verify_tls12_signature(message, certificate, signed, algorithms);
        self.judge(verified, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        let verified = verify_tls13_signature(message, certificate, signed, algorithms);
        self.judge(verified, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.0.signature_verification_algorithms.supported_schemes();
        schemes.extend(UNVERIFIED);
        schemes
    }
}

/// Accepts certificates of authorities, and the given certificates themselves (pins), regardless of who signed them.
/// A pin's dates and names are checked like any other's; without alternative names, its common name counts.
#[derive(Debug)]
pub(super) struct Pinning {
    /// `None` if no given certificate can be an authority.
    pub(super) authorities: Option<Arc<WebPkiServerVerifier>>,
    pub(super) given: Vec<CertificateDer<'static>>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Pinning {
    /// Checks the signature of a pin that is too old for the usual verification.
    fn judge(
        &self,
        verified: Result<HandshakeSignatureValid, Error>,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let is_odd = || ParsedCertificate::try_from(certificate).is_err();
        if verified.is_err()
            && is_odd()
            && judge(message, certificate, signed, &self.provider) == Signature::Holds
        {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verified
    }
}

impl ServerCertVerifier for Pinning {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = match &self.authorities {
            Some(authorities) => {
                authorities.verify_server_cert(certificate, intermediates, name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match verified {
            Err(error) if self.given.iter().any(|given| given == certificate) => {
                verify_pin(certificate, name, now, error)
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let verified = verify_tls12_signature(message, certificate, signed, algorithms);
        self.judge(verified, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let verified = verify_tls13_signature(message, certificate, signed, algorithms);
        self.judge(verified, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies the dates and the name of a pin. `error` is the failure of its usual verification.
fn verify_pin(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
    error: Error,
) -> Result<ServerCertVerified, Error> {
    let Ok((_, pin)) = X509Certificate::from_der(certificate) else { return Err(error) };
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = pin.validity();
    if seconds < validity.not_before.timestamp() || seconds > validity.not_after.timestamp() {
        return Err(match error {
            dates @ Error::InvalidCertificate(
                CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. },
            ) => dates,
            _ if seconds < validity.not_before.timestamp() => CertificateError::NotValidYet.into(),
            _ => CertificateError::Expired.into(),
        });
    }
    let named = ParsedCertificate::try_from(certificate)
        .and_then(|parsed| rustls::client::verify_server_name(&parsed, name));
    match named {
        Ok(()) => Ok(ServerCertVerified::assertion()),
        Err(_) if has_common_name(&pin, name) => Ok(ServerCertVerified::assertion()),
        Err(wrong @ Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })) => Err(wrong),
        Err(_) => Err(CertificateError::NotValidForName.into()),
    }
}

/// Whether it is for `name` by its common name, as certificates without alternative names are.
fn has_common_name(certificate: &X509Certificate<'_>, name: &ServerName<'_>) -> bool {
    let has_alternatives = certificate
        .extensions()
        .iter()
        .any(|extension| matches!(extension.parsed_extension(), ParsedExtension::SubjectAlternativeName(_)));
    let is_name = |common: &str| match name {
        ServerName::DnsName(name) => common.eq_ignore_ascii_case(name.as_ref()),
        ServerName::IpAddress(ip) => common.parse() == Ok(IpAddr::from(*ip)),
        _ => false,
    };
    let mut common_names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    !has_alternatives && common_names.any(is_name)
}
