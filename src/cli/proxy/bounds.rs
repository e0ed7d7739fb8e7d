//! The bounds that several flags share.

use std::time::Duration;

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The kernel accepts whole seconds up to 32,767 for `TCP_KEEPIDLE` (`MAX_TCP_KEEPIDLE`).
pub(super) const KEEPALIVE_MAX: Duration = Duration::from_secs(9 * 3600);
