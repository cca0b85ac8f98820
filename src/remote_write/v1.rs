//! The wire format of remote write 1.0, written by hand.
//!
//! ```text
//!  WriteRequest  = { 0a len TimeSeries | 1a len MetricMetadata }*
//!  TimeSeries    = labels block, 12 len Sample
//!  labels block  = { 0a len ( 0a len name, 12 len value ) }*        sorted by name
//!  Sample        = 09 value (8 bytes, little-endian), 10 timestamp (varint)
//!  MetricMetadata = 08 type, 12 len family, 22 len help, 2a len unit   (each only if not zero/empty)
//! ```
//!
//! A series' labels never change, so their bytes are built once by [`labels_block`] and copied from
//! then on, in a few parts ([`Block`]), because series share most of them. All lengths are computed before anything is written: nothing is moved or patched, and
//! apart from growth of the output nothing is allocated.
//!
//! Values travel as bits. A staleness marker is a signalling NaN, and float arithmetic or a float
//! register of an older processor may turn it into another NaN.

use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use super::proto::metric_metadata::MetricType;
use crate::labels::Labels;

/// The bits of the NaN that marks a series as stale, the same in all of Prometheus.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

pub(super) const TAG_TIMESERIES: u8 = 0x0a;
const TAG_METADATA: u8 = 0x1a;
const TAG_LABEL: u8 = 0x0a;
const TAG_LABEL_NAME: u8 = 0x0a;
const TAG_LABEL_VALUE: u8 = 0x12;
pub(super) const TAG_SAMPLE: u8 = 0x12;
pub(super) const TAG_VALUE: u8 = 0x09;
pub(super) const TAG_TIMESTAMP: u8 = 0x10;
const TAG_METADATA_TYPE: u8 = 0x08;
const TAG_METADATA_FAMILY: u8 = 0x12;
const TAG_METADATA_HELP: u8 = 0x22;
const TAG_METADATA_UNIT: u8 = 0x2a;

/// What is known of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// The family's type.
    pub kind: MetricType,
    /// The family's name.
    pub family: &'a str,
    /// The text after `# HELP`, unescaped; may be empty.
    pub help: &'a str,
    /// The unit; empty when it is not known.
    pub unit: &'a str,
}

/// What [`labels_block`] makes, in parts of whole labels, one after the other.
///
/// A slice of bytes is a block with one part.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The parts in order; any of them may be empty.
    pub parts: [&'a [u8]; PARTS],
    /// Numbers below 2^31 by which the parts of one target's series are known to be the same bytes.
    pub numbers: Option<[u32; PARTS]>,
}

/// Parts of a [`Block`].
pub const PARTS: usize = 4;

/// Where the second part of a block begins, the third, and the fourth: at the first name that is not less. The
/// first of them is what follows the metric's name at once. With Flink's labels, the second has cluster, host
/// and job, the third operator, partition and quantile, the fourth subtask, task and TaskManager.
const CUTS: [&[u8]; PARTS - 1] = [b"__name__\0", b"k", b"su"];

impl<'a> Block<'a> {
    /// No label.
    pub const EMPTY: Self = Self { parts: [&[]; PARTS], numbers: None };

    /// The parts of a block, so that series which differ in one thing share the other parts: the labels
    /// up to the metric's name, which is nearly always the first, and those behind it, by their names.
    pub fn cut(block: &'a [u8]) -> Self {
        let mut parts = [&[][..]; PARTS];
        let (mut part, mut begin, mut rest) = (0, block, block);
        // Nothing divides the last part.
        while part < PARTS - 1 && !rest.is_empty() {
            let before = rest;
            // Bytes that are no labels stay with what is ahead of them.
            let Some(name) = take_name(&mut rest) else { break };
            let mut of = part;
            while CUTS.get(of).is_some_and(|&cut| name >= cut) {
                of += 1;
            }
            if of > part {
                if let Some(done) = parts.get_mut(part) {
                    *done = begin.get(..begin.len() - before.len()).unwrap_or_default();
                }
                (part, begin) = (of, before);
            }
        }
        if let Some(last) = parts.get_mut(part) {
            *last = begin;
        }
        Self { parts, numbers: None }
    }

