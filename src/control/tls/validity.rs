//! The dates of the proxy's own certificates and of revocation lists.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::side::Side;
use crate::proxy::tls::certificates::names;

/// A certificate that expires sooner than this is reported.
const NOTICE_DAYS: i64 = 14;
const HOUR_SECONDS: i64 = 3600;
/// How a renewed certificate comes into use.
const RENEWAL: &str = "renew it, then reload with SIGHUP";
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;

/// What an operator should know about the dates of a chain, one line for each certificate; `now` in seconds since 1970.
pub(super) fn warnings(chain: &[CertificateDer<'_>], path: &Path, side: Side, now: i64) -> Vec<String> {
    let Side { cert: flag, readers, .. } = side;
    let mut warnings = Vec::new();
    for (index, der) in chain.iter().enumerate() {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { continue };
        // Peers have roots of their own, and do not look at this one.
        if index > 0 && certificate.subject() == certificate.issuer() {
            continue;
        }
        let (from, until) =
            (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        let (when, then) = if until < now {
            (format!("expired at {}", date(until)), format!("{readers} will refuse it: {RENEWAL}"))
        } else if from > now {
            (format!("is not valid before {}", date(from)), format!("{readers} will refuse it until then"))
        } else if until - now < NOTICE_DAYS * DAY_SECONDS {
            let left = until - now;
            let (count, unit) = if left < 2 * DAY_SECONDS {
                (left / HOUR_SECONDS, "hours")
            } else {
                (left / DAY_SECONDS, "days")
            };
            (format!("expires at {}, in {count} {unit}", date(until)), RENEWAL.to_owned())
        } else {
            continue;
        };
        let which = match index {
            0 => "the certificate".to_owned(),
            _ => format!("certificate {} of the chain", index + 1),
        };
        let subject: String = printable(&certificate.subject().to_string());
        warnings.push(format!("{flag} {}: {which} {when} (subject {subject}); {then}", path.display()));
    }
    warnings
}

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The first host name that it is valid for, or its subject if it has none.
    pub name: String,
    /// In seconds since 1970.
    pub not_after: i64,
}

impl Expiry {
    /// That of a certificate that can be parsed.
    pub fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = || printable(&certificate.subject().to_string());
        let name = names(der).into_iter().next().unwrap_or_else(subject);
        Some(Self { name, not_after: certificate.validity().not_after.timestamp() })
    }
}

/// What an operator should know about the dates of revocation lists, one line each; `now` in seconds since 1970.
pub(super) fn warnings_of_lists(
    flag: &'static str,
    lists: &[CertificateRevocationListDer<'_>],
    path: &Path,
    now: i64,
) -> Vec<String> {
    let of = |list: &CertificateRevocationListDer<'_>| {
        let (_, parsed) = CertificateRevocationList::from_der(list).ok()?;
        let until = parsed.next_update()?.timestamp();
        let issuer = printable(&parsed.issuer().to_string());
        (until < now).then(|| {
            format!(
                "{flag} {}: the revocation list of {issuer} expired at {}; clients with certificates of this authority \
                 are refused: get the current list, then reload with SIGHUP",
                path.display(),
                date(until)
            )
        })
    };
    lists.iter().filter_map(of).collect()
}

/// Now, in seconds since 1970.
pub(in crate::control) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The time in RFC 3339, as far as humantime can write it: from 1970 to 9999.
pub(in crate::control) fn date(seconds_since_1970: i64) -> impl std::fmt::Display {
    const LAST: i64 = 253_402_300_799;
    let seconds = seconds_since_1970.clamp(0, LAST).unsigned_abs();
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Without what a terminal would obey: names in certificates can contain anything.
pub(in crate::control) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::side::TO_CLIENTS;
    use super::*;

    fn certificate(year: i32) -> CertificateDer<'static> {
        let mut parameters = rcgen::CertificateParams::new(["a.test".to_owned()]).expect("a name");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "a.test");
        parameters.not_before = rcgen::date_time_ymd(year, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(year, 3, 1);
        let key = rcgen::KeyPair::generate().expect("randomness");
        parameters.self_signed(&key).expect("a certificate").der().clone()
    }

    #[test]
    fn a_certificate_ends_at_its_last_second_and_is_called_by_its_first_name() {
        let not_after = rcgen::date_time_ymd(2030, 3, 1).unix_timestamp();
        assert_eq!(Expiry::of(&certificate(2030)), Some(Expiry { name: "a.test".to_owned(), not_after }));
        assert_eq!(Expiry::of(&CertificateDer::from(vec![0x30, 0])), None);
    }

    #[test]
    fn dates_are_reported_from_two_weeks_before_the_end() {
        let seconds = |month, day| rcgen::date_time_ymd(2030, month, day).unix_timestamp();
        let said = |now| warnings(&[certificate(2030)], Path::new("site.pem"), TO_CLIENTS, now);
        assert_eq!(said(seconds(2, 1)), <[String; 0]>::default());
        for (now, expected) in [
            (seconds(2, 20), "expires at 2030-03-01T00:00:00Z, in 9 days (subject CN=a.test); renew it"),
            (seconds(2, 28), "expires at 2030-03-01T00:00:00Z, in 24 hours"),
            (seconds(3, 2), "expired at 2030-03-01T00:00:00Z (subject CN=a.test); clients will refuse it"),
            (seconds(1, 1) - 1, "is not valid before 2030-01-01T00:00:00Z"),
        ] {
            let lines = said(now);
            let [line] = &lines[..] else { panic!("{lines:?}") };
            assert!(
                line.starts_with("--tls-cert site.pem: the certificate ") && line.contains(expected),
                "{line}"
            );
        }
        // A root behind it is of no interest to clients.
        let chain = [certificate(2030), certificate(2020)];
        assert_eq!(warnings(&chain, Path::new("site.pem"), TO_CLIENTS, seconds(2, 1)).len(), 0);
    }
}
