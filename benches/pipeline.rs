//! The whole path of a page: bytes in, compressed fragments out, everything between included: lines,
//! series cache, group filter, normalised labels, target labels, encoding, snappy.
//!
//! - `cold`: every line is new, as in the first scrape of a target and after a job restart.
//! - `warm`: the same lines as on the page before, as in every other scrape; also without what is made
//!   from them, and with sentinels kept as well: what these cost.
//! - `churn`: a part of the lines is new and as many are gone, on every page; the others are warm. What a
//!   new line costs beyond a known one is the slope.
//!
//! The page is one of a real TaskManager of Flink 2.3.0 (tests/pages). Read the figures as ratios of
//! one run: `cargo bench --bench pipeline`.

#![expect(clippy::indexing_slicing, reason = "the page's lines are known")]

use std::{collections::BTreeMap, hint::black_box, sync::Arc, time::Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flinkrelay::{
    exposition::{Limits, Lines},
    flink::{self, Derivations, GroupFilter, LabelPolicy, NameMode, RollupPolicy, Sentinels},
    labels::Labels,
    remote_write::{Encoder, Fragment},
    series::{self, Shaper, Tracker, View},
};

const PAGE: &[u8] = include_bytes!("../tests/pages/2.3.0/taskmanager-2.prom");

/// About what a read from a socket brings.
const CHUNK_BYTES: usize = 64 << 10;

const NOW_MS: i64 = 1_795_335_749_038;

fn shaper(groups: &[&str], sentinels: Sentinels, derived: Derivations) -> Arc<Shaper> {
    let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
    let view = View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: BTreeMap::from([("cluster".to_owned(), "bench".to_owned())]),
        write_relabel_configs: Vec::new(),
        limits: series::Limits::default(),
    };
    Arc::new(Shaper {
        catalogue: Arc::clone(flink::catalogue()),
        groups: GroupFilter::try_new(&groups, &[]).expect("the groups exist"),
        names: NameMode::default(),
        labels: LabelPolicy::default(),
        sentinels,
        derived,
        rollups: RollupPolicy::default(),
        honor_labels: false,
        honor_timestamps: true,
        metric_relabel_configs: Vec::new(),
        limits: series::Limits::default(),
        views: Arc::from([view]),
    })
}

fn tracker(shaper: &Arc<Shaper>) -> Tracker {
    let mut target: Labels<'static> =
        [("instance", "10.0.0.1:9250"), ("job", "flink")].into_iter().collect();
    target.sort();
    Tracker::new(Arc::clone(shaper), target)
}

/// One scrape without the network.
fn scrape(tracker: &mut Tracker, lines: &mut Lines, page: &[u8], now: Instant) -> Vec<Fragment> {
    tracker.begin();
    lines.reset();
    for chunk in page.chunks(CHUNK_BYTES) {
        let fed = lines.feed(chunk, |line| {
            let line = line.expect("the page has no line that is too long");
            if !line.bytes.starts_with(b"#") {
                tracker.observe(line.bytes, NOW_MS).expect("the page has no bad line");
            }
        });
        fed.expect("the page is within its limit");
    }
    tracker.close(NOW_MS);
    let mut encoder = Encoder::new(2000);
    for (block, timestamp_ms, value) in tracker.samples(0) {
        encoder.push(block, value, timestamp_ms);
    }
    let fragments = encoder.finish(now);
    tracker.forget_stale();
    fragments
}

/// The page with a label more on each line, whose value is `run` on so many of a hundred lines.
fn restarted(percent: usize, run: usize) -> Vec<u8> {
    let text = str::from_utf8(PAGE).expect("a page is UTF-8");
    let mut page = String::new();
    for (number, line) in text.lines().enumerate() {
        let run = if number % 100 < percent { run } else { 0 };
        let one = line.find('{').filter(|_| !line.starts_with('#'));
        let (name, rest) = line.split_at(one.map_or(0, |at| at + 1));
        page.push_str(name);
        if one.is_some() {
            page.push_str(&format!("run=\"{run}\","));
        }
        page.push_str(rest);
        page.push('\n');
    }
    page.into_bytes()
}

fn pipeline(c: &mut Criterion) {
    let now = Instant::now();
    let samples = PAGE.split(|&b| b == b'\n').filter(|l| !l.is_empty() && l[0] != b'#').count();
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(samples as u64));
    for (name, groups) in [("all groups", &[][..]), ("checkpointing only", &["checkpointing"][..])]
    {
        let shaper = shaper(groups, Sentinels::Drop, Derivations::default());
        group.bench_function(BenchmarkId::new("cold", name), |b| {
            b.iter(|| {
                let mut lines = Lines::new(Limits::default());
                black_box(scrape(&mut tracker(&shaper), &mut lines, PAGE, now))
            });
        });
        group.bench_function(BenchmarkId::new("warm", name), |b| {
            let (mut tracker, mut lines) = (tracker(&shaper), Lines::new(Limits::default()));
            scrape(&mut tracker, &mut lines, PAGE, now);
            b.iter(|| black_box(scrape(&mut tracker, &mut lines, PAGE, now)));
        });
    }
    for (name, sentinels) in
        [("nothing derived", Sentinels::Drop), ("nothing derived, sentinels kept", Sentinels::Keep)]
    {
        let shaper = shaper(&[], sentinels, Derivations::NONE);
        group.bench_function(BenchmarkId::new("warm", name), |b| {
            let (mut tracker, mut lines) = (tracker(&shaper), Lines::new(Limits::default()));
            scrape(&mut tracker, &mut lines, PAGE, now);
            b.iter(|| black_box(scrape(&mut tracker, &mut lines, PAGE, now)));
        });
    }
    let shaper = shaper(&[], Sentinels::Drop, Derivations::default());
    for percent in [0, 10, 50, 100] {
        let pages = [1, 2].map(|run| restarted(percent, run));
        group.bench_function(BenchmarkId::new("churn", format!("{percent} % of the lines")), |b| {
            let (mut tracker, mut lines) = (tracker(&shaper), Lines::new(Limits::default()));
            scrape(&mut tracker, &mut lines, &pages[1], now);
            let mut pages = pages.iter().cycle();
            b.iter(|| {
                let page = pages.next().expect("a cycle");
                black_box(scrape(&mut tracker, &mut lines, page, now))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