    /// Bytes of all parts.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All parts as one.
    pub fn to_vec(self) -> Vec<u8> {
        self.parts.concat()
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Block<'a> {
    fn from(block: &'a T) -> Self {
        Self { parts: [block.as_ref(), &[], &[], &[]], numbers: None }
    }
}

/// The `labels` fields of one series, ready to be copied into each of its messages.
///
/// `labels` must be sorted ([`Labels::sort`]), because the protocol demands it of every series.
pub fn labels_block(labels: &Labels<'_>) -> Box<[u8]> {
    debug_assert!(
        labels.iter().is_sorted_by(|a, b| a.0 < b.0),
        "labels not sorted or not unique: {labels}"
    );
    pairs_block(labels.iter())
}

/// As [`labels_block`], of names and values that are sorted already.
pub fn pairs_block<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Box<[u8]> {
    let len = pairs.clone().map(label_len).sum();
    let mut block = Vec::with_capacity(len);
    pairs.for_each(|label| put_label(&mut block, label));
    debug_assert_eq!(block.len(), len, "computed length");
    block.into_boxed_slice()
}

/// The block of `labels` with the labels of `more` that they lack by name, as [`labels_block`] would make it.
/// `block` is that of `labels` alone; both are sorted, and no value of `more` is empty.
pub fn with_labels<'a>(
    block: &[u8],
    labels: &Labels<'_>,
    more: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Box<[u8]> {
    let room: usize = more.clone().map(label_len).sum();
    let mut with = Vec::with_capacity(block.len() + room);
    let (mut own, mut at, mut copied) = (labels.iter().peekable(), 0, 0);
    for (name, value) in more {
        while let Some(before) = own.next_if(|(own, _)| *own < name) {
            at += label_len(before);
        }
        if own.peek().is_some_and(|(own, _)| *own == name) {
            continue;
        }
        with.extend_from_slice(block.get(copied..at).expect("the block is that of the labels"));
        put_label(&mut with, (name, value));
        copied = at;
    }
    with.extend_from_slice(block.get(copied..).expect("the block is that of the labels"));
    with.into_boxed_slice()
}

/// Bytes of [`labels_block`].
pub fn labels_block_len(labels: &Labels<'_>) -> usize {
    labels.iter().map(label_len).sum()
}

/// A labels block that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("labels block is damaged at byte {offset}")]
pub struct BlockError {
    /// Where in the block, in bytes, the label starts that cannot be read.
    pub offset: usize,
}

/// The labels of a block that [`labels_block`] made, borrowed from it.
///
/// # Errors
/// When the block is not of that form: cut off, with other fields, not UTF-8, a name repeated.
pub fn decode_labels<'a>(block: impl Into<Block<'a>>) -> Result<Labels<'a>, BlockError> {
    let mut labels = Labels::new();
    let mut begin = 0;
    for part in block.into().parts {
        let mut rest = part;
        while !rest.is_empty() {
            let offset = begin + part.len() - rest.len();
            let (name, value) = take_label(&mut rest).ok_or(BlockError { offset })?;
            if labels.get(name).is_some() {
                return Err(BlockError { offset });
            }
            labels.push(name, value);
        }
        begin += part.len();
    }
    Ok(labels)
}

/// Bytes that [`put_series`] adds for a series of `block_len` bytes of labels.
pub const fn series_len(block_len: usize, timestamp_ms: i64) -> usize {
    len_field_len(block_len + sample_field_len(timestamp_ms))
}

/// Appends one series with one sample: `value` by its bits (`f64::to_bits`, [`STALE_NAN`]), the
/// time in milliseconds since the epoch.
pub fn put_series<'a>(
    out: &mut Vec<u8>,
    block: impl Into<Block<'a>>,
    value: u64,
    timestamp_ms: i64,
) {
    let block = block.into();
    let sample_len = sample_len(timestamp_ms);
    out.reserve(series_len(block.len(), timestamp_ms));
    out.push(TAG_TIMESERIES);
    encode_varint((block.len() + len_field_len(sample_len)) as u64, out);
    block.parts.iter().for_each(|part| out.extend_from_slice(part));
    // A zero could be left out, but not -0.0, which is another value. Writing both costs 0.1 bytes a
    // sample after compression.
    out.push(TAG_SAMPLE);
    encode_varint(sample_len as u64, out);
    out.push(TAG_VALUE);
    out.extend_from_slice(&value.to_le_bytes());
    out.push(TAG_TIMESTAMP);
    encode_varint(wire(timestamp_ms), out);
}

/// Bytes that [`put_metadata`] adds.
pub fn metadata_len(metadata: &Metadata<'_>) -> usize {
    len_field_len(metadata_body_len(metadata))
}

