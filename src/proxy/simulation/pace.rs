//! When a peer acts: step by step, at the seed's pace, for a limited time.

use std::time::{Duration, Instant};

use crate::uring::sim::{Dice, Far, Next};

/// How a peer leaves early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Close,
    Reset,
}

/// How long a peer stays and how it leaves then, unless it stays to the end.
pub(super) type Patience = Option<(Duration, Leaving)>;

/// Leaves if the time has come.
pub(super) fn leave(patience: Patience, begin: Instant, far: &mut Far<'_>) -> Option<Leaving> {
    let (_, leaving) = patience.filter(|(after, _)| begin + *after <= far.now)?;
    match leaving {
        Leaving::Close => far.close(),
        Leaving::Reset => far.reset(),
    }
    Some(leaving)
}

/// The steps of one turn, and when the next turn is due.
pub(super) struct Steps {
    wake: Option<Instant>,
    waits: bool,
}

impl Steps {
    /// The steps of a peer that arrived at `begin`.
    pub(super) fn new(patience: Patience, begin: Instant) -> Self {
        Self { wake: patience.map(|(after, _)| begin + after), waits: false }
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |before| before.min(at)));
    }

    /// Takes a step if it is due, followed by a pause. `step` returns false when it can do nothing now.
    pub(super) fn take(
        &mut self,
        due: &mut Instant,
        pause_max: Duration,
        far: &mut Far<'_>,
        step: impl FnOnce(&mut Far<'_>) -> bool,
    ) {
        if *due <= far.now {
            if !step(far) {
                self.waits = true;
                return;
            }
            *due = far.now + pause(far.dice, pause_max);
        }
        self.wake_at(*due);
    }

    /// When the next turn is.
    pub(super) fn next(self, now: Instant) -> Next {
        let wake = self.wake.map(|at| at.saturating_duration_since(now));
        match wake {
            Some(time) if !self.waits => Next::After(time),
            wake => Next::ChangeOr(wake),
        }
    }
}

fn pause(dice: &mut Dice, longest: Duration) -> Duration {
    // Usually short, so that runs end soon.
    if dice.chance(100) { dice.time(longest) } else { dice.time(longest / 20) }
}
