//! Lines of the relay's own: over pages, failures, names and configurations.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    flink::GroupFilter,
    labels::Labels,
    relabel,
    remote_write::v1,
    series::{Dropped, Limits, Origin, Shaper, View},
};

const NOW: i64 = 1_000;

fn rule(action: &str, regex: &str) -> relabel::Rule {
    let raw = relabel::RawRule {
        action: Some(action.to_owned()),
        regex: Some(regex.to_owned()),
        source_labels: Some(vec!["__name__".to_owned()]),
        ..relabel::RawRule::default()
    };
    relabel::Rule::try_new(raw).unwrap()
}

fn view(cluster: &str) -> View {
    View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: BTreeMap::from([("cluster".to_owned(), cluster.to_owned())]),
        write_relabel_configs: Vec::new(),
        limits: Limits::default(),
    }
}

fn shaper(rules: Vec<relabel::Rule>, view: View) -> Shaper {
    Shaper { metric_relabel_configs: rules, views: [view].into(), ..Shaper::plain() }
}

fn tracker(shaper: Shaper) -> Tracker {
    let target = [("instance", "tm:9250"), ("job", "flink")].into_iter().collect();
    Tracker::new(shaper.into(), target)
}

fn text<'a>(block: impl Into<v1::Block<'a>>) -> String {
    let mut labels = v1::decode_labels(block).unwrap();
    ["instance", "job"].into_iter().for_each(|name| drop(labels.remove(name)));
    labels.to_string()
}

fn sent(tracker: &Tracker) -> BTreeMap<String, f64> {
    let mut sent = BTreeMap::new();
    for (block, ms, value) in tracker.samples(0) {
        assert_eq!(ms, NOW);
        assert_eq!(sent.insert(text(block), value), None, "two samples of one series");
    }
    sent
}

fn stale(tracker: &Tracker) -> Vec<String> {
    tracker.stale(0).map(text).collect()
}

#[test]
fn what_is_made_is_sent_like_what_is_read() {
    let mut tracker = tracker(shaper(Vec::new(), view("eu")));
    tracker.begin();
    assert!(tracker.observe(b"a 1", NOW).unwrap());
    let line = tracker
        .made_line(b"flink_taskmanager_job_task_operator_lag{operator_name=\"N\",operator_id=\"o\",host=\"h\",tm_id=\"t\"}")
        .unwrap();
    tracker.make(line, 2.5, NOW);
    let tally = tracker.close(NOW);
    assert_eq!((tally.scraped, tally.made, tally.kept, tally.series_added), (1, 1, 2, 2));
    let name = "flink_taskmanager_job_task_operator_lag{cluster=\"eu\",operator=\"N\",tm_id=\"t\"}";
    let expect = [("a{cluster=\"eu\"}".to_owned(), 1.0), (name.to_owned(), 2.5)];
    assert_eq!(sent(&tracker), BTreeMap::from(expect));
    tracker.forget_stale();
    // Nothing is made: the series ends as if it had left the page.
    for expect in [vec![name.to_owned()], Vec::new()] {
        tracker.begin();
        tracker.observe(b"a 1", NOW).unwrap();
        assert_eq!(tracker.close(NOW).made, 0);
        assert_eq!(stale(&tracker), expect);
        tracker.forget_stale();
        assert_eq!(tracker.series_len(), 1);
    }
    tracker.begin();
    tracker.make(line, 3.0, NOW);
    assert_eq!(tracker.close(NOW).series_added, 1);
    assert_eq!(sent(&tracker), BTreeMap::from([(name.to_owned(), 3.0)]));
}

