//! Recognises what a file contains where PEM certificates or a PEM private key are expected, and how to convert it.
//!
//! ```text
//! bytes --> look()   PEM labels, DER structure, or the beginning of another format  --> Found
//! Found --> advice() what it is, and the command that converts it, for what is wanted --> Advice
//! ```
//!
//! For error messages only: it accepts nothing, and gives no advice on a file that is as expected.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::der::{self, OID, SEQUENCE};
use super::shell::quoted_path;

/// What a file should contain, as PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The certificate of a server, and those of the authorities between.
    Chain,
    /// The private key of a certificate.
    Key,
    /// Certificates of authorities.
    Authorities,
    /// Lists of the certificates that authorities have revoked.
    RevocationLists,
}

impl Wanted {
    /// What is wrong with a file of an unknown kind.
    pub fn lacking(self) -> &'static str {
        match self {
            Self::Chain | Self::Authorities => "it contains no certificate",
            Self::Key => "it contains no private key",
            Self::RevocationLists => "it contains no revocation list",
        }
    }

    /// What to give, as an instruction to the operator.
    pub fn instruction(self) -> &'static str {
        match self {
            Self::Chain => "give a PEM file with the chain, the server's own certificate first",
            Self::Key => "give the PEM file with the certificate's private key, not encrypted",
            Self::Authorities => "give a PEM file of certificates",
            Self::RevocationLists => "give a PEM file of revocation lists (X509 CRL)",
        }
    }
}

/// What a file turned out to be, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Begins with a small letter.
    pub what: String,
    /// An instruction to the operator.
    pub remedy: String,
}

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Certificate,
    /// `TRUSTED CERTIFICATE`, which is openssl's own.
    OpensslCertificate,
    Key,
    EncryptedKey,
    Pkcs12,
    Pkcs7,
    Request,
    PublicKey,
    RevocationList,
    Parameters,
    OpensshKey,
    OpensshPublicKey,
    PuttyKey,
    JavaKeystore,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Pem,
    Der,
    /// DER in base64, without the lines around it.
    Base64,
    Other,
}

/// Whether there is a private key, in any form.
pub fn has_key(bytes: &[u8]) -> bool {
    let (contents, _) = look(bytes);
    contents.iter().any(|content| {
        matches!(content, Content::Key | Content::EncryptedKey | Content::OpensshKey | Content::PuttyKey)
    })
}

/// Whether there is an encrypted key.
pub fn has_encrypted_key(bytes: &[u8]) -> bool {
    look(bytes).0.contains(&Content::EncryptedKey)
}

/// Whether there is a certificate, in any form.
pub fn has_certificate(bytes: &[u8]) -> bool {
    look(bytes).0.contains(&Content::Certificate)
}

/// The text without the byte order mark that Windows editors put before it.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// What the file at `path` is, if it does not contain `wanted`; `None` if its kind is unknown.
pub fn advice(bytes: &[u8], wanted: Wanted, path: &Path) -> Option<Advice> {
    let bytes = without_mark(bytes);
    let mut output = path.to_owned();
    output.as_mut_os_string().push(".pem");
    let (file, output) = (quoted_path(path), quoted_path(&output));
    if bytes.trim_ascii().is_empty() {
        let what = format!("the file is empty: {}", wanted.lacking());
        return Some(Advice { what, remedy: wanted.instruction().to_owned() });
    }
    if is_utf16(bytes) {
        return Some(Advice {
            what: "this is text in UTF-16".to_owned(),
            remedy: format!(
                "convert it with `iconv -f UTF-16 -t UTF-8 {file} > {output}`, and give {output}"
            ),
        });
    }
    let (contents, encoding) = look(bytes);
    let content = *contents.iter().min_by_key(|content| distance(**content, wanted))?;
    let command = command(content, encoding, wanted, &file, &output);
    let remedy = match command {
        Some(command) if content == Content::Pkcs12 => {
            let given = match wanted {
                Wanted::Authorities | Wanted::RevocationLists => format!("give {output}"),
                Wanted::Chain | Wanted::Key => format!("give {output} for the certificate and for the key"),
            };
            format!(
                "convert it with `{command}` (add -legacy after pkcs12 if the cipher is unsupported), and {given}"
            )
        }
        Some(command) => format!("convert it with `{command}`, and give {output}"),
        None => remedy_by_hand(content, wanted).to_owned(),
    };
    Some(Advice { what: what(content, encoding, wanted), remedy })
}

fn remedy_by_hand(content: Content, wanted: Wanted) -> &'static str {
    match (content, wanted) {
        (Content::Request, Wanted::Chain | Wanted::Authorities) => {
            "have an authority sign it, and give the certificate that the authority returns, in PEM"
        }
        (Content::JavaKeystore, _) => {
            "convert it to PKCS#12 (keytool -importkeystore -deststoretype PKCS12), and that to PEM (openssl pkcs12 \
             -nodes)"
        }
        _ => wanted.instruction(),
    }
}

