//! Draws the model as the operator wants to see it: a pure function of both, and of the time.
//!
//! ```text
//!   title                      which proxy, whether it is ready
//!   totals with sparklines     or what keeps the proxy from answering
//!   tables                     servers, services, workers
//!   rest of the selected row   where not all columns fit
//!   foot                       a question, a message, or what keys do
//! ```
//!
//! It must never do IO, and draws on whatever room there is: a small screen shows less, from the least important on.

mod canvas;
mod help;
mod table;

use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use textwrap::core::display_width;

use super::column::Section;
use super::model::{Model, Tone, Total};
use super::text::{shown, span};
use super::view::{Mode, Order, Verb, View};
use canvas::{BOLD, Canvas, DIM, PLAIN, Paint, REVERSED};

/// What a picture depends on besides model and view.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) now: Instant,
    /// Where the proxy is asked.
    pub(super) address: &'a str,
    /// How often.
    pub(super) interval: Duration,
    pub(super) has_colours: bool,
}

/// A total is readable in this width.
const TOTAL_WIDTH: usize = 38;
const LABEL_WIDTH: usize = 15;
const VALUE_WIDTH: usize = 7;

/// An answer that takes longer is worth a word.
const PATIENCE: Duration = Duration::from_secs(3);

/// Widest server names are cut in a longer question.
const NAMED_WIDTH: usize = 40;

/// Draws a screen.
pub(super) fn screen(buffer: &mut Buffer, model: &Model, view: &View, setting: &Setting<'_>) {
    let area = buffer.area;
    let canvas = &mut Canvas::new(buffer, area);
    let paint = Paint { has_colours: setting.has_colours };
    if let Mode::Help(from) = view.mode {
        help::draw(canvas, from);
        return;
    }
    let (width, height) = (canvas.width(), canvas.height());
    title(canvas, model, setting, paint);
    let totals = total_lines(model.totals.len(), width, height);
    let mut top = 1;
    if totals > 0 {
        let part = &mut canvas.lines(top, totals);
        match &model.trouble {
            Some(why) => trouble(part, why, paint),
            None => draw_totals(part, model, paint, true),
        }
        // A line between, where there is one to spare.
        top += totals + usize::from(height >= 22);
    }
    let rest = (height >= 16).then(|| table::rest(model, view, width)).flatten();
    let foot = usize::from(height >= 3);
    let bottom = height.saturating_sub(foot + usize::from(rest.is_some()));
    table::draw(&mut canvas.lines(top, bottom.saturating_sub(top)), model, view, paint, true);
    if let Some(rest) = rest {
        canvas.put(0, bottom, width, &rest, PLAIN);
    }
    if foot > 0 {
        draw_foot(&mut canvas.lines(height - 1, 1), model, view, paint);
    }
}

/// A picture of everything, for paper as it were: no sparklines, no keys, and all rows.
pub(super) fn once(model: &Model, width: u16, setting: &Setting<'_>) -> String {
    let view = View::new();
    let paint = Paint { has_colours: false };
    let rows: usize = Section::ALL.iter().map(|section| model.rows(*section).len().max(1) + 3).sum();
    let columns = (usize::from(width) / TOTAL_WIDTH).max(1);
    let totals = model.totals.len().div_ceil(columns);
    let height = u16::try_from(1 + totals + 1 + rows).unwrap_or(u16::MAX);
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    let area = buffer.area;
    let canvas = &mut Canvas::new(&mut buffer, area);
    title(canvas, model, setting, paint);
    draw_totals(&mut canvas.lines(1, totals), model, paint, false);
    let top = totals + 2;
    table::draw(&mut canvas.lines(top, canvas.height().saturating_sub(top)), model, &view, paint, false);
    text(&buffer)
}

/// What is written on a buffer, line by line.
pub(super) fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        let mut line = String::new();
        let mut x = buffer.area.left();
        while let Some(cell) = buffer.cell((x, y)) {
            line += cell.symbol();
            // What is wide covers the cells that follow.
            x += display_width(cell.symbol()).max(1) as u16;
        }
        text += line.trim_end();
        text.push('\n');
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
    text
}

/// How many lines the totals get.
fn total_lines(count: usize, width: usize, height: usize) -> usize {
    let all = count.div_ceil((width / TOTAL_WIDTH).max(1));
    let room = match height {
        0..8 => 0,
        8..12 => 1,
        12..18 => 2,
        _ => 4,
    };
    all.min(room)
}

