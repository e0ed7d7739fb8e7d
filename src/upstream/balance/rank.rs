//! Ranks of servers by random numbers and weights.

/// The rank that a random number gives a server of this weight, if it is less than `most`: the least of several ranks is
/// each server's in proportion to its weight, and so is the least of those that are left.
pub(super) fn rank(random: u64, weight: f64, most: f64) -> Option<f64> {
    // Within (0, 1).
    let uniform = ((random >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    // -ln(u) is at least 1 - u: most servers are ruled out without the logarithm.
    if (1.0 - uniform) >= most * weight {
        return None;
    }
    let rank = -uniform.ln() / weight;
    (rank < most).then_some(rank)
}
