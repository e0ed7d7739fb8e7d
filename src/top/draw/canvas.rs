//! A part of a screen to write on. What is outside of it is left out: nothing here panics, however small the part is.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use textwrap::core::display_width;

use crate::top::model::Tone;

/// How things look; without colours by brightness alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub(super) has_colours: bool,
}

impl Paint {
    fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Good => self.colour(Color::Green),
            Tone::Warning => self.colour(Color::Yellow),
            Tone::Bad => self.colour(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    pub(super) fn curve(self) -> Style {
        self.colour(Color::Cyan)
    }
}

pub(super) const PLAIN: Style = Style::new();
pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// See the module docs. Places are relative to the part.
pub(super) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, area: Rect) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, area }
    }

    pub(super) fn width(&self) -> usize {
        self.area.width.into()
    }

    pub(super) fn height(&self) -> usize {
        self.area.height.into()
    }

    /// The lines from one on, so many.
    pub(super) fn lines(&mut self, from: usize, lines: usize) -> Canvas<'_> {
        let from = from.min(self.height());
        let lines = lines.min(self.height() - from);
        let area = Rect { y: self.area.y + from as u16, height: lines as u16, ..self.area };
        Canvas { buffer: self.buffer, area }
    }

    /// Writes a text of at most this width; of a longer one the beginning, and a sign that it goes on.
    pub(super) fn put(&mut self, x: usize, y: usize, width: usize, text: &str, style: Style) {
        let width = width.min(self.width().saturating_sub(x));
        if y >= self.height() || width == 0 {
            return;
        }
        let (x, y) = (self.area.x + x as u16, self.area.y + y as u16);
        if display_width(text) <= width {
            self.buffer.set_stringn(x, y, text, width, style);
        } else {
            let (end, _) = self.buffer.set_stringn(x, y, text, width - 1, style);
            self.buffer.set_stringn(end, y, "…", 1, style);
        }
    }

    /// Writes a name. Of a long one the middle is left out: servers differ at their beginning or in their port.
    pub(super) fn put_name(&mut self, x: usize, y: usize, width: usize, name: &str, style: Style) {
        if display_width(name) <= width || width < 5 {
            return self.put(x, y, width, name, style);
        }
        let tail_width = (width - 1) / 2;
        let mut from = name.len();
        for (at, _) in name.char_indices().rev() {
            if display_width(&name[at..]) > tail_width {
                break;
            }
            from = at;
        }
        let tail = &name[from..];
        let head_width = width - display_width(tail);
        self.put(x, y, head_width, &name[..from], style);
        self.put(x + head_width, y, width - head_width, tail, style);
    }

    /// Writes a text that ends where this width does.
    pub(super) fn put_right(&mut self, x: usize, y: usize, width: usize, text: &str, style: Style) {
        let free = width.saturating_sub(display_width(text));
        self.put(x + free, y, width - free, text, style);
    }

    /// Gives a whole line a style.
    pub(super) fn style(&mut self, y: usize, style: Style) {
        if y < self.height() {
            self.buffer.set_style(Rect { y: self.area.y + y as u16, height: 1, ..self.area }, style);
        }
    }
}
