//! Keys, and what they do to the view. What needs more than the view is a [`Command`].

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::column::Section;
use super::model::Model;
use super::text::shown;
use super::view::{Message, Mode, Order, Verb, View};

/// The rows of the help.
pub(super) const HELP: [(&str, &str); 11] = [
    ("↑ ↓ PgUp PgDn", "select a row"),
    ("Tab", "next table: servers, services, workers"),
    ("← →", "columns that do not fit"),
    ("s S", "sort the table by the next, by the previous column"),
    ("r", "reverse the order"),
    ("/", "show rows with this text in their name or state; Esc: all of them"),
    ("d", "drain the selected server: asks first"),
    ("e", "enable it again: asks first"),
    ("Ctrl-Z", "suspend; Ctrl-L: draw again"),
    ("? h", "this help"),
    ("q Ctrl-C", "quit"),
];

/// How many rows a page is.
const PAGE: isize = 10;

/// Longest filter.
const FILTER_MAX: usize = 60;

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Suspend,
    /// Draw everything again.
    Redraw,
    Send(Order),
}

/// Does what a key means.
pub(super) fn press(view: &mut View, model: &Model, key: KeyEvent) -> Option<Command> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    view.message = None;
    match key.code {
        KeyCode::Char('c') if is_control => return Some(Command::Quit),
        KeyCode::Char('z') if is_control => return Some(Command::Suspend),
        KeyCode::Char('l') if is_control => return Some(Command::Redraw),
        _ if is_control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        _ => {}
    }
    match view.mode.clone() {
        Mode::Tables => in_tables(view, model, key.code),
        Mode::Help(from) => in_help(view, from, key.code),
        Mode::Filter(before) => in_filter(view, before, key.code),
        Mode::Confirm(order) => in_question(view, order, key.code),
    }
}

/// Text that the terminal pastes is for a filter, and never a row of keys.
pub(super) fn paste(view: &mut View, text: &str) {
    if matches!(view.mode, Mode::Filter(_)) {
        text.chars().for_each(|c| type_into(view, c));
    }
}

fn in_tables(view: &mut View, model: &Model, key: KeyCode) -> Option<Command> {
    match key {
        KeyCode::Char('q') => return Some(Command::Quit),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => view.mode = Mode::Help(0),
        KeyCode::Char('/') => view.mode = Mode::Filter(view.choice(view.section).filter.clone()),
        KeyCode::Char('s') => sort(view, 1),
        KeyCode::Char('S') => sort(view, -1),
        KeyCode::Char('r') => view.choice_mut().is_reversed ^= true,
        KeyCode::Char('d') => ask(view, model, Verb::Drain),
        KeyCode::Char('e') => ask(view, model, Verb::Enable),
        KeyCode::Tab => turn(view, 1),
        KeyCode::BackTab => turn(view, Section::ALL.len() - 1),
        KeyCode::Up | KeyCode::Char('k') => view.move_by(model, -1),
        KeyCode::Down | KeyCode::Char('j') => view.move_by(model, 1),
        KeyCode::PageUp => view.move_by(model, -PAGE),
        KeyCode::PageDown => view.move_by(model, PAGE),
        KeyCode::Home => view.move_by(model, isize::MIN),
        KeyCode::End => view.move_by(model, isize::MAX),
        KeyCode::Left => view.first_column = view.first_column.saturating_sub(1),
        KeyCode::Right => {
            let last = view.section.columns().len() - 1;
            view.first_column = (view.first_column + 1).min(last);
        }
        KeyCode::Esc => view.choice_mut().filter.clear(),
        _ => {}
    }
    None
}

/// Goes on to another section.
fn turn(view: &mut View, sections: usize) {
    view.section = Section::ALL[(view.section as usize + sections) % Section::ALL.len()];
}

/// Sorts by another column; before the first one stands the proxy's own order.
fn sort(view: &mut View, columns: isize) {
    let all = view.section.columns();
    let choice = view.choice_mut();
    let now = choice.sort.and_then(|sort| all.iter().position(|column| *column == sort));
    let now = now.map_or(0, |nth| nth + 1);
    let next = (now as isize + columns).rem_euclid(all.len() as isize + 1) as usize;
    choice.sort = next.checked_sub(1).map(|nth| all[nth]);
    choice.is_reversed = false;
}

fn ask(view: &mut View, model: &Model, verb: Verb) {
    if let Some((group, name)) = view.server(model) {
        view.mode = Mode::Confirm(Order { verb, group, name });
    } else {
        let text = format!("no server is selected to {}; Tab leads to the servers", verb.as_str());
        view.message = Some(Message { text, is_bad: true });
    }
}

fn in_help(view: &mut View, from: u16, key: KeyCode) -> Option<Command> {
    view.mode = match key {
        KeyCode::Down | KeyCode::Char('j') | KeyCode::PageDown => Mode::Help(from.saturating_add(1)),
        KeyCode::Up | KeyCode::Char('k') | KeyCode::PageUp => Mode::Help(from.saturating_sub(1)),
        _ => Mode::Tables,
    };
    None
}

fn in_filter(view: &mut View, before: String, key: KeyCode) -> Option<Command> {
    match key {
        KeyCode::Enter => view.mode = Mode::Tables,
        KeyCode::Esc => {
            view.choice_mut().filter = before;
            view.mode = Mode::Tables;
        }
        KeyCode::Backspace => {
            view.choice_mut().filter.pop();
        }
        KeyCode::Char(c) => type_into(view, c),
        _ => {}
    }
    None
}

/// Rows are compared with it as they are shown.
fn type_into(view: &mut View, c: char) {
    let filter = &mut view.choice_mut().filter;
    if !c.is_control() && filter.chars().count() < FILTER_MAX {
        *filter += &shown(&c.to_lowercase().to_string());
    }
}

fn in_question(view: &mut View, order: Order, key: KeyCode) -> Option<Command> {
    let is_yes = matches!(key, KeyCode::Char('y' | 'Y'));
    if !is_yes && !matches!(key, KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc | KeyCode::Enter) {
        // No answer.
        return None;
    }
    view.mode = Mode::Tables;
    let verb = order.verb.as_str();
    let (text, command) = if is_yes {
        (format!("asking the proxy to {verb} {}", shown(&order.name)), Some(Command::Send(order)))
    } else {
        (format!("did not {verb} {}", shown(&order.name)), None)
    };
    view.message = Some(Message { text, is_bad: false });
    command
}
