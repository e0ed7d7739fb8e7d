//! What was sent to a site: a probe that does not say so is no better than a stranger.

use url::Url;

/// Counts of what was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) connections: u32,
}

impl Sent {
    /// For people, a line each.
    pub(super) fn lines(&self, url: &Url) -> Vec<String> {
        vec![format!("{url}: {} connections", self.connections)]
    }
}
