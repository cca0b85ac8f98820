//! The cost of reading a real page (Flink 2.3.0, 651 kB, 1,416 samples): as new lines, as lines
//! whose series are known, and as lines alone, against prometheus-parse 0.2.5.
//!
//! `cargo bench --bench parse`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flinkrelay::exposition::{Entry, Limits, Lines, parse, split, value};

const PAGE: &[u8] = include_bytes!("../tests/pages/2.3.0/taskmanager-2.prom");

/// What one read of a socket brings.
const CHUNK_BYTES: usize = 64 << 10;

fn each_line(mut visit: impl FnMut(&[u8])) {
    let mut lines = Lines::new(Limits::default());
    let mut take = |line: Result<flinkrelay::exposition::Line<'_>, _>| {
        visit(line.expect("the page has no line above the limit").bytes);
    };
    for chunk in PAGE.chunks(CHUNK_BYTES) {
        lines.feed(chunk, &mut take).expect("the page is within the limit");
    }
    lines.finish(&mut take);
}

/// Samples of the page, their label bytes, and the sum of their finite values.
fn cold(limits: &Limits) -> (u64, usize, f64) {
    let (mut samples, mut label_bytes, mut sum) = (0, 0, 0.0);
    each_line(|line| {
        if let Ok(Entry::Sample(sample)) = parse(line, limits) {
            samples += 1;
            sum += sample.value;
            for (name, value) in sample.labels() {
                label_bytes += black_box(name).len() + black_box(&*value).len();
            }
        }
    });
    (samples, label_bytes, sum)
}

fn warm() -> (u64, usize, f64) {
    let (mut samples, mut series_bytes, mut sum) = (0, 0, 0.0);
    each_line(|line| {
        if line.first() == Some(&b'#') {
            return;
        }
        if let Some(found) = split(line)
            && let Ok((number, _)) = value(found.rest)
        {
            samples += 1;
            series_bytes += black_box(found.series).len();
            sum += number;
        }
    });
    (samples, series_bytes, sum)
}

fn baseline() -> usize {
    let text = std::str::from_utf8(PAGE).expect("the page is ASCII");
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    prometheus_parse::Scrape::parse(lines).expect("lines in memory cannot fail").samples.len()
}

fn parse_page(criterion: &mut Criterion) {
    let limits = Limits::default();
    let (samples, ..) = cold(&limits);
    assert_eq!(samples, warm().0, "both ways read the same samples");
    for (unit, throughput) in [
        ("bytes", Throughput::Bytes(PAGE.len() as u64)),
        ("samples", Throughput::Elements(samples)),
    ] {
        let mut group = criterion.benchmark_group(format!("parse/{unit}"));
        group.throughput(throughput);
        group.bench_function("cold, with labels", |bencher| {
            bencher.iter(|| cold(black_box(&limits)))
        });
        group.bench_function("warm, split and value", |bencher| bencher.iter(warm));
        group.bench_function("lines only", |bencher| {
            bencher.iter(|| {
                let mut bytes = 0;
                each_line(|line| bytes += black_box(line).len());
                bytes
            });
        });
        group.sample_size(10);
        group.bench_function("prometheus-parse", |bencher| bencher.iter(baseline));
        group.finish();
    }
}

criterion_group!(benches, parse_page);
criterion_main!(benches);
