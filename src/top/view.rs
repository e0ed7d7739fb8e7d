//! What the operator looks at: which rows in which order, and what is being asked.

use super::column::{Column, Section};
use super::model::{Id, Model, Row};

/// What keys mean now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// The tables.
    Tables,
    /// The help, from this line on.
    Help(u16),
    /// The filter is being written; what it was stands here.
    Filter(String),
    /// Whether to send this order.
    Confirm(Order),
}

/// What is wanted of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) verb: Verb,
    pub(super) group: String,
    pub(super) name: String,
}

/// An order, as the endpoint calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Drain,
    Enable,
}

impl Verb {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Enable => "enable",
        }
    }
}

/// Rows of a table: in which order, and which of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// The column that they are sorted by; `None`: as the proxy lists them.
    pub(super) sort: Option<Column>,
    /// Whether the order is reversed. Columns begin with their highest number.
    pub(super) is_reversed: bool,
    /// Part of the name or state of those that are shown, in lower case.
    pub(super) filter: String,
    selected: Option<Id>,
}

/// See the module docs.
#[derive(Debug)]
pub(super) struct View {
    pub(super) section: Section,
    choices: [Choice; Section::ALL.len()],
    /// How many columns have been moved out on the left.
    pub(super) first_column: usize,
    pub(super) mode: Mode,
    /// What became of the last order, until a key is pressed.
    pub(super) message: Option<Message>,
}

/// A line for the operator, fit for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            section: Section::Servers,
            choices: Default::default(),
            first_column: 0,
            mode: Mode::Tables,
            message: None,
        }
    }

    pub(super) fn choice(&self, section: Section) -> &Choice {
        &self.choices[section as usize]
    }

    /// That of the section that keys are for.
    pub(super) fn choice_mut(&mut self) -> &mut Choice {
        &mut self.choices[self.section as usize]
    }

    /// The rows that are shown.
    pub(super) fn rows<'a>(&self, model: &'a Model, section: Section) -> Vec<&'a Row> {
        let Choice { sort, is_reversed, filter, .. } = self.choice(section);
        let is_wanted = |row: &&Row| {
            row.name.to_lowercase().contains(filter) || row.state.to_lowercase().contains(filter)
        };
        let mut rows: Vec<_> = model.rows(section).iter().filter(is_wanted).collect();
        if let Some(column) = sort {
            // What is not known comes last either way.
            let key = |row: &Row| row.value(*column).map(|value| if *is_reversed { value } else { -value });
            rows.sort_by(|a, b| match (key(a), key(b)) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => a.is_none().cmp(&b.is_none()),
            });
        } else if *is_reversed {
            rows.reverse();
        }
        rows
    }

    /// The place of the selected row among those that are shown: the first, unless it is another.
    pub(super) fn selected(&self, rows: &[&Row], section: Section) -> usize {
        let selected = self.choice(section).selected.as_ref();
        selected.and_then(|id| rows.iter().position(|row| row.id == *id)).unwrap_or_default()
    }

    /// Selects the row so many further down, or up.
    pub(super) fn move_by(&mut self, model: &Model, rows: isize) {
        let shown = self.rows(model, self.section);
        let now = self.selected(&shown, self.section);
        let then = now.saturating_add_signed(rows).min(shown.len().saturating_sub(1));
        let selected = shown.get(then).map(|row| row.id.clone());
        self.choice_mut().selected = selected;
    }

    /// The server that keys are for.
    pub(super) fn server(&self, model: &Model) -> Option<(String, String)> {
        let rows = self.rows(model, self.section);
        match &rows.get(self.selected(&rows, self.section))?.id {
            Id::Server { group, name } => Some((group.clone(), name.clone())),
            _ => None,
        }
    }
}
