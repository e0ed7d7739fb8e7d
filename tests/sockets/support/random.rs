//! Randomness that can be repeated.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `SplitMix64`: a seed makes a sequence.
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by `IISPLICE_SEED` or the clock; says by what, which is shown when the test fails.
    pub(crate) fn new() -> Self {
        let seed = env::var("IISPLICE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
        });
        println!("repeat this with IISPLICE_SEED={seed}");
        Self(seed)
    }

    /// The same sequence each time.
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent sequence that follows from this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// From 1 to `most`: as likely small as large, in orders of magnitude.
    pub(crate) fn size(&mut self, most: usize) -> usize {
        let bits = usize::BITS - most.leading_zeros();
        let below = 1u64 << (1 + self.next() % u64::from(bits));
        (1 + self.next() % below).min(most as u64) as usize
    }

    /// A short pause, seldom.
    pub(crate) fn pause(&mut self) -> Option<Duration> {
        self.next().is_multiple_of(64).then(|| Duration::from_micros(self.next() % 3000))
    }

    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
    }
}