/// Appends the metadata of one family.
pub fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata<'_>) {
    out.reserve(metadata_len(metadata));
    out.push(TAG_METADATA);
    encode_varint(metadata_body_len(metadata) as u64, out);
    if metadata.kind != MetricType::Unknown {
        out.push(TAG_METADATA_TYPE);
        encode_varint(kind_number(metadata.kind), out);
    }
    for (tag, text) in texts(metadata) {
        if !text.is_empty() {
            put_text(out, tag, text);
        }
    }
}

fn metadata_body_len(metadata: &Metadata<'_>) -> usize {
    let kind = match metadata.kind {
        MetricType::Unknown => 0,
        kind => 1 + encoded_len_varint(kind_number(kind)),
    };
    let texts = texts(metadata).into_iter().filter(|(_, text)| !text.is_empty());
    kind + texts.map(|(_, text)| text_field_len(text)).sum::<usize>()
}

const fn texts<'a>(metadata: &Metadata<'a>) -> [(u8, &'a str); 3] {
    [
        (TAG_METADATA_FAMILY, metadata.family),
        (TAG_METADATA_HELP, metadata.help),
        (TAG_METADATA_UNIT, metadata.unit),
    ]
}

const fn kind_number(kind: MetricType) -> u64 {
    // The enum's numbers are 0 to 7.
    kind as u64
}

/// As int64 fields are written: negative numbers as their two's complement, ten bytes long.
const fn wire(timestamp_ms: i64) -> u64 {
    timestamp_ms.cast_unsigned()
}

const fn sample_len(timestamp_ms: i64) -> usize {
    1 + size_of::<f64>() + 1 + encoded_len_varint(wire(timestamp_ms))
}

/// Bytes of a sample with its tag and length.
pub(super) const fn sample_field_len(timestamp_ms: i64) -> usize {
    len_field_len(sample_len(timestamp_ms))
}

/// Bytes of a field of `len` bytes with its tag and length.
const fn len_field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

const fn label_len(label: (&str, &str)) -> usize {
    len_field_len(pair_len(label))
}

const fn pair_len((name, value): (&str, &str)) -> usize {
    text_field_len(name) + text_field_len(value)
}

const fn text_field_len(text: &str) -> usize {
    len_field_len(text.len())
}

#[inline]
fn put_label(out: &mut Vec<u8>, (name, value): (&str, &str)) {
    put_len(out, TAG_LABEL, pair_len((name, value)));
    put_text(out, TAG_LABEL_NAME, name);
    put_text(out, TAG_LABEL_VALUE, value);
}

#[inline]
fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    put_len(out, tag, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// A field's tag and the length of what follows.
#[inline]
fn put_len(out: &mut Vec<u8>, tag: u8, len: usize) {
    // Nearly all lengths of labels are of one byte; prost's loop over bytes costs ten times this.
    match u8::try_from(len) {
        Ok(short @ 0..0x80) => out.extend_from_slice(&[tag, short]),
        _ => {
            out.push(tag);
            encode_varint(len as u64, out);
        }
    }
}

/// The name of the next label, whatever its value is.
fn take_name<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut label = take_field(rest, TAG_LABEL)?;
    take_field(&mut label, TAG_LABEL_NAME)
}

fn take_label<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, &'a str)> {
    let mut label = take_field(rest, TAG_LABEL)?;
    let name = take_field(&mut label, TAG_LABEL_NAME)?;
    let value = take_field(&mut label, TAG_LABEL_VALUE)?;
    if !label.is_empty() {
        return None;
    }
    Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?))
}

