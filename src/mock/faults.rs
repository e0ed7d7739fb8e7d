//! Faults injected on purpose.

use super::settings::Faults;

/// A fault in a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Reset,
    SlowBody,
    Truncate,
}

impl Faults {
    /// Draws whether one reply has a fault. The first fault that is drawn applies.
    pub(super) fn for_reply(&self) -> Option<Fault> {
        let dice =
            [(self.reset, Fault::Reset), (self.slow_body, Fault::SlowBody), (self.truncate, Fault::Truncate)];
        dice.into_iter().find(|&(probability, _)| comes_up(probability)).map(|(_, fault)| fault)
    }

    /// Draws whether the last message of a login has a fault.
    pub(super) fn closes_handshake(&self) -> bool {
        comes_up(self.close_in_handshake)
    }
}

/// Draws only where the outcome is not certain.
fn comes_up(probability: f64) -> bool {
    if probability <= 0.0 {
        return false;
    }
    // Without randomness a requested fault always happens, rather than never.
    let drawn = getrandom::u32().map_or(0.0, |drawn| f64::from(drawn) / (f64::from(u32::MAX) + 1.0));
    drawn < probability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certain_and_impossible_faults() {
        let certain = Faults { truncate: 1.0, close_in_handshake: 1.0, ..Faults::default() };
        for _ in 0..100 {
            assert_eq!(certain.for_reply(), Some(Fault::Truncate));
            assert!(certain.closes_handshake());
            assert_eq!(Faults::default().for_reply(), None);
            assert!(!Faults::default().closes_handshake());
        }
    }

    #[test]
    fn a_fault_of_one_in_two_comes_up_sometimes() {
        let sometimes = Faults { reset: 0.5, ..Faults::default() };
        let count = (0..1000).filter(|_| sometimes.for_reply().is_some()).count();
        // A count outside this range has a probability below 10^-20.
        assert!((350..650).contains(&count), "{count} of 1000");
    }
}
