//! How both sides of a session are closed, for each outcome.

use crate::proxy::connection::{Connection, cut};
use crate::proxy::record::End;
use crate::proxy::relay::Outcome;
use crate::proxy::relay::Side;

/// Prepares both connections to be closed the way the first of them ended: in order, or by a reset.
pub(in crate::proxy) fn close(client: &Connection, upstream: &Connection, outcome: Outcome) -> End {
    match outcome {
        Outcome::Closed { first } => {
            client.end();
            upstream.end();
            match first {
                Side::Client => End::ClientClose,
                Side::Upstream => End::UpstreamClose,
            }
        }
        Outcome::Idle => {
            cut(client, upstream);
            End::Idle
        }
        Outcome::Broken { side, error } => {
            // Both: a connection that failed here for lack of memory is alive at its far end, where no stream may look
            // complete.
            client.reset_on_close();
            upstream.reset_on_close();
            match side {
                Side::Client => {
                    tracing::debug!(%error, "client connection failed; closing");
                    End::ClientReset
                }
                Side::Upstream => {
                    tracing::debug!(%error, "upstream connection failed; closing");
                    End::UpstreamReset
                }
            }
        }
    }
}
