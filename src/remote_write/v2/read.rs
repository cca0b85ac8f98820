//! Reads a body of remote write 2.0 back, to turn it into one of 1.0 or to take it apart.
//!
//! A body is encoded and queued before it is known whether its receiver understands it. When it does
//! not, [`downgrade`] makes of it what the 1.0 encoder would have made: the same samples, bit by bit
//! and in the same order, and the metadata of their families once each.

use std::collections::HashSet;

use bytes::Bytes;
use prost::Message as _;

use super::{About, MetadataRefs, Sample, put_ref, put_series, put_symbol};
use crate::{
    labels::Labels,
    remote_write::{
        proto::metric_metadata::MetricType,
        proto_v2::{self, Request, TimeSeries},
        v1::{self, Metadata},
    },
};

/// One sample of a body with everything that is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its series, sorted.
    pub labels: Labels<'static>,
    /// Value and times.
    pub sample: Sample,
    /// What is known of its family.
    pub about: About,
}

/// A body that is not a request of remote write 2.0.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not in snappy's raw format.
    #[error("the body cannot be decompressed")]
    Compression(#[from] snap::Error),
    /// It is not that message.
    #[error("the body is no io.prometheus.write.v2.Request")]
    Message(#[from] prost::DecodeError),
    /// A number in it points nowhere, or labels are not pairs in order.
    #[error("series {series} of the body is damaged")]
    Series {
        /// Which one, counted from 0.
        series: usize,
    },
}

/// The samples of a body, in order.
///
/// # Errors
/// When it is not a body as [`Encoder`](super::Encoder) makes it, only series with several samples
/// are read too.
pub fn read(body: &[u8]) -> Result<Vec<Point>, ReadError> {
    let raw = snap::raw::Decoder::new().decompress_vec(body)?;
    let request = Request::decode(&*raw)?;
    let mut points = Vec::with_capacity(request.timeseries.len());
    for (at, series) in request.timeseries.iter().enumerate() {
        let damaged = ReadError::Series { series: at };
        let (labels, about) = describe(&request.symbols, series).ok_or(damaged)?;
        points.extend(series.samples.iter().map(|sample| Point {
            labels: labels.clone(),
            sample: read_sample(sample),
            about: about.clone(),
        }));
    }
    Ok(points)
}

fn describe(symbols: &[String], series: &TimeSeries) -> Option<(Labels<'static>, About)> {
    let text = |at: u32| symbols.get(at as usize).map(String::as_str);
    let mut labels = Labels::with_capacity(series.labels_refs.len() / 2);
    let (pairs, []) = series.labels_refs.as_chunks::<2>() else { return None };
    let mut last = None;
    for &[name, value] in pairs {
        let (name, value) = (text(name)?, text(value)?);
        if last.is_some_and(|last| last >= name) {
            return None;
        }
        last = Some(name);
        labels.push(name.to_owned(), value.to_owned());
    }
    let metadata = series.metadata.unwrap_or_default();
    let about = About {
        kind: MetricType::try_from(metadata.r#type).unwrap_or(MetricType::Unknown),
        help: text(metadata.help_ref)?.into(),
        unit: text(metadata.unit_ref)?.into(),
    };
    Some((labels, about))
}

/// The bytes of a request, before compression. Unlike prost's they keep the sign of a zero; a series with
/// several samples is written as several.
pub(in crate::remote_write) fn encode(request: &Request) -> Vec<u8> {
    let (mut out, mut refs) = (Vec::new(), Vec::new());
    request.symbols.iter().for_each(|text| put_symbol(&mut out, text));
    for series in &request.timeseries {
        refs.clear();
        series.labels_refs.iter().for_each(|&at| put_ref(&mut refs, at));
        let about = series.metadata.unwrap_or_default();
        let kind = MetricType::try_from(about.r#type).unwrap_or(MetricType::Unknown);
        let metadata = MetadataRefs { kind, help: about.help_ref, unit: about.unit_ref };
        for sample in &series.samples {
            put_series(&mut out, &[&refs], read_sample(sample), metadata);
        }
    }
    out
}

fn read_sample(sample: &proto_v2::Sample) -> Sample {
    Sample {
        value: sample.value.to_bits(),
        timestamp_ms: sample.timestamp,
        start_ms: sample.start_timestamp,
    }
}

/// The body of remote write 1.0 that says the same as this one of 2.0. Start timestamps are left
/// out: 1.0 has no place for them.
///
/// # Errors
/// When it is not a body as [`Encoder`](super::Encoder) makes it.
pub fn downgrade(body: &[u8]) -> Result<Bytes, ReadError> {
    let points = read(body)?;
    let mut raw = Vec::new();
    let mut told = HashSet::new();
    for Point { labels, about, .. } in &points {
        let known = about.kind != MetricType::Unknown || !about.help.is_empty();
        let family = family(labels.metric_name(), about.kind);
        if known && !family.is_empty() && told.insert(family) {
            let About { kind, help, unit } = about;
            v1::put_metadata(&mut raw, &Metadata { kind: *kind, family, help, unit });
        }
    }
    for Point { labels, sample, .. } in &points {
        let block = v1::labels_block(labels);
        v1::put_series(&mut raw, &block, sample.value, sample.timestamp_ms);
    }
    Ok(snap::raw::Encoder::new().compress_vec(&raw)?.into())
}

/// The name of the family that a sample belongs to.
fn family(sample_name: &str, kind: MetricType) -> &str {
    let suffixes: &[&str] = match kind {
        MetricType::Summary => &["_count", "_sum"],
        MetricType::Histogram | MetricType::Gaugehistogram => &["_bucket", "_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| sample_name.strip_suffix(suffix)).unwrap_or(sample_name)
}