/// How far `content` is from what is wanted: of a file with several contents, the nearest one decides the message.
fn distance(content: Content, wanted: Wanted) -> u8 {
    let is_key =
        matches!(content, Content::Key | Content::EncryptedKey | Content::OpensshKey | Content::PuttyKey);
    let is_certificate =
        matches!(content, Content::Certificate | Content::OpensslCertificate | Content::Pkcs7);
    match (content, wanted) {
        (Content::EncryptedKey, Wanted::Key) | (Content::RevocationList, Wanted::RevocationLists) => 0,
        (Content::Pkcs12 | Content::JavaKeystore, _) => 1,
        (Content::Parameters, _) => 4,
        (_, Wanted::Key) if is_key => 1,
        (_, Wanted::Key) if is_certificate => 3,
        (_, Wanted::Chain | Wanted::Authorities) if is_certificate => 1,
        _ => 2,
    }
}

fn what(content: Content, encoding: Encoding, wanted: Wanted) -> String {
    let is_converted = match wanted {
        Wanted::Key => content == Content::Key,
        Wanted::Chain | Wanted::Authorities => content == Content::Certificate,
        Wanted::RevocationLists => content == Content::RevocationList,
    };
    let name = match content {
        Content::Certificate => "a certificate",
        Content::OpensslCertificate => "a certificate in openssl's own form (TRUSTED CERTIFICATE)",
        Content::Key => "a private key",
        Content::EncryptedKey if wanted == Wanted::Key => {
            return "the private key is encrypted".to_owned();
        }
        Content::EncryptedKey => "an encrypted private key",
        Content::Pkcs12 => return "this is a PKCS#12 file (PFX), not PEM".to_owned(),
        Content::Pkcs7 => "a PKCS#7 file (.p7b)",
        Content::Request => "a certificate request (CSR)",
        Content::PublicKey => "a public key",
        Content::RevocationList => "a revocation list (CRL)",
        Content::Parameters => "a file of parameters without a key",
        Content::OpensshKey => "an OpenSSH private key",
        Content::OpensshPublicKey => "an OpenSSH public key",
        Content::PuttyKey => "a PuTTY key",
        Content::JavaKeystore => return "this is a Java keystore, not PEM".to_owned(),
    };
    match encoding {
        Encoding::Pem if is_converted => {
            format!("the file contains {name} that is damaged or of an unsupported kind")
        }
        Encoding::Der if is_converted => format!("this is {name} in DER, not PEM"),
        Encoding::Base64 if is_converted => {
            format!("this is {name} in base64 without its BEGIN and END lines")
        }
        _ => format!("this is {name}; {}", wanted.lacking()),
    }
}

/// The command that converts it to PEM, if there is one.
fn command(content: Content, encoding: Encoding, wanted: Wanted, file: &str, output: &str) -> Option<String> {
    let convert = |program: &str, options: &str| match encoding {
        Encoding::Der => format!("openssl {program} -inform DER -in {file}{options} -out {output}"),
        Encoding::Base64 => {
            format!("base64 -d {file} | openssl {program} -inform DER{options} -out {output}")
        }
        Encoding::Pem | Encoding::Other => format!("openssl {program} -in {file}{options} -out {output}"),
    };
    let wants_key = wanted == Wanted::Key;
    if wanted == Wanted::RevocationLists {
        return (content == Content::RevocationList && encoding != Encoding::Pem).then(|| convert("crl", ""));
    }
    match content {
        Content::Pkcs12 => {
            let what = if wanted == Wanted::Authorities { "-nokeys" } else { "-nodes" };
            Some(match encoding {
                Encoding::Base64 => format!("base64 -d {file} | openssl pkcs12 {what} -out {output}"),
                _ => format!("openssl pkcs12 -in {file} {what} -out {output}"),
            })
        }
        Content::Certificate | Content::OpensslCertificate if !wants_key => {
            (encoding != Encoding::Pem || content == Content::OpensslCertificate).then(|| convert("x509", ""))
        }
        Content::Pkcs7 if !wants_key => Some(convert("pkcs7", " -print_certs")),
        Content::Key if wants_key && encoding != Encoding::Pem => Some(convert("pkey", "")),
        Content::EncryptedKey if wants_key => {
            Some(convert(if encoding == Encoding::Pem { "pkey" } else { "pkcs8" }, ""))
        }
        Content::OpensshKey if wants_key => {
            Some(format!("install -m 600 {file} {output} && ssh-keygen -p -m PKCS8 -N '' -f {output}"))
        }
        _ => None,
    }
}

fn is_utf16(bytes: &[u8]) -> bool {
    [&b"\xff\xfe"[..], b"\xfe\xff", b"-\0-\0", b"\0-\0-"].iter().any(|begin| bytes.starts_with(begin))
}

