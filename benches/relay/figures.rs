//! What was measured, over all rounds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::scenarios::Scenario;

/// One value of one figure, from one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// The key of the [`Column`](crate::scenarios::Column) it belongs to.
    pub(crate) key: &'static str,
    pub(crate) value: f64,
}

/// The samples of all rounds, and why some are missing.
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
    /// Keeps what a round measured.
    pub(crate) fn add(&mut self, scenario: Scenario, arm: &str, samples: &[Sample]) {
        for sample in samples {
            self.samples.entry((scenario, arm.to_owned(), sample.key)).or_default().push(sample.value);
        }
    }

    /// Keeps why an arm has no figure, or fewer, in a scenario; the last reason stays.
    pub(crate) fn note(&mut self, scenario: Scenario, arm: &str, reason: &str) {
        self.notes.insert((scenario, arm.to_owned()), reason.to_owned());
    }

    /// The reason kept by [`Figures::note`].
    pub(crate) fn note_on(&self, scenario: Scenario, arm: &str) -> Option<&str> {
        self.notes.get(&(scenario, arm.to_owned())).map(String::as_str)
    }

    /// Every round's value, in order.
    pub(crate) fn rounds(&self, scenario: Scenario, arm: &str, key: &'static str) -> &[f64] {
        self.samples.get(&(scenario, arm.to_owned(), key)).map_or(&[], Vec::as_slice)
    }

    /// The median and range; `None` where nothing was measured.
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
