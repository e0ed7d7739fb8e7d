//! A body on its way through: where it ends, and the bytes up to there.
//!
//! Chunks pass as they are framed. The trailers behind them are held until they are whole and written anew, since some
//! of them must not pass. A client of HTTP/1.0 gets the content without chunks.

use std::io;

use super::super::connection::Connection;
use super::super::direction::{Broken, Direction, TO_THE_END};
use crate::protocol::http1::body::{self, BodyError, BodyLength};
use crate::protocol::http1::forward::{TrailerRules, write_trailers};
use crate::protocol::http1::response;
use crate::uring::Expect;

/// What is still to come of a body.
pub(super) enum Rest {
    /// So many bytes.
    Sized(u64),
    /// Chunks, passed on as they are framed, and looked at to see where they end.
    Chunked {
        body: body::Body,
        /// How many of the unread bytes the body has taken already: trailers that are not whole.
        held_bytes: usize,
    },
    /// Chunks, of which the content alone is passed on.
    Unchunked(body::Body),
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
            BodyLength::Chunked => Self::chunked(),
        }
    }

    /// Of a reply.
    pub(super) fn of_reply(body: response::Body) -> Self {
        match body {
            response::Body::Complete => Self::Sized(0),
            response::Body::Sized { remaining_bytes } => Self::Sized(remaining_bytes),
            response::Body::Chunked(_) => Self::chunked(),
            response::Body::UntilClose => Self::UntilClose,
        }
    }

    fn chunked() -> Self {
        Self::Chunked { body: body::Body::new(BodyLength::Chunked), held_bytes: 0 }
    }

    /// The same body for a client that knows no chunks: it ends with the connection.
    pub(super) fn without_chunks(self) -> Self {
        match self {
            Self::Chunked { body, .. } => Self::Unchunked(body),
            other => other,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        match self {
            Self::Sized(left) => *left == 0,
            Self::Chunked { body, .. } | Self::Unchunked(body) => body.is_complete(),
            Self::UntilClose => false,
        }
    }

    /// How many of these bytes, from the first unread one, belong to it and go on as they are; they count as passed on.
    fn count(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        match self {
            Self::Sized(left) => {
                let count = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                Ok(count)
            }
            // `rewrite` has begun with what is unread.
            Self::Chunked { held_bytes: 1.., .. } | Self::Unchunked(_) => Ok(0),
            Self::Chunked { body, .. } => {
                let chunks = body.advance_to_trailers(bytes, |_content| ())?;
                // Nearly all bodies have no trailers, and their end goes out with what is before it.
                if body.is_at_trailers() && bytes[chunks..].starts_with(b"\r\n") {
                    return Ok(chunks + body.advance(&bytes[chunks..], |_content| ())?);
                }
                Ok(chunks)
            }
            Self::UntilClose => Ok(bytes.len()),
        }
    }

    /// Appends to `out` what goes on otherwise than it came, and gives how many bytes, from the first unread one, are done
    /// with: the trailers when they are whole, or the content of chunks.
    fn rewrite(
        &mut self,
        bytes: &[u8],
        trailers: TrailerRules<'_>,
        out: &mut Vec<u8>,
    ) -> Result<usize, BodyError> {
        match self {
            Self::Sized(_) | Self::UntilClose => Ok(0),
            Self::Chunked { body, held_bytes } => {
                if !body.is_at_trailers() {
                    return Ok(0);
                }
                *held_bytes += body.advance(&bytes[*held_bytes..], |_content| ())?;
                if !body.is_complete() {
                    return Ok(0);
                }
                write_trailers(&bytes[..*held_bytes], trailers, out);
                Ok(*held_bytes)
            }
            Self::Unchunked(body) => body.advance(bytes, |content| out.extend_from_slice(content)),
        }
    }

    /// Moves what has arrived of it behind `head`, so that both go out at once. `trailers` says which of those go on.
    pub(super) fn append_arrived(
        &mut self,
        from: &Connection,
        trailers: TrailerRules<'_>,
        head: &mut Vec<u8>,
    ) -> Result<(), BodyError> {
        let unread = from.unread();
        let count = self.count(&unread)?;
        head.extend_from_slice(&unread[..count]);
        let rewritten = self.rewrite(&unread[count..], trailers, head)?;
        drop(unread);
        from.take(count + rewritten);
        Ok(())
    }

    /// Passes on what is still to come.
    pub(super) async fn pass(
        &mut self,
        direction: Direction<'_>,
        trailers: TrailerRules<'_>,
    ) -> Result<Passed, Broken> {
        match self {
            Self::Sized(left) => {
                let missing = direction.carry(*left).await?;
                Ok(if missing == 0 { Passed::Whole } else { Passed::CutShort })
            }
            Self::UntilClose => {
                direction.carry(TO_THE_END).await?;
                match direction.ended_in_order() {
                    Ok(()) => Ok(Passed::Whole),
                    Err((_, error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Passed::CutShort),
                    Err(broken) => Err(broken),
                }
            }
            Self::Chunked { .. } | Self::Unchunked(_) => self.pass_chunks(direction, trailers).await,
        }
    }

    async fn pass_chunks(
        &mut self,
        direction: Direction<'_>,
        trailers: TrailerRules<'_>,
    ) -> Result<Passed, Broken> {
        let from = direction.from();
        loop {
            let count = self.count(&from.unread());
            match count {
                Ok(0) => {}
                Ok(count) => drop(direction.carry(count as u64).await?),
                Err(error) => return Ok(Passed::Malformed(error)),
            }
            let mut rewritten = Vec::new();
            let done_with = self.rewrite(&from.unread(), trailers, &mut rewritten);
            match done_with {
                Ok(done_with) => from.take(done_with),
                Err(error) => return Ok(Passed::Malformed(error)),
            }
            if !rewritten.is_empty() {
                direction.to().send_all(&rewritten).await.map_err(|error| (direction.to, error))?;
                direction.relay.meter.sent(direction.to, rewritten.len(), direction.relay.ring.now());
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