#[test]
fn what_is_made_is_filtered_and_limited() {
    let groups = GroupFilter::try_new(&["custom".to_owned()], &[]).unwrap();
    let limits = Limits { value_bytes: 5, ..Limits::default() };
    let drop_b = vec![rule("drop", "b")];
    let mut tracker = tracker(Shaper { groups, limits, ..shaper(drop_b, view("eu")) });
    tracker.target_labels = Labels::new();
    let texts = ["a{x=\"1\"}", "a{x=\"123456\"}", "b", "flink_taskmanager_Status_JVM_CPU_Load"];
    let lines = texts.map(|text| tracker.made_line(text.as_bytes()).unwrap());
    tracker.begin();
    tracker.observe(b"c 1", NOW).unwrap();
    lines.into_iter().for_each(|line| tracker.make(line, 1.0, NOW));
    let tally = tracker.close(NOW);
    assert_eq!((tally.scraped, tally.made, tally.kept), (1, 4, 2));
    let dropped: Vec<_> = tally.dropped.iter().filter(|(_, samples)| *samples > 0).collect();
    assert_eq!(dropped, [(Dropped::Group, 1), (Dropped::Relabel, 1), (Dropped::LabelLimit, 1)]);
}

#[test]
fn a_line_is_one_however_often_it_is_asked_for() {
    let mut tracker = tracker(shaper(Vec::new(), view("eu")));
    let line = tracker.made_line(b"a").unwrap();
    assert_eq!(tracker.made_line(b"a").unwrap(), line);
    tracker.release_line(line);
    tracker.begin();
    tracker.make(line, 1.0, NOW);
    assert_eq!(tracker.close(NOW).kept, 1);
    tracker.forget_stale();
    tracker.release_line(line);
    tracker.begin();
    tracker.observe(b"b 1", NOW).unwrap();
    tracker.close(NOW);
    assert_eq!(stale(&tracker), ["a{cluster=\"eu\"}"]);
    tracker.forget_stale();
    assert_eq!((tracker.made.len(), tracker.made_table.len(), tracker.lines.len()), (0, 0, 1));
}

