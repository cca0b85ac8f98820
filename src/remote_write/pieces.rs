//! The body of a request taken apart into its series and metadata entries, to send a part of it.
//!
//! ```text
//!  1.0: body --snappy--> { 0a len TimeSeries | 1a len MetricMetadata }*
//!                          `---- piece 0 ---'  `----- piece 1 -----' …
//!       part(range) = the bytes of these pieces, compressed again
//!  2.0: body --snappy--> symbols, { TimeSeries }*
//!                                   `- piece 0 …
//!       part(range) = these series, with those of the symbols that they use, numbered anew
//! ```
//!
//! Values keep their bits, staleness markers among them. A part keeps the order of the body, and with
//! it the order of each series' samples.
//!
//! This is for the rare batch that a receiver refuses; it costs some copies of the body.

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;
use prost::{Message as _, encoding::decode_varint};

use super::{
    Message,
    proto::{MetricMetadata, TimeSeries},
    proto_v2, v2,
};
use crate::labels::Labels;

/// The pieces of one body, in their order.
#[derive(Debug)]
pub struct Pieces(Content);

#[derive(Debug)]
enum Content {
    V1 {
        /// The message, decompressed.
        raw: Vec<u8>,
        pieces: Vec<Piece>,
    },
    V2(proto_v2::Request),
}

/// A piece of 1.0.
#[derive(Debug)]
struct Piece {
    /// Its place in the message, tag and length included.
    place: Range<usize>,
    samples: u64,
    metadata: u64,
}

/// Some pieces as a body of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// In snappy's raw format; the message is that of the whole.
    pub body: Bytes,
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Samples in it.
    pub samples: u64,
    /// Metadata entries in it; those of 2.0 are parts of their series and not counted.
    pub metadata: u64,
}

