//! Remote write 2.0: the wire format, written by hand, and the way there from a series.
//!
//! ```text
//!  Request    = { 22 len text }*  { 2a len TimeSeries }*               the first text is empty
//!  TimeSeries = 0a len { ref }*, 12 len Sample, 2a len Metadata        refs: name, value, name, value …
//!  Sample     = 09 value (8 bytes, little-endian), 10 timestamp, 18 start (only if known)
//!  Metadata   = 08 type, 18 help ref, 20 unit ref                      (each only if not zero)
//! ```
//!
//! All numbers but the value are varints. A ref is a place among the texts of the same request, so a
//! series has no bytes that could be kept from request to request, as it has in 1.0. What is kept are
//! numbers: [`Symbols`] numbers the texts of a target once, and with them the runs of labels that many
//! series share; a [`Series`] is four such runs, and the [`Encoder`] translates them to places once for
//! each request. So a sample costs a few look-ups and short copies, no hash and no comparison of text.
//!
//! A request of 2.0 cannot be continued by another one, so a fragment of 2.0 is a whole body.
//!
//! Source: Prometheus Remote-Write 2.0, revision 2.0-rc.4, prometheus.io/docs/specs/prw.

mod encoder;
mod page;
mod read;
mod symbols;

use prost::encoding::{encode_varint, encoded_len_varint};

pub(super) use self::read::encode;
pub use self::{
    encoder::Encoder,
    page::Paged,
    read::{Point, ReadError, downgrade, read},
    symbols::{Noted, Run, Series, Symbols},
};
use super::proto::metric_metadata::MetricType;

const TAG_SYMBOL: u8 = 0x22;
const TAG_TIMESERIES: u8 = 0x2a;
const TAG_LABELS_REFS: u8 = 0x0a;
const TAG_SAMPLE: u8 = 0x12;
const TAG_METADATA: u8 = 0x2a;
const TAG_VALUE: u8 = 0x09;
const TAG_TIMESTAMP: u8 = 0x10;
const TAG_START: u8 = 0x18;
const TAG_TYPE: u8 = 0x08;
const TAG_HELP_REF: u8 = 0x18;
const TAG_UNIT_REF: u8 = 0x20;

/// What is known of a series' metric family; 2.0 sends it with each series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct About {
    /// The family's type.
    pub kind: MetricType,
    /// What it tells; may be empty.
    pub help: Box<str>,
    /// The unit; empty when it is not known.
    pub unit: Box<str>,
}

impl About {
    /// A family of which nothing but its type is known.
    pub fn kind(kind: MetricType) -> Self {
        Self { kind, help: "".into(), unit: "".into() }
    }
}

/// One sample by its bits, with its times in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// `f64::to_bits`, or [`STALE_NAN`](super::v1::STALE_NAN).
    pub value: u64,
    /// When it was taken.
    pub timestamp_ms: i64,
    /// When the counter began to count; 0 is not known. One that is not before `timestamp_ms` is
    /// not written, since receivers refuse it.
    pub start_ms: i64,
}

/// The places of a series' metadata.
#[derive(Clone, Copy, Debug)]
struct MetadataRefs {
    kind: MetricType,
    help: u32,
    unit: u32,
}

/// Bytes that [`put_symbol`] adds.
const fn symbol_len(text: &str) -> usize {
    len_field_len(text.len())
}