fn take_field<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (first, mut after) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let len = match after.split_first()? {
        (&short @ 0..0x80, behind) => {
            after = behind;
            usize::from(short)
        }
        _ => usize::try_from(decode_varint(&mut after).ok()?).ok()?,
    };
    let (field, after) = after.split_at_checked(len)?;
    *rest = after;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(pairs: &[(&'static str, &'static str)]) -> Box<[u8]> {
        let mut labels: Labels<'_> = pairs.iter().copied().collect();
        labels.sort();
        labels_block(&labels)
    }

    /// Bytes spelt out from the specification, so that a wrong number in `proto/` shows too.
    #[test]
    fn a_series_is_these_bytes() {
        let block = block(&[("job", "x"), ("__name__", "up")]);
        assert_eq!(&*block, b"\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x08\x0a\x03job\x12\x01x");
        let mut out = Vec::new();
        put_series(&mut out, &block, 1.0_f64.to_bits(), 1);
        let sample = b"\x12\x0b\x09\0\0\0\0\0\0\xf0\x3f\x10\x01";
        assert_eq!(out, [&b"\x0a\x27"[..], &block, sample].concat());
    }

    #[test]
    fn metadata_is_these_bytes() {
        let mut out = Vec::new();
        let kind = MetricType::Gauge;
        put_metadata(&mut out, &Metadata { kind, family: "f", help: "h", unit: "u" });
        assert_eq!(out, b"\x1a\x0b\x08\x02\x12\x01f\x22\x01h\x2a\x01u");
        out.clear();
        let kind = MetricType::Unknown;
        put_metadata(&mut out, &Metadata { kind, family: "f", help: "", unit: "" });
        assert_eq!(out, b"\x1a\x03\x12\x01f");
    }

    #[test]
    fn a_stale_marker_is_written_by_its_bits() {
        let mut out = Vec::new();
        put_series(&mut out, b"", STALE_NAN, 0);
        assert_eq!(out, b"\x0a\x0d\x12\x0b\x09\x02\0\0\0\0\0\xf0\x7f\x10\0");
    }

    #[test]
    fn a_block_is_cut_by_the_names_of_labels() {
        let check = |pairs: &[(&'static str, &'static str)], lens: [usize; PARTS]| {
            let whole = block(pairs);
            let cut = Block::cut(&whole);
            assert_eq!(cut.parts.map(|part| decode_labels(part).unwrap().len()), lens, "{pairs:?}");
            assert_eq!(cut.to_vec(), &*whole, "{pairs:?}");
            assert_eq!((cut.len(), cut.is_empty()), (whole.len(), whole.is_empty()), "{pairs:?}");
            assert_eq!(decode_labels(cut), decode_labels(&whole), "{pairs:?}");
        };
        check(&[("__name__", "up"), ("job", "x")], [1, 1, 0, 0]);
        check(&[("A", "before"), ("__name__", "up"), ("job", "x")], [2, 1, 0, 0]);
        check(&[("__name__", "up"), ("tm_id", "x")], [1, 0, 0, 1]);
        check(
            &[("job", "x"), ("operator", "y"), ("quantile", "0.5"), ("tm_id", "z")],
            [0, 1, 2, 1],
        );
        check(&[("__name__", "up")], [1, 0, 0, 0]);
        check(&[("k", "1"), ("su", "2"), ("su_", "3")], [0, 0, 1, 2]);
        check(&[], [0; PARTS]);
        let bytes = b"no labels";
        assert_eq!(Block::cut(bytes).parts, [&bytes[..], b"", b"", b""]);
        let damaged = [&block(&[("__name__", "up"), ("job", "x")]), &bytes[..]].concat();
        assert_eq!(Block::cut(&damaged).to_vec(), damaged);
    }

    #[test]
    fn labels_that_a_block_lacks_are_put_where_they_belong() {
        let check = |own: &[(&'static str, &'static str)],
                     more: &[(&'static str, &'static str)]| {
            let mut all: Labels<'_> = more.iter().chain(own).copied().collect();
            all.sort();
            let mut labels: Labels<'_> = own.iter().copied().collect();
            labels.sort();
            let with = with_labels(&labels_block(&labels), &labels, more.iter().copied());
            assert_eq!(with, labels_block(&all), "{own:?} {more:?}");
        };
        let own = [("__name__", "up"), ("job", "x"), ("operator", "y")];
        check(&own, &[]);
        check(&[], &own);
        check(&own, &[("A", "first"), ("K", "2"), ("a", "3"), ("kk", "4"), ("zone", "last")]);
        check(&own, &[("job", "is there"), ("jobs", "is not"), ("operator", "is there")]);
        check(&own, &[("__name__", "is there"), ("a", "long ".repeat(30).leak())]);
    }

    #[test]
    fn a_damaged_block_says_where() {
        let good = block(&[("a", "1"), ("b", "2")]);
        let first = good.len() / 2;
        let check = |bytes: &[u8], offset: usize| {
            assert_eq!(decode_labels(bytes), Err(BlockError { offset }), "{bytes:?}");
        };
        for cut in 1..good.len() {
            if cut != first {
                check(&good[..cut], if cut < first { 0 } else { first });
            }
        }
        check(&[&good[..first], &good[..first]].concat(), first); // the same name twice
        check(b"\x12\x00", 0); // another field
        check(b"\x0a\x07\x0a\x01a\x12\x02\xc3\x28", 0); // not UTF-8
        check(b"\x0a\x08\x0a\x01a\x12\x011\x18\x01", 0); // a field after the value
        check(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0); // a length beyond everything
        assert!(decode_labels(b"").unwrap().is_empty());
    }
}
