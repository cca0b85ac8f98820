//! Several trackers at one limit: what finds room, what gives it back, and any history of both.

use std::{collections::BTreeSet, thread};

use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::*;
use crate::{
    flink::{GroupFilter, RollupPolicy, rollup::Level},
    labels::Labels,
    series::{Dropped, Limits, ObserveError, Shaper, Tally, Tracker, View},
};

const NOW: i64 = 1_000;

/// Lines none of which has a say in what becomes of another: some are sent, some left out by their group, from some
/// a series is derived, one has no value, and one cannot be read.
const LINES: [&str; 12] = [
    "a 1",
    "b{x=\"1\"} 2",
    "b{x=\"2\"} 3",
    "bad",
    "flink_taskmanager_Status_JVM_CPU_Load{tm_id=\"tm\"} 0.5",
    "flink_taskmanager_Status_JVM_CPU_Time{tm_id=\"tm\"} 5",
    "flink_taskmanager_job_task_numRecordsIn{job_id=\"j\",task_id=\"t\",subtask_index=\"0\"} 6",
    "flink_taskmanager_job_task_numRecordsIn{job_id=\"j\",task_id=\"t\",subtask_index=\"1\"} 7",
    "flink_taskmanager_job_task_operator_currentInputWatermark{operator_name=\"N\"} 100",
    "flink_taskmanager_job_task_operator_currentOutputWatermark{operator_name=\"N\"} 200",
    "flink_taskmanager_job_task_operator_currentOutputWatermark{operator_name=\"M\"} -9.223372036854776E18",
    "flink_jobmanager_numRunningJobs NaN",
];

fn shaper() -> Shaper {
    let view = View {
        max_samples_per_send: 1000,
        metadata_interval: None,
        external_labels: std::collections::BTreeMap::new(),
        write_relabel_configs: Vec::new(),
        limits: Limits::default(),
    };
    let groups = GroupFilter::try_new(&[], &["cpu".to_owned()]).unwrap();
    Shaper { groups, views: Arc::from([view]), ..Shaper::plain() }
}

/// A target, and what receivers know of it.
struct Target {
    tracker: Tracker,
    live: BTreeSet<Vec<u8>>,
    /// Lines of the last page that were read by expectation.
    expected: usize,
}

impl Target {
    fn new(shared: &Arc<PageSeries>) -> Self {
        let tracker = Tracker::new(shaper().into(), Labels::new()).within(Arc::clone(shared));
        Self { tracker, live: BTreeSet::new(), expected: 0 }
    }

    fn lines_of_pages(&self) -> u64 {
        self.tracker.lines.iter().filter(|(_, line)| line.is_of_page()).count() as u64
    }

    fn read(&mut self, lines: &[&str]) {
        self.tracker.begin();
        self.expected = 0;
        for line in lines {
            if self.tracker.observe_known(format!("{line}\n").as_bytes(), NOW).is_some() {
                self.expected += 1;
            } else {
                let _bad = self.tracker.observe(line.as_bytes(), NOW);
            }
        }
    }

    /// A good page: its account, and what is sent of it.
    fn scrape(&mut self, lines: &[&str]) -> (Tally, BTreeSet<(Vec<u8>, u64)>) {
        self.read(lines);
        let tally = self.tracker.close(NOW);
        assert_eq!(tally.scraped, lines.len() as u64);
        assert_eq!(tally.scraped + tally.made, tally.kept + tally.dropped.total(), "{tally:?}");
        let samples = self.tracker.samples(0);
        let sent: Vec<_> = samples.map(|(b, _, value)| (b.to_vec(), value.to_bits())).collect();
        let ended: Vec<_> = self.tracker.stale(0).map(|block| block.to_vec()).collect();
        let now: BTreeSet<Vec<u8>> = sent.iter().map(|(block, _)| block.clone()).collect();
        assert_eq!(now.len(), sent.len(), "one sample for each series");
        self.end(&ended, |block| !now.contains(block));
        self.live = now;
        self.tracker.forget_stale();
        self.tracker.rest();
        (tally, sent.into_iter().collect())
    }

    /// A page that fails in the middle.
    fn fail(&mut self, lines: &[&str]) {
        self.read(lines);
        self.tracker.abort();
        let ended: Vec<_> = self.tracker.live(0).map(|block| block.to_vec()).collect();
        self.end(&ended, |_| true);
        self.live.clear();
        self.tracker.forget_live();
        self.tracker.rest();
    }

    /// Each series that was sent and has left ends with one marker, and no other does.
    fn end(&self, ended: &[Vec<u8>], has_left: impl Fn(&Vec<u8>) -> bool) {
        let once: BTreeSet<_> = ended.iter().cloned().collect();
        assert_eq!(once.len(), ended.len(), "one marker for each series");
        let left: BTreeSet<_> = self.live.iter().filter(|block| has_left(block)).cloned().collect();
        assert_eq!(once, left);
    }
}

fn limited(limit: u64) -> Arc<PageSeries> {
    let shared = Arc::new(PageSeries::default());
    shared.set_limit(limit);
    shared
}

