//! The PROXY protocol, versions 1 and 2.

/// Which form of the header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}
