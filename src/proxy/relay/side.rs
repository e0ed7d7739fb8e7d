//! The two sides of the proxy.

/// One of the two sides of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Side {
    Client,
    Upstream,
}

impl Side {
    /// The opposite side.
    pub(in crate::proxy) fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}
