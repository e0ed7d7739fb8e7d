//! The tables: which get how many lines, which columns fit, and their rows.

use std::fmt::Write as _;

use textwrap::core::display_width;

use super::canvas::{BOLD, Canvas, DIM, PLAIN, Paint, REVERSED};
use crate::top::column::{Column, Section};
use crate::top::model::{Model, Row};
use crate::top::view::{Choice, View};

/// Lines above the rows of a table: its title, and the headings.
const HEAD: usize = 2;

/// Lines of a table that has to share: its head and some rows.
const SHARE: usize = HEAD + 2;

const STATE_WIDTH: usize = 8;
const NAME_WIDTH_MIN: usize = 8;
/// A name gets as much before less important columns get anything.
const NAME_WIDTH: usize = 18;
const NAME_WIDTH_MAX: usize = 60;

/// Draws the tables.
pub(super) fn draw(canvas: &mut Canvas<'_>, model: &Model, view: &View, paint: Paint, is_selectable: bool) {
    let rows = Section::ALL.map(|section| view.rows(model, section));
    let needs = [0, 1, 2].map(|nth: usize| HEAD + rows[nth].len().max(1));
    let (lines, gap) = share(needs, canvas.height(), view.section as usize);
    let widths = Widths::of(canvas.width(), model, view);
    let mut y = 0;
    for (section, rows) in Section::ALL.into_iter().zip(&rows) {
        let lines = lines[section as usize];
        if lines == 0 {
            continue;
        }
        let table = Table { section, rows, model, view, paint, widths: &widths, is_selectable };
        table.draw(&mut canvas.lines(y, lines));
        y += lines + gap;
    }
}

/// All that is in a row and not on the screen: what is written below the tables.
pub(super) fn rest(model: &Model, view: &View, width: usize) -> Option<String> {
    let rows = view.rows(model, view.section);
    let row = rows.get(view.selected(&rows, view.section))?;
    let widths = Widths::of(width, model, view);
    let shown = widths.columns(view.section);
    let mut text = String::new();
    let mut group = "";
    for column in view.section.columns().iter().filter(|column| !shown.contains(column)) {
        if text.is_empty() {
            text = row.name.clone() + ":";
        }
        if column.group() != group {
            group = column.group();
            text += if text.ends_with(':') { " " } else { ", " };
            text += group;
        }
        // Writing to a String does not fail.
        let _ =
            write!(text, " {} {}", column.heading().to_lowercase(), column.unit().write(row.value(*column)));
    }
    (!text.is_empty()).then_some(text)
}

/// How many lines each table gets, and how many stand between two.
fn share(needs: [usize; 3], lines: usize, focus: usize) -> ([usize; 3], usize) {
    let all: usize = needs.iter().sum();
    if all <= lines {
        return (needs, usize::from(all + 2 <= lines));
    }
    let mut given = needs.map(|need| need.min(SHARE));
    let least: usize = given.iter().sum();
    if least > lines {
        let mut alone = [0; 3];
        alone[focus] = lines;
        return (alone, 0);
    }
    let mut left = lines - least;
    for nth in [focus, 0, 1, 2] {
        let more = left.min(needs[nth] - given[nth]);
        given[nth] += more;
        left -= more;
    }
    (given, 0)
}

/// Where things stand in every table.
struct Widths {
    name: usize,
    /// For the numbers.
    numbers: usize,
    first_column: usize,
}

impl Widths {
    fn of(width: usize, model: &Model, view: &View) -> Self {
        let names = Section::ALL.into_iter().flat_map(|section| model.rows(section));
        let longest = names.map(|row| display_width(&row.name)).max().unwrap_or_default();
        let longest = longest.clamp(NAME_WIDTH_MIN, NAME_WIDTH_MAX);
        let without_name = width.saturating_sub(1 + STATE_WIDTH);
        // A narrow screen has to have something besides names.
        let least = longest.min(NAME_WIDTH).min((without_name / 2).max(NAME_WIDTH_MIN));
        let mut widths = Self {
            name: least,
            numbers: without_name.saturating_sub(least),
            first_column: view.first_column,
        };
        let used = Section::ALL
            .map(|section| widths.columns(section).iter().map(|column| 1 + column.width()).sum::<usize>());
        let free = widths.numbers - used.into_iter().max().unwrap_or_default();
        let more = free.min(longest - least);
        widths.name += more;
        widths.numbers -= more;
        widths
    }

    /// The columns that fit.
    fn columns(&self, section: Section) -> &'static [Column] {
        let all = section.columns();
        let all = &all[self.first_column.min(all.len() - 1)..];
        let mut used = 0;
        let fit = all.iter().take_while(|column| {
            used += 1 + column.width();
            used <= self.numbers
        });
        &all[..fit.count()]
    }
}

struct Table<'a> {
    section: Section,
    rows: &'a [&'a Row],
    model: &'a Model,
    view: &'a View,
    paint: Paint,
    widths: &'a Widths,
    is_selectable: bool,
}

