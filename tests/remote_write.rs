//! The hand-written encoder against the generated messages, and compressed fragments against an
//! independent snappy decoder: whatever is pushed, in whatever pieces it is cut, is what a receiver
//! reads.

#![expect(
    clippy::indexing_slicing,
    reason = "the lint spares test functions, not the functions they call"
)]

#[path = "remote_write/v2.rs"]
mod v2;

use std::time::Instant;

use flinkrelay::{
    labels::Labels,
    limits::BODY_RAW_BYTES_MAX,
    remote_write::{
        Encoder, Fragment, ZstdError, body,
        proto::{
            Label, MetricMetadata, Sample, TimeSeries, WriteRequest, metric_metadata::MetricType,
        },
        v1::{self, Metadata, STALE_NAN},
        zstd,
    },
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

/// A series as the test thinks of it; values by bits, since NaN is unequal to itself.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    labels: Vec<(String, String)>,
    bits: u64,
    timestamp_ms: i64,
}

impl Series {
    fn block(&self) -> Box<[u8]> {
        v1::labels_block(&self.labels())
    }

    fn labels(&self) -> Labels<'_> {
        let mut labels: Labels<'_> =
            self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        labels.sort();
        labels
    }

    /// As the generated code would hold it.
    fn message(&self) -> TimeSeries {
        let label = |(name, value): (&str, &str)| Label { name: name.into(), value: value.into() };
        TimeSeries {
            labels: self.labels().iter().map(label).collect(),
            samples: vec![Sample {
                value: f64::from_bits(self.bits),
                timestamp: self.timestamp_ms,
            }],
        }
    }

    fn read(message: &TimeSeries) -> Self {
        assert_eq!(message.samples.len(), 1, "one sample a series: {message:?}");
        let sample = message.samples.first().expect("one, as asserted");
        Self {
            labels: message.labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect(),
            bits: sample.value.to_bits(),
            timestamp_ms: sample.timestamp,
        }
    }
}

fn values() -> impl Strategy<Value = u64> {
    let odd = [f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, f64::NAN, f64::MIN_POSITIVE, 5e-324];
    prop_oneof![
        any::<u64>(),
        any::<f64>().prop_map(f64::to_bits),
        Just(STALE_NAN),
        prop::sample::select(odd.map(f64::to_bits).to_vec()),
        // NaNs with a payload, quiet and signalling, of either sign.
        (any::<bool>(), 1..1_u64 << 52)
            .prop_map(|(sign, payload)| u64::from(sign) << 63 | 0x7ff << 52 | payload),
    ]
}

fn timestamps() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), Just(0), Just(-1), 1_700_000_000_000..1_900_000_000_000_i64]
}

fn series() -> impl Strategy<Value = Series> {
    let value = prop_oneof![any::<String>(), "[a-z]{1,8}", "[日志clean →]{100,140}"];
    let labels = prop::collection::btree_map(".{0,20}|[a-z_]{1,9}", value, 0..6);
    (labels, values(), timestamps()).prop_map(|(labels, bits, timestamp_ms)| Series {
        labels: labels.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        bits,
        timestamp_ms,
    })
}

/// Series that are cheap to make and compress as real ones do.
fn plain_series() -> impl Strategy<Value = Series> {
    (0..40_u32, 0..9_u32, values(), timestamps()).prop_map(|(name, task, bits, timestamp_ms)| {
        let name = format!("flink_taskmanager_job_task_operator_{name}");
        let labels = vec![("__name__".into(), name), ("task_name".into(), task.to_string())];
        Series { labels, bits, timestamp_ms }
    })
}

