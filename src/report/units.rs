//! Numbers in human-readable form.

use std::time::Duration;

/// `12.3 µs`, `4.56 ms`, `1.02 s`: three digits.
pub(super) fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n < 999.5 => (n, "ns"),
        n if n < 999.5e3 => (n / 1e3, "µs"),
        n if n < 999.5e6 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// The same without a blank, for columns: `12.3µs`.
pub(super) fn narrow_time(nanoseconds: f64) -> String {
    time(nanoseconds).replace(' ', "")
}

/// A count in at most 11 characters: `999,999,999`, and beyond that `12,345 M`.
pub(super) fn narrow_count(value: u64) -> String {
    match value {
        0..1_000_000_000 => count(value),
        1_000_000_000..1_000_000_000_000_000 => format!("{} M", count(value / 1_000_000)),
        _ => format!("{} T", count(value / 1_000_000_000_000)),
    }
}

/// `7 s`, `2:05`, `1:02:05`: times of one kind, all in the form that suits the longest.
pub(super) fn clock<const COUNT: usize>(times: [Duration; COUNT]) -> [String; COUNT] {
    let longest = times.iter().max().map_or(0, |time| rounded_seconds(*time));
    times.map(|time| {
        let seconds = rounded_seconds(time);
        let (hours, minutes) = (seconds / 3600, seconds / 60);
        match longest {
            0..100 => format!("{seconds} s"),
            100..3600 => format!("{minutes}:{:02}", seconds % 60),
            _ => format!("{hours}:{:02}:{:02}", minutes % 60, seconds % 60),
        }
    })
}

fn rounded_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_millis() >= 500)
}

/// `612 MiB`, `1.23 GiB`.
pub(super) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"");
    while value >= 1023.5
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = next;
    }
    format!("{} {unit}", three_digits(value))
}

/// `1,234,567`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `51,234` or `3.21`: a rate per second.
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 999.5 { three_digits(per_second) } else { count(per_second.round() as u64) }
}

/// A multiple of a round step, with as many decimals as tell it from its neighbours.
pub(super) fn stepped(value: f64, step: f64) -> String {
    let decimals = (-step.log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize;
    if value == 0.0 {
        "0".to_owned()
    } else if decimals == 0 {
        count(value.round() as u64)
    } else {
        let text = format!("{value:.decimals$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 && v.fract() != 0.0 => format!("{v:.2}"),
        v if v < 99.95 && v.fract() != 0.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_their_unit() {
        for (nanoseconds, expected) in [
            (0.0, "0 ns"),
            (999.0, "999 ns"),
            (999.9, "1.00 µs"),
            (12_345.0, "12.3 µs"),
            (999_600.0, "1.00 ms"),
            (20_000_000.0, "20 ms"),
            (1_234_567_890.0, "1.23 s"),
            (100e9, "100 s"),
        ] {
            assert_eq!(time(nanoseconds), expected);
        }
    }

    #[test]
    fn narrow_figures_keep_their_columns() {
        assert_eq!(narrow_time(12_345.0), "12.3µs");
        assert_eq!(narrow_count(999_999_999), "999,999,999");
        assert_eq!(narrow_count(12_345_678_901), "12,345 M");
        for value in (0..64).map(|bit| u64::MAX >> bit) {
            assert!(narrow_count(value).len() <= 13, "{value}");
            assert!(narrow_time((value as f64).min(3.6e12)).chars().count() <= 6, "{value}");
        }
    }

    #[test]
    fn clocks_have_one_form_for_all_that_stand_together() {
        let clock = |seconds: [f64; 2]| super::clock(seconds.map(Duration::from_secs_f64));
        assert_eq!(clock([6.4, 10.6]), ["6 s", "11 s"]);
        assert_eq!(clock([6.0, 100.0]), ["0:06", "1:40"]);
        assert_eq!(clock([65.0, 86_400.0]), ["0:01:05", "24:00:00"]);
    }

    #[test]
    fn counts_are_grouped_and_bytes_binary() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(1023.9 * 1024.0), "1.00 MiB");
        assert_eq!([rate(0.5), rate(12.34), rate(51_234.4)], ["0.50", "12.3", "51,234"]);
    }
}
