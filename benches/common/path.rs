//! The whole path of a page without the network, for benchmarks: bytes in, compressed fragments out.
//!
//! The page is one of a real TaskManager of Flink 2.3.0 (tests/pages).

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use flinkrelay::{
    exposition::{Fault, Limits, Line, Lines, Reader},
    flink::{self, Derivations, GroupFilter, LabelPolicy, NameMode, RollupPolicy, Sentinels},
    labels::Labels,
    remote_write::{Encoder, Fragment},
    series::{self, Shaper, Tracker, View},
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
    now: Instant,
}

impl Path {
    /// A target that was never scraped.
    pub(crate) fn new(shaper: &Arc<Shaper>, now: Instant) -> Self {
        let mut target: Labels<'static> =
            [("instance", "10.0.0.1:9250"), ("job", "flink")].into_iter().collect();
        target.sort();
        let tracker = Tracker::new(Arc::clone(shaper), target);
        Self { tracker, lines: Lines::new(Limits::default()), now }
    }

    /// One scrape.
    pub(crate) fn scrape(&mut self, page: &[u8]) -> Vec<Fragment> {
        let Self { tracker, lines, now } = self;
        tracker.begin();
        lines.reset();
        for chunk in page.chunks(CHUNK_BYTES) {
            lines.read(chunk, &mut Reading(tracker)).expect("the page is within its limit");
        }
        tracker.close(NOW_MS);
        let mut encoder = Encoder::new(2000);
        tracker.encode(0, &mut encoder);
        tracker.stale(0).for_each(|block| encoder.push_stale(block, NOW_MS));
        let fragments = encoder.finish(*now);
        tracker.forget_stale();
        tracker.rest();
        fragments
    }
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