impl Table<'_> {
    fn draw(&self, canvas: &mut Canvas<'_>) {
        // On two lines a row and its headings are of more use than a title.
        let head = canvas.height().saturating_sub(1).min(HEAD);
        let lines = canvas.height() - head;
        let selected = self.view.selected(self.rows, self.section);
        let from = selected.saturating_sub(lines / 2).min(self.rows.len().saturating_sub(lines));
        if head == HEAD {
            self.title(canvas, from, lines);
        }
        if head > 0 {
            self.headings(canvas, head - 1);
        }
        if self.rows.is_empty() {
            let all = self.model.rows(self.section).len();
            let text = if all == 0 { "none" } else { "no row has this text; Esc shows all" };
            canvas.put(0, head, usize::MAX, text, DIM);
        }
        for (nth, row) in self.rows.iter().enumerate().skip(from).take(lines) {
            let y = head + nth - from;
            self.row(canvas, y, row);
            if self.is_selectable && self.section == self.view.section && nth == selected {
                canvas.style(y, REVERSED);
            }
        }
    }

    fn title(&self, canvas: &mut Canvas<'_>, from: usize, lines: usize) {
        let Choice { sort, is_reversed, filter, .. } = self.view.choice(self.section);
        let all = self.rows.len();
        // Writing to a String does not fail.
        let mut text = self.section.title().to_owned();
        if all > lines {
            let _ = write!(text, " {}-{} of", from + 1, from + lines);
        }
        let _ = write!(text, " {all}");
        if !filter.is_empty() {
            let _ = write!(text, " with \"{filter}\"");
        }
        if let Some(column) = sort {
            let group =
                if column.group().is_empty() { String::new() } else { format!("{} ", column.group()) };
            let _ = write!(text, ", by {group}{} {}", column.heading(), if *is_reversed { '↑' } else { '↓' });
        } else if *is_reversed {
            text += ", reversed";
        }
        let mut groups = self.groups();
        let room = groups.first().map_or(usize::MAX, |(x, ..)| x.saturating_sub(1));
        let is_focused = self.is_selectable && self.section == self.view.section;
        canvas.put(0, 0, room, &text, if is_focused { BOLD } else { PLAIN });
        for (x, width, group) in groups.drain(..) {
            canvas.put(x, 0, width, group, DIM);
        }
    }

    /// The headings of columns that belong together, with their place.
    fn groups(&self) -> Vec<(usize, usize, &'static str)> {
        let mut groups: Vec<(usize, usize, &str)> = Vec::new();
        for (x, column) in self.places() {
            match groups.last_mut() {
                Some((from, width, group)) if *group == column.group() => *width = x + column.width() - *from,
                _ => groups.push((x, column.width(), column.group())),
            }
        }
        groups.retain(|(_, _, group)| !group.is_empty());
        groups
    }

    /// The columns that are shown, with their places.
    fn places(&self) -> impl Iterator<Item = (usize, Column)> {
        let mut x = self.widths.name + 1 + STATE_WIDTH;
        self.widths.columns(self.section).iter().map(move |column| {
            let place = x + 1;
            x = place + column.width();
            (place, *column)
        })
    }

    fn headings(&self, canvas: &mut Canvas<'_>, y: usize) {
        canvas.put(0, y, self.widths.name, "NAME", DIM);
        canvas.put(self.widths.name + 1, y, STATE_WIDTH, "STATE", DIM);
        let sort = self.view.choice(self.section).sort;
        for (x, column) in self.places() {
            let style = if sort == Some(column) { BOLD } else { DIM };
            canvas.put_right(x, y, column.width(), column.heading(), style);
        }
    }

    fn row(&self, canvas: &mut Canvas<'_>, y: usize, row: &Row) {
        // What is old is not worth a colour.
        let is_old = self.model.trouble.is_some();
        let style = if is_old { DIM } else { PLAIN };
        let tone = if is_old { DIM } else { self.paint.tone(row.tone) };
        canvas.put_name(0, y, self.widths.name, &row.name, style);
        canvas.put(self.widths.name + 1, y, STATE_WIDTH, &row.state, tone);
        for (x, column) in self.places() {
            let value = row.value(column);
            let style = match column.alarm() {
                Some(alarm) if !is_old && value.is_some_and(|value| value > 0.0) => self.paint.tone(alarm),
                _ if value.is_none_or(|value| value == 0.0) => DIM,
                _ => style,
            };
            canvas.put_right(x, y, column.width(), &column.unit().write(value), style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_share_the_lines_and_the_one_in_focus_gets_most() {
        assert_eq!(share([5, 3, 4], 20, 0), ([5, 3, 4], 1));
        assert_eq!(share([5, 3, 4], 13, 0), ([5, 3, 4], 0));
        assert_eq!(share([30, 3, 18], 18, 0), ([11, 3, 4], 0));
        assert_eq!(share([30, 3, 18], 18, 2), ([4, 3, 11], 0));
        assert_eq!(share([30, 3, 5], 30, 2), ([22, 3, 5], 0));
        assert_eq!(share([30, 3, 18], 10, 1), ([0, 10, 0], 0));
        assert_eq!(share([5, 3, 4], 0, 1), ([0, 0, 0], 0));
    }
}
