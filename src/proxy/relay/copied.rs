//! Bytes one way by copying: where one of the connections uses TLS, and where only a receive works.
//!
//! ```text
//!          two full receives in a row, or a long stretch of known length
//!    small: receive ------------------------------------------------> bulk: wait for a turn, receive a block,
//!           into a buffer, send it  <--------------------------------       send it
//!                              several thin turns, the end, urgent data
//! ```
//!
//! What the receiver has no room for is kept, at most a block, and nothing more is received until it is sent.

use std::io::ErrorKind;

use super::direction::{
    BULK_BYTES_MIN, Broken, Direction, FULL_RECEIVES_TO_BULK, THIN_BYTES, THIN_TURNS_TO_SMALL, TO_THE_END,
};
use crate::proxy::connection::Arrived;
use crate::uring::{BLOCK_BYTES, Expect};

impl Direction<'_> {
    /// Relays `left` bytes, and returns how many are missing when the stream ended early.
    pub(super) async fn carry_copied(&self, mut left: u64) -> Result<u64, Broken> {
        let is_long = left != TO_THE_END && left >= BULK_BYTES_MIN;
        let mut full_in_a_row = if is_long { FULL_RECEIVES_TO_BULK } else { 0 };
        let mut expect = Expect::Later;
        while left > 0 {
            if full_in_a_row >= FULL_RECEIVES_TO_BULK && !self.from().socket().is_receiving() {
                Box::pin(self.carry_blocks(&mut left)).await?;
                (full_in_a_row, expect) = (0, Expect::Now);
                continue;
            }
            let Some(arrived) = self.from().receive(expect).await.map_err(|error| (self.from, error))? else {
                break;
            };
            let Arrived { is_full, more } = arrived;
            full_in_a_row = if is_full && more { full_in_a_row + 1 } else { 0 };
            expect = if more { Expect::Now } else { Expect::Later };
            self.relay.received(self.from, self.relay.ring.now());
            self.send_unread(&mut left).await?;
        }
        Ok(left)
    }

    /// Relays a block each turn until all is carried or a receive is due: bytes come thin, or none come though the socket
    /// is readable.
    async fn carry_blocks(&self, left: &mut u64) -> Result<(), Broken> {
        let ring = self.relay.ring;
        let (mut thin_turns, mut is_readable) = (0, false);
        while *left > 0 && thin_turns < THIN_TURNS_TO_SMALL && !self.from().has_received_close_notify() {
            ring.bulk_turn().await;
            let bytes_max = usize::try_from(*left).unwrap_or(usize::MAX);
            let mut sent = Ok(0);
            let received = self.from().receive_block(bytes_max, |bytes| {
                sent = self.to().send_now(bytes);
                *sent.as_ref().unwrap_or(&0)
            });
            let is_drained = match received {
                Ok(None) => return Ok(()),
                Ok(Some(bytes)) => {
                    self.relay.received(self.from, ring.now());
                    let sent = sent.map_err(|error| (self.to, error))?;
                    *left -= sent as u64;
                    self.relay.meter.sent(self.to, sent, ring.now());
                    self.send_unread(left).await?;
                    thin_turns = if bytes < THIN_BYTES { thin_turns + 1 } else { 0 };
                    is_readable = false;
                    bytes < BLOCK_BYTES
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err((self.from, error)),
                Err(_) if is_readable => return Ok(()),
                Err(_) => true,
            };
            if is_drained && *left > 0 {
                self.from().socket().readable().await.map_err(|error| (self.from, error))?;
                is_readable = true;
            }
        }
        Ok(())
    }
}
