//! A reader of `HdrHistogram`'s interval log that shares no code with the writer: text, base64, zlib, then the V2
//! encoding's zigzag LEB128 counts.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) struct Interval {
    pub(crate) tag: String,
    pub(crate) count: u64,
    /// Highest value that is equivalent to the largest recorded one.
    pub(crate) max: u64,
}

pub(crate) fn read(log: &str) -> Vec<Interval> {
    assert!(log.lines().any(|line| line.starts_with("#[StartTime: ")), "{log}");
    log.lines().filter(|line| !line.starts_with('#') && !line.starts_with('"')).map(interval).collect()
}

fn interval(line: &str) -> Interval {
    let mut fields: Vec<_> = line.split(',').collect();
    assert_eq!(fields.len(), 5, "Tag=T,start,length,max,histogram: {line}");
    let packed = STANDARD.decode(fields.pop().unwrap()).unwrap();
    let (count, max) = histogram(&packed);
    Interval { tag: fields[0].strip_prefix("Tag=").unwrap().to_owned(), count, max }
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

fn histogram(packed: &[u8]) -> (u64, u64) {
    assert_eq!(be32(packed), 0x1c84_9314, "the cookie of a compressed V2 histogram");
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[8..]).read_to_end(&mut bytes).unwrap();
    assert_eq!(be32(&bytes), 0x1c84_9313, "the cookie of a V2 histogram");
    let length = be32(&bytes[4..]) as usize;
    assert_eq!(be32(&bytes[12..]), 3, "significant digits");
    let mut counts = &bytes[40..40 + length];
    let (mut index, mut total, mut last_index) = (0, 0, 0);
    while !counts.is_empty() {
        let value = zigzag(&mut counts);
        if value < 0 {
            index += value.unsigned_abs();
        } else {
            if value > 0 {
                (total, last_index) = (total + value.unsigned_abs(), index);
            }
            index += 1;
        }
    }
    (total, highest_of(last_index))
}

/// LEB128 of at most nine bytes, the ninth whole.
fn zigzag(from: &mut &[u8]) -> i64 {
    let mut value = 0_u64;
    for nth in 0..9 {
        let (byte, rest) = from.split_first().unwrap();
        *from = rest;
        if nth == 8 {
            value |= u64::from(*byte) << 56;
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            break;
        }
    }
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// With three digits a bucket has 2,048 sub-buckets, of which all but the first use the upper half.
fn highest_of(index: u64) -> u64 {
    if index < 2048 {
        return index;
    }
    let bucket = index / 1024 - 1;
    let sub_bucket = index % 1024 + 1024;
    ((sub_bucket + 1) << bucket) - 1
}
