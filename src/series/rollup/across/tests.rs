//! Several targets over histories of intervals: against one evaluation of all pages joined, and
//! counters against a model of their sources.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    flink::{RollupPolicy, rollup::Level},
    labels::Labels,
    remote_write::v1,
    series::{
        Tracker,
        rollup::tests::{BUSY, operator, policy, shaper, task},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_millis(200);

fn rollups(level: Level) -> RollupPolicy {
    RollupPolicy { across_targets: true, ..policy(level) }
}

fn of_target(instance: usize, level: Level) -> Tracker {
    let instance = format!("tm-{instance}:9250");
    let target = [("instance", &*instance), ("job", "flink"), ("rack", "7")].into_iter().collect();
    let target: Labels<'_> = target;
    let mut tracker = Tracker::new(Arc::new(shaper(rollups(level))), target.into_owned());
    tracker.part_rollups(true);
    tracker
}

fn page(tracker: &mut Tracker, lines: &[String], at_ms: i64) {
    tracker.begin();
    for line in lines {
        tracker.observe(line.as_bytes(), at_ms).unwrap();
    }
    tracker.close(at_ms);
    assert_eq!(tracker.samples(0).count(), 0, "nothing is sent of the target itself");
    tracker.forget_stale();
}

fn failed(tracker: &mut Tracker, at_ms: i64) {
    tracker.begin();
    tracker.observe(task("numRecordsIn", 0, 0, 1e9).as_bytes(), at_ms).unwrap();
    tracker.abort();
    tracker.forget_live();
}

fn samples(tracker: &Tracker) -> BTreeMap<String, f64> {
    let shown = |block: v1::Block<'_>| v1::decode_labels(block).unwrap().to_string();
    tracker.samples(0).map(|(block, _, value)| (shown(block), value)).collect()
}

/// What an interval has come to, and how many series have ended.
fn combine(tracker: &mut Tracker, closed: Closed) -> (BTreeMap<String, f64>, BTreeSet<String>) {
    let at_ms = closed.at_ms;
    let tally = tracker.combine(closed.wholes, at_ms);
    assert_eq!(tally.made, tally.kept + tally.dropped.total());
    assert!(tracker.samples(0).all(|(_, timestamp_ms, _)| timestamp_ms == at_ms));
    let sent = samples(tracker);
    let stale = tracker.stale(0).map(|block| v1::decode_labels(block).unwrap().to_string());
    let stale = stale.collect();
    tracker.forget_stale();
    (sent, stale)
}

/// Closed once, so that the next interval counts; it ends at 2 s.
fn across() -> Across {
    let mut across = Across::new(SECOND, SLACK, 300);
    assert!(across.close(1_200).is_none(), "the first interval is not whole");
    across
}

fn wholes() -> Tracker {
    Tracker::of_wholes(Arc::new(shaper(rollups(Level::Task))))
}

fn value(samples: &BTreeMap<String, f64>, name: &str) -> Option<f64> {
    let name = format!("flink_taskmanager_job_task_{name}{{");
    let mut of_name = samples.iter().filter(|(series, _)| series.starts_with(&name));
    let value = of_name.next().map(|(_, value)| *value);
    assert!(of_name.next().is_none(), "{name} is one series: {samples:?}");
    value
}

proptest! {
    /// Where nothing has left, several targets come to what their pages would as one.
    #[test]
    fn it_equals_one_evaluation_over_all_pages_joined(
        sources in vec((0..4_usize, 0..6_usize, 0..1000_u32), 0..24),
        job in any::<bool>(),
    ) {
        let level = if job { Level::Job } else { Level::Task };
        let mut pages = vec![Vec::new(); 4];
        for (at, (target, metric, value)) in sources.into_iter().enumerate() {
            let value = f64::from(value);
            pages[target].push(match metric {
                0 => task("numRecordsIn", at, 0, value),
                1 => task(BUSY, at, 0, value),
                2 => task("numRecordsInPerSecond", at, 0, value),
                3 => task("currentInputWatermark", at, 0, value),
                // Two operators of one name, which are told apart.
                4 => operator("numRecordsOut", "o1", at, value),
                _ => operator("numRecordsOut", "o2", at, value),
            });
        }
        let mut across = across();
        for (at, lines) in pages.iter().enumerate() {
            let mut tracker = of_target(at, level);
            let at_ms = 1_100 + 200 * i64::try_from(at).unwrap();
            page(&mut tracker, lines, at_ms);
            across.take(at as u64, at_ms, SECOND, Some(tracker.parts()));
        }
        let closed = across.close(2_200).unwrap();
        prop_assert_eq!((closed.at_ms, closed.targets), (2_000, 4));
        let (sent, _) = combine(&mut wholes(), closed);
        let target = [("job", "flink")].into_iter().collect();
        let mut joined = Tracker::new(Arc::new(shaper(policy(level))), target);
        joined.begin();
        for line in pages.iter().flatten() {
            joined.observe(line.as_bytes(), 1).unwrap();
        }
        joined.close(1);
        prop_assert_eq!(sent, samples(&joined));
    }
}

/// What a target does in an interval.
#[derive(Clone, Debug)]
enum Step {
    /// Values of the subtasks it has.
    Page(BTreeMap<usize, u32>),
    Fails,
    Late,
    /// It goes, and another is at its place at once.
    Leaves,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::btree_map(0..4_usize, 0..1000_u32, 0..4).prop_map(Step::Page),
        1 => Just(Step::Fails),
        1 => Just(Step::Late),
        1 => Just(Step::Leaves),
    ]
}

