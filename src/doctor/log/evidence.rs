//! What the 401s of a loop have in common: counts of what tells causes apart.

use super::entry::Entry;
use crate::protocol::login::Step;

/// Most different codes, and lengths of replies, that are counted.
const KINDS_MAX: usize = 6;

/// Windows' code and the number behind the dot, as IIS logs them for a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code {
    pub substatus: u16,
    pub win32: u32,
}

/// Counts of a loop's 401s.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// Of IIS.
    pub codes: Vec<(Code, u32)>,
    /// Of iisplice, by [`Step`].
    pub steps: [u32; Step::ALL.len()],
    /// Lengths of replies.
    pub lengths: Vec<(u64, u32)>,
    /// 401s on the connection of the 401 before, and on another one.
    pub on_the_same: u32,
    pub elsewhere: u32,
    /// 401s from another server than the 401 before.
    pub other_server: u32,
    connection: Option<u64>,
    server: Option<u64>,
}

impl Evidence {
    /// Counts a 401.
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        if let (Some(substatus), Some(win32)) = (entry.substatus, entry.win32) {
            count(&mut self.codes, Code { substatus, win32 });
        }
        if let Some(step) = entry.step {
            self.steps[step as usize] += 1;
        }
        if let Some(bytes) = entry.reply_bytes {
            count(&mut self.lengths, bytes);
        }
        if let Some(connection) = entry.connection {
            match self.connection.replace(connection) {
                Some(before) if before == connection => self.on_the_same += 1,
                Some(_) => self.elsewhere += 1,
                None => {}
            }
        }
        if let Some(server) = entry.server
            && self.server.replace(server).is_some_and(|before| before != server)
        {
            self.other_server += 1;
        }
    }

    /// Adds another loop's.
    pub(super) fn merge(&mut self, other: &Self) {
        other.codes.iter().for_each(|(code, times)| count_times(&mut self.codes, *code, *times));
        other.lengths.iter().for_each(|(bytes, times)| count_times(&mut self.lengths, *bytes, *times));
        for (sum, times) in self.steps.iter_mut().zip(other.steps) {
            *sum += times;
        }
        self.on_the_same += other.on_the_same;
        self.elsewhere += other.elsewhere;
        self.other_server += other.other_server;
    }

    /// How many 401s were of this step.
    pub(super) fn step(&self, step: Step) -> u32 {
        self.steps[step as usize]
    }
}

fn count<T: PartialEq>(counts: &mut Vec<(T, u32)>, what: T) {
    count_times(counts, what, 1);
}

fn count_times<T: PartialEq>(counts: &mut Vec<(T, u32)>, what: T, times: u32) {
    let has_room = counts.len() < KINDS_MAX;
    match counts.iter_mut().find(|(counted, _)| *counted == what) {
        Some((_, count)) => *count = count.saturating_add(times),
        None if has_room => counts.push((what, times)),
        None => {}
    }
}
