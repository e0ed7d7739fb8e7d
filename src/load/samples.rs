//! A leg's samples: as a histogram with its figures, and packed for files.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HdrDeserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::recorder;

/// A histogram of nanoseconds at full size; in JSON with its main figures beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples(pub Histogram<u64>);

/// A histogram of nanoseconds as files store it: `HdrHistogram`'s V2 form, deflated, in base64. The histogram of one
/// second then takes some hundred bytes instead of a quarter of a megabyte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Packed(String);

impl Packed {
    /// Packs a histogram.
    pub fn new(samples: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        // Writing to memory does not fail, and the counts of a run are below the format's 63 bits.
        let _ = V2DeflateSerializer::new().serialize(samples, &mut bytes);
        Self(STANDARD.encode(bytes))
    }

    /// The histogram.
    pub fn unpack(&self) -> Histogram<u64> {
        // It was packed here, or checked when it was read.
        unpack(&self.0).unwrap_or_else(|_| recorder::histogram())
    }
}

impl TryFrom<String> for Packed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        unpack(&text).map(|_| Self(text))
    }
}

impl From<Packed> for String {
    fn from(packed: Packed) -> Self {
        packed.0
    }
}

fn unpack(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD.decode(text).map_err(|e| format!("a histogram is not base64: {e}"))?;
    HdrDeserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|e| format!("HdrHistogram cannot read a histogram: {e:?}"))
}

/// The percentiles of tables and files.
pub const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

impl Samples {
    /// The time below which `percentile` of the samples are, in nanoseconds; `None` if fewer than five samples are
    /// above it, because the figure would be random.
    pub fn percentile(&self, percentile: f64) -> Option<u64> {
        let above = self.0.len() as f64 * (1.0 - percentile / 100.0);
        // A little below five, because 100 - 99.99 is not exact.
        (above >= 4.999).then(|| self.0.value_at_percentile(percentile))
    }
}

/// [`Samples`] in JSON.
#[derive(Serialize, Deserialize)]
struct SamplesInFile {
    count: u64,
    min_ns: u64,
    mean_ns: f64,
    #[serde(default)]
    percentiles_ns: BTreeMap<String, u64>,
    max_ns: u64,
    hdr: Packed,
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let percentiles = PERCENTILES.iter().filter_map(|&p| Some((format!("p{p}"), self.percentile(p)?)));
        SamplesInFile {
            count: self.0.len(),
            min_ns: self.0.min(),
            mean_ns: self.0.mean(),
            percentiles_ns: percentiles.collect(),
            max_ns: self.0.max(),
            hdr: Packed::new(&self.0),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(SamplesInFile::deserialize(deserializer)?.hdr.unpack()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::Leg;
    use crate::load::summary::Summary;
    use crate::load::summary::tests::summary;

    #[test]
    fn a_damaged_histogram_is_refused_when_it_is_read() {
        let text = serde_json::to_string(&summary(&[10])).unwrap();
        let hdr = Packed::new(&summary(&[10]).legs[&Leg::Request].0).0;
        for damaged in ["", "!!", "AAAA", &hdr[..hdr.len() / 2]] {
            let error = serde_json::from_str::<Summary>(&text.replace(&hdr, damaged)).unwrap_err();
            assert!(error.to_string().contains("a histogram"), "{damaged:?}: {error}");
        }
    }

    #[test]
    fn a_percentile_with_fewer_than_five_samples_above_it_is_left_out() {
        let samples = |count| Samples(summary(&vec![5; count]).legs[&Leg::Request].0.clone());
        assert_eq!((samples(499).percentile(99.0), samples(9).percentile(50.0)), (None, None));
        assert!(samples(500).percentile(99.0).is_some() && samples(50_000).percentile(99.99).is_some());
    }
}