#[derive(Default)]
struct Model {
    total: f64,
    /// By target, the last values of its sources.
    last: [BTreeMap<usize, f64>; 3],
}

impl Model {
    fn page(&mut self, target: usize, page: &BTreeMap<usize, f64>) {
        for (source, value) in page {
            self.total += match self.last[target].get(source) {
                Some(last) if value >= last => value - last,
                _ => *value,
            };
        }
        self.last[target].clone_from(page);
    }

    fn close(&mut self) {
        if self.last.iter().all(BTreeMap::is_empty) {
            self.total = 0.0;
        }
    }
}

proptest! {
    /// Restarts, leaves, failures and late pages: counters are those of the model, gauges are of the
    /// pages that are there, and each series that ends does so with one marker.
    #[test]
    fn histories_are_those_of_a_model(
        history in vec(prop::array::uniform3(step()), 1..12),
    ) {
        let mut across = across();
        let mut combined = wholes();
        let mut model = Model::default();
        let mut trackers = [0, 1, 2].map(|at| of_target(at, Level::Task));
        let mut ids = [0, 1, 2];
        let mut known = BTreeSet::new();
        let mut before = 0.0;
        for (interval, steps) in history.into_iter().enumerate() {
            let begin_ms = 1_000 * (1 + i64::try_from(interval).unwrap());
            let mut present = Vec::new();
            for (target, step) in steps.into_iter().enumerate() {
                let at_ms = begin_ms + 300 * i64::try_from(target).unwrap();
                match step {
                    Step::Page(page_of) => {
                        let values: BTreeMap<_, _> =
                            page_of.into_iter().map(|(at, v)| (at, f64::from(v))).collect();
                        let lines: Vec<_> = values
                            .iter()
                            .flat_map(|(at, value)| {
                                let of = 10 * target + at;
                                [task("numRecordsIn", of, 0, *value), task(BUSY, of, 0, *value)]
                            })
                            .collect();
                        page(&mut trackers[target], &lines, at_ms);
                        across.take(ids[target], at_ms, SECOND, Some(trackers[target].parts()));
                        model.page(target, &values);
                        present.extend(values.into_values());
                    }
                    Step::Fails => {
                        failed(&mut trackers[target], at_ms);
                        across.take(ids[target], at_ms, SECOND, None);
                    }
                    Step::Late => {}
                    Step::Leaves => {
                        across.forget(ids[target]);
                        ids[target] += 10;
                        trackers[target] = of_target(target, Level::Task);
                        model.last[target].clear();
                    }
                }
            }
            let closed = across.close(begin_ms + 1_200).unwrap();
            prop_assert_eq!(closed.at_ms, begin_ms + 1_000);
            let (sent, stale) = combine(&mut combined, closed);
            let some = !present.is_empty();
            let total = value(&sent, "numRecordsIn:task_sum");
            prop_assert_eq!(total, some.then_some(model.total));
            prop_assert!(total.is_none_or(|total| total >= before), "{:?} after {}", total, before);
            before = if model.last.iter().all(BTreeMap::is_empty) { 0.0 } else { total.unwrap_or(before) };
            let max = present.iter().copied().reduce(f64::max);
            let avg = max.map(|_| present.iter().sum::<f64>() / present.len() as f64);
            prop_assert_eq!(value(&sent, &format!("{BUSY}:task_max")), max);
            prop_assert_eq!(value(&sent, &format!("{BUSY}:task_avg")), avg);
            let skew = avg.filter(|avg| *avg > 0.0).map(|avg| max.unwrap() / avg);
            prop_assert_eq!(value(&sent, &format!("{BUSY}:task_skew")), skew);
            let now: BTreeSet<String> = sent.into_keys().collect();
            prop_assert_eq!(stale, known.difference(&now).cloned().collect::<BTreeSet<_>>());
            known = now;
            model.close();
        }
    }
}

