//! What it costs to turn series into compressed remote write, 1.0 and 2.0, per sample.
//!
//! `cargo bench --bench encode`; each time is for one scrape of 2,000 samples, and criterion shows
//! the samples per second beside it. The baseline is what the generated code and `snap` do without
//! any thought: a message of owned strings, encoded and compressed at each scrape.

use std::{
    collections::HashMap,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use flinkrelay::{
    labels::{Labels, METRIC_NAME},
    remote_write::{
        Encoder, Fragment, body,
        proto::{Label, Sample, TimeSeries, WriteRequest, metric_metadata::MetricType},
        v1,
        v2::{self, About, Symbols},
        zstd,
    },
};
use prost::Message;

const SERIES: usize = 2_000;
const TIMESTAMP_MS: i64 = 1_790_000_000_000;

/// Metrics of one operator subtask, as Flink names them; a real page has some 60 for each.
const METRICS: [&str; 16] = [
    "numRecordsIn",
    "numRecordsInPerSecond",
    "numRecordsOut",
    "numRecordsOutPerSecond",
    "numBytesIn",
    "numBytesInPerSecond",
    "numBytesOut",
    "numBytesOutPerSecond",
    "busyTimeMsPerSecond",
    "idleTimeMsPerSecond",
    "backPressuredTimeMsPerSecond",
    "currentInputWatermark",
    "currentOutputWatermark",
    "numLateRecordsDropped",
    "watermarkLag",
    "mailboxQueueSize",
];

/// A SQL job's operators; their names are what makes Flink's lines long.
const OPERATORS: [&str; 5] = [
    "Source: clicks[1]",
    "Calc[2]",
    "LocalWindowAggregate[5]",
    "GlobalWindowAggregate[7]",
    "sink[9]: Writer",
];

/// The series of one TaskManager after normalisation: one metric after the other, and of each all
/// operators and subtasks, which is the order in which Flink prints them.
fn series() -> Vec<Labels<'static>> {
    let subtasks = SERIES.div_ceil(METRICS.len() * OPERATORS.len());
    let mut all = Vec::new();
    for metric in METRICS {
        for operator in OPERATORS {
            for subtask in 0..subtasks {
                let name = format!("flink_taskmanager_job_task_operator_{metric}");
                let mut labels = Labels::new();
                labels.push(METRIC_NAME, name);
                labels.push("host", "10.42.7.113");
                labels.push("instance", "10.42.7.113:9249");
                labels.push("job", "flink");
                labels.push("job_id", "4586345ab6d24c96a1b72e24e8c10d6f");
                labels.push("job_name", "clicks-window");
                labels.push("operator", operator);
                labels.push("subtask_index", subtask.to_string());
                labels.push("task_name", "GlobalWindowAggregate[7] -> Calc[8] -> sink[9]: Writer");
                labels.push("tm_id", "clicks-taskmanager-1-2");
                labels.sort();
                all.push(labels);
            }
        }
    }
    all.truncate(SERIES);
    assert_eq!(all.len(), SERIES);
    all
}

/// A third zero, a third counts, a third rates: about what a page holds.
fn value(i: usize) -> f64 {
    match i % 3 {
        0 => 0.0,
        1 => (i * 7919) as f64,
        _ => i as f64 / 7.3,
    }
}

fn blocks(series: &[Labels<'_>]) -> Vec<Box<[u8]>> {
    series.iter().map(v1::labels_block).collect()
}

fn scrape(encoder: &mut Encoder, blocks: &[Box<[u8]>], now: Instant) -> bytes::Bytes {
    for (i, block) in blocks.iter().enumerate() {
        encoder.push(block, value(i), TIMESTAMP_MS);
    }
    body(encoder.finish(now).iter())
}

/// Blocks as a target keeps them: in parts, equal ones under one number.
fn numbered_parts(blocks: &[Box<[u8]>]) -> Vec<v1::Block<'_>> {
    let mut numbers = HashMap::new();
    let mut number = |part| {
        let next = numbers.len() as u32;
        *numbers.entry(part).or_insert(next)
    };
    let cut = blocks.iter().map(|block| {
        let v1::Block { parts, .. } = v1::Block::cut(block);
        v1::Block { parts, numbers: Some(parts.map(&mut number)) }
    });
    cut.collect()
}

/// What each of the series is about; a real page has one text for each metric.
fn about(labels: &Labels<'_>) -> About {
    let help = format!("What {} counts, in a sentence of usual length.", labels.metric_name());
    About { kind: MetricType::Counter, help: help.into(), unit: "".into() }
}

