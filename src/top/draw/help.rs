//! The help: keys and columns.

use std::borrow::Cow;

use textwrap::Options;

use super::canvas::{BOLD, Canvas, PLAIN};
use crate::top::column::Column;
use crate::top::keys::HELP;

/// The width of what is explained.
const TERM: usize = 20;

/// Draws it from a line on.
pub(super) fn draw(canvas: &mut Canvas<'_>, from: u16) {
    let width = canvas.width().min(100);
    let mut lines = vec![("Keys".to_owned(), BOLD)];
    for (keys, meaning) in HELP {
        lines.extend(entry(keys, meaning, width).map(|line| (line, PLAIN)));
    }
    lines.push((String::new(), PLAIN));
    lines.push(("Columns; quantiles are of the last 10 s".to_owned(), BOLD));
    for column in Column::ALL {
        let name = format!("{} {}", column.group(), column.heading());
        lines.extend(entry(name.trim_start(), column.meaning(), width).map(|line| (line, PLAIN)));
    }
    let height = canvas.height().saturating_sub(1);
    let from = usize::from(from).min(lines.len().saturating_sub(height));
    for (y, (line, style)) in lines.iter().skip(from).take(height).enumerate() {
        canvas.put(0, y, width, line, *style);
    }
    let is_cut = from + height < lines.len();
    let text =
        if is_cut { "↓ more; any other key goes back" } else { "↑ ↓ to move; any other key goes back" };
    canvas.put(0, height, width, text, BOLD);
}

fn entry(term: &str, meaning: &str, width: usize) -> impl Iterator<Item = String> + use<> {
    let first = format!("  {term:TERM$} ");
    let next = " ".repeat(TERM + 3);
    let options = Options::new(width.max(TERM + 12)).initial_indent(&first).subsequent_indent(&next);
    let lines: Vec<_> = textwrap::wrap(meaning, options).into_iter().map(Cow::into_owned).collect();
    lines.into_iter()
}
