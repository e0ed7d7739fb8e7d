//! What clients note for the judge.

/// What a client saw.
#[derive(Debug, Default)]
pub(super) struct ClientNotes {
    /// What it asked for, in order.
    pub(super) asked: Vec<Asked>,
    /// Complete replies, in order.
    pub(super) answers: Vec<Answer>,
    /// Whether it got everything that it requested.
    pub(super) is_content: bool,
    /// Whether it was told that no reply follows.
    pub(super) was_told_last: bool,
    /// Whether the last complete reply belongs to a login that continues with the next request.
    pub(super) is_within_login: bool,
    /// Where the stream ended, if it did.
    pub(super) over: Option<Over>,
    /// Bytes it sent and received through a tunnel.
    pub(super) tunnel: Option<TunnelBytes>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: &'static str,
    /// What its path begins with.
    pub(super) area: &'static str,
}

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) place: Place,
    pub(super) target: String,
}

/// A complete reply.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) origin: Origin,
}

/// Where a reply came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The server end with this number.
    Server(u32),
    /// The proxy, which refused the request.
    Refusal,
    /// The proxy, which redirected to this place.
    Redirect(String),
}

/// Where a stream from the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    BetweenReplies,
    /// Within a reply.
    Within,
    /// At the end of a reply, which it ended.
    With(UntilClose),
}

impl ClientNotes {
    /// The reply that ended with the stream, if one did.
    pub(super) fn until_close(&self) -> Option<UntilClose> {
        match self.over? {
            Over::With(reply) => Some(reply),
            Over::BetweenReplies | Over::Within => None,
        }
    }
}

/// A reply that ends with its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UntilClose {
    /// The server that sent it.
    pub(super) server: u32,
    pub(super) exchange: usize,
    pub(super) bytes: u64,
}

/// What one end of a tunnel knows of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TunnelBytes {
    pub(super) sent: u64,
    pub(super) received: u64,
}
