//! Values as lines have them: one word each, and nothing that acts on a terminal or on a reader of lines.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

/// Milliseconds, with microsecond precision.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// Whether a character can appear unescaped in a log. False for characters that control the terminal, that end a line
/// for some reader (U+0085, U+2028, U+2029), or that only change their surroundings: a bidirectional control reorders
/// the text on display (UAX 9), and a zero-width character makes two different names look the same.
pub(super) fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let acts = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !acts
}

/// Text with `\u{...}` for invisible characters and a backslash before characters that could end it.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\\' | '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default())?,
                c if is_visible(c) => f.write_char(c)?,
                c => write!(f, "{}", c.escape_unicode())?,
            }
        }
        Ok(())
    }
}

/// A number of milliseconds, `-` for none.
pub(super) struct Number(pub(super) Option<f64>);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number:.3}"),
            None => f.write_str("-"),
        }
    }
}

/// A text that stays one word: quoted and escaped where needed (a Unix path may hold anything).
pub(super) struct Value<'a>(pub(super) &'a str);

impl Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = |c: char| !c.is_whitespace() && is_visible(c) && !matches!(c, '"' | '=' | '\\');
        if !self.0.is_empty() && self.0.chars().all(is_word) {
            f.write_str(self.0)
        } else {
            write!(f, "\"{}\"", Escaped(self.0))
        }
    }
}
