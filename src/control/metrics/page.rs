//! Families of metrics, written by `prometheus-client`.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;

use crate::counter::{Spread, Times};

/// The labels of one line; empty values are left out.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes families one after the other.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

/// What a family is.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    /// Without the prefix, the unit and `_total`.
    pub(super) name: &'static str,
    /// What follows the name.
    pub(super) unit: Option<&'static str>,
    /// A sentence without its full stop.
    pub(super) help: &'static str,
}

impl About {
    pub(super) const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: None, help }
    }

    pub(super) const fn bytes(self) -> Self {
        Self { unit: Some("bytes"), ..self }
    }

    pub(super) const fn seconds(self) -> Self {
        Self { unit: Some("seconds"), ..self }
    }
}

impl Page<'_> {
    /// A family of numbers that only grow.
    pub(super) fn counters<'l>(
        &mut self,
        about: About,
        lines: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        self.family(about, MetricType::Counter, lines, |metric, value| {
            metric.encode_counter(value, None::<&Exemplar<NoLabelSet, f64>>)
        })
    }

    /// A family of sums of seconds.
    pub(super) fn seconds<'l>(
        &mut self,
        about: About,
        lines: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        self.family(about.seconds(), MetricType::Counter, lines, |metric, value| {
            metric.encode_counter(value, None::<&Exemplar<NoLabelSet, f64>>)
        })
    }

    /// A family of numbers that go up and down.
    pub(super) fn gauges<'l>(
        &mut self,
        about: About,
        lines: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        self.family(about, MetricType::Gauge, lines, |metric, value| {
            // A whole number looks like one.
            if value.fract() == 0.0 {
                metric.encode_gauge(&(*value as i64))
            } else {
                metric.encode_gauge(value)
            }
        })
    }

    /// A family of durations.
    pub(super) fn times<'l>(
        &mut self,
        about: About,
        lines: impl IntoIterator<Item = (Labels<'l>, Spread)>,
    ) -> fmt::Result {
        let bounds = Times::BOUNDS_US.map(|bound| bound as f64 / 1e6);
        self.family(about.seconds(), MetricType::Histogram, lines, |metric, spread| {
            histogram(metric, spread.seconds, &bounds, &spread.counts)
        })
    }

    /// A family of numbers in buckets: the sum, and how many were up to each bound, and more.
    pub(super) fn spreads<'l>(
        &mut self,
        about: About,
        bounds: &[f64],
        lines: impl IntoIterator<Item = (Labels<'l>, (f64, Vec<u64>))>,
    ) -> fmt::Result {
        self.family(about, MetricType::Histogram, lines, |metric, (sum, counts)| {
            histogram(metric, *sum, bounds, counts)
        })
    }

    /// A family of one line that only its labels say something.
    pub(super) fn info(&mut self, about: About, labels: &Labels<'_>) -> fmt::Result {
        let About { name, help, .. } = about;
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels)
    }

    fn family<'l, T>(
        &mut self,
        about: About,
        metric_type: MetricType,
        lines: impl IntoIterator<Item = (Labels<'l>, T)>,
        write: impl Fn(&mut MetricEncoder<'_>, &T) -> fmt::Result,
    ) -> fmt::Result {
        let About { name, unit, help } = about;
        let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), metric_type)?;
        for (mut labels, value) in lines {
            labels.retain(|(_, value)| !value.is_empty());
            if labels.is_empty() {
                write(&mut family, &value)?;
            } else {
                write(&mut family.encode_family(&labels)?, &value)?;
            }
        }
        Ok(())
    }
}

fn histogram(metric: &mut MetricEncoder<'_>, sum: f64, bounds: &[f64], counts: &[u64]) -> fmt::Result {
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
    metric.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
}
