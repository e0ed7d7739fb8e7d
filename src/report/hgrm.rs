//! The percentile spectrum as text, in the form of `HistogramLogProcessor` and `HdrHistogram`'s online plotter: values in
//! milliseconds, cumulative, one section for each leg.

use std::io::{self, Write};

use hdrhistogram::Histogram;

use crate::load::Summary;
use crate::load::recorder::Leg;

const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;
/// Steps of the spectrum for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// The number for a histogram with three digits.
const SUB_BUCKETS: u32 = 2048;

/// Writes the spectra of all legs.
///
/// # Errors
/// Those of the writer.
pub fn write(summary: &Summary, to: &mut dyn Write) -> io::Result<()> {
    for leg in Leg::ALL {
        if let Some(samples) = summary.legs.get(&leg) {
            writeln!(to, "# {} (milliseconds)", leg.title())?;
            spectrum(&samples.0, to)?;
            writeln!(to)?;
        }
    }
    Ok(())
}

fn spectrum(samples: &Histogram<u64>, to: &mut dyn Write) -> io::Result<()> {
    let milliseconds = |nanoseconds: f64| nanoseconds / NANOSECONDS_PER_MILLISECOND;
    writeln!(to, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut count = 0;
    for step in samples.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        let value = milliseconds(step.value_iterated_to() as f64);
        let quantile = step.quantile_iterated_to();
        count += step.count_since_last_iteration();
        write!(to, "{value:>12.6} {quantile:>14.12} {count:>10}")?;
        if quantile < 1.0 {
            writeln!(to, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(to)?;
        }
    }
    writeln!(
        to,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]",
        milliseconds(samples.mean()),
        milliseconds(samples.stdev())
    )?;
    writeln!(
        to,
        "#[Max     = {:12.6}, Total count    = {:12}]",
        milliseconds(samples.max() as f64),
        samples.len()
    )?;
    writeln!(to, "#[Buckets = {:12}, SubBuckets     = {:12}]", samples.buckets(), SUB_BUCKETS)
}
