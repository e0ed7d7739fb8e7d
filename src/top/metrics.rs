//! Lines of the `OpenMetrics` text format. What is no such line is skipped: this room shows what it understands.

use std::borrow::Cow;

/// One number with its name and labels.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    pub(super) value: f64,
}

/// The lines of a text.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(Line::parse)
}

impl<'a> Line<'a> {
    /// The value of a label; empty where it is not there, as the format has it.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)
    }

    fn parse(line: &'a str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once("=\"")?;
                let (value, after) = quoted(after)?;
                labels.push((label, value));
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        // A time or an exemplar may follow.
        let value = rest.strip_prefix(' ')?.split(' ').next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }
}

/// What stands before the closing quote, without its escapes, and what follows.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_name_labels_without_escapes_and_a_value() {
        let text = "# TYPE a counter\na_total 3\nb{x=\"1\",y=\"a \\\"b\\\" \\\\ c\\nd}\"} 0.5 1234\nc{} +Inf # {id=\"1\"} 2\n# EOF\n";
        let found: Vec<_> = lines(text).collect();
        let values: Vec<_> = found.iter().map(|line| (line.name, line.value)).collect();
        assert_eq!(values, [("a_total", 3.0), ("b", 0.5), ("c", f64::INFINITY)]);
        assert_eq!(found[1].label("x"), "1");
        assert_eq!(found[1].label("y"), "a \"b\" \\ c\nd}");
        assert_eq!(found[1].label("z"), "");
    }

    #[test]
    fn what_is_no_line_is_skipped_and_no_prefix_of_one_panics() {
        let line = "a{x=\"1\",y=\"a\\\\\\\"é\\n\"} 12";
        for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
            let found: Vec<_> = lines(&line[..end]).collect();
            assert!(found.is_empty() || end + 1 == line.len(), "{:?}", &line[..end]);
        }
        for text in
            ["", " ", "{", "a", "a ", "a x", "a{ 1", "a{x} 1", "a{x=\"1} 1", "a{x=\"1\"}1", "a{x=\"\\"]
        {
            assert_eq!(lines(text).count(), 0, "{text:?}");
        }
    }
}
