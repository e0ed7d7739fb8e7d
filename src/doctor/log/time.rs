//! The times of logs, in seconds since 1970.

use std::time::SystemTime;

/// `2026-03-02T08:15:42.118Z`, as iisplice writes it.
pub(super) fn rfc3339(text: &str) -> Option<u64> {
    seconds(humantime::parse_rfc3339(text).ok()?)
}

/// `2026-03-02` and `08:15:42`, as IIS writes them, in UTC.
pub(super) fn date_and_time(date: &str, time: &str) -> Option<u64> {
    seconds(humantime::parse_rfc3339_weak(&format!("{date} {time}")).ok()?)
}

/// `02/Mar/2026:08:15:42 +0100`, as nginx and Apache write it.
pub(super) fn common(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (at, zone) = text.split_once(' ').unwrap_or((text, "+0000"));
    let (date, time) = at.split_once(':')?;
    let [day, month, year] = date.split('/').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let local = date_and_time(&format!("{year}-{month:02}-{day:0>2}"), time)?;
    let digits = zone.strip_prefix(['+', '-']).filter(|digits| digits.len() == 4 && digits.is_ascii())?;
    let (hours, minutes) = digits.split_at(2);
    let offset = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    if zone.starts_with('-') { local.checked_add(offset) } else { local.checked_sub(offset) }
}

fn seconds(at: SystemTime) -> Option<u64> {
    at.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_second_in_every_form() {
        let expected = Some(1_772_439_342);
        assert_eq!(rfc3339("2026-03-02T08:15:42.118Z"), expected);
        assert_eq!(date_and_time("2026-03-02", "08:15:42"), expected);
        assert_eq!(common("02/Mar/2026:08:15:42 +0000"), expected);
        assert_eq!(common("02/Mar/2026:09:15:42 +0100"), expected);
        assert_eq!(common("02/Mar/2026:02:45:42 -0530"), expected);
        assert_eq!(common("2/Mar/2026:08:15:42"), expected);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "now", "02/Mar/2026", "02/Mrz/2026:08:15:42 +0000", "02/Mar/2026:08:15:42 +é00", "-"]
        {
            assert_eq!(
                (common(text), rfc3339(text), date_and_time(text, text)),
                (None, None, None),
                "{text}"
            );
        }
    }
}