fn metadata() -> impl Strategy<Value = MetricMetadata> {
    (0..8, any::<String>(), any::<String>(), "(bytes)?").prop_map(|(kind, family, help, unit)| {
        MetricMetadata { r#type: kind, metric_family_name: family, help, unit }
    })
}

fn borrowed(m: &MetricMetadata) -> Metadata<'_> {
    let kind = MetricType::try_from(m.r#type).expect("0 to 7");
    Metadata { kind, family: &m.metric_family_name, help: &m.help, unit: &m.unit }
}

/// What a receiver gets out of a body.
fn receive(body: &[u8]) -> WriteRequest {
    let raw = snap::raw::Decoder::new().decompress_vec(body).expect("a snappy body");
    WriteRequest::decode(&raw[..]).expect("a WriteRequest")
}

fn read(request: &WriteRequest) -> Vec<Series> {
    request.timeseries.iter().map(Series::read).collect()
}

/// Pushes values by their bits the only way the public interface has: markers as markers.
fn push(encoder: &mut Encoder, series: &Series) {
    if series.bits == STALE_NAN {
        encoder.push_stale(&series.block(), series.timestamp_ms);
    } else {
        encoder.push(&series.block(), f64::from_bits(series.bits), series.timestamp_ms);
    }
}

fn series_named(name: &str, n: usize) -> Vec<Series> {
    let labels =
        |i: usize| vec![("__name__".into(), name.into()), ("subtask_index".into(), i.to_string())];
    (0..n)
        .map(|i| Series { labels: labels(i), bits: (i as f64).to_bits(), timestamp_ms: i as i64 })
        .collect()
}

proptest! {
    #[test]
    fn the_generated_code_reads_what_the_hand_wrote(
        all in vec(series(), 0..12), meta in vec(metadata(), 0..4),
    ) {
        let mut raw = Vec::new();
        for series in &all {
            let (block, before) = (series.block(), raw.len());
            v1::put_series(&mut raw, &block, series.bits, series.timestamp_ms);
            prop_assert_eq!(raw.len() - before, v1::series_len(block.len(), series.timestamp_ms));
        }
        for m in &meta {
            let before = raw.len();
            v1::put_metadata(&mut raw, &borrowed(m));
            prop_assert_eq!(raw.len() - before, v1::metadata_len(&borrowed(m)));
        }
        let request = WriteRequest::decode(&raw[..]).unwrap();
        prop_assert_eq!(&read(&request), &all);
        prop_assert_eq!(&request.metadata, &meta);

        // And a message that the generated code wrote reads the same.
        let timeseries = all.iter().map(Series::message).collect();
        let theirs = WriteRequest { timeseries, metadata: meta.clone() }.encode_to_vec();
        let theirs = WriteRequest::decode(&theirs[..]).unwrap();
        prop_assert_eq!(theirs.metadata, request.metadata);
        // proto3 leaves a zero out and cannot tell -0.0 from it; the hand-written form keeps it.
        let without_sign = |mut s: Series| {
            if s.bits == (-0.0_f64).to_bits() { s.bits = 0 }
            s
        };
        let theirs: Vec<_> = theirs.timeseries.iter().map(Series::read).map(without_sign).collect();
        prop_assert_eq!(theirs, all.into_iter().map(without_sign).collect::<Vec<_>>());
    }

    #[test]
    fn a_block_is_read_back(series in series()) {
        let block = series.block();
        prop_assert_eq!(v1::decode_labels(&block).unwrap(), series.labels());
    }

    #[test]
    fn a_block_with_a_flipped_bit_is_refused_or_another_series(
        series in series(), at: prop::sample::Index, bit in 0..8,
    ) {
        let mut block = series.block().into_vec();
        prop_assume!(!block.is_empty());
        let at = at.index(block.len());
        block[at] ^= 1_u8 << bit;
        prop_assert_ne!(v1::decode_labels(&block), Ok(series.labels()));
    }

    #[test]
    fn reading_a_block_survives_any_bytes(bytes in vec(any::<u8>(), 0..60)) {
        if let Err(error) = v1::decode_labels(&bytes) {
            prop_assert!(error.offset < bytes.len());
        }
    }

    #[test]
    fn fragments_hold_all_that_was_pushed_in_order(
        scrapes in vec((vec(plain_series(), 0..30), vec(metadata(), 0..3), any::<bool>()), 1..5),
        samples_max in 1..20_u32,
    ) {
        let now = Instant::now();
        let mut encoder = Encoder::new(samples_max);
        let mut fragments: Vec<Fragment> = Vec::new();
        let (mut kept, mut kept_meta) = (Vec::new(), Vec::new());
        for (all, meta, good) in &scrapes {
            meta.iter().for_each(|m| encoder.push_metadata(&borrowed(m)));
            all.iter().for_each(|series| push(&mut encoder, series));
            if *good {
                let done = encoder.finish(now);
                let samples: Vec<_> = done.iter().map(|f| f.samples() as usize).collect();
                let full = vec![samples_max as usize; (all.len().max(1) - 1) / samples_max as usize];
                prop_assert!(samples.starts_with(&full), "{samples:?}");
                prop_assert_eq!(samples.iter().sum::<usize>(), all.len());
                fragments.extend(done);
                kept.extend(all.iter().cloned());
                kept_meta.extend(meta.iter().cloned());
            } else {
                encoder.discard();
            }
        }
        for fragment in &fragments {
            let request = receive(&body([fragment].into_iter()));
            let timestamps = || request.timeseries.iter().map(|s| s.samples[0].timestamp);
            prop_assert!(!request.timeseries.is_empty() || !request.metadata.is_empty());
            prop_assert_eq!(request.timeseries.len(), fragment.samples() as usize);
            prop_assert_eq!(request.metadata.len(), fragment.metadata() as usize);
            prop_assert_eq!(timestamps().min(), fragment.lowest_timestamp_ms());
            prop_assert_eq!(timestamps().max(), fragment.highest_timestamp_ms());
        }
        let request = receive(&body(fragments.iter()));
        prop_assert_eq!(read(&request), kept);
        prop_assert_eq!(request.metadata, kept_meta);
    }

    /// Joining compressed fragments is the same as joining what they hold, in any order.
    #[test]
    fn a_body_decodes_to_the_fragments_joined(
        all in vec(plain_series(), 1..60), samples_max in 1..20_u32, seed in any::<prop::sample::Index>(),
    ) {
        let mut encoder = Encoder::new(samples_max);
        all.iter().for_each(|series| push(&mut encoder, series));
        let mut fragments = encoder.finish(Instant::now());
        let turn = seed.index(fragments.len());
        fragments.rotate_left(turn);
        let decompress = |body: &[u8]| snap::raw::Decoder::new().decompress_vec(body).unwrap();
        let joined: Vec<u8> =
            fragments.iter().flat_map(|f| decompress(&body([f].into_iter()))).collect();
        prop_assert_eq!(joined.len() as u64, fragments.iter().map(Fragment::raw_bytes).sum::<u64>());
        prop_assert_eq!(decompress(&body(fragments.iter())), joined);
    }
}

#[test]
fn a_scrape_of_many_blocks_survives() {
    // 30,000 series are some 1.5 MiB raw, so each fragment spans several 64 KiB blocks.
    let all = series_named("flink_taskmanager_job_task_numRecordsIn", 30_000);
    let mut encoder = Encoder::new(12_000);
    all.iter().for_each(|series| push(&mut encoder, series));
    let fragments = encoder.finish(Instant::now());
    let samples: Vec<_> = fragments.iter().map(Fragment::samples).collect();
    assert_eq!(samples, [12_000, 12_000, 6_000]);
    assert!(fragments.iter().all(|f| f.raw_bytes() > 3 * f.bytes()), "{fragments:?}");
    assert_eq!(read(&receive(&body(fragments.iter()))), all);
}

#[test]
fn a_fragment_stays_below_the_body_limit_unless_one_series_is_longer() {
    let long = |len: usize| Series {
        labels: vec![("sql".into(), "x".repeat(len))],
        bits: 0,
        timestamp_ms: 1,
    };
    let limit = usize::try_from(BODY_RAW_BYTES_MAX).unwrap();
    let all = [long(limit / 2), long(10), long(limit / 2), long(limit + 1), long(10)];
    let mut encoder = Encoder::new(2_000);
    all.iter().for_each(|series| push(&mut encoder, series));
    let fragments = encoder.finish(Instant::now());
    let samples: Vec<_> = fragments.iter().map(Fragment::samples).collect();
    assert_eq!(samples, [2, 1, 1, 1]);
    let over: Vec<_> = fragments.iter().map(|f| f.raw_bytes() > BODY_RAW_BYTES_MAX).collect();
    assert_eq!(over, [false, false, true, false]);
    assert_eq!(read(&receive(&body(fragments.iter()))), all);
}

#[test]
fn a_body_in_zstd_holds_the_same() {
    let all = series_named("flink_taskmanager_job_task_numRecordsIn", 30_000);
    let mut encoder = Encoder::new(12_000);
    all.iter().for_each(|series| push(&mut encoder, series));
    let in_snappy = body(encoder.finish(Instant::now()).iter());
    let in_zstd = zstd(&in_snappy).unwrap();
    let raw = snap::raw::Decoder::new().decompress_vec(&in_snappy).unwrap();
    assert_eq!(::zstd::decode_all(&*in_zstd).unwrap(), raw);
    assert!(in_zstd.len() < in_snappy.len(), "{} {}", in_zstd.len(), in_snappy.len());
    assert!(matches!(zstd(b"\xff"), Err(ZstdError::Snappy(_))));
}

#[test]
fn nothing_pushed_is_nothing_to_send() {
    let mut encoder = Encoder::new(10);
    assert!(encoder.finish(Instant::now()).is_empty());
    encoder.push(&[], 1.0, 1);
    encoder.discard();
    assert!(encoder.finish(Instant::now()).is_empty());
    assert_eq!(receive(&body([].iter())), WriteRequest::default());
}
