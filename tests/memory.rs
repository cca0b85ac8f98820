//! What a target costs in memory: bytes that are allocated for each series, and what a restart of its
//! job leaves behind.
//!
//! A counting allocator sees all of it, so a field that grows or a buffer that stays shows here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    alloc::System,
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cap::Cap;
use flinkrelay::{
    exposition::{Limits, Lines},
    flink::{self, Derivations, GroupFilter, LabelPolicy, NameMode, RollupPolicy, Sentinels},
    labels::Labels,
    remote_write::{Encoder, v2},
    series::{self, Numbered, Shaper, Tracker, View},
};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const PAGE: &str = include_str!("pages/2.3.0/taskmanager-2.prom");

const NOW_MS: i64 = 1_795_335_749_038;

/// The allocator counts for all threads, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A TaskManager's page whose jobs are there `jobs` times, under ids that belong to `run`.
fn page(jobs: usize, run: usize) -> String {
    let mut page = String::new();
    for line in PAGE.lines() {
        let Some(at) = line.find("job_id=\"").filter(|_| !line.starts_with('#')) else {
            page.push_str(line);
            page.push('\n');
            continue;
        };
        let at = at + "job_id=\"".len();
        for job in 0..jobs {
            let (before, id, after) = (&line[..at], &line[at + 8..at + 32], &line[at + 32..]);
            writeln!(page, "{before}{run:04x}{job:04x}{id}{after}").unwrap();
        }
    }
    page
}

fn shaper(views: usize) -> Arc<Shaper> {
    let view = |n: usize| View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: BTreeMap::from([("cluster".to_owned(), format!("view {n}"))]),
        write_relabel_configs: Vec::new(),
        limits: series::Limits::default(),
    };
    Arc::new(Shaper {
        catalogue: Arc::clone(flink::catalogue()),
        groups: GroupFilter::default(),
        names: NameMode::default(),
        labels: LabelPolicy::default(),
        sentinels: Sentinels::default(),
        derived: Derivations::default(),
        rollups: RollupPolicy::default(),
        honor_labels: false,
        honor_timestamps: true,
        metric_relabel_configs: Vec::new(),
        limits: series::Limits::default(),
        views: (0..views).map(view).collect(),
    })
}

struct Target {
    tracker: Tracker,
    symbols: v2::Symbols,
    lines: Lines,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Message {
    V1,
    V2,
}

impl Target {
    fn new(shaper: &Arc<Shaper>) -> Self {
        let mut labels: Labels<'static> =
            [("instance", "10.0.0.1:9250"), ("job", "flink")].into_iter().collect();
        labels.sort();
        Self {
            tracker: Tracker::new(Arc::clone(shaper), labels),
            symbols: v2::Symbols::default(),
            lines: Lines::new(Limits::default()),
        }
    }

