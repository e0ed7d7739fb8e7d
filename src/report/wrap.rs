//! Lines that fit a terminal of 80 columns.

use textwrap::{Options, WordSplitter};

/// The width of every text that is printed.
pub(super) const WIDTH: usize = 80;

/// Breaks prose at blanks, and words that are wider than a line; further lines are indented.
pub(super) fn prose(text: &str) -> String {
    let options = Options::new(WIDTH).subsequent_indent("  ").word_splitter(WordSplitter::NoHyphenation);
    textwrap::fill(text, options)
}

/// Breaks prose, with each line behind this many blanks.
pub(super) fn hanging(text: &str, blanks: usize) -> String {
    let blanks = " ".repeat(blanks);
    let options = Options::new(WIDTH).initial_indent(&blanks).subsequent_indent(&blanks);
    textwrap::fill(text, options.word_splitter(WordSplitter::NoHyphenation).break_words(false))
}

/// Breaks the lines of a text that are wider than a terminal.
pub(super) fn lines(text: &str) -> String {
    let fit = |line: &str| if line.chars().count() > WIDTH { prose(line) } else { line.to_owned() };
    text.lines().map(fit).flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// Breaks a command so that a shell takes its lines as the same command. Words are plain or in single quotes.
pub(super) fn command(text: &str) -> String {
    // A blank and the backslash that continues a line.
    let width = WIDTH - 2;
    let mut out = String::new();
    let mut column = 0;
    for (nth, word) in words(text).into_iter().enumerate() {
        let length = word.chars().count();
        if nth > 0 && column + 1 + length > width {
            out.push_str(" \\\n  ");
            column = 2;
        } else if nth > 0 {
            out.push(' ');
            column += 1;
        }
        column = push_word(&mut out, word, column, width);
    }
    out
}

/// The words of a command line; blanks inside quotes end none.
fn words(text: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c: char| {
        let is_end = c == ' ' && !is_quoted && !is_escaped;
        (is_quoted, is_escaped) = after(c, is_quoted, is_escaped);
        is_end
    })
    .collect()
}

/// Whether the next character is in quotes, and whether a backslash stands before it.
fn after(c: char, is_quoted: bool, is_escaped: bool) -> (bool, bool) {
    let is_quote = c == '\'' && !is_escaped;
    (is_quoted != is_quote, c == '\\' && !is_quoted && !is_escaped)
}

/// Appends a word, in pieces if it is wider than a line. Returns the column after it.
fn push_word(out: &mut String, word: &str, mut column: usize, width: usize) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in word.chars() {
        // A piece in quotes needs a column for the closing one.
        if column + 1 >= width && !is_escaped && c != '\'' {
            out.push_str(if is_quoted { "'\\\n'" } else { "\\\n" });
            column = usize::from(is_quoted);
        }
        out.push(c);
        column += 1;
        (is_quoted, is_escaped) = after(c, is_quoted, is_escaped);
    }
    column
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn no_line_is_wider_and_no_word_is_lost() {
        let long = "x".repeat(200);
        let text = format!("a word, {long} and µs {}", "more ".repeat(30));
        let wrapped = prose(text.trim());
        assert!(wrapped.lines().all(|line| line.chars().count() <= WIDTH), "{wrapped}");
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(squeezed(&wrapped), squeezed(&text));
    }

    #[test]
    fn a_shell_takes_a_broken_command_as_it_was() {
        let long = "y".repeat(300);
        for given in [
            "echo short".to_owned(),
            format!("echo {}", "--flag value ".repeat(20).trim()),
            format!("echo http://{long}/ 'CORP-{long} {long}' 'it'\\''s {long}' end"),
            format!("echo {}'a'\\''b{long}'", "z".repeat(72)),
        ] {
            let broken = command(&given);
            assert!(broken.lines().all(|line| line.chars().count() <= WIDTH), "{broken}");
            let said =
                |command: &str| Command::new("sh").args(["-c", command]).output().expect("a shell").stdout;
            assert_eq!(said(&broken), said(&given), "{broken}");
        }
    }
}