/// One source of a target, and what the interval comes to.
fn one(value: f64) -> Vec<String> {
    vec![task("numRecordsIn", 0, 0, value)]
}

fn sum(closed: Option<Closed>) -> Option<(i64, usize, f64)> {
    let closed = closed.unwrap();
    let (at_ms, targets) = (closed.at_ms, closed.targets);
    let (sent, _) = combine(&mut wholes(), closed);
    let labels = "flink_taskmanager_job_task_numRecordsIn:task_sum{job=\"flink\",job_id=\"j\",task_name=\"T\"}";
    assert!(sent.keys().all(|series| series.replace("cluster=\"eu\",", "") == labels), "{sent:?}");
    sent.into_values().next().map(|sum| (at_ms, targets, sum))
}

#[test]
fn labels_of_targets_go_but_the_scrape_job_and_pages_wait_for_their_interval() {
    let (mut across, mut tracker) = (across(), of_target(0, Level::Task));
    page(&mut tracker, &one(5.0), 1_500);
    across.take(0, 1_500, SECOND, Some(tracker.parts()));
    // Within the slack: it belongs to the next one.
    page(&mut tracker, &one(7.0), 2_050);
    across.take(0, 2_050, SECOND, Some(tracker.parts()));
    assert_eq!(sum(across.close(2_200)), Some((2_000, 1, 5.0)));
    assert_eq!(sum(across.close(3_200)), Some((3_000, 1, 7.0)));
    // A page that is late is absent, and its increase is not lost.
    assert_eq!(sum(across.close(4_200)), None);
    page(&mut tracker, &one(8.0), 3_500);
    across.take(0, 3_500, SECOND, Some(tracker.parts()));
    assert_eq!(sum(across.close(5_200)), None);
    page(&mut tracker, &one(10.0), 5_100);
    across.take(0, 5_100, SECOND, Some(tracker.parts()));
    assert_eq!(sum(across.close(6_200)), Some((6_000, 1, 10.0)));
}

#[test]
fn a_page_a_moment_before_its_interval_leaves_no_hole_and_a_failure_does() {
    let (mut across, mut tracker) = (across(), of_target(0, Level::Task));
    let mut take = |at_ms: i64, across: &mut Across| {
        page(&mut tracker, &one(1.0), at_ms);
        across.take(0, at_ms, SECOND, Some(tracker.parts()));
    };
    take(1_001, &mut across);
    take(1_950, &mut across);
    assert_eq!(sum(across.close(2_200)), Some((2_000, 1, 1.0)));
    assert_eq!(sum(across.close(3_200)), Some((3_000, 1, 1.0)));
    take(3_950, &mut across);
    assert_eq!(sum(across.close(4_200)), Some((4_000, 1, 1.0)));
    across.take(0, 4_950, SECOND, None);
    assert_eq!(sum(across.close(5_200)), None);
    // A target that is scraped less often has its own idea of late.
    take(5_100, &mut across);
    assert_eq!(sum(across.close(6_200)), Some((6_000, 1, 1.0)));
    page(&mut tracker, &one(2.0), 6_100);
    across.take(0, 6_100, 3 * SECOND, Some(tracker.parts()));
    for end_ms in [7_000, 8_000, 9_000] {
        assert_eq!(sum(across.close(end_ms + 200)), Some((end_ms, 1, 2.0)));
    }
    assert_eq!(sum(across.close(10_200)), None);
}

#[test]
fn ends_grow_and_nobody_waits_whatever_the_clock_does() {
    let (mut across, mut tracker) = (across(), of_target(0, Level::Task));
    let mut closed = |now_ms: i64, page_at_ms: i64, across: &mut Across| {
        page(&mut tracker, &one(1.0), page_at_ms);
        across.take(0, page_at_ms, SECOND, Some(tracker.parts()));
        assert!(across.due_in(now_ms) <= SECOND + SLACK);
        sum(across.close(now_ms)).map(|(at_ms, ..)| at_ms)
    };
    assert_eq!(across.due_in(1_500), Duration::from_millis(700));
    assert_eq!(closed(1_002_200, 1_900, &mut across), Some(2_000), "set forward");
    assert_eq!(closed(1_003_200, 1_002_500, &mut across), Some(1_003_000));
    // Set back: scrapes are stamped a millisecond after the one before, and so are ends.
    assert_eq!(closed(5_000, 1_003_001, &mut across), Some(1_003_001));
    assert_eq!(closed(6_200, 1_003_002, &mut across), Some(1_003_002));
    assert_eq!(across.due_in(6_200), SECOND);
}
