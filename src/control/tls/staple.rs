//! OCSP responses that clients are sent with a certificate: the files of `--tls-ocsp`.

use std::path::Path;

use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Error, files, validity};
use crate::protocol::ocsp::{self, Answer, Status};

const OCSP: &str = "--tls-ocsp";

/// Staples the response in a file to its certificate; `now` in seconds since 1970. One that would harm is left out, and
/// returned is what an operator should know of that.
///
/// # Errors
/// A file that is no response about this certificate.
pub(super) fn staple(certified: &mut CertifiedKey, path: &Path, now: i64) -> Result<Option<String>, Error> {
    let wrong = |reason: String, wanted: &str| Error::File {
        flag: OCSP,
        path: path.to_owned(),
        reason,
        wanted: wanted.to_owned(),
    };
    let bytes = files::read(OCSP, path)?;
    let answers = ocsp::parse(&bytes).map_err(|error| {
        wrong(error.to_string(), "give the responder's response in DER, as openssl ocsp -respout writes it")
    })?;
    let leaf = certified.cert.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let serial = leaf.as_ref().map(|(_, leaf)| leaf.raw_serial());
    let answer = answers.iter().find(|answer| Some(answer.serial) == serial).ok_or_else(|| {
        wrong(
            "it is about another certificate".to_owned(),
            "give the responses in the order of the certificates",
        )
    })?;
    if let Some(fault) = fault(answer, now) {
        return Ok(Some(format!(
            "{OCSP} {}: the response {fault}; clients are not sent it: get a current one, then reload with SIGHUP",
            path.display()
        )));
    }
    certified.ocsp = Some(bytes);
    Ok(None)
}

/// Why clients would refuse the certificate for this answer.
fn fault(answer: &Answer<'_>, now: i64) -> Option<String> {
    match (answer.status, answer.next_update) {
        (Status::Revoked, _) => Some("says that the certificate is revoked".to_owned()),
        (Status::Unknown, _) => Some("says that the responder does not know the certificate".to_owned()),
        (Status::Good, Some(until)) if until < now => Some(format!("expired at {}", validity::date(until))),
        (Status::Good, _) if answer.this_update > now => {
            Some(format!("is not valid before {}", validity::date(answer.this_update)))
        }
        (Status::Good, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_out_of_date_are_left_out() {
        let answer =
            |next_update| Answer { serial: &[1], status: Status::Good, this_update: 100, next_update };
        for (answer, now, expected) in [
            (answer(Some(200)), 150, None),
            (answer(None), 1_000_000, None),
            (answer(Some(200)), 201, Some("expired at 1970-01-01T00:03:20Z")),
            (answer(Some(200)), 99, Some("is not valid before 1970-01-01T00:01:40Z")),
        ] {
            assert_eq!(fault(&answer, now).as_deref(), expected);
        }
    }
}
