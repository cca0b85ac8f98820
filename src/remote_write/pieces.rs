//! The body of a request taken apart into its series and metadata entries, to send a part of it.
//!
//! ```text
//!  body --snappy--> { 0a len TimeSeries | 1a len MetricMetadata }*
//!                     `---- piece 0 ---'  `----- piece 1 -----' …
//!  part(range) = the pieces of the range as they are, compressed again
//! ```
//!
//! Any run of whole pieces is a message of its own, so nothing is decoded and encoded again: values,
//! staleness markers among them, keep their bits. A part keeps the order of the body, and with it the
//! order of each series' samples.
//!
//! This is for the rare batch that a receiver refuses; it costs some copies of the body.

use std::ops::Range;

use bytes::Bytes;
use prost::{Message as _, encoding::decode_varint};

use super::{
    Message,
    proto::{MetricMetadata, TimeSeries},
};
use crate::labels::Labels;

/// The pieces of one body, in their order.
#[derive(Debug)]
pub struct Pieces {
    /// The message, decompressed.
    raw: Vec<u8>,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    /// Its place in `raw`, tag and length included.
    place: Range<usize>,
    samples: u64,
    metadata: u64,
}

/// Some pieces as a body of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// In snappy's raw format.
    pub body: Bytes,
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Samples in it.
    pub samples: u64,
    /// Metadata entries in it.
    pub metadata: u64,
}

/// A body that cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum PiecesError {
    /// Bodies of this message are not joined from independent pieces.
    #[error("a body of {} cannot be taken apart", .0.name())]
    Message(Message),
    /// It is not in snappy's raw format.
    #[error("the body cannot be decompressed")]
    Snappy(#[from] snap::Error),
    /// It is not the message that it should be.
    #[error("the body is damaged at byte {offset} of its content")]
    Damaged {
        /// Where the piece begins that cannot be read.
        offset: usize,
    },
}

const TAG_TIMESERIES: u64 = 0x0a;
const TAG_METADATA: u64 = 0x1a;

impl Pieces {
    /// Takes a body apart.
    ///
    /// # Errors
    /// When it is not a body of that message.
    pub fn of(message: Message, body: &[u8]) -> Result<Self, PiecesError> {
        if message != Message::V1 {
            return Err(PiecesError::Message(message));
        }
        let raw = snap::raw::Decoder::new().decompress_vec(body)?;
        let mut pieces = Vec::new();
        let mut rest = raw.as_slice();
        while !rest.is_empty() {
            let offset = raw.len() - rest.len();
            let (samples, metadata) = take(&mut rest).ok_or(PiecesError::Damaged { offset })?;
            pieces.push(Piece { place: offset..raw.len() - rest.len(), samples, metadata });
        }
        Ok(Self { raw, pieces })
    }

    /// Number of pieces.
    pub const fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The pieces of a range as a body.
    pub fn part(&self, range: Range<usize>) -> Part {
        let pieces = self.pieces.get(range).unwrap_or_default();
        let begin = pieces.first().map_or(0, |piece| piece.place.start);
        let end = pieces.last().map_or(0, |piece| piece.place.end);
        let raw = self.raw.get(begin..end).unwrap_or_default();
        let body = snap::raw::Encoder::new()
            .compress_vec(raw)
            .expect("a part is not longer than the body, which was below snappy's limit");
        Part {
            body: body.into(),
            raw_bytes: raw.len() as u64,
            samples: pieces.iter().map(|piece| piece.samples).sum(),
            metadata: pieces.iter().map(|piece| piece.metadata).sum(),
        }
    }

    /// Bytes before compression of a range.
    pub fn raw_bytes(&self, range: Range<usize>) -> u64 {
        let pieces = self.pieces.get(range).unwrap_or_default();
        pieces.iter().map(|piece| piece.place.len() as u64).sum()
    }

