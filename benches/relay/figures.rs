//! The figures of all rounds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::arms::Arm;
use crate::cases::{Better, Case, Column};

/// The value of one figure in one round.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// The key of its [`Column`].
    key: &'static str,
    value: f64,
}

/// What one measurement has found.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    samples: Vec<Sample>,
    /// The share of the time that each core was busy, in percent.
    pub(crate) cores_percent: Vec<f64>,
}

impl Measured {
    /// Adds a figure, unless it is a division by zero because nothing happened.
    pub(crate) fn push(&mut self, key: &'static str, value: f64) {
        if value.is_finite() {
            self.samples.push(Sample { key, value });
        }
    }
}

/// The samples of all rounds, and the reasons for missing ones.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    samples: BTreeMap<(&'static str, String, &'static str), Vec<f64>>,
    cores_percent: BTreeMap<(&'static str, String), Vec<Vec<f64>>>,
    notes: BTreeMap<(&'static str, String), String>,
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
    pub(crate) fn add(&mut self, case: &Case, arm: &str, measured: Measured) {
        for sample in measured.samples {
            self.samples.entry((case.name, arm.to_owned(), sample.key)).or_default().push(sample.value);
        }
        if !measured.cores_percent.is_empty() {
            self.cores_percent.entry((case.name, arm.to_owned())).or_default().push(measured.cores_percent);
        }
    }

    /// Stores the reason why an arm lacks figures in a case; a later reason replaces it.
    pub(crate) fn note(&mut self, case: &Case, arm: &str, reason: &str) {
        self.notes.insert((case.name, arm.to_owned()), reason.to_owned());
    }

    /// The reason stored by [`Figures::note`].
    pub(crate) fn note_on(&self, case: &Case, arm: &str) -> Option<&str> {
        self.notes.get(&(case.name, arm.to_owned())).map(String::as_str)
    }

    /// The values of all rounds in order.
    pub(crate) fn rounds(&self, case: &Case, arm: &str, key: &'static str) -> &[f64] {
        self.samples.get(&(case.name, arm.to_owned(), key)).map_or(&[], Vec::as_slice)
    }

    /// The median and the range; `None` without any value.
    pub(crate) fn spread(&self, case: &Case, arm: &str, key: &'static str) -> Option<Spread> {
        Spread::of(self.rounds(case, arm, key).to_vec())
    }

    /// The share of the time that each core was busy, in percent: the medians of the rounds.
    pub(crate) fn cores_percent(&self, case: &Case, arm: &str) -> Vec<f64> {
        let Some(rounds) = self.cores_percent.get(&(case.name, arm.to_owned())) else { return Vec::new() };
        let cores = rounds.iter().map(Vec::len).min().unwrap_or(0);
        let of_core = |core: usize| rounds.iter().map(|round| round[core]).collect();
        (0..cores).filter_map(|core| Spread::of(of_core(core))).map(|spread| spread.median).collect()
    }

    /// The best of these arms in a figure, and its spread; `None` if no figure of theirs is compared or there.
    pub(crate) fn best<'a>(
        &self,
        case: &Case,
        column: &Column,
        arms: impl Iterator<Item = &'a Arm>,
    ) -> Option<(&'a Arm, Spread)> {
        let better = column.better?;
        let spreads = arms.filter_map(|arm| Some((arm, self.spread(case, arm.name(), column.key)?)));
        spreads.min_by(|(_, left), (_, right)| match better {
            Better::Less => left.median.total_cmp(&right.median),
            Better::More => right.median.total_cmp(&left.median),
        })
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }

    /// Whether the two ranges have a value in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}
