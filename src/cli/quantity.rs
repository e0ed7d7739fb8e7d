//! Numbers, durations and sizes within bounds, and values that can be turned off.
//!
//! Every function here returns a value parser for clap with the given bounds. The message says what would be right;
//! clap adds the flag and the text.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

/// A value, or `off`. (A type of its own, because clap treats `Option` as "may be absent".)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrOff<T>(pub(super) Option<T>);

/// Parses `off`, or what `parse` accepts.
pub(super) fn or_off<T>(
    parse: impl Fn(&str) -> Result<T, String> + Clone,
) -> impl Fn(&str) -> Result<OrOff<T>, String> + Clone {
    move |text| match text {
        "off" => Ok(OrOff(None)),
        _ => parse(text).map(|value| OrOff(Some(value))).map_err(|message| format!("{message}, or off")),
    }
}

/// Parses a whole number.
pub(super) fn number(bounds: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| {
        text.parse()
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| format!("give a whole number from {} to {}", bounds.start(), bounds.end()))
    }
}

/// Parses a whole number that is a power of two.
pub(super) fn power_of_two(bounds: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    let in_bounds = number(bounds.clone());
    move |text| {
        in_bounds(text)
            .ok()
            .filter(|number| number.is_power_of_two())
            .ok_or_else(|| format!("give a power of two from {} to {}", bounds.start(), bounds.end()))
    }
}

/// Parses a duration as humantime writes it: `250ms`, `1s`, `2h 30m`.
pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        let wanted = || {
            let (least, most) = (bounds.start(), bounds.end());
            let (least, most) = (humantime::format_duration(*least), humantime::format_duration(*most));
            format!("give a duration such as 250ms, 3s or 1h, from {least} to {most}")
        };
        humantime::parse_duration(text).ok().filter(|duration| bounds.contains(duration)).ok_or_else(wanted)
    }
}

/// Parses a number of bytes: `64KiB`, `1MiB`, `16384`.
pub(super) fn size(bounds: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| {
        let wanted = || {
            let (least, most) = (ByteSize::b((*bounds.start()).into()), ByteSize::b((*bounds.end()).into()));
            format!("give a size such as 16KiB or 1MiB, from {} to {}", exact(least), exact(most))
        };
        let size = text.parse::<ByteSize>().ok().and_then(|size| u32::try_from(size.as_u64()).ok());
        size.filter(|size| bounds.contains(size)).ok_or_else(wanted)
    }
}

/// Writes `64KiB` instead of bytesize's `64.0 KiB`; the bounds are whole KiB or MiB.
fn exact(size: ByteSize) -> String {
    match size.as_u64() {
        bytes if bytes % bytesize::MIB == 0 => format!("{}MiB", bytes / bytesize::MIB),
        bytes => format!("{}KiB", bytes / bytesize::KIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_within_bounds() {
        let parse = duration(Duration::from_millis(1)..=Duration::from_secs(3600));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("59m 60s"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "0", "3", "3 parsecs", "-1s", "2h", "off", "99999999999999999999s"] {
            assert_eq!(
                parse(wrong),
                Err("give a duration such as 250ms, 3s or 1h, from 1ms to 1h".to_owned()),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn sizes_within_bounds() {
        let parse = size(1024..=1024 * 1024);
        assert_eq!(parse("16KiB"), Ok(16384));
        assert_eq!(parse("1MiB"), Ok(1024 * 1024));
        assert_eq!(parse("16k"), Ok(16000));
        assert_eq!(parse("2048"), Ok(2048));
        for wrong in ["", "1023", "2MiB", "-5KiB", "16 apples", "99999999999999999999999GiB", "é"] {
            assert_eq!(
                parse(wrong),
                Err("give a size such as 16KiB or 1MiB, from 1KiB to 1MiB".to_owned()),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn numbers_within_bounds() {
        let parse = power_of_two(64..=32768);
        assert_eq!(parse("64"), Ok(64));
        assert_eq!(parse("32768"), Ok(32768));
        for wrong in ["", "32", "65536", "100", "-64", "4294967296", "6 4"] {
            assert_eq!(parse(wrong), Err("give a power of two from 64 to 32768".to_owned()), "{wrong:?}");
        }
    }

    #[test]
    fn what_can_be_switched_off_says_so() {
        let parse = or_off(number(1..=9));
        assert_eq!(parse("off"), Ok(OrOff(None)));
        assert_eq!(parse("7"), Ok(OrOff(Some(7))));
        assert_eq!(parse("none"), Err("give a whole number from 1 to 9, or off".to_owned()));
    }
}
