use super::*;
use crate::protocol::der::element;

const FILE: &str = "/etc/a b/site";

fn said(bytes: &[u8], wanted: Wanted) -> String {
    let advice = advice(bytes, wanted, Path::new(FILE)).expect("a known kind");
    format!("{}; {}", advice.what, advice.remedy)
}

fn oid(text: &[u8]) -> Vec<u8> {
    element(OID, text)
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

fn pem(label: &str, inside: &str) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{inside}\n-----END {label}-----\n").into_bytes()
}

fn certificate() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    let request = rcgen::CertificateParams::new(["a.test".to_owned()])
        .and_then(|parameters| parameters.serialize_request(&made.signing_key))
        .expect("a request");
    (made.cert.der().to_vec(), made.signing_key.serialize_der(), request.der().to_vec())
}

#[test]
fn der_is_told_by_its_first_elements() {
    let (certificate, key, request) = certificate();
    let algorithm = sequence(&[&oid(&[0x2a, 3])]);
    let (zero, one, three) = (&[INTEGER, 1, 0][..], &[INTEGER, 1, 1][..], &[INTEGER, 1, 3][..]);
    let octets = element(OCTET_STRING, &[1, 2, 3]);
    let bits = element(BIT_STRING, &[0, 2, 3]);
    let name = sequence(&[&element(0x31, &[])]);
    let time = element(UTC_TIME, b"260101000000Z");
    let list = sequence(&[one, &algorithm, &name, &time]);
    let old_list = sequence(&[&algorithm, &name, &time]);
    let old_certificate = sequence(&[one, &algorithm, &name, &sequence(&[&time, &time])]);
    for (der, expected) in [
        (certificate, Content::Certificate),
        (sequence(&[&old_certificate, &algorithm, &bits]), Content::Certificate),
        (key, Content::Key),
        (sequence(&[zero, &[INTEGER, 1, 77], zero]), Content::Key),
        (sequence(&[one, &octets]), Content::Key),
        (request, Content::Request),
        (sequence(&[&algorithm, &octets]), Content::EncryptedKey),
        (sequence(&[&algorithm, &bits]), Content::PublicKey),
        (sequence(&[&[INTEGER, 1, 77], &[INTEGER, 1, 5]]), Content::PublicKey),
        (sequence(&[three, &algorithm]), Content::Pkcs12),
        (vec![SEQUENCE, 0x80, INTEGER, 1, 3, SEQUENCE, 0x80], Content::Pkcs12),
        (sequence(&[&oid(&[PKCS7, &[2]].concat()), &algorithm]), Content::Pkcs7),
        ([&[SEQUENCE, 0x80][..], &oid(&[PKCS7, &[2]].concat())].concat(), Content::Pkcs7),
        (sequence(&[&list, &algorithm, &bits]), Content::RevocationList),
        (sequence(&[&old_list, &algorithm, &bits]), Content::RevocationList),
    ] {
        assert_eq!(of_der(&der), Some(expected), "{der:02x?}");
        // Every beginning is of some kind or none, and nothing panics.
        for end in 0..der.len() {
            of_der(&der[..end]);
        }
        let lines = STANDARD.encode(&der).into_bytes().chunks(64).collect::<Vec<_>>().join(&b"\r\n"[..]);
        assert_eq!(look(&lines), (vec![expected], Encoding::Base64));
    }
}

