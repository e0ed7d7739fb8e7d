//! Those who wait for a reload.

use tokio::sync::oneshot;

use crate::control::reload::Done;

/// A client that waits for what becomes of a reload.
#[derive(Debug)]
pub(in crate::control) struct Asker(oneshot::Sender<Result<Done, String>>);

impl Asker {
    pub(super) fn new(sender: oneshot::Sender<Result<Done, String>>) -> Self {
        Self(sender)
    }

    /// Tells it.
    pub(in crate::control) fn answer(self, outcome: Result<Done, String>) {
        // It may have left.
        let _ = self.0.send(outcome);
    }
}
