//! `HdrHistogram`'s interval log, version 1.3: a line for each second and leg, tagged with the leg's name. Values are
//! nanoseconds; the column of maxima is in milliseconds.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use crate::load::Summary;

const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

/// Writes the log of a summary.
///
/// # Errors
/// Those of the writer.
pub fn write(summary: &Summary, to: &mut dyn Write) -> io::Result<()> {
    let mut to = to;
    let mut serializer = V2DeflateSerializer::new();
    let start = summary.runs.first().map_or(0.0, |run| run.started_unix_seconds + run.warmup_seconds);
    let start = UNIX_EPOCH + Duration::from_secs_f64(start.max(0.0));
    let mut builder = IntervalLogWriterBuilder::new();
    for run in &summary.runs {
        builder.add_comment(&run.command.replace(['\n', '\r'], " "));
    }
    let mut log = builder
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND)
        .begin_log_with(&mut to, &mut serializer)?;
    for second in &summary.seconds {
        for (leg, samples) in &second.legs {
            let written = log.write_histogram(
                &samples.unpack(),
                Duration::from_secs_f64(second.start_seconds),
                Duration::from_secs_f64(second.length_seconds),
                // Tags contain no blanks or commas.
                Tag::new(leg.tag()),
            );
            written.map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(format!("{error:?}")),
            })?;
        }
    }
    Ok(())
}
