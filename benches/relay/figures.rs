//! The figures of all rounds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::scenarios::Scenario;

/// The value of one figure in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// The key of its [`Column`](crate::scenarios::Column).
    pub(crate) key: &'static str,
    pub(crate) value: f64,
}

/// The samples of all rounds, and the reasons for missing ones.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    samples: BTreeMap<(Scenario, String, &'static str), Vec<f64>>,
    notes: BTreeMap<(Scenario, String), String>,
}

/// One figure over the rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Figures {
    /// Adds the samples of a round.
    pub(crate) fn add(&mut self, scenario: Scenario, arm: &str, samples: &[Sample]) {
        for sample in samples {
            self.samples.entry((scenario, arm.to_owned(), sample.key)).or_default().push(sample.value);
        }
    }

    /// Stores the reason why an arm lacks figures in a scenario; a later reason replaces it.
    pub(crate) fn note(&mut self, scenario: Scenario, arm: &str, reason: &str) {
        self.notes.insert((scenario, arm.to_owned()), reason.to_owned());
    }

    /// The reason stored by [`Figures::note`].
    pub(crate) fn note_on(&self, scenario: Scenario, arm: &str) -> Option<&str> {
        self.notes.get(&(scenario, arm.to_owned())).map(String::as_str)
    }

    /// The values of all rounds in order.
    pub(crate) fn rounds(&self, scenario: Scenario, arm: &str, key: &'static str) -> &[f64] {
        self.samples.get(&(scenario, arm.to_owned(), key)).map_or(&[], Vec::as_slice)
    }

    /// The median and the range; `None` without any value.
    pub(crate) fn spread(&self, scenario: Scenario, arm: &str, key: &'static str) -> Option<Spread> {
        let mut values = self.rounds(scenario, arm, key).to_vec();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { median, min, max })
    }
}