#[test]
fn a_text_that_is_no_series_is_refused() {
    let mut tracker = tracker(shaper(Vec::new(), view("eu")));
    for text in ["", "a{", "a{x=1}", "1a", "# HELP a b", "a 1"] {
        assert!(tracker.made_line(text.as_bytes()).is_err(), "{text}");
    }
    assert_eq!((tracker.made.len(), tracker.lines.len()), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    /// Lines on the page, makers that make one, and whether the scrape fails.
    Page {
        lines: BTreeSet<usize>,
        makes: BTreeSet<usize>,
        fails: bool,
    },
    /// A maker takes or gives up its line.
    Hold(usize),
    Release(usize),
    /// Rules drop nothing, or something that is not here; and one of two views.
    Adopt {
        rules: bool,
        view: bool,
    },
}

const LINES: usize = 6;

/// Six lines of a page, of which three and two would be equal without ids, and six that makers make:
/// three that would be equal, two of one text, one that stands on the page.
fn lines() -> (Vec<String>, Vec<String>) {
    let operator = |name: &str, id: usize, attempt: usize| {
        format!(
            "flink_taskmanager_job_task_operator_{name}{{job_id=\"j\",operator_name=\"N\",\
             operator_id=\"o{id}\",task_attempt_num=\"{attempt}\",tm_id=\"t\"}}"
        )
    };
    let mut page: Vec<_> = (0..3).map(|id| operator("numRecordsIn", id, 0)).collect();
    page.extend([operator("currentSendTime", 0, 0), operator("currentSendTime", 0, 1)]);
    page.push("plain".to_owned());
    let mut made: Vec<_> = (0..3).map(|id| operator("lag", id, 0)).collect();
    made.extend(["twin{x=\"1\"}", "twin{x=\"1\"}", "plain"].map(str::to_owned));
    assert_eq!((page.len(), made.len()), (LINES, LINES));
    (page, made)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = || prop::collection::btree_set(0..LINES, 0..=LINES);
    let page = (some(), some(), prop::bool::weighted(0.15));
    let step = prop_oneof![
        6 => page.prop_map(|(lines, makes, fails)| Step::Page { lines, makes, fails }),
        3 => (0..LINES).prop_map(Step::Hold),
        1 => (0..LINES).prop_map(Step::Release),
        1 => any::<(bool, bool)>().prop_map(|(rules, view)| Step::Adopt { rules, view }),
    ];
    vec(step, 1..30)
}

proptest! {
    /// Whatever pages, makers and configurations follow each other: what is read and what is made is
    /// sent, each once; what a receiver knows goes on or ends with one marker; and a line that is held
    /// keeps its labels until the configuration changes.
    #[test]
    fn histories_are_consistent(steps in steps()) {
        let (page, made) = lines();
        let mut tracker = tracker(shaper(Vec::new(), view("eu")));
        let mut held: Vec<Vec<u32>> = vec![Vec::new(); LINES];
        let mut known = BTreeSet::<String>::new();
        let mut names = BTreeMap::<usize, String>::new();
        for step in steps {
            match step {
                Step::Hold(maker) => held[maker].push(tracker.made_line(made[maker].as_bytes()).unwrap()),
                Step::Release(maker) => {
                    if let Some(line) = held[maker].pop() {
                        tracker.release_line(line);
                    }
                    names.clear();
                }
                Step::Adopt { rules, view: second } => {
                    let rules = if rules { vec![rule("drop", "nothing")] } else { Vec::new() };
                    let view = view(if second { "us" } else { "eu" });
                    let origin = Origin { view: Some(0), joined: false };
                    let labels = tracker.target_labels.clone();
                    tracker.adopt(shaper(rules, view).into(), labels, &[origin]);
                    names.clear();
                }
                Step::Page { lines, makes, fails } => {
                    tracker.begin();
                    for &line in &lines {
                        tracker.observe(format!("{} {line}", page[line]).as_bytes(), NOW).unwrap();
                    }
                    if fails {
                        tracker.abort();
                        let ended: Vec<_> = tracker.live(0).map(text).collect();
                        let distinct: BTreeSet<_> = ended.iter().cloned().collect();
                        prop_assert_eq!(ended.len(), distinct.len());
                        prop_assert_eq!(&distinct, &known);
                        tracker.forget_live();
                        known.clear();
                        continue;
                    }
                    let makes = makes.into_iter().filter(|&maker| !held[maker].is_empty());
                    let makes: Vec<usize> = makes.collect();
                    for &maker in &makes {
                        tracker.make(*held[maker].last().unwrap(), 100.0 + maker as f64, NOW);
                    }
                    let tally = tracker.close(NOW);
                    prop_assert_eq!(tally.made as usize, makes.len());
                    prop_assert_eq!(tally.scraped + tally.made, tally.kept + tally.dropped.total());
                    let now = sent(&tracker);
                    // The first one wins: a line of the page, and of two makers the first.
                    let mut texts = BTreeMap::new();
                    let read = lines.iter().map(|&line| (&page[line], line as f64));
                    let of_makers = makes.iter().map(|&maker| (&made[maker], 100.0 + maker as f64));
                    for (text, value) in read.chain(of_makers) {
                        texts.entry(text).or_insert(value);
                    }
                    let bits = |values: Vec<f64>| -> BTreeSet<u64> {
                        values.into_iter().map(f64::to_bits).collect()
                    };
                    let expect = bits(texts.into_values().collect());
                    prop_assert_eq!(bits(now.values().copied().collect()), expect);
                    for maker in makes {
                        let value = 100.0 + maker as f64;
                        let name = now.iter().find(|(_, v)| v.to_bits() == value.to_bits());
                        if let Some((name, _)) = name {
                            let before = names.insert(maker, name.clone());
                            prop_assert!(before.is_none_or(|before| before == *name), "{name}");
                        }
                    }
                    let now: BTreeSet<String> = now.into_keys().collect();
                    let ended = stale(&tracker);
                    let distinct: BTreeSet<_> = ended.iter().cloned().collect();
                    prop_assert_eq!(ended.len(), distinct.len(), "two markers: {:?}", ended);
                    let gone: BTreeSet<_> = known.difference(&now).cloned().collect();
                    prop_assert_eq!(distinct, gone);
                    tracker.forget_stale();
                    prop_assert_eq!(tracker.series_len(), now.len());
                    known = now;
                }
            }
        }
    }
}
