//! A body on its way through: where it ends, and the bytes up to there.

use super::super::connection::Connection;
use super::super::direction::{Broken, Direction, TO_THE_END};
use crate::protocol::http1::body::{self, BodyError, BodyLength};
use crate::protocol::http1::response;
use crate::uring::Expect;

/// What is still to come of a body.
pub(super) enum Rest {
    /// So many bytes.
    Sized(u64),
    /// Chunks, passed on as they are framed, and looked at to see where they end.
    Chunked(body::Body),
    /// All that comes until the stream ends.
    UntilClose,
}

/// How passing a body on ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    Whole,
    /// The stream ended before the body did.
    CutShort,
    /// Its chunks are no chunks.
    Malformed(BodyError),
}

impl Rest {
    /// Of a request.
    pub(super) fn of_request(length: BodyLength) -> Self {
        match length {
            BodyLength::None => Self::Sized(0),
            BodyLength::Sized(bytes) => Self::Sized(bytes),
            BodyLength::Chunked => Self::Chunked(body::Body::new(BodyLength::Chunked)),
        }
    }

    /// Of a reply.
    pub(super) fn of_reply(body: response::Body) -> Self {
        match body {
            response::Body::Complete => Self::Sized(0),
            response::Body::Sized { remaining_bytes } => Self::Sized(remaining_bytes),
            response::Body::Chunked { .. } => Self::Chunked(body::Body::new(BodyLength::Chunked)),
            response::Body::UntilClose => Self::UntilClose,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        match self {
            Self::Sized(left) => *left == 0,
            Self::Chunked(body) => body.is_complete(),
            Self::UntilClose => false,
        }
    }

    /// How many of these bytes belong to it; they count as passed on.
    fn count(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        match self {
            Self::Sized(left) => {
                let count = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                Ok(count)
            }
            Self::Chunked(body) => body.advance(bytes, |_content| ()),
            Self::UntilClose => Ok(bytes.len()),
        }
    }

    /// Moves what has arrived of it behind `head`, so that both go out at once.
    pub(super) fn append_arrived(&mut self, from: &Connection, head: &mut Vec<u8>) -> Result<(), BodyError> {
        let unread = from.unread();
        let count = self.count(&unread)?;
        head.extend_from_slice(&unread[..count]);
        drop(unread);
        from.take(count);
        Ok(())
    }

    /// Passes on what is still to come.
    pub(super) async fn pass(&mut self, direction: Direction<'_>) -> Result<Passed, Broken> {
        match self {
            Self::Sized(left) => {
                let missing = direction.carry(*left).await?;
                Ok(if missing == 0 { Passed::Whole } else { Passed::CutShort })
            }
            Self::UntilClose => {
                direction.carry(TO_THE_END).await?;
                direction.ended_in_order().map(|()| Passed::Whole)
            }
            Self::Chunked(_) => self.pass_chunks(direction).await,
        }
    }

    async fn pass_chunks(&mut self, direction: Direction<'_>) -> Result<Passed, Broken> {
        let from = direction.from();
        loop {
            let count = self.count(&from.unread());
            match count {
                Ok(0) => {}
                Ok(count) => drop(direction.carry(count as u64).await?),
                Err(error) => return Ok(Passed::Malformed(error)),
            }
            if self.is_none() {
                return Ok(Passed::Whole);
            }
            let arrived = from.receive(Expect::Later).await.map_err(|error| (direction.from, error))?;
            if arrived.is_none() {
                return Ok(Passed::CutShort);
            }
        }
    }
}
