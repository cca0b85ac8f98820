//! The whole path of a page without the network, for benchmarks: bytes in, compressed fragments out.
//!
//! The page is one of a real TaskManager of Flink 2.3.0 (tests/pages).

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use flinkrelay::{
    exposition::{Fault, Limits, Line, Lines, Reader},
    flink::{self, Derivations, GroupFilter, LabelPolicy, NameMode, RollupPolicy, Sentinels},
    labels::Labels,
    remote_write::{Encoder, Fragment, Message, v2},
    series::{self, Numbered, Shaper, Tracker, View},
};

pub(crate) const PAGE: &[u8] = include_bytes!("../../tests/pages/2.3.0/taskmanager-2.prom");

/// About what a read from a socket brings.
const CHUNK_BYTES: usize = 64 << 10;

const NOW_MS: i64 = 1_795_335_749_038;

/// A scrape job with these groups, all of them when there is none.
pub(crate) fn shaper(groups: &[&str], sentinels: Sentinels, derived: Derivations) -> Arc<Shaper> {
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

/// One target, and the buffers of its pages.
pub(crate) struct Path {
    tracker: Tracker,
    lines: Lines,
    message: Message,
    symbols: v2::Symbols,
    now: Instant,
}

impl Path {
    /// A target that was never scraped.
    pub(crate) fn new(shaper: &Arc<Shaper>, message: Message, now: Instant) -> Self {
        let mut target: Labels<'static> =
            [("instance", "10.0.0.1:9250"), ("job", "flink")].into_iter().collect();
        target.sort();
        let tracker = Tracker::new(Arc::clone(shaper), target);
        let (lines, symbols) = (Lines::new(Limits::default()), v2::Symbols::default());
        Self { tracker, lines, message, symbols, now }
    }

    /// One scrape.
    pub(crate) fn scrape(&mut self, page: &[u8]) -> Vec<Fragment> {
        let Self { tracker, lines, message, symbols, now } = self;
        tracker.begin();
        lines.reset();
        for chunk in page.chunks(CHUNK_BYTES) {
            lines.read(chunk, &mut Reading(tracker)).expect("the page is within its limit");
        }
        tracker.close(NOW_MS);
        let fragments = match message {
            Message::V1 => encode(tracker, *now),
            Message::V2 => encode_v2(tracker, symbols, *now),
        };
        tracker.forget_stale();
        tracker.rest();
        fragments
    }
}

fn encode(tracker: &mut Tracker, now: Instant) -> Vec<Fragment> {
    let mut encoder = Encoder::new(2000);
    tracker.encode(0, &mut encoder);
    tracker.stale(0).for_each(|block| encoder.push_stale(block, NOW_MS));
    encoder.finish(now)
}

fn encode_v2(tracker: &mut Tracker, symbols: &mut v2::Symbols, now: Instant) -> Vec<Fragment> {
    tracker.number(symbols);
    let mut encoder = v2::Encoder::new(symbols, 2000);
    if tracker.encode_numbered(0, &[], &mut encoder).is_none() {
        for Numbered { series, timestamp_ms, value, start_ms } in tracker.numbered(0) {
            encoder.push(&series, value, timestamp_ms, start_ms);
        }
        tracker.numbered_stale(0).for_each(|series| encoder.push_stale(&series, NOW_MS));
    }
    let fragments = encoder.finish(now);
    symbols.settle();
    fragments
}

/// The samples of a page, as a scrape reads them.
struct Reading<'a>(&'a mut Tracker);

impl Reader for Reading<'_> {
    #[inline]
    fn read_known(&mut self, text: &[u8]) -> Option<usize> {
        self.0.observe_known(text, NOW_MS).map(|known| known.len)
    }

    fn read(&mut self, line: Result<Line<'_>, Fault>) {
        let line = line.expect("the page has no line that is too long");
        if !line.bytes.starts_with(b"#") {
            self.0.observe(line.bytes, NOW_MS).expect("the page has no bad line");
        }
    }
}

/// Samples on a page.
pub(crate) fn samples(page: &[u8]) -> u64 {
    page.split(|&b| b == b'\n').filter(|line| is_sample(line)).count() as u64
}

/// Whether a line is a sample.
pub(crate) fn is_sample(line: &[u8]) -> bool {
    line.first().is_some_and(|&b| b != b'#')
}
