//! OCSP responses (RFC 6960 section 4.2.1), as far as an operator has to know of one that is sent to clients: which
//! certificates it is about, what it says of them and until when. Signatures are the clients' to verify.

use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::der::{self, DerError, OID, SEQUENCE, context};

const ENUMERATED: u8 = 0x0a;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;
/// `id-pkix-ocsp-basic`, the only kind there is.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// What is wrong with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not in this form.
    #[error("it is not an OCSP response in DER ({0})")]
    Malformed(#[from] DerError),
    /// The responder has not answered the question; its reason by number.
    #[error("the responder gave no answer (status {0})")]
    NoAnswer(u8),
    /// Of another kind than the basic one, or with a date that cannot be read.
    #[error("it is an OCSP response of an unknown kind")]
    Unknown,
}

/// What a responder says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is not revoked.
    Good,
    /// It is.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The certificate's serial number, as the content of its INTEGER.
    pub serial: &'a [u8],
    /// What is said of it.
    pub status: Status,
    /// From when on, in seconds since 1970.
    pub this_update: i64,
    /// Until when, if that is limited.
    pub next_update: Option<i64>,
}

/// Reads the answers of a response.
///
/// # Errors
/// See [`OcspError`].
pub fn parse(bytes: &[u8]) -> Result<Vec<Answer<'_>>, OcspError> {
    let (status, rest) = der::expect(ENUMERATED, der::only(SEQUENCE, bytes)?)?;
    match status {
        [0] => {}
        [status] => return Err(OcspError::NoAnswer(*status)),
        _ => return Err(OcspError::Unknown),
    }
    let (kind, response) = der::expect(OID, der::only(SEQUENCE, der::only(context(0), rest)?)?)?;
    if kind != BASIC {
        return Err(OcspError::Unknown);
    }
    let basic = der::only(SEQUENCE, der::only(OCTET_STRING, response)?)?;
    let (mut data, _signature) = der::expect(SEQUENCE, basic)?;
    // The version is left out where it is the first.
    if let Ok((_version, rest)) = der::expect(context(0), data) {
        data = rest;
    }
    let (_responder, _, data) = der::split(data)?;
    let (_produced_at, data) = time(data)?;
    let (mut answers, _) = der::expect(SEQUENCE, data)?;
    let mut all = Vec::new();
    while !answers.is_empty() {
        let (one, rest) = der::expect(SEQUENCE, answers)?;
        all.push(answer(one)?);
        answers = rest;
    }
    Ok(all)
}

fn answer(bytes: &[u8]) -> Result<Answer<'_>, OcspError> {
    let (id, rest) = der::expect(SEQUENCE, bytes)?;
    let (_algorithm, id) = der::expect(SEQUENCE, id)?;
    let (_issuer_name, id) = der::expect(OCTET_STRING, id)?;
    let (_issuer_key, id) = der::expect(OCTET_STRING, id)?;
    let serial = der::only(INTEGER, id)?;
    let (tag, _, rest) = der::split(rest)?;
    let status = match tag {
        GOOD => Status::Good,
        REVOKED => Status::Revoked,
        _ => Status::Unknown,
    };
    let (this_update, rest) = time(rest)?;
    let next_update = match der::expect(context(0), rest) {
        Ok((inside, _)) => Some(time(inside)?.0),
        Err(_) => None,
    };
    Ok(Answer { serial, status, this_update, next_update })
}

/// A date in seconds since 1970, and what follows it.
fn time(bytes: &[u8]) -> Result<(i64, &[u8]), OcspError> {
    let (_, _, rest) = der::split(bytes)?;
    let (_, time) = ASN1Time::from_der(&bytes[..bytes.len() - rest.len()]).map_err(|_| OcspError::Unknown)?;
    Ok((time.timestamp(), rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::der::element;

    fn response(status: &[u8], next_update: Option<&[u8]>) -> Vec<u8> {
        let sequence = |parts: &[Vec<u8>]| element(SEQUENCE, &parts.concat());
        let at = |date: &[u8]| element(0x18, date);
        let id = sequence(&[
            sequence(&[element(OID, &[0x2b])]),
            element(OCTET_STRING, b"name"),
            element(OCTET_STRING, b"key"),
            element(INTEGER, &[0x12, 0x34]),
        ]);
        let mut single = vec![id, status.to_vec(), at(b"20200101000000Z")];
        single.extend(next_update.map(|next| element(context(0), &at(next))));
        let data = sequence(&[
            element(context(2), &element(OCTET_STRING, b"responder")),
            at(b"20200101000000Z"),
            sequence(&[sequence(&single)]),
        ]);
        let basic = sequence(&[data, element(0x03, b"\0signature")]);
        let bytes = sequence(&[element(OID, BASIC), element(OCTET_STRING, &basic)]);
        sequence(&[element(ENUMERATED, &[0]), element(context(0), &bytes)])
    }

    /// A response that the certificate 12:34 is good.
    pub(crate) fn good() -> Vec<u8> {
        response(&[GOOD, 0], None)
    }

    #[test]
    fn answers_are_read() {
        for (tag, status) in [(GOOD, Status::Good), (REVOKED, Status::Revoked), (0x82, Status::Unknown)] {
            let bytes = response(&[tag, 0], Some(b"20200102000000Z"));
            let answers = parse(&bytes).expect("sound");
            let serial = &[0x12, 0x34][..];
            let (this_update, next_update) = (1_577_836_800, Some(1_577_923_200));
            assert_eq!(answers, [Answer { serial, status, this_update, next_update }]);
        }
        assert_eq!(parse(&response(&[GOOD, 0], None)).expect("sound")[0].next_update, None);
    }

    #[test]
    fn what_is_none_is_an_error() {
        assert_eq!(parse(&[SEQUENCE, 3, ENUMERATED, 1, 6]), Err(OcspError::NoAnswer(6)));
        let whole = response(&[GOOD, 0], Some(b"20200102000000Z"));
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "{end} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x81;
            // It may be an answer to another question; it must not panic.
            let _ = parse(&changed);
        }
    }
}
