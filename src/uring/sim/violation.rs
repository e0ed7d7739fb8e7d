//! The end of a run because the code under test broke a rule.

/// Ends the run; `what` says which rule was broken.
pub(super) fn violation(what: &str) {
    // While a first violation unwinds, cleanup may break further rules.
    assert!(std::thread::panicking(), "violation: {what}");
}
