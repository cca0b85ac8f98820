//! Roll-ups over histories of pages: values against a model, and what receivers know of them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    flink::{
        Derivations,
        budget::{Budgets, Demands, Grants, Ledger},
    },
    relabel,
    series::{Dropped, Limits, Origin, Shaper, View},
};

pub(super) const NOW: i64 = 1_000;

pub(super) fn policy(level: Level) -> RollupPolicy {
    RollupPolicy::of_all(level)
}

pub(super) fn view(cluster: &str) -> View {
    View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: BTreeMap::from([("cluster".to_owned(), cluster.to_owned())]),
        write_relabel_configs: Vec::new(),
        limits: Limits::default(),
    }
}

pub(super) fn shaper(rollups: RollupPolicy) -> Shaper {
    Shaper { derived: Derivations::NONE, rollups, views: [view("eu")].into(), ..Shaper::plain() }
}

fn tracker(shaper: Shaper) -> Tracker {
    let target = [("instance", "tm:9250"), ("job", "flink")].into_iter().collect();
    Tracker::new(Arc::new(shaper), target)
}

fn text<'a>(block: impl Into<v1::Block<'a>>) -> String {
    let mut labels = v1::decode_labels(block).unwrap();
    assert_eq!(labels.remove("instance").as_deref(), Some("tm:9250"));
    assert_eq!(labels.remove("job").as_deref(), Some("flink"));
    labels.remove("cluster");
    labels.to_string()
}

/// A page with its outcome: samples by series, and series that end.
struct Sent {
    samples: BTreeMap<String, f64>,
    stale: BTreeSet<String>,
    tally: crate::series::Tally,
}

fn scrape(tracker: &mut Tracker, lines: &[String]) -> Sent {
    scrape_within(tracker, lines, |_| Grants::default())
}

fn scrape_within(
    tracker: &mut Tracker,
    lines: &[String],
    budget: impl FnOnce(Demands) -> Grants,
) -> Sent {
    tracker.begin();
    for line in lines {
        tracker.observe(line.as_bytes(), NOW).unwrap();
    }
    let tally = tracker.close_within(NOW, budget);
    let all: Vec<_> = tracker.samples(0).map(|(block, _, value)| (text(block), value)).collect();
    let samples: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(samples.len(), all.len(), "no series has two samples");
    let ended: Vec<_> = tracker.stale(0).map(text).collect();
    let stale: BTreeSet<_> = ended.iter().cloned().collect();
    assert_eq!(stale.len(), ended.len(), "no series has two markers");
    tracker.forget_stale();
    assert_eq!(tally.scraped + tally.made, tally.kept + tally.dropped.total());
    Sent { samples, stale, tally }
}

/// A line of a subtask's metric.
pub(super) fn task(metric: &str, subtask: usize, attempt: usize, value: f64) -> String {
    format!(
        "flink_taskmanager_job_task_{metric}{{job_id=\"j\",task_id=\"t\",task_name=\"T\",\
         task_attempt_id=\"{subtask}_{attempt}\",task_attempt_num=\"{attempt}\",host=\"h\",\
         subtask_index=\"{subtask}\",tm_id=\"tm\",}} {value:?}"
    )
}

pub(super) fn operator(metric: &str, operator_id: &str, subtask: usize, value: f64) -> String {
    format!(
        "flink_taskmanager_job_task_operator_{metric}{{job_id=\"j\",task_id=\"t\",task_name=\"T\",\
         operator_name=\"N\",operator_id=\"{operator_id}\",subtask_index=\"{subtask}\",\
         host=\"h\",tm_id=\"tm\",}} {value:?}"
    )
}