fn look(bytes: &[u8]) -> (Vec<Content>, Encoding) {
    let bytes = without_mark(bytes);
    let in_pem = in_pem(bytes);
    if !in_pem.is_empty() {
        return (in_pem, Encoding::Pem);
    }
    if let Some(content) = of_der(bytes) {
        return (vec![content], Encoding::Der);
    }
    for (begin, content) in [
        (&b"\xfe\xed\xfe\xed"[..], Content::JavaKeystore),
        (b"PuTTY-User-Key-File-", Content::PuttyKey),
        (b"ssh-", Content::OpensshPublicKey),
        (b"ecdsa-sha2-", Content::OpensshPublicKey),
    ] {
        if bytes.starts_with(begin) {
            return (vec![content], Encoding::Other);
        }
    }
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match STANDARD.decode(text).ok().and_then(|decoded| of_der(&decoded)) {
        Some(content) => (vec![content], Encoding::Base64),
        None => (Vec::new(), Encoding::Other),
    }
}

/// What the labels of PEM sections say (RFC 7468), in their order.
fn in_pem(bytes: &[u8]) -> Vec<Content> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    memmem::find_iter(bytes, BEGIN)
        .filter_map(|at| {
            let rest = &bytes[at + BEGIN.len()..];
            let end = memmem::find(rest, b"-----")?;
            let is_encrypted = || {
                let section = &rest[..memmem::find(rest, b"-----END ").unwrap_or(rest.len())];
                memmem::find(section, b"ENCRYPTED").is_some()
            };
            Some(match &rest[..end] {
                b"CERTIFICATE" => Content::Certificate,
                b"TRUSTED CERTIFICATE" | b"X509 CERTIFICATE" => Content::OpensslCertificate,
                b"ENCRYPTED PRIVATE KEY" => Content::EncryptedKey,
                b"OPENSSH PRIVATE KEY" => Content::OpensshKey,
                // The older form says it in a header (RFC 1421 section 4.6.1.1).
                label if label.ends_with(b"PRIVATE KEY") && is_encrypted() => Content::EncryptedKey,
                label if label.ends_with(b"PRIVATE KEY") => Content::Key,
                b"PKCS7" | b"PKCS #7 SIGNED DATA" | b"CMS" => Content::Pkcs7,
                label if label.ends_with(b"CERTIFICATE REQUEST") => Content::Request,
                label if label.ends_with(b"PUBLIC KEY") => Content::PublicKey,
                b"X509 CRL" => Content::RevocationList,
                label if label.ends_with(b"PARAMETERS") => Content::Parameters,
                _ => return None,
            })
        })
        .collect()
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `1.2.840.113549.1.7`, which all kinds of PKCS#7 content begin with.
const PKCS7: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07];

/// What a DER structure is, by its first elements; and of BER those that begin without a length.
fn of_der(bytes: &[u8]) -> Option<Content> {
    if let Some(inside) = bytes.strip_prefix(&[SEQUENCE, 0x80]) {
        let is_pkcs7 = inside.get(2..).is_some_and(|oid| inside[0] == OID && oid.starts_with(PKCS7));
        return match inside {
            [INTEGER, 1, 3, ..] => Some(Content::Pkcs12),
            _ if is_pkcs7 => Some(Content::Pkcs7),
            _ => None,
        };
    }
    let (inside, _) = der::expect(SEQUENCE, bytes).ok()?;
    let (tag, first, rest) = der::split(inside).ok()?;
    let second = || rest.first().copied();
    match (tag, first) {
        // RFC 7292 section 4.
        (INTEGER, [3]) if second() == Some(SEQUENCE) => Some(Content::Pkcs12),
        // RFC 5958 section 2; RFC 8017 appendix A.1.2; RFC 5915 section 3.
        (INTEGER, [0 | 1]) if matches!(second(), Some(SEQUENCE | INTEGER | OCTET_STRING)) => {
            Some(Content::Key)
        }
        (INTEGER, _) if second() == Some(INTEGER) => Some(Content::PublicKey),
        (OID, oid) if oid.starts_with(PKCS7) => Some(Content::Pkcs7),
        (SEQUENCE, _) => of_sequence(first, second()?),
        _ => None,
    }
}

/// The same for one whose first element is a sequence, with the tag of the second one.
fn of_sequence(first: &[u8], second: u8) -> Option<Content> {
    let (tag, _, rest) = der::split(first).ok()?;
    match (tag, second) {
        // An algorithm, and what it is for: RFC 5958 section 3, RFC 5280 section 4.1.
        (OID, OCTET_STRING) => Some(Content::EncryptedKey),
        (OID, BIT_STRING) => Some(Content::PublicKey),
        // What is signed, and the algorithm: RFC 5280 sections 4.1 and 5.1, RFC 2986 section 4.2.
        (version, SEQUENCE) if version == der::context(0) => Some(Content::Certificate),
        (INTEGER, SEQUENCE) => {
            let (algorithm_or_name, rest) = der::expect(SEQUENCE, rest).ok()?;
            if algorithm_or_name.first() != Some(&OID) {
                return Some(Content::Request);
            }
            let (_issuer, rest) = der::expect(SEQUENCE, rest).ok()?;
            let is_time = matches!(rest.first(), Some(&(UTC_TIME | GENERALIZED_TIME)));
            Some(if is_time { Content::RevocationList } else { Content::Certificate })
        }
        (SEQUENCE, SEQUENCE) => Some(Content::RevocationList),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
