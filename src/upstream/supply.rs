//! Where connections come from that were opened ahead, as those see it who lend servers.

use std::fmt::Debug;

use super::lease::Lease;

/// Connections of one worker that wait for clients.
pub trait Supply: Debug {
    /// Whether one to the server at this place in the group may be left.
    fn has(&self, nth: usize) -> bool;

    /// Takes one out, if one is left that its server has not closed, and lends its place. One that is out does not come
    /// back.
    fn take(&self, nth: usize) -> Option<Lease>;
}
