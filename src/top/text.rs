//! Numbers in few characters, each kind in as many as its columns have, and text that cannot act on a terminal.

use std::time::Duration;

/// A whole number, in at most 6: `123456`, `1.23M`.
pub(super) fn count(value: f64) -> String {
    match value {
        // A sum of nothing is a negative zero.
        v if v <= 0.0 => "0".to_owned(),
        v if v < 999_999.5 => format!("{v:.0}"),
        v => scaled(v, 1000.0),
    }
}

/// A rate, in at most 5: `0`, `12.3`, `9999`, `12.3k`.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        v if v <= 0.0 => "0".to_owned(),
        v if v < 0.095 => format!("{v:.2}"),
        v if v < 999.95 => format!("{v:.1}"),
        v if v < 99_999.5 => format!("{v:.0}"),
        v => scaled(v, 1000.0),
    }
}

/// Bytes, in at most 6: `512`, `12.3K`, `1.23M`, by 1024.
pub(super) fn bytes(value: f64) -> String {
    if value < 1023.5 { format!("{value:.0}") } else { scaled(value, 1024.0) }
}

/// Seconds as milliseconds, in at most 4: `0.25`, `12.3`, `9999`, `12s`.
pub(super) fn milliseconds(seconds: f64) -> String {
    match seconds * 1000.0 {
        v if v.is_infinite() => ">60s".to_owned(),
        v if v <= 0.0 => "0".to_owned(),
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v if v < 9999.5 => format!("{v:.0}"),
        v => format!("{:.0}s", v / 1000.0),
    }
}

/// A share of one as per cent: `12%`.
pub(super) fn share(value: f64) -> String {
    format!("{:.0}%", value * 100.0)
}

/// How long something lasts: `12s`, `5m 3s`, `3h 12m`, `4d 3h`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Three digits and the letter of a multiple.
fn scaled(mut value: f64, step: f64) -> String {
    let mut letters = if step > 1000.0 { "KMGTPE" } else { "kMGTPE" }.chars();
    let mut letter = None;
    while value >= step - 0.5
        && let Some(next) = letters.next()
    {
        value /= step;
        letter = Some(next);
    }
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    let letter = letter.map(String::from).unwrap_or_default();
    format!("{value:.decimals$}{letter}")
}

/// Text in which nothing acts on a terminal: no control characters, and none that reorder or hide others.
pub(super) fn shown(text: &str) -> String {
    let acts = |c: char| {
        matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
    };
    text.chars().map(|c| if c.is_control() || acts(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_fit_their_columns() {
        assert_eq!([-0.0, 7.0, 999_999.0, 1_234_567.0].map(count), ["0", "7", "999999", "1.23M"]);
        assert_eq!(
            [0.0, 0.04, 0.5, 12.34, 999.96, 12_345.6].map(rate),
            ["0", "0.04", "0.5", "12.3", "1000", "12346"]
        );
        assert_eq!([234_567.0, 1e9].map(rate), ["235k", "1.00G"]);
        assert_eq!(
            [0.0, 1023.0, 1024.0, 1_048_570.0, 1.5e9].map(bytes),
            ["0", "1023", "1.00K", "1.00M", "1.40G"]
        );
        assert_eq!(
            [0.0, 0.000_25, 0.0123, 2.5, 12.34].map(milliseconds),
            ["0", "0.25", "12.3", "2500", "12s"]
        );
        assert_eq!([60.0, f64::INFINITY].map(milliseconds), ["60s", ">60s"]);
        assert_eq!([0.0, 0.126, 1.0].map(share), ["0%", "13%", "100%"]);
        for power in -3..19 {
            for value in [0.999, 1.0, 9.994, 9.996, 9.999_6].map(|digits: f64| digits * 10_f64.powi(power)) {
                assert!(count(value).len() <= 6, "{value}: {}", count(value));
                assert!(rate(value).len() <= 5, "{value}: {}", rate(value));
                assert!(bytes(value).len() <= 5, "{value}: {}", bytes(value));
            }
        }
        for power in -7..2 {
            for value in [1.0, 9.994, 9.996, 9.999_6].map(|digits: f64| digits * 10_f64.powi(power)) {
                assert!(milliseconds(value).len() <= 4, "{value}: {}", milliseconds(value));
            }
        }
    }

    #[test]
    fn spans_have_two_units() {
        let span = |seconds| super::span(Duration::from_secs(seconds));
        assert_eq!([7, 303, 11_520, 356_400].map(span), ["7s", "5m 3s", "3h 12m", "4d 3h"]);
    }

    #[test]
    fn text_of_others_does_not_act_on_the_terminal() {
        assert_eq!(
            shown("a\u{1b}[31mb\nc\u{202e}d\u{9b}e é界"),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}d\u{fffd}e é界"
        );
    }
}