fn numbered(symbols: &mut Symbols, series: &[Labels<'_>]) -> Vec<v2::Series> {
    series.iter().map(|labels| v2::Series::new(symbols, labels, &about(labels))).collect()
}

fn scrape_v2(symbols: &Symbols, series: &[v2::Series], now: Instant) -> (u64, bytes::Bytes) {
    let mut encoder = v2::Encoder::new(symbols, 2_000);
    for (i, series) in series.iter().enumerate() {
        encoder.push(series, value(i), TIMESTAMP_MS, 0);
    }
    let fragments = encoder.finish(now);
    (fragments.iter().map(Fragment::raw_bytes).sum(), body(fragments.iter()))
}

fn message(series: &[Labels<'_>]) -> WriteRequest {
    let label = |(name, value): (&str, &str)| Label { name: name.into(), value: value.into() };
    let timeseries = series.iter().enumerate().map(|(i, labels)| TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: vec![Sample { value: value(i), timestamp: TIMESTAMP_MS }],
    });
    WriteRequest { timeseries: timeseries.collect(), metadata: Vec::new() }
}

/// How many bytes a sample comes to.
#[expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
fn print_sizes(series: &[Labels<'_>], ready: &[Box<[u8]>], now: Instant) {
    let mut encoder = Encoder::new(2_000);
    let raw: usize = ready.iter().map(|b| v1::series_len(b.len(), TIMESTAMP_MS)).sum();
    let sent = scrape(&mut encoder, ready, now).len();
    let per_sample = |bytes: usize| bytes as f64 / SERIES as f64;
    println!("1.0: bytes per sample: {:.1} raw, {:.1} sent", per_sample(raw), per_sample(sent));
    let mut symbols = Symbols::default();
    let known = numbered(&mut symbols, series);
    let (raw, sent) = scrape_v2(&symbols, &known, now);
    let (raw, sent) = (raw as f64 / SERIES as f64, per_sample(sent.len()));
    let zstd_bytes = zstd(&scrape(&mut encoder, ready, now)).expect("a body of ours").len();
    println!("1.0 in zstd: bytes per sample: {:.1} sent", per_sample(zstd_bytes));
    println!("2.0: bytes per sample: {raw:.1} raw, {sent:.1} sent, with metadata");
}

fn benches(criterion: &mut Criterion) {
    let now = Instant::now();
    let series = series();
    let ready = blocks(&series);
    print_sizes(&series, &ready, now);
    let mut encoder = Encoder::new(2_000);
    let mut snappy = snap::raw::Encoder::new();

    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("labels_block", |b| b.iter(|| blocks(black_box(&series))));
    group.bench_function("ready blocks, not compressed", |b| {
        let mut raw = Vec::new();
        b.iter(|| {
            raw.clear();
            for (i, block) in black_box(&ready).iter().enumerate() {
                v1::put_series(&mut raw, block, value(i).to_bits(), TIMESTAMP_MS);
            }
            raw.len()
        });
    });
    group.bench_function("ready blocks to a body", |b| {
        b.iter(|| scrape(&mut encoder, black_box(&ready), now));
    });
    group.bench_function("numbered parts to a body", |b| {
        let parts = numbered_parts(&ready);
        b.iter(|| {
            for (i, &block) in black_box(&parts).iter().enumerate() {
                encoder.push(block, value(i), TIMESTAMP_MS);
            }
            body(encoder.finish(now).iter())
        });
    });
    group.bench_function("ready blocks, compressed by snap", |b| {
        let mut raw = Vec::new();
        b.iter(|| {
            raw.clear();
            for (i, block) in black_box(&ready).iter().enumerate() {
                v1::put_series(&mut raw, block, value(i).to_bits(), TIMESTAMP_MS);
            }
            snappy.compress_vec(&raw).expect("below 4 GiB")
        });
    });
    group.bench_function("labels to a body", |b| {
        b.iter(|| scrape(&mut encoder, &blocks(black_box(&series)), now));
    });
    benches_v2(&mut group, &series, now);
    group.bench_function("a body from snappy to zstd", |b| {
        let body = scrape(&mut encoder, &ready, now);
        b.iter(|| zstd(black_box(&body)).expect("a body of ours"));
    });
    group.bench_function("baseline: ready message, prost and snap", |b| {
        let message = message(&series);
        b.iter(|| snappy.compress_vec(&black_box(&message).encode_to_vec()).expect("below 4 GiB"));
    });
    group.bench_function("baseline: labels, prost and snap", |b| {
        b.iter(|| {
            let raw = message(black_box(&series)).encode_to_vec();
            snappy.compress_vec(&raw).expect("below 4 GiB")
        });
    });
    group.finish();
}

fn benches_v2(group: &mut BenchmarkGroup<'_, WallTime>, series: &[Labels<'_>], now: Instant) {
    let mut symbols = Symbols::default();
    let known = numbered(&mut symbols, series);
    group.bench_function("2.0, numbered series to a body", |b| {
        b.iter(|| scrape_v2(&symbols, black_box(&known), now));
    });
    group.bench_function("2.0, labels to a body", |b| {
        b.iter(|| {
            let mut symbols = Symbols::default();
            let series = numbered(&mut symbols, black_box(series));
            scrape_v2(&symbols, &series, now)
        });
    });
    group.bench_function("2.0 to 1.0", |b| {
        let (_, body) = scrape_v2(&symbols, &known, now);
        b.iter(|| v2::downgrade(black_box(&body)).expect("a body of ours"));
    });
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