fn named(samples: &[(&str, f64)]) -> BTreeMap<String, f64> {
    samples.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

pub(super) const BUSY: &str = "busyTimeMsPerSecond";

#[test]
fn a_page_is_rolled_up_to_each_level() {
    let page = [
        task(BUSY, 0, 0, 900.0),
        task(BUSY, 1, 0, 100.0),
        task("numRecordsIn", 0, 0, 5.0),
        task("numRecordsIn", 1, 0, 7.0),
        task("mailboxLatencyMs_count", 1, 0, 3.0),
        "flink_taskmanager_Status_JVM_CPU_Load{host=\"h\",tm_id=\"tm\"} 0.5".to_owned(),
        "flink_taskmanager_job_task_myOwn{subtask_index=\"0\"} 1".to_owned(),
    ];
    let mut task = tracker(shaper(policy(Level::Task)));
    let sent = scrape(&mut task, &page);
    let of_task = "{job_id=\"j\",task_name=\"T\"}";
    let at = |name: &str| format!("flink_taskmanager_job_task_{name}{of_task}");
    let expect = named(&[
        (&at("busyTimeMsPerSecond:task_avg"), 500.0),
        (&at("busyTimeMsPerSecond:task_max"), 900.0),
        (&at("busyTimeMsPerSecond:task_skew"), 1.8),
        (&at("numRecordsIn:task_sum"), 12.0),
        (&at("mailboxLatencyMs_count:task_sum"), 3.0),
        ("flink_taskmanager_Status_JVM_CPU_Load{tm_id=\"tm\"}", 0.5),
        ("flink_taskmanager_job_task_myOwn{subtask_index=\"0\"}", 1.0),
    ]);
    assert_eq!(sent.samples, expect);
    let Sent { tally, .. } = sent;
    assert_eq!((tally.scraped, tally.made, tally.kept), (7, 5, 7));
    let rolled_up = tally.dropped.iter().find(|(reason, _)| *reason == Dropped::RolledUp);
    assert_eq!(rolled_up, Some((Dropped::RolledUp, 5)));
    let again = scrape(&mut task, &page);
    assert_eq!((again.samples, again.stale.len(), again.tally.series_added), (expect, 0, 0));

    let mut keeping = tracker(shaper(RollupPolicy { keep_raw: true, ..policy(Level::Job) }));
    let sent = scrape(&mut keeping, &page);
    assert_eq!((sent.tally.made, sent.tally.kept, sent.tally.dropped.total()), (5, 12, 0));
    let sum = "flink_taskmanager_job_task_numRecordsIn:job_sum{job_id=\"j\"}";
    assert_eq!(sent.samples.get(sum), Some(&12.0));
}

#[test]
fn levels_are_by_group_and_off_is_off() {
    let page = [
        task(BUSY, 0, 0, 900.0),
        operator("s_rocksdb_estimate_num_keys", "o", 0, 4.0),
        operator("pendingRecords", "o", 0, 4.0),
    ];
    let mut policy = RollupPolicy { has_budget: true, ..policy(Level::Subtask) };
    policy.levels.insert(Group::RocksDb, Some(Level::Task));
    policy.levels.insert(Group::Source, None);
    let mut tracker = tracker(shaper(policy));
    let names = |sent: Sent| -> Vec<String> {
        let name = |series: &String| series.split('{').next().unwrap().to_owned();
        let name = |series| name(series).replace("flink_taskmanager_job_task_", "");
        sent.samples.keys().map(name).collect()
    };
    assert_eq!(
        names(scrape(&mut tracker, &page)),
        [
            BUSY,
            "operator_pendingRecords",
            "operator_rocksdb_estimate_num_keys:task_skew",
            "operator_rocksdb_estimate_num_keys:task_sum",
        ]
    );
    let job = |_: Demands| Grants::from_iter([("j", Level::Job)]);
    assert_eq!(
        names(scrape_within(&mut tracker, &page, job)),
        [
            "busyTimeMsPerSecond:job_avg",
            "busyTimeMsPerSecond:job_max",
            "busyTimeMsPerSecond:job_skew",
            "operator_pendingRecords",
            "operator_rocksdb_estimate_num_keys:job_skew",
            "operator_rocksdb_estimate_num_keys:job_sum",
        ]
    );
}

#[test]
fn operators_of_one_name_are_rolled_up_apart_and_former_names_once() {
    let two = |value: f64| {
        vec![
            operator("numRecordsIn", "o1", 0, value),
            operator("numRecordsIn", "o1", 1, value),
            operator("numRecordsIn", "o2", 0, 2.0 * value),
        ]
    };
    let mut apart = tracker(shaper(policy(Level::Task)));
    let sent = scrape(&mut apart, &two(1.0));
    let name = |id: &str| {
        format!(
            "flink_taskmanager_job_task_operator_numRecordsIn:task_sum{{job_id=\"j\",operator=\"N\",\
             operator_id=\"{id}\",task_name=\"T\"}}"
        )
    };
    assert_eq!(sent.samples, named(&[(&name("o1"), 2.0), (&name("o2"), 2.0)]));
    // A job's roll-up is of both.
    let mut job = tracker(shaper(policy(Level::Job)));
    let sum = "flink_taskmanager_job_task_operator_numRecordsIn:job_sum{job_id=\"j\"}";
    assert_eq!(scrape(&mut job, &two(1.0)).samples, named(&[(sum, 4.0)]));
    // The page has one metric under two names, and one line twice.
    let twice = [
        task("numBytesInLocal", 0, 0, 3.0),
        task("Shuffle_Netty_Input_numBytesInLocal", 0, 0, 3.0),
        task("Shuffle_Netty_Input_numBytesInLocal", 0, 0, 4.0),
        task("numBytesInLocal", 1, 0, 5.0),
    ];
    let sum =
        "flink_taskmanager_job_task_Shuffle_Netty_Input_numBytesInLocal:job_sum{job_id=\"j\"}";
    assert_eq!(
        scrape(&mut tracker(shaper(policy(Level::Job))), &twice).samples,
        named(&[(sum, 8.0)])
    );
}

#[test]
fn relabelling_sees_the_roll_up_and_not_its_sources() {
    let drop = |regex: &str| {
        let raw = relabel::RawRule {
            action: Some("drop".to_owned()),
            regex: Some(regex.to_owned()),
            source_labels: Some(vec!["__name__".to_owned()]),
            ..relabel::RawRule::default()
        };
        vec![relabel::Rule::try_new(raw).unwrap()]
    };
    let page = [task(BUSY, 0, 0, 900.0), task(BUSY, 1, 0, 100.0)];
    let check = |regex: &str, kept: u64| {
        let rollups = RollupPolicy { keep_raw: true, ..policy(Level::Task) };
        let rules = Shaper { metric_relabel_configs: drop(regex), ..shaper(rollups) };
        assert_eq!(scrape(&mut tracker(rules), &page).tally.kept, kept, "{regex}");
    };
    check("nothing", 5);
    check(".*PerSecond", 3);
    check(".*:task_.*", 2);
    let limits = Limits { value_bytes: 55, ..Limits::default() };
    let rollups = Shaper { limits, ..shaper(policy(Level::Task)) };
    let sent = scrape(&mut tracker(rollups), &page);
    let dropped: Vec<_> = sent.tally.dropped.iter().filter(|(_, count)| *count > 0).collect();
    // …busyTimeMsPerSecond:task_skew has 56 bytes, which does not fail the scrape.
    assert_eq!(dropped, [(Dropped::RolledUp, 2), (Dropped::LabelLimit, 1)]);
}

#[test]
fn what_has_no_value_ends_and_keeps_its_labels() {
    let mut tracker = tracker(shaper(policy(Level::Task)));
    let zero = [task(BUSY, 0, 0, 0.0)];
    let skew =
        "flink_taskmanager_job_task_busyTimeMsPerSecond:task_skew{job_id=\"j\",task_name=\"T\"}";
    let sent = scrape(&mut tracker, &zero);
    assert_eq!((sent.samples.len(), sent.samples.contains_key(skew)), (2, false));
    let some = scrape(&mut tracker, &[task(BUSY, 0, 0, 10.0)]);
    assert_eq!((some.samples.get(skew), some.tally.series_added), (Some(&1.0), 1));
    let sent = scrape(&mut tracker, &zero);
    assert_eq!(sent.stale, BTreeSet::from([skew.to_owned()]));
    assert_eq!(scrape(&mut tracker, &zero).stale, BTreeSet::new());
    assert_eq!(scrape(&mut tracker, &[task(BUSY, 0, 0, 10.0)]).tally.series_added, 1);
}

#[test]
fn metadata_says_what_a_roll_up_is() {
    let mut tracker = tracker(shaper(policy(Level::Task)));
    let page = [
        task(BUSY, 0, 0, 900.0),
        task("numRecordsIn", 0, 0, 5.0),
        task("mailboxLatencyMs_count", 0, 0, 3.0),
    ];
    scrape(&mut tracker, &page);
    let show = |MadeFamily { name, about }: MadeFamily| {
        format!("{name} {:?} [{}] {}", about.kind, about.unit, about.help)
    };
    let families: Vec<_> = tracker.made_families().into_iter().map(show).collect();
    insta::assert_snapshot!(families.join("\n"));
}

#[derive(Clone, Debug)]
enum Step {
    /// Subtasks on the page with their attempt and their counter's increase; whether the scrape fails.
    Page(Vec<(usize, usize, u32)>, bool),
    /// The same rules under another view, or with `keep_raw` changed, or other target labels.
    Adopt { view: bool, keep_raw: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let subtask = (0..4_usize, 0..3_usize, 0..100_u32);
    let page = (vec(subtask, 0..6), prop::bool::weighted(0.1));
    let step = prop_oneof![
        8 => page.prop_map(|(page, fails)| Step::Page(page, fails)),
        1 => any::<(bool, bool)>().prop_map(|(view, keep_raw)| Step::Adopt { view, keep_raw }),
    ];
    vec(step, 1..40)
}

/// What the documentation says of a counter's sum, without any of the means.
#[derive(Default)]
struct Model {
    /// What each source shows; a source is a subtask's attempt.
    counters: BTreeMap<(usize, usize), f64>,
    /// What each source that is there showed last.
    present: BTreeMap<(usize, usize), f64>,
    total: f64,
}

impl Model {
    fn page(&mut self, page: &BTreeMap<(usize, usize), f64>) {
        if page.is_empty() {
            *self = Self { counters: std::mem::take(&mut self.counters), ..Self::default() };
        }
        for (source, value) in page {
            let before = self.present.get(source).filter(|before| *before <= value);
            self.total += value - before.unwrap_or(&0.0);
        }
        self.present.clone_from(page);
    }
}

proptest! {
    /// Whatever pages follow each other: counters are summed as documented and never fall while any
    /// source is there, gauges are PromQL's, and receivers get each roll-up's samples and one marker.
    #[test]
    fn histories_are_as_documented(steps in steps(), level in 1..3_usize) {
        let level = Level::ALL[level];
        let mut tracker = tracker(shaper(policy(level)));
        let mut model = Model::default();
        let mut known = BTreeSet::new();
        let mut last_total = 0.0;
        for step in steps {
            match step {
                Step::Adopt { view: other, keep_raw } => {
                    let rollups = RollupPolicy { keep_raw, ..policy(level) };
                    let views = [view(if other { "us" } else { "eu" })].into();
                    let labels = tracker.target_labels.clone();
                    let origin = Origin { view: Some(0), joined: false };
                    let next = Shaper { views, ..shaper(rollups) };
                    let changes = !next.views[0].has_labels_of(&tracker.shaper.views[0]);
                    tracker.adopt(Arc::new(next), labels, &[origin]);
                    if changes {
                        // All end under their old label, told by the test of `adopt`.
                        tracker.forget_live();
                        known.clear();
                    }
                }
                Step::Page(subtasks, fails) => {
                    let mut page = BTreeMap::new();
                    for (subtask, attempt, by) in subtasks {
                        let counter = model.counters.entry((subtask, attempt)).or_default();
                        // Now and then it begins anew.
                        *counter = if by < 10 { f64::from(by) } else { *counter + f64::from(by) };
                        page.insert((subtask, attempt), *counter);
                    }
                    let lines = page.iter().flat_map(|((subtask, attempt), value)| {
                        ["numRecordsIn", BUSY].map(|metric| task(metric, *subtask, *attempt, *value))
                    });
                    let mut lines: Vec<String> = lines.collect();
                    lines.push("up_and_running 1".to_owned());
                    if fails {
                        tracker.begin();
                        for line in &lines {
                            tracker.observe(line.as_bytes(), NOW).unwrap();
                        }
                        tracker.abort();
                        tracker.forget_live();
                        known.clear();
                        continue;
                    }
                    model.page(&page);
                    let sent = scrape(&mut tracker, &lines);
                    let value = |name: &str| {
                        let name = format!("flink_taskmanager_job_task_{name}{{");
                        sent.samples.iter().find(|(s, _)| s.starts_with(&name)).map(|(_, v)| *v)
                    };
                    let of = level.as_str();
                    let total = value(&format!("numRecordsIn:{of}_sum"));
                    prop_assert_eq!(total, (!page.is_empty()).then_some(model.total));
                    prop_assert!(page.is_empty() || total.unwrap() >= last_total);
                    last_total = total.unwrap_or(0.0);
                    let values = || page.values().copied();
                    let max = values().reduce(f64::max);
                    let avg = max.map(|_| values().sum::<f64>() / page.len() as f64);
                    prop_assert_eq!(value(&format!("{BUSY}:{of}_max")), max);
                    prop_assert_eq!(value(&format!("{BUSY}:{of}_avg")), avg);
                    let skew = avg.filter(|avg| *avg > 0.0).map(|avg| max.unwrap() / avg);
                    prop_assert_eq!(value(&format!("{BUSY}:{of}_skew")), skew);
                    let now: BTreeSet<String> = sent.samples.into_keys().collect();
                    prop_assert_eq!(sent.stale, known.difference(&now).cloned().collect());
                    prop_assert!(tracker.rollups.members.len() <= tracker.lines.len());
                    known = now;
                }
            }
        }
    }
}

/// One job of some width on two targets, what becomes of it under a budget, and what each is told.
#[test]
fn a_job_is_degraded_on_the_page_that_asks_for_it_and_restored_on_the_next() {
    let wide = |subtasks: usize| -> Vec<String> {
        (0..subtasks).map(|subtask| task("numRecordsIn", subtask, 0, 1.0)).collect()
    };
    let rollups = RollupPolicy { has_budget: true, ..RollupPolicy::default() };
    let mut tracker = tracker(shaper(rollups));
    let mut ledger = Ledger::new(Budgets { series_per_job: 5, ..Budgets::default() });
    let mut scrape = |subtasks: usize, now_ms: i64| {
        let settle = |demands: Demands| ledger.settle(1, demands, now_ms).0;
        let sent = scrape_within(&mut tracker, &wide(subtasks), settle);
        (sent.samples, sent.stale.len())
    };
    let after = i64::try_from(crate::limits::RESTORE_AFTER.as_millis()).unwrap();
    let sum = "flink_taskmanager_job_task_numRecordsIn:task_sum{job_id=\"j\",task_name=\"T\"}";
    assert_eq!(scrape(5, 0).0.len(), 5);
    assert_eq!(scrape(6, 1), (named(&[(sum, 6.0)]), 5));
    assert_eq!(scrape(3, 2), (named(&[(sum, 6.0)]), 0), "a sum keeps what has left");
    assert_eq!(scrape(3, 2 + after), (named(&[(sum, 6.0)]), 0));
    let (restored, ended) = scrape(3, 3 + after);
    assert_eq!((restored.len(), ended, restored.contains_key(sum)), (3, 1, false));
}

#[test]
fn what_exceeds_a_budget_even_so_is_left_out_when_it_is_new() {
    let rollups = RollupPolicy { has_budget: true, ..RollupPolicy::default() };
    let mut tracker = tracker(shaper(rollups));
    let mut ledger = Ledger::new(Budgets { series_total: 3, ..Budgets::default() });
    let own = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{name}{{job_id=\"j\"}} 1")).collect()
    };
    let mut scrape = |names: &[&str]| {
        let settle = |demands: Demands| ledger.settle(1, demands, 0).0;
        let sent = scrape_within(&mut tracker, &own(names), settle);
        let dropped = sent.tally.dropped.iter().find(|(reason, _)| *reason == Dropped::Budget);
        let name = |series: &String| series.split('{').next().unwrap().to_owned();
        let names: Vec<_> = sent.samples.keys().map(name).collect();
        (names.concat(), sent.stale.len(), dropped.unwrap().1)
    };
    assert_eq!(scrape(&["c", "d"]), ("cd".to_owned(), 0, 0));
    // What was there goes on, whatever its place on the page.
    assert_eq!(scrape(&["a", "b", "c", "d"]), ("acd".to_owned(), 0, 1));
    assert_eq!(scrape(&["a", "b", "c", "d"]), ("acd".to_owned(), 0, 1));
    assert_eq!(scrape(&["b", "c", "d", "e"]), ("bcd".to_owned(), 1, 1));
    assert_eq!(scrape(&["c", "e"]), ("ce".to_owned(), 2, 0));
}

proptest! {
    /// Whatever a budget demands from page to page: each sample is accounted for, what receivers know
    /// goes on or ends with one marker, and roll-ups stand for exactly what is not sent.
    #[test]
    fn histories_under_budgets_are_consistent(
        pages in vec((1..8_usize, 0..3_usize, prop::option::weighted(0.3, 0..6_u64), prop::bool::weighted(0.1)), 1..25),
        keep_raw in any::<bool>(),
    ) {
        let rollups = RollupPolicy { has_budget: true, keep_raw, ..RollupPolicy::default() };
        let mut tracker = tracker(shaper(rollups));
        let mut known = BTreeSet::new();
        let mut demanded = Level::Subtask;
        for (subtasks, level, room, fails) in pages {
            // Two operators of one name, so that raw series are told apart.
            let mut lines: Vec<_> = (0..subtasks)
                .flat_map(|subtask| ["o1", "o2"].map(|id| operator("numRecordsIn", id, subtask, 1.0)))
                .collect();
            lines.push("plain{job_id=\"j\"} 1".to_owned());
            if fails {
                tracker.begin();
                lines.iter().for_each(|line| assert!(tracker.observe(line.as_bytes(), NOW).is_ok()));
                tracker.abort();
                tracker.forget_live();
                known.clear();
                continue;
            }
            let level = Level::ALL[level];
            let sent = scrape_within(&mut tracker, &lines, |demands| {
                let series = demands["j"].series;
                assert_eq!(series, [2 * subtasks as u64 + 1, 3, 2]);
                let grants = Grants::from_iter([("j", level)]);
                Grants { series: room.unwrap_or(u64::MAX), ..grants }
            });
            // A finer level is taken on the next page.
            let now_at = demanded.max(level);
            demanded = level;
            let wanted = match now_at {
                Level::Subtask => 2 * subtasks + 1,
                Level::Task => 3,
                Level::Job => 2,
            };
            let now: BTreeSet<String> = sent.samples.into_keys().collect();
            let of = |reason: Dropped| sent.tally.dropped.iter().find(|(r, _)| *r == reason).unwrap().1;
            prop_assert_eq!(now.len() as u64 + of(Dropped::Budget), wanted as u64, "{:?}", now_at);
            let went_on = now.intersection(&known).count() as u64;
            prop_assert!(now.len() as u64 <= room.unwrap_or(u64::MAX).max(went_on));
            let rolled_up = if now_at == Level::Subtask { 0 } else { 2 * subtasks as u64 };
            prop_assert_eq!(of(Dropped::RolledUp), rolled_up);
            prop_assert_eq!(sent.stale, known.difference(&now).cloned().collect());
            known = now;
        }
    }
}