fn title(canvas: &mut Canvas<'_>, model: &Model, setting: &Setting<'_>, paint: Paint) {
    let last = model.last();
    let age = setting.now.duration_since(last.at);
    let (state, tone) = match &model.trouble {
        Some(_) => (format!("no answer for {}", span(age)), Tone::Bad),
        None if age > setting.interval + PATIENCE => (format!("no answer for {}", span(age)), Tone::Warning),
        None if last.is_ready => ("ready".to_owned(), Tone::Good),
        None if last.reasons.is_empty() => ("not ready".to_owned(), Tone::Bad),
        None => (format!("not ready: {}", shown(&last.reasons.join("; "))), Tone::Bad),
    };
    let version = shown(&last.counts.version);
    let up = last.uptime.map(|time| format!(", up {}", span(time))).unwrap_or_default();
    let about = format!("iisplice {version} at {}{up}", setting.address);
    // The state matters more than the rest of a long address.
    let room = canvas.width().saturating_sub((2 + display_width(&state)).min(canvas.width() * 2 / 3));
    canvas.put(0, 0, room, &about, BOLD);
    let x = display_width(&about).min(room) + 2;
    canvas.put(x, 0, usize::MAX, &state, paint.tone(tone));
    let every = format!("every {}", humantime::format_duration(setting.interval));
    let used = x + display_width(&state) + 2 + display_width(&every);
    if used <= canvas.width() {
        let x = canvas.width() - display_width(&every);
        canvas.put(x, 0, usize::MAX, &every, DIM);
    }
}

fn trouble(canvas: &mut Canvas<'_>, why: &str, paint: Paint) {
    let text = format!("{why}; asking again");
    for (y, line) in textwrap::wrap(&text, canvas.width().max(1)).iter().enumerate() {
        canvas.put(0, y, usize::MAX, line, paint.tone(Tone::Bad));
    }
}

fn draw_totals(canvas: &mut Canvas<'_>, model: &Model, paint: Paint, has_curves: bool) {
    let columns = (canvas.width() / TOTAL_WIDTH).clamp(1, model.totals.len());
    let width = canvas.width() / columns;
    for (nth, total) in model.totals.iter().enumerate() {
        let (x, y) = (nth % columns * width, nth / columns);
        draw_total(canvas, (x, y), width - usize::from(columns > 1), total, paint, has_curves);
    }
}

fn draw_total(
    canvas: &mut Canvas<'_>,
    (x, y): (usize, usize),
    width: usize,
    total: &Total,
    paint: Paint,
    has_curve: bool,
) {
    canvas.put(x, y, LABEL_WIDTH.min(width), total.label, DIM);
    let value = total.unit.write(total.now());
    canvas.put_right(x + LABEL_WIDTH + 1, y, VALUE_WIDTH, &value, BOLD);
    let from = LABEL_WIDTH + 1 + VALUE_WIDTH + 1;
    if has_curve && width > from {
        canvas.put(x + from, y, width - from, &curve(total, width - from), paint.curve());
    }
}

/// The last values as a row of bars; the newest one is the last.
fn curve(total: &Total, width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let history = &total.history;
    let values: Vec<_> = history.iter().skip(history.len().saturating_sub(width)).collect();
    let most = values.iter().filter_map(|value| **value).fold(0.0, f64::max);
    let bar = |value: &Option<f64>| match value {
        None => ' ',
        // What is more than nothing is seen.
        Some(value) if *value > 0.0 => BARS[((value / most * 7.0).ceil() as usize).clamp(1, 7)],
        Some(_) => BARS[0],
    };
    let bars: String = values.iter().map(|value| bar(value)).collect();
    " ".repeat(width - values.len()) + &bars
}

fn draw_foot(canvas: &mut Canvas<'_>, model: &Model, view: &View, paint: Paint) {
    match (&view.mode, &view.message) {
        (Mode::Confirm(order), _) => {
            canvas.put(0, 0, usize::MAX, &question(model, order), BOLD);
            canvas.style(0, REVERSED);
        }
        (Mode::Filter(_), _) => {
            let filter = &view.choice(view.section).filter;
            let text = format!("{} with: {filter}▏", view.section.title().to_lowercase());
            canvas.put(0, 0, usize::MAX, &text, BOLD);
            let hint = "Enter keeps it, Esc takes it back";
            let x = display_width(&text) + 2;
            canvas.put(x, 0, usize::MAX, hint, DIM);
        }
        (_, Some(message)) => {
            let style = if message.is_bad { paint.tone(Tone::Bad) } else { BOLD };
            canvas.put(0, 0, usize::MAX, &message.text, style);
        }
        _ => {
            const HINTS: [&str; 9] = [
                "q quit",
                "? help",
                "Tab table",
                "s sort",
                "/ filter",
                "d drain",
                "e enable",
                "←→ columns",
                "r reverse",
            ];
            let mut text = String::new();
            for hint in HINTS {
                if display_width(&text) + 2 + display_width(hint) <= canvas.width() {
                    text += if text.is_empty() { "" } else { "  " };
                    text += hint;
                }
            }
            canvas.put(0, 0, usize::MAX, &text, DIM);
        }
    }
}

fn question(model: &Model, Order { verb, group, name }: &Order) -> String {
    let cut = |text: &str| {
        let text = shown(text);
        if display_width(&text) <= NAMED_WIDTH {
            text
        } else {
            text.chars().take(NAMED_WIDTH - 1).collect::<String>() + "…"
        }
    };
    let servers = model.last().servers.iter().filter(|one| one.group == *group && one.name == *name);
    let connections: u64 = servers.map(|server| server.connections).sum();
    let what = match verb {
        Verb::Drain => format!("No new connections; {connections} go on"),
        Verb::Enable => "It gets new connections again".to_owned(),
    };
    format!("{} {} of group {}? y/n  {what}", verb.as_str(), cut(name), cut(group))
}