/// A body that cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum PiecesError {
    /// It is not in snappy's raw format.
    #[error("the body cannot be decompressed")]
    Snappy(#[from] snap::Error),
    /// It is not the message that it should be.
    #[error("the body is damaged at byte {offset} of its content")]
    Damaged {
        /// Where the piece begins that cannot be read.
        offset: usize,
    },
    /// It is not a request of 2.0.
    #[error("the body is no io.prometheus.write.v2.Request")]
    Message(#[from] prost::DecodeError),
    /// A series of 2.0 refers to a symbol that is not there.
    #[error("series {series} of the body is damaged")]
    Series {
        /// Which one, counted from 0.
        series: usize,
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
        let raw = snap::raw::Decoder::new().decompress_vec(body)?;
        match message {
            Message::V1 => {
                let mut pieces = Vec::new();
                let mut rest = raw.as_slice();
                while !rest.is_empty() {
                    let offset = raw.len() - rest.len();
                    let (samples, metadata) =
                        take(&mut rest).ok_or(PiecesError::Damaged { offset })?;
                    pieces.push(Piece { place: offset..raw.len() - rest.len(), samples, metadata });
                }
                Ok(Self(Content::V1 { raw, pieces }))
            }
            Message::V2 => {
                let request = proto_v2::Request::decode(&*raw)?;
                let known = |symbol: &u32| (*symbol as usize) < request.symbols.len();
                let whole = |series: &proto_v2::TimeSeries| symbols_of(series).all(|s| known(&s));
                match request.timeseries.iter().position(|series| !whole(series)) {
                    Some(series) => Err(PiecesError::Series { series }),
                    None => Ok(Self(Content::V2(request))),
                }
            }
        }
    }

    /// Number of pieces.
    pub const fn len(&self) -> usize {
        match &self.0 {
            Content::V1 { pieces, .. } => pieces.len(),
            Content::V2(request) => request.timeseries.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces of a range as a body.
    pub fn part(&self, range: Range<usize>) -> Part {
        match &self.0 {
            Content::V1 { raw, pieces } => {
                let pieces = pieces.get(range).unwrap_or_default();
                let begin = pieces.first().map_or(0, |piece| piece.place.start);
                let end = pieces.last().map_or(0, |piece| piece.place.end);
                let samples = pieces.iter().map(|piece| piece.samples).sum();
                let metadata = pieces.iter().map(|piece| piece.metadata).sum();
                Part::new(raw.get(begin..end).unwrap_or_default(), samples, metadata)
            }
            Content::V2(request) => {
                let series = request.timeseries.get(range).unwrap_or_default();
                let samples = series.iter().map(|series| series.samples.len() as u64).sum();
                Part::new(&v2::encode(&renumbered(&request.symbols, series)), samples, 0)
            }
        }
    }

    /// Bytes before compression of a range, without what its pieces share in 2.0.
    pub fn raw_bytes(&self, range: Range<usize>) -> u64 {
        match &self.0 {
            Content::V1 { pieces, .. } => {
                let pieces = pieces.get(range).unwrap_or_default();
                pieces.iter().map(|piece| piece.place.len() as u64).sum()
            }
            Content::V2(request) => {
                let series = request.timeseries.get(range).unwrap_or_default();
                series.iter().map(|series| series.encoded_len() as u64).sum()
            }
        }
    }

    /// A piece as people write it: `name{a="b"}`, or `metadata of NAME`.
    pub fn name(&self, piece: usize) -> Option<String> {
        match &self.0 {
            Content::V1 { raw, pieces } => name_v1(raw.get(pieces.get(piece)?.place.clone())?),
            Content::V2(request) => {
                let text = |symbol: u32| request.symbols.get(symbol as usize).map(String::as_str);
                let (pairs, _) = request.timeseries.get(piece)?.labels_refs.as_chunks::<2>();
                let pairs = pairs.iter().map(|&[name, value]| Some((text(name)?, text(value)?)));
                Some(
                    pairs
                        .collect::<Option<Vec<_>>>()?
                        .into_iter()
                        .collect::<Labels<'_>>()
                        .to_string(),
                )
            }
        }
    }
}

impl Part {
    fn new(raw: &[u8], samples: u64, metadata: u64) -> Self {
        let body = snap::raw::Encoder::new()
            .compress_vec(raw)
            .expect("a part is not longer than the body, which was below snappy's limit");
        Self { body: body.into(), raw_bytes: raw.len() as u64, samples, metadata }
    }
}

fn name_v1(mut field: &[u8]) -> Option<String> {
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

/// Takes one field of 1.0 from the front; returns its samples and metadata entries.
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

/// All symbols that a series refers to.
fn symbols_of(series: &proto_v2::TimeSeries) -> impl Iterator<Item = u32> {
    let about = series.metadata.iter().flat_map(|about| [about.help_ref, about.unit_ref]);
    series.labels_refs.iter().copied().chain(about)
}

/// These series as a request of their own: the empty symbol first, then what they use, once each.
fn renumbered(symbols: &[String], series: &[proto_v2::TimeSeries]) -> proto_v2::Request {
    let mut part = proto_v2::Request { symbols: vec![String::new()], timeseries: series.to_vec() };
    let mut numbers = HashMap::from([(0, 0)]);
    let mut number = |symbol: &mut u32| {
        *symbol = *numbers.entry(*symbol).or_insert_with(|| {
            part.symbols.push(symbols.get(*symbol as usize).cloned().unwrap_or_default());
            u32::try_from(part.symbols.len() - 1).expect("a part has no more than the whole")
        });
    };
    for series in &mut part.timeseries {
        series.labels_refs.iter_mut().for_each(&mut number);
        if let Some(about) = &mut series.metadata {
            number(&mut about.help_ref);
            number(&mut about.unit_ref);
        }
    }
    part
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
            v2::{self, About, Symbols},
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
        let of_v2 = |raw: &[u8]| {
            let body = snap::raw::Encoder::new().compress_vec(raw).unwrap();
            Pieces::of(Message::V2, &body).unwrap_err().to_string()
        };
        assert_eq!(of_v2(&[0x2a]), "the body is no io.prometheus.write.v2.Request");
        let series = proto_v2::TimeSeries { labels_refs: vec![0, 1], ..Default::default() };
        let request = proto_v2::Request { symbols: vec![String::new()], timeseries: vec![series] };
        assert_eq!(of_v2(&request.encode_to_vec()), "series 0 of the body is damaged");
    }

    /// The bits of -0.0, which prost takes for a zero that may be left out.
    const MINUS_ZERO: u64 = 1 << 63;

    /// A body of 2.0: series that share texts, each with its value as bits.
    fn whole_v2(values: &[u64]) -> Bytes {
        let mut symbols = Symbols::default();
        let series: Vec<_> = (0..values.len())
            .map(|n| {
                let (n, name) = (n.to_string(), ["a", "b"][n % 2]);
                let labels: Labels<'_> = [(METRIC_NAME, name), ("n", &n)].into_iter().collect();
                let about = About {
                    kind: MetricType::Counter,
                    help: format!("of {name}").into(),
                    unit: "".into(),
                };
                v2::Series::new(&mut symbols, &labels, &about)
            })
            .collect();
        let mut encoder = v2::Encoder::new(&symbols, u32::MAX);
        for (series, bits) in series.iter().zip(values) {
            encoder.push(series, f64::from_bits(*bits), 7, 3);
        }
        let fragments = encoder.finish(Instant::now());
        assert_eq!(fragments.len(), 1);
        body(fragments.iter())
    }

    proptest! {
        #[test]
        fn parts_of_2_0_are_the_whole(
            values in vec(prop_oneof![any::<u64>(), Just(STALE_NAN), Just(MINUS_ZERO)], 1..60),
            cuts in vec(0..70_usize, 0..6),
        ) {
            let body = whole_v2(&values);
            let pieces = Pieces::of(Message::V2, &body).unwrap();
            prop_assert_eq!(pieces.len(), values.len());
            prop_assert_eq!(pieces.name(0).unwrap(), "a{n=\"0\"}");
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(pieces.len())).collect();
            cuts.extend([0, pieces.len()]);
            cuts.sort_unstable();
            let mut joined = Vec::new();
            for range in cuts.windows(2).map(|pair| pair[0]..pair[1]) {
                let part = pieces.part(range.clone());
                prop_assert_eq!(part.samples, range.len() as u64);
                let raw = snap::raw::Decoder::new().decompress_vec(&part.body).unwrap();
                prop_assert_eq!(raw.len() as u64, part.raw_bytes);
                let symbols = proto_v2::Request::decode(&*raw).unwrap().symbols;
                let once: std::collections::BTreeSet<_> = symbols.iter().collect();
                prop_assert_eq!(once.len(), symbols.len(), "each symbol once");
                prop_assert_eq!(&*symbols[0], "");
                prop_assert!(symbols.len() <= 1 + 2 + 2 + 2 + range.len(), "only what is used");
                joined.extend(v2::read(&part.body).unwrap());
            }
            prop_assert_eq!(joined, v2::read(&body).unwrap());
        }

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
