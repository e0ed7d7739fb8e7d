//! Whether the proxy can serve, and what keeps it from that.

use serde::Serialize;

use super::rows::GroupRow;
use super::view::Board;

/// See the module docs.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// What is not ready, for those who may know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasons: Option<Vec<String>>,
}

impl Readiness {
    /// That of the proxy now.
    pub(super) fn of(board: &Board, names_reasons: bool) -> Self {
        let mut reasons = Vec::new();
        if board.is_stopping() {
            reasons.push("the proxy is stopping".to_owned());
        }
        reasons.extend(board.stuck.faults());
        reasons.extend(GroupRow::all(&board.view()).iter().filter_map(GroupRow::fault));
        Self { ready: reasons.is_empty(), reasons: names_reasons.then_some(reasons) }
    }
}