fn put_symbol(out: &mut Vec<u8>, text: &str) {
    out.push(TAG_SYMBOL);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a place as it stands among the refs of a series. Some twenty for each sample, nearly all of
/// one or two bytes: those are written without a loop.
fn put_ref(out: &mut Vec<u8>, at: u32) {
    match at {
        0..0x80 => out.push(at as u8),
        0x80..0x4000 => out.extend_from_slice(&[at as u8 | 0x80, (at >> 7) as u8]),
        _ => encode_varint(at.into(), out),
    }
}

/// Appends one series with one sample; `refs` are the places of its labels, encoded, in parts. Returns where the value
/// is.
fn put_series(out: &mut Vec<u8>, refs: &[&[u8]], sample: Sample, metadata: MetadataRefs) -> usize {
    let refs_len = refs.iter().map(|part| part.len()).sum();
    let start_ms = Some(sample.start_ms).filter(|&start| start != 0 && start < sample.timestamp_ms);
    let sample_len = sample_len(sample.timestamp_ms, start_ms);
    let metadata_len = metadata_len(metadata);
    let about = if metadata_len == 0 { 0 } else { len_field_len(metadata_len) };
    let len = len_field_len(refs_len) + len_field_len(sample_len) + about;
    out.reserve(len_field_len(len));
    out.push(TAG_TIMESERIES);
    encode_varint(len as u64, out);

    out.push(TAG_LABELS_REFS);
    encode_varint(refs_len as u64, out);
    refs.iter().for_each(|part| out.extend_from_slice(part));
    // A zero could be left out, but not -0.0, which is another value.
    out.push(TAG_SAMPLE);
    encode_varint(sample_len as u64, out);
    out.push(TAG_VALUE);
    let value_at = out.len();
    out.extend_from_slice(&sample.value.to_le_bytes());
    out.push(TAG_TIMESTAMP);
    encode_varint(sample.timestamp_ms.cast_unsigned(), out);
    if let Some(start_ms) = start_ms {
        out.push(TAG_START);
        encode_varint(start_ms.cast_unsigned(), out);
    }
    if metadata_len > 0 {
        out.push(TAG_METADATA);
        encode_varint(metadata_len as u64, out);
        for (tag, number) in metadata_fields(metadata) {
            if number > 0 {
                out.push(tag);
                encode_varint(number, out);
            }
        }
    }
    value_at
}

const fn sample_len(timestamp_ms: i64, start_ms: Option<i64>) -> usize {
    let start = match start_ms {
        Some(start_ms) => 1 + encoded_len_varint(start_ms.cast_unsigned()),
        None => 0,
    };
    1 + size_of::<f64>() + 1 + encoded_len_varint(timestamp_ms.cast_unsigned()) + start
}

fn metadata_len(metadata: MetadataRefs) -> usize {
    let written = metadata_fields(metadata).into_iter().filter(|(_, number)| *number > 0);
    written.map(|(_, number)| 1 + encoded_len_varint(number)).sum()
}

const fn metadata_fields(metadata: MetadataRefs) -> [(u8, u64); 3] {
    [
        // The types have the same numbers in both versions, 0 to 7.
        (TAG_TYPE, metadata.kind as u64),
        (TAG_HELP_REF, metadata.help as u64),
        (TAG_UNIT_REF, metadata.unit as u64),
    ]
}

/// Bytes of a field of `len` bytes with its tag and length.
const fn len_field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use super::{super::v1::STALE_NAN, *};

    const NONE: MetadataRefs = MetadataRefs { kind: MetricType::Unknown, help: 0, unit: 0 };

    fn check(labels: &[u32], sample: Sample, metadata: MetadataRefs, expect: &[u8]) {
        let (mut out, mut refs) = (Vec::new(), Vec::new());
        labels.iter().for_each(|&at| put_ref(&mut refs, at));
        let (head, tail) = refs.split_at(refs.len() / 2);
        put_series(&mut out, &[head, tail], sample, metadata);
        assert_eq!(out, expect, "{labels:?} {sample:?} {metadata:?}");
    }

    /// Bytes spelt out from the specification, so that a wrong number in `proto/` shows too.
    #[test]
    fn a_series_is_these_bytes() {
        let one = Sample { value: 1.0_f64.to_bits(), timestamp_ms: 9, start_ms: 0 };
        let value = b"\x09\0\0\0\0\0\0\xf0\x3f\x10\x09";
        check(&[1, 2], one, NONE, &[b"\x2a\x11\x0a\x02\x01\x02\x12\x0b", &value[..]].concat());
        let metadata = MetadataRefs { kind: MetricType::Counter, help: 300, unit: 4 };
        let about = b"\x2a\x07\x08\x01\x18\xac\x02\x20\x04";
        let series = [b"\x2a\x1b\x0a\x03\x01\xc8\x01\x12\x0b", &value[..], about].concat();
        check(&[1, 200], one, metadata, &series);
    }

    #[test]
    fn a_place_is_a_varint() {
        let edges = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, u32::MAX];
        for at in edges.into_iter().chain(100..400).chain(16_000..17_000) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            put_ref(&mut ours, at);
            encode_varint(at.into(), &mut theirs);
            assert_eq!(ours, theirs, "{at}");
        }
    }

    #[test]
    fn a_start_is_written_when_it_is_known_and_before_the_sample() {
        let at = |start_ms| Sample { value: 0, timestamp_ms: 9, start_ms };
        let without = b"\x2a\x0f\x0a\x00\x12\x0b\x09\0\0\0\0\0\0\0\0\x10\x09";
        for start_ms in [0, 9, 10, i64::MAX] {
            check(&[], at(start_ms), NONE, without);
        }
        check(&[], at(8), NONE, b"\x2a\x11\x0a\x00\x12\x0d\x09\0\0\0\0\0\0\0\0\x10\x09\x18\x08");
    }

    #[test]
    fn a_stale_marker_is_written_by_its_bits() {
        let stale = Sample { value: STALE_NAN, timestamp_ms: 0, start_ms: 0 };
        check(&[], stale, NONE, b"\x2a\x0f\x0a\x00\x12\x0b\x09\x02\0\0\0\0\0\xf0\x7f\x10\0");
    }

    #[test]
    fn a_symbol_is_these_bytes() {
        let mut out = Vec::new();
        for text in ["", "job"] {
            let before = out.len();
            put_symbol(&mut out, text);
            assert_eq!(out.len() - before, symbol_len(text));
        }
        assert_eq!(out, b"\x22\0\x22\x03job");
    }
}