#[test]
fn labels_of_pem_say_what_it_is() {
    for (label, inside, expected) in [
        ("CERTIFICATE", "AA==", Content::Certificate),
        ("TRUSTED CERTIFICATE", "AA==", Content::OpensslCertificate),
        ("PRIVATE KEY", "AA==", Content::Key),
        ("RSA PRIVATE KEY", "AA==", Content::Key),
        ("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: X,Y\n\nAA==", Content::EncryptedKey),
        ("EC PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\r\n\r\nAA==", Content::EncryptedKey),
        ("ENCRYPTED PRIVATE KEY", "AA==", Content::EncryptedKey),
        ("OPENSSH PRIVATE KEY", "AA==", Content::OpensshKey),
        ("CERTIFICATE REQUEST", "AA==", Content::Request),
        ("NEW CERTIFICATE REQUEST", "AA==", Content::Request),
        ("PKCS7", "AA==", Content::Pkcs7),
        ("PUBLIC KEY", "AA==", Content::PublicKey),
        ("X509 CRL", "AA==", Content::RevocationList),
        ("EC PARAMETERS", "AA==", Content::Parameters),
    ] {
        let marked = [b"\xef\xbb\xbf", &pem(label, inside)[..]].concat();
        assert_eq!(look(&marked), (vec![expected], Encoding::Pem), "{label}");
    }
    let both = [pem("CERTIFICATE", "AA=="), pem("ENCRYPTED PRIVATE KEY", "AA==")].concat();
    assert!(has_certificate(&both) && has_key(&both) && has_encrypted_key(&both));
    // The first key is not encrypted, whatever comes behind it.
    let two = [pem("PRIVATE KEY", "AA=="), pem("ENCRYPTED PRIVATE KEY", "AA==")].concat();
    assert_eq!(look(&two).0, [Content::Key, Content::EncryptedKey]);
}

#[test]
fn the_command_has_the_files_name_as_the_shell_takes_it() {
    let (certificate, key, _) = certificate();
    let pfx = [SEQUENCE, 0x80, INTEGER, 1, 3, SEQUENCE, 0x80];
    for (bytes, wanted, expected) in [
        (
            &certificate[..],
            Wanted::Chain,
            "this is a certificate in DER, not PEM; convert it with `openssl x509 -inform DER -in '/etc/a b/site' -out \
             '/etc/a b/site.pem'`, and give '/etc/a b/site.pem'",
        ),
        (
            &key,
            Wanted::Key,
            "this is a private key in DER, not PEM; convert it with `openssl pkey -inform DER -in '/etc/a b/site' -out \
             '/etc/a b/site.pem'`, and give '/etc/a b/site.pem'",
        ),
        (
            &pfx,
            Wanted::Key,
            "this is a PKCS#12 file (PFX), not PEM; convert it with `openssl pkcs12 -in '/etc/a b/site' -nodes -out \
             '/etc/a b/site.pem'` (add -legacy after pkcs12 if the cipher is unsupported), and give '/etc/a b/site.pem' for \
             the certificate and for the key",
        ),
        (
            &pem("ENCRYPTED PRIVATE KEY", "AA=="),
            Wanted::Key,
            "the private key is encrypted; convert it with `openssl pkey -in '/etc/a b/site' -out '/etc/a b/site.pem'`, and \
             give '/etc/a b/site.pem'",
        ),
        (
            &pem("PKCS7", "AA=="),
            Wanted::Authorities,
            "this is a PKCS#7 file (.p7b); it contains no certificate; convert it with `openssl pkcs7 -in '/etc/a b/site' \
             -print_certs -out '/etc/a b/site.pem'`, and give '/etc/a b/site.pem'",
        ),
        (
            &pem("PRIVATE KEY", "AA=="),
            Wanted::Chain,
            "this is a private key; it contains no certificate; give a PEM file with the chain, the server's own certificate first",
        ),
        (
            &pem("CERTIFICATE", "AA=="),
            Wanted::Key,
            "this is a certificate; it contains no private key; give the PEM file with the certificate's private key, not encrypted",
        ),
        (
            b" \n",
            Wanted::Authorities,
            "the file is empty: it contains no certificate; give a PEM file of certificates",
        ),
    ] {
        assert_eq!(said(bytes, wanted), expected);
    }
    assert!(said(b"\xff\xfe-\0-\0", Wanted::Chain).contains("`iconv -f UTF-16 -t UTF-8 '/etc/a b/site' >"));
    assert!(said(b"ssh-ed25519 AAAA me", Wanted::Key).starts_with("this is an OpenSSH public key"));
    assert_eq!(advice(b"hello", Wanted::Chain, Path::new(FILE)), None);
}
