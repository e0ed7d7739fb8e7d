//! Messages to the service manager: lines of `NAME=value` (`sd_notify`(3)).

use std::fmt::{Display, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Weak;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Most bytes of a text that is for people.
const TEXT_BYTES_MAX: usize = 400;

/// See the module docs.
#[derive(Debug, Clone)]
pub(super) struct Message {
    text: String,
    is_lasting: bool,
    /// What comes along, as long as it is open elsewhere: a message must not keep it open.
    descriptor: Option<Weak<OwnedFd>>,
}

impl Message {
    /// One that is kept until it can be sent.
    pub(super) fn lasting() -> Self {
        Self { text: String::new(), is_lasting: true, descriptor: None }
    }

    /// One that another will follow anyway.
    pub(super) fn passing() -> Self {
        Self { text: String::new(), is_lasting: false, descriptor: None }
    }

    /// With this line; `value` has no line breaks.
    pub(super) fn field(mut self, name: &str, value: impl Display) -> Self {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{name}={value}");
        self
    }

    /// With this descriptor. If it is closed before the message is sent, nothing is.
    pub(super) fn with(self, descriptor: Weak<OwnedFd>) -> Self {
        Self { descriptor: Some(descriptor), ..self }
    }

    pub(super) fn descriptor(&self) -> Option<&Weak<OwnedFd>> {
        self.descriptor.as_ref()
    }

    pub(super) fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// The text in one line, which is not too long.
pub(super) fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > TEXT_BYTES_MAX {
        let ends = line.char_indices().map(|(end, _)| end);
        line.truncate(ends.take_while(|end| *end <= TEXT_BYTES_MAX).last().unwrap_or_default());
        line.push('…');
    }
    line
}

/// The time by the clock that the service manager reads too (`MONOTONIC_USEC`).
pub(super) fn monotonic_time() -> Duration {
    // It fails only for a clock that does not exist.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_for_people_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\nb\r\n  c\t"), "a b c");
        let long = one_line(&"ä".repeat(1000));
        assert!(long.ends_with("ä…") && long.len() < TEXT_BYTES_MAX + 4, "{long}");
    }
}