    /// One scrape without the network; nothing of it stays but what the target needs.
    fn scrape(&mut self, page: &str, message: Message) {
        let Self { tracker, symbols, lines } = self;
        tracker.begin();
        lines.reset();
        for chunk in page.as_bytes().chunks(64 << 10) {
            let fed = lines.feed(chunk, |line| {
                let line = line.unwrap();
                if !line.bytes.starts_with(b"#") {
                    tracker.observe(line.bytes, NOW_MS).unwrap();
                }
            });
            fed.unwrap();
        }
        tracker.close(NOW_MS);
        let views = 0..2;
        match message {
            Message::V1 => {
                let mut encoder = Encoder::new(2000);
                for view in views {
                    tracker.encode(view, &mut encoder);
                    encoder.finish(Instant::now());
                }
            }
            Message::V2 => {
                tracker.number(symbols);
                let mut encoder = v2::Encoder::new(symbols, 2000);
                for sample in views.flat_map(|view| tracker.numbered(view)) {
                    let Numbered { series, timestamp_ms, value, start_ms } = sample;
                    encoder.push(&series, value, timestamp_ms, start_ms);
                }
                encoder.finish(Instant::now());
                symbols.settle();
            }
        }
        tracker.forget_stale();
        tracker.rest();
    }
}

/// What is allocated after so many scrapes for each series of a target with `views` views.
fn bytes_per_series(views: usize, message: Message, scrapes: usize) -> usize {
    let shaper = shaper(views);
    let page = page(8, 0);
    let before = ALLOCATOR.allocated();
    let mut target = Target::new(&shaper);
    for _ in 0..scrapes {
        target.scrape(&page, message);
    }
    (ALLOCATOR.allocated() - before) / target.tracker.series_len()
}

/// The limits are a tenth above what was measured.
#[test]
fn a_series_costs_some_hundred_and_twenty_bytes() {
    let _alone = alone();
    let check = |views: usize, message: Message, limit: usize| {
        // When a relay begins, all its targets have been scraped once: what they need then is the peak.
        for scrapes in [1, 3] {
            let bytes = bytes_per_series(views, message, scrapes);
            assert!(
                bytes <= limit,
                "{views} views, {message:?}, {scrapes} scrapes: {bytes} bytes a series"
            );
        }
    };
    check(1, Message::V1, 132);
    check(1, Message::V2, 138);
    check(2, Message::V1, 150);
}

/// While a job restarts, the lines of both attempts are there. Pools keep the places of parts of both, of which every
/// other restart leaves the front half free and the rear half taken; so a little more than at first is right.
#[test]
fn what_a_restart_took_is_given_back() {
    let _alone = alone();
    let shaper = shaper(1);
    let pages: Vec<String> = (0..6).map(|run| page(2, run)).collect();
    let before = ALLOCATOR.allocated();
    let mut target = Target::new(&shaper);
    let levels: Vec<usize> = pages
        .iter()
        .map(|page| {
            (0..3).for_each(|_| target.scrape(page, Message::V1));
            ALLOCATOR.allocated() - before
        })
        .collect();
    let (first, later) = levels.split_first().unwrap();
    assert!(later.iter().all(|level| *level <= first + first / 8), "{first}, then {later:?}");
}

#[test]
fn restarts_of_a_job_leave_nothing_behind() {
    let _alone = alone();
    let shaper = shaper(1);
    let pages: Vec<String> = (0..12).map(|run| page(1, run)).collect();
    for message in [Message::V1, Message::V2] {
        let before = ALLOCATOR.allocated();
        let mut target = Target::new(&shaper);
        let mut levels = Vec::new();
        for page in &pages {
            target.scrape(page, message);
            target.scrape(page, message);
            levels.push(ALLOCATOR.allocated() - before);
        }
        let (first, later) = levels.split_at(6);
        let (first, later) = (first.iter().max().unwrap(), later.iter().max().unwrap());
        assert!(*later <= first + first / 10, "{message:?}: {first}, then {later}");
    }
}

/// Names, labels and lines that no page before had, as many as a page has.
fn made_up(page: usize) -> String {
    let mut text = String::new();
    for family in 0..60 {
        let name = format!("flink_taskmanager_job_task_made_up_{page:06}_{family}");
        writeln!(text, "# HELP {name} {name}\n# TYPE {name} gauge").unwrap();
        for line in 0..40 {
            writeln!(
                text,
                "{name}{{job_id=\"{page:032x}\",job_name=\"j{page}\",task_id=\"{line:032x}\",\
                 task_name=\"t{page}\",subtask_index=\"{line}\",own_{page}=\"{line}\"}} {line}"
            )
            .unwrap();
        }
    }
    text
}

/// A target that shows other series each time costs what its page costs, however long that goes on.
#[test]
fn pages_that_are_new_each_time_leave_nothing_behind() {
    let _alone = alone();
    let shaper = shaper(1);
    let pages: Vec<String> = (0..30).map(made_up).collect();
    for message in [Message::V1, Message::V2] {
        let before = ALLOCATOR.allocated();
        let mut target = Target::new(&shaper);
        let levels: Vec<usize> = pages
            .iter()
            .map(|page| {
                target.scrape(page, message);
                ALLOCATOR.allocated() - before
            })
            .collect();
        let (first, later) = levels.split_at(10);
        let (first, later) = (first.iter().max().unwrap(), later.iter().max().unwrap());
        assert!(*later <= first + first / 10, "{message:?}: {first}, then {later}");
    }
}

/// A page that is cut off, or above a limit, is taken back as a whole.
#[test]
fn pages_that_do_not_count_leave_nothing_behind() {
    let _alone = alone();
    let shaper = shaper(1);
    let good = page(1, 0);
    let pages: Vec<String> = (0..30).map(made_up).collect();
    let before = ALLOCATOR.allocated();
    let mut target = Target::new(&shaper);
    (0..2).for_each(|_| target.scrape(&good, Message::V1));
    let level = ALLOCATOR.allocated() - before;
    let worst = pages.iter().map(|page| {
        target.tracker.begin();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            target.tracker.observe(line.as_bytes(), NOW_MS).unwrap();
        }
        target.tracker.abort();
        target.tracker.rest();
        target.scrape(&good, Message::V1);
        ALLOCATOR.allocated() - before
    });
    let worst = worst.max().unwrap();
    assert!(worst <= level + level / 10, "{level}, then {worst}");
}