#[test]
fn trackers_share_one_limit_and_give_back_what_they_forget() {
    let shared = limited(5);
    let (mut one, mut other) = (Target::new(&shared), Target::new(&shared));
    let check = |tally: &Tally, kept: u64, left_out: u64, remembered: u64| {
        assert_eq!(tally.kept, kept);
        assert_eq!(tally.dropped.of(Dropped::PageSeriesLimit), left_out);
        assert_eq!(shared.remembered(), remembered);
    };
    check(&one.scrape(&["a 1", "b 1", "c 1"]).0, 3, 0, 3);
    check(&other.scrape(&["a 1", "b 1", "c 1"]).0, 2, 1, 5);
    // What is known goes on, here and there.
    check(&one.scrape(&["a 2", "b 2", "c 2", "d 2"]).0, 3, 1, 5);
    check(&other.scrape(&["a 2", "b 2", "c 2"]).0, 2, 1, 5);
    // One line leaves; the next page of anyone may have its place.
    check(&one.scrape(&["a 3", "b 3"]).0, 2, 0, 4);
    check(&other.scrape(&["a 3", "b 3", "c 3", "d 3"]).0, 3, 1, 5);
    // A page that does not count takes its places with it.
    check(&one.scrape(&["a 4"]).0, 1, 0, 4);
    one.fail(&["a 5", "e 5", "f 5"]);
    assert_eq!(shared.remembered(), 4);
    drop(other);
    assert_eq!(shared.remembered(), 1);
    check(&one.scrape(&["a 6", "b 6", "c 6", "d 6", "e 6", "f 6"]).0, 5, 1, 5);
    drop(one);
    assert_eq!(shared.remembered(), 0);
}

#[test]
fn a_job_that_restarts_at_the_limit_is_back_with_the_second_page() {
    let shared = limited(3);
    let mut target = Target::new(&shared);
    let page = |attempt: &str| ["x", "y", "z"].map(|of| format!("{of}{{attempt=\"{attempt}\"}} 1"));
    let mut scrape = |attempt| {
        let page = page(attempt);
        let (tally, _) = target.scrape(&page.each_ref().map(|line| &**line));
        assert!(shared.remembered() <= 3);
        (tally.kept, tally.dropped.of(Dropped::PageSeriesLimit))
    };
    assert_eq!(scrape("1"), (3, 0));
    // Those that have left are known until this page has ended, with a marker for each.
    assert_eq!(scrape("2"), (0, 3));
    assert_eq!(scrape("2"), (3, 0));
}

#[test]
fn other_rules_give_all_places_back_and_others_of_the_same_rules_none() {
    let shared = limited(3);
    let mut target = Target::new(&shared);
    target.scrape(&["a 1", "b 1", "c 1"]);
    let origins = [crate::series::Origin { view: Some(0), joined: false }];
    target.tracker.adopt(shaper().into(), Labels::new(), &origins);
    assert_eq!(shared.remembered(), 3);
    let rules = Shaper { groups: GroupFilter::default(), ..shaper() };
    target.tracker.adopt(rules.into(), Labels::new(), &origins);
    assert_eq!(shared.remembered(), 0);
    let (tally, _) = target.scrape(&["a 1", "b 1", "d 1", "c 1"]);
    assert_eq!((tally.kept, shared.remembered()), (3, 3));
}

#[test]
fn a_line_that_finds_no_room_leaves_nothing_behind() {
    let shared = limited(1);
    let policy = RollupPolicy { level: Some(Level::Task), ..RollupPolicy::default() };
    let shaper = Shaper { rollups: policy, ..shaper() };
    let mut tracker = Tracker::new(shaper.into(), Labels::new()).within(shared);
    tracker.begin();
    assert_eq!(tracker.observe(b"a 1", NOW), Ok(true));
    let picture = |tracker: &Tracker| {
        let Tracker { subjects, attempts, rollups, texts, whose, extras, .. } = tracker;
        let Tracker { derivers, abouts, series, lines, no_values, normals, .. } = tracker;
        let of_lines = format!("{lines:?} {whose:?} {extras:?} {texts:?} {normals:?}");
        let of_series = format!("{series:?} {abouts:?} {derivers:?} {no_values:?}");
        format!("{of_lines} {of_series} {subjects:?} {attempts:?} {rollups:?} {}", tracker.last)
    };
    let before = picture(&tracker);
    let lines = LINES.iter().filter(|line| !matches!(**line, "a 1" | "bad"));
    let left_out = lines.clone().count() as u64;
    for line in lines {
        assert_eq!(tracker.observe(line.as_bytes(), NOW), Ok(false), "{line}");
    }
    assert_eq!(picture(&tracker), before);
    let tally = tracker.close(NOW);
    assert_eq!(tally.dropped.of(Dropped::PageSeriesLimit), left_out);
    assert_eq!(tally.made, 0);
}

#[test]
fn a_label_limit_gives_the_place_back() {
    let shared = limited(1);
    let limits = Limits { labels: 1, ..Limits::default() };
    let shaper = Shaper { limits, ..shaper() };
    let mut tracker = Tracker::new(shaper.into(), Labels::new()).within(Arc::clone(&shared));
    tracker.begin();
    let exceeds = tracker.observe(b"b{x=\"1\"} 1", NOW);
    assert!(matches!(exceeds, Err(ObserveError::LabelLimit(_))), "{exceeds:?}");
    assert_eq!(shared.remembered(), 0);
    assert_eq!(tracker.observe(b"a 1", NOW), Ok(true));
}

