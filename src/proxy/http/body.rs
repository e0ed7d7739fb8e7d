//! Forwarding a body: where it ends, and the bytes up to there.
//!
//! Chunks are forwarded as they are framed. The trailers behind them are held until they are complete and then
//! rewritten, since some of them must not be forwarded. An HTTP/1.0 client gets the content without chunks.

use std::io;

use super::super::connection::Connection;
use super::super::relay::{Broken, Direction, TO_THE_END};
use crate::protocol::http1::body::{self, BodyError, BodyLength};
use crate::protocol::http1::forward::{TrailerRules, write_trailers};
use crate::protocol::http1::response;
use crate::uring::Expect;

/// What is still to come of a body.
pub(super) enum Rest {
    /// This many bytes.
    Sized(u64),
    /// Chunks, forwarded as they are framed and parsed to find their end.
    Chunked {
        body: body::Body,
        /// How many of the unread bytes the body has parsed already: incomplete trailers.
        held_bytes: usize,
    },
    /// Chunks, of which only the content is forwarded.
    Unchunked(body::Body),
    /// Everything until the stream ends.
    UntilClose,
}

/// How forwarding a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    Whole,
    /// The stream ended before the body did.
    CutShort,
    /// The chunked framing is invalid.
    Malformed(BodyError),
}

impl Rest {
    /// The body of a request.
    pub(super) fn of_request(length: BodyLength) -> Self {
        match length {
            BodyLength::None => Self::Sized(0),
            BodyLength::Sized(bytes) => Self::Sized(bytes),
            BodyLength::Chunked => Self::chunked(),
        }
    }

    /// The body of a reply.
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

    /// The same body for a client that does not know chunks: it ends with the connection.
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

    /// Returns how many of these bytes, from the first unread one, belong to the body and are forwarded unchanged, and
    /// counts them as forwarded.
    fn count(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        match self {
            Self::Sized(left) => {
                let count = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                Ok(count)
            }
            // `rewrite` has begun with the unread bytes.
            Self::Chunked { held_bytes: 1.., .. } | Self::Unchunked(_) => Ok(0),
            Self::Chunked { body, .. } => {
                let chunks = body.advance_to_trailers(bytes, |_content| ())?;
                // Nearly all bodies have no trailers; their end is sent together with what precedes it.
                if body.is_at_trailers() && bytes[chunks..].starts_with(b"\r\n") {
                    return Ok(chunks + body.advance(&bytes[chunks..], |_content| ())?);
                }
                Ok(chunks)
            }
            Self::UntilClose => Ok(bytes.len()),
        }
    }

    /// Appends to `out` the bytes that are forwarded rewritten: the trailers when they are complete, or the content of
    /// chunks. Returns how many bytes, from the first unread one, this consumes.
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

    /// Moves the bytes of the body that have arrived behind `head`, so that both are sent at once. `trailers` says
    /// which trailers are forwarded.
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

    /// Forwards what is still to come.
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