    /// A piece as people write it: `name{a="b"}`, or `metadata of NAME`.
    pub fn name(&self, piece: usize) -> Option<String> {
        let piece = self.pieces.get(piece)?;
        let mut field = self.raw.get(piece.place.clone())?;
        let tag = decode_varint(&mut field).ok()?;
        decode_varint(&mut field).ok()?;
        if tag == TAG_METADATA {
            let metadata = MetricMetadata::decode(field).ok()?;
            return Some(format!("metadata of {}", metadata.metric_family_name));
        }
        let series = TimeSeries::decode(field).ok()?;
        let labels = series.labels.iter().map(|label| (&*label.name, &*label.value));
        Some(labels.collect::<Labels<'_>>().to_string())
    }
}

/// Takes one field from the front; returns its samples and metadata entries.
fn take(rest: &mut &[u8]) -> Option<(u64, u64)> {
    let tag = decode_varint(rest).ok()?;
    let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (field, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    match tag {
        TAG_TIMESERIES => Some((TimeSeries::decode(field).ok()?.samples.len() as u64, 0)),
        TAG_METADATA => Some((0, 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        labels::METRIC_NAME,
        remote_write::{
            Encoder, body,
            proto::{WriteRequest, metric_metadata::MetricType},
            v1::{self, Metadata, STALE_NAN},
        },
    };

    /// A body of two fragments: these series with their value as bits, and metadata between them.
    fn whole(values: &[u64], metadata: usize) -> Bytes {
        let mut encoder = Encoder::new(u32::try_from(values.len() / 2 + 1).unwrap());
        for (n, bits) in values.iter().enumerate() {
            if n < metadata {
                let family = format!("f{n}");
                let kind = MetricType::Gauge;
                encoder.push_metadata(&Metadata { kind, family: &family, help: "h", unit: "" });
            }
            let (n, name) = (n.to_string(), "up");
            let labels: Labels<'_> = [(METRIC_NAME, name), ("n", &n)].into_iter().collect();
            encoder.push(&v1::labels_block(&labels), f64::from_bits(*bits), 7);
        }
        let fragments = encoder.finish(Instant::now());
        body(fragments.iter())
    }

    fn decode(body: &[u8]) -> WriteRequest {
        let raw = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        WriteRequest::decode(&*raw).unwrap()
    }

    fn bits(request: &WriteRequest) -> Vec<(String, u64)> {
        let series = request.timeseries.iter();
        series.map(|s| (s.labels[1].value.clone(), s.samples[0].value.to_bits())).collect()
    }

    #[test]
    fn pieces_have_names() {
        let pieces = Pieces::of(Message::V1, &whole(&[1, 2], 1)).unwrap();
        let names: Vec<_> = (0..4).map(|n| pieces.name(n)).collect();
        let name = |text: &str| Some(text.to_owned());
        let expect = [name("metadata of f0"), name("up{n=\"0\"}"), name("up{n=\"1\"}"), None];
        assert_eq!(names, expect);
    }

    #[test]
    fn what_is_no_body_is_refused() {
        let damaged = |raw: &[u8]| {
            let body = snap::raw::Encoder::new().compress_vec(raw).unwrap();
            Pieces::of(Message::V1, &body).unwrap_err().to_string()
        };
        assert!(Pieces::of(Message::V1, b"\xff\xff\xff\xff\xff\xff").is_err());
        assert_eq!(damaged(&[0x0a]), "the body is damaged at byte 0 of its content");
        assert_eq!(damaged(&[0x0a, 0, 0x0a, 5, 1]), "the body is damaged at byte 2 of its content");
        assert_eq!(damaged(&[0x12, 0]), "the body is damaged at byte 0 of its content");
        let error = Pieces::of(Message::V2, b"").unwrap_err().to_string();
        assert!(error.contains("io.prometheus.write.v2.Request"), "{error}");
    }

    proptest! {
        /// However a body is cut, its parts hold all of it, in order and bit by bit.
        #[test]
        fn parts_are_the_whole(
            values in vec(prop_oneof![any::<u64>(), Just(STALE_NAN)], 1..60),
            metadata in 0..4_usize,
            cuts in vec(0..70_usize, 0..6),
        ) {
            let body = whole(&values, metadata);
            let pieces = Pieces::of(Message::V1, &body).unwrap();
            prop_assert_eq!(pieces.len(), values.len() + metadata.min(values.len()));
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(pieces.len())).collect();
            cuts.extend([0, pieces.len()]);
            cuts.sort_unstable();
            let mut joined = WriteRequest::default();
            for range in cuts.windows(2).map(|pair| pair[0]..pair[1]) {
                let part = pieces.part(range.clone());
                let request = decode(&part.body);
                prop_assert_eq!(part.samples, request.timeseries.len() as u64);
                prop_assert_eq!(part.metadata, request.metadata.len() as u64);
                prop_assert_eq!(part.raw_bytes, request.encoded_len() as u64);
                prop_assert_eq!(pieces.raw_bytes(range), part.raw_bytes);
                joined.timeseries.extend(request.timeseries);
                joined.metadata.extend(request.metadata);
            }
            let whole = decode(&body);
            prop_assert_eq!(bits(&joined), bits(&whole));
            prop_assert_eq!(joined.metadata, whole.metadata);
        }
    }
}