#[test]
fn reading_by_expectation_goes_on_behind_a_line_that_found_no_room() {
    let mut target = Target::new(&limited(3));
    target.scrape(&["a 1", "b 1", "c 1"]);
    target.scrape(&["a 1", "x 1", "b 1", "y 1", "z 1", "c 1", "x 1"]);
    assert_eq!(target.expected, 3);
    target.scrape(&["x 1", "a 1", "b 1", "c 1"]);
    assert_eq!(target.expected, 3);
}

#[test]
fn a_limit_that_is_lowered_ends_nothing_and_lets_nothing_in() {
    let shared = limited(0);
    let mut target = Target::new(&shared);
    assert_eq!(target.scrape(&["a 1", "b 1", "c 1"]).0.kept, 3);
    shared.set_limit(2);
    assert_eq!(target.scrape(&["a 1", "b 1", "c 1", "d 1"]).0.kept, 3);
    assert_eq!(target.scrape(&["a 1"]).0.kept, 1);
    assert_eq!(target.scrape(&["a 1", "b 1", "c 1"]).0.kept, 2);
    shared.set_limit(3);
    assert_eq!(target.scrape(&["a 1", "b 1", "c 1"]).0.kept, 3);
}

#[test]
fn lines_of_the_relays_own_take_no_place() {
    let watermark =
        "flink_taskmanager_job_task_operator_currentOutputWatermark{operator_name=\"N\"} 200";
    // Where there is no place for them, and where there are many.
    for limit in [1, 10] {
        let shared = limited(limit);
        let mut target = Target::new(&shared);
        let (tally, sent) = target.scrape(&[watermark]);
        assert!(tally.made > 0 && sent.len() > 1, "{tally:?}");
        assert_eq!(shared.remembered(), 1);
        // They go with the line that they were made from, and give back nothing.
        target.scrape(&[]);
        assert_eq!(shared.remembered(), 0);
    }
}

#[test]
fn threads_never_take_more_than_there_is() {
    let (shared, each) = (limited(1_000), 600);
    let taken: u64 = thread::scope(|scope| {
        let take = || {
            let mut room = Room::of(Arc::clone(&shared));
            let taken = (0..each).filter(|_| room.take()).count() as u64;
            // Kept, so that its places are not given back.
            (room, taken)
        };
        let threads = [(); 4].map(|()| scope.spawn(take));
        let rooms = threads.map(|thread| thread.join().unwrap());
        assert_eq!(shared.remembered(), 1_000);
        rooms.iter().map(|(_, taken)| taken).sum()
    });
    assert_eq!(taken, 1_000);
    assert_eq!(shared.remembered(), 0);
}

/// What happens to one of three targets.
#[derive(Clone, Debug)]
enum Event {
    Page(Vec<&'static str>),
    Failed(Vec<&'static str>),
    Gone,
}

fn any_event() -> impl Strategy<Value = Event> {
    let page = || subsequence(LINES.to_vec(), 0..=LINES.len()).prop_shuffle();
    prop_oneof![
        6 => page().prop_map(Event::Page),
        1 => page().prop_map(Event::Failed),
        1 => Just(Event::Gone),
    ]
}

proptest! {
    #[test]
    fn any_history_keeps_to_the_limit_and_the_account(
        limit in 1..20_u64,
        events in vec((0..3_usize, any_event()), 1..24),
    ) {
        let (shared, unlimited) = (limited(limit), limited(0));
        let mut targets = [(); 3].map(|()| (Target::new(&shared), Target::new(&unlimited)));
        for (at, event) in events {
            let (target, twin) = &mut targets[at];
            match event {
                Event::Page(lines) => {
                    let (tally, sent) = target.scrape(&lines);
                    let (whole, all) = twin.scrape(&lines);
                    prop_assert!(sent.is_subset(&all), "a series or value that is not there without limit");
                    prop_assert_eq!(whole.dropped.of(Dropped::PageSeriesLimit), 0);
                    if tally.dropped.of(Dropped::PageSeriesLimit) == 0 {
                        prop_assert_eq!(&sent, &all);
                    }
                }
                Event::Failed(lines) => {
                    target.fail(&lines);
                    twin.fail(&lines);
                }
                Event::Gone => {
                    *target = Target::new(&shared);
                    *twin = Target::new(&unlimited);
                }
            }
            for (all, most) in [(&shared, limit), (&unlimited, u64::MAX)] {
                let of = |(target, twin): &(Target, Target)| {
                    if most == limit { target.lines_of_pages() } else { twin.lines_of_pages() }
                };
                let lines: u64 = targets.iter().map(of).sum();
                prop_assert_eq!(all.remembered(), lines);
                prop_assert!(lines <= most);
            }
        }
        drop(targets);
        prop_assert_eq!(shared.remembered(), 0);
    }
}
