//! Histories of pages, and what is sent for them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    flink::{self, GroupFilter, LabelMode, LabelPolicy},
    relabel,
    remote_write::v1,
};

const NOW: i64 = 1_000;

fn view(write_relabel_configs: Vec<relabel::Rule>) -> View {
    View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: BTreeMap::from([("cluster".to_owned(), "eu".to_owned())]),
        write_relabel_configs,
        limits: Limits::default(),
    }
}

fn shaper() -> Shaper {
    Shaper { views: Arc::from([view(Vec::new())]), ..Shaper::plain() }
}

fn rule(raw: relabel::RawRule) -> relabel::Rule {
    relabel::Rule::try_new(raw).unwrap()
}

fn tracker(shaper: Shaper) -> Tracker {
    let mut target: Labels<'static> =
        [("instance", "tm:9250"), ("job", "flink")].into_iter().collect();
    target.sort();
    Tracker::new(Arc::new(shaper), target)
}

/// What a page led to: series text -> value, and the text of the series that ended.
#[derive(Debug, PartialEq)]
struct Sent {
    samples: Vec<(String, f64)>,
    stale: BTreeSet<String>,
    tally: Tally,
}

fn text<'a>(block: impl Into<v1::Block<'a>>) -> String {
    let mut labels = v1::decode_labels(block).unwrap();
    assert_eq!(labels.remove("cluster").as_deref(), Some("eu"));
    assert_eq!(labels.remove("instance").as_deref(), Some("tm:9250"));
    assert_eq!(labels.remove("job").as_deref(), Some("flink"));
    labels.to_string()
}

fn scrape(tracker: &mut Tracker, lines: &[&str]) -> Sent {
    // What is left of the page before is for those who read it until here.
    tracker.rest();
    tracker.begin();
    for line in lines {
        // Bad lines are in the tally.
        let _kept = tracker.observe(line.as_bytes(), NOW);
    }
    let tally = tracker.close(NOW);
    let samples = tracker.samples(0).map(|(block, _, value)| (text(block), value)).collect();
    let stale = tracker.stale(0).map(text).collect();
    tracker.forget_stale();
    assert_eq!(tally.scraped + tally.made, tally.kept + tally.dropped.total());
    Sent { samples, stale, tally }
}

fn names(sent: &Sent) -> Vec<&str> {
    sent.samples.iter().map(|(text, _)| &**text).collect()
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A line of an operator's metric.
fn operator(name: &str, operator_id: &str, attempt: &str, value: u32) -> String {
    format!(
        "flink_taskmanager_job_task_operator_numRecordsIn{{job_id=\"j\",task_id=\"t\",\
         task_attempt_id=\"{attempt}\",host=\"h\",operator_name=\"{name}\",task_name=\"T\",\
         task_attempt_num=\"0\",job_name=\"J\",tm_id=\"tm\",operator_id=\"{operator_id}\",\
         subtask_index=\"0\",}} {value}.0"
    )
}

const OP: &str = "flink_taskmanager_job_task_operator_numRecordsIn";

#[test]
fn a_series_that_leaves_the_page_ends_once() {
    let mut tracker = tracker(shaper());
    let sent = scrape(&mut tracker, &["a 1", "b{x=\"1\"} 2"]);
    assert_eq!(names(&sent), ["a", "b{x=\"1\"}"]);
    assert_eq!(sent.tally.series_added, 2);
    let sent = scrape(&mut tracker, &["a 1"]);
    assert_eq!(sent.stale, set(&["b{x=\"1\"}"]));
    assert_eq!(scrape(&mut tracker, &["a 1"]).stale, set(&[]));
    let back = scrape(&mut tracker, &["a 1", "b{x=\"1\"} 3"]);
    assert_eq!((back.tally.series_added, names(&back).len()), (1, 2));
}

#[test]
fn a_failed_scrape_ends_all_and_the_next_one_begins_them_again() {
    let mut tracker = tracker(shaper());
    scrape(&mut tracker, &["a 1", "b 2"]);
    tracker.begin();
    tracker.observe(b"a 5", NOW).unwrap();
    tracker.observe(b"new 5", NOW).unwrap();
    tracker.abort();
    assert_eq!(tracker.live(0).map(text).collect::<BTreeSet<_>>(), set(&["a", "b"]));
    tracker.forget_live();
    assert_eq!(tracker.live(0).count(), 0);
    let sent = scrape(&mut tracker, &["a 1"]);
    assert_eq!((names(&sent), sent.tally.series_added), (vec!["a"], 1));
    assert_eq!(sent.stale, set(&[]), "b was ended by the failure already");
}

#[test]
fn an_aborted_page_leaves_no_trace() {
    let mut tracker = tracker(shaper());
    scrape(&mut tracker, &["a 1"]);
    tracker.begin();
    tracker.observe(b"a 2", NOW).unwrap();
    tracker.observe(b"b 2", NOW).unwrap();
    tracker.abort();
    let sent = scrape(&mut tracker, &["a 3", "b 4"]);
    assert_eq!((sent.tally.series_added, sent.stale), (1, set(&[])));
}

#[test]
fn of_equal_samples_the_first_wins() {
    let mut tracker = tracker(shaper());
    for _ in 0..2 {
        let sent = scrape(
            &mut tracker,
            &["a{x=\"1\",y=\"2\"} 1", "a{y=\"2\",x=\"1\"} 2", "a{x=\"1\",y=\"2\"} 3"],
        );
        assert_eq!(sent.samples, [("a{x=\"1\",y=\"2\"}".to_owned(), 1.0)]);
        assert_eq!(sent.tally.dropped.iter().find(|(_, n)| *n > 0), Some((Dropped::Duplicate, 2)));
    }
}

/// Lines of one subtask, under Flink's present name and under the former one.
const PRESENT: &str = "flink_taskmanager_job_task_Shuffle_Netty_Input_numBytesInLocal{a=\"1\"} 7";
const FORMER: &str = "flink_taskmanager_job_task_numBytesInLocal{a=\"1\"} 8";

fn dropped(sent: &Sent) -> Vec<(Dropped, u64)> {
    sent.tally.dropped.iter().filter(|(_, samples)| *samples > 0).collect()
}

#[test]
fn a_former_name_stands_back_wherever_it_stands() {
    let name = "flink_taskmanager_job_task_Shuffle_Netty_Input_numBytesInLocal{a=\"1\"}";
    let mut tracker = tracker(shaper());
    let mut check = |page: &[&str], value: f64, expect: &[(Dropped, u64)]| {
        let sent = scrape(&mut tracker, page);
        assert_eq!(sent.samples, [(name.to_owned(), value)], "{page:?}");
        assert_eq!(dropped(&sent), expect, "{page:?}");
        assert_eq!(sent.stale, set(&[]), "{page:?}: the series goes on");
        assert_eq!(sent.tally.scraped, page.len() as u64);
    };
    check(&[PRESENT, FORMER], 7.0, &[(Dropped::FormerName, 1)]);
    check(&[FORMER, PRESENT], 7.0, &[(Dropped::FormerName, 1)]);
    check(&[FORMER], 8.0, &[]);
    check(&[FORMER, FORMER], 8.0, &[(Dropped::Duplicate, 1)]);
    check(&[PRESENT, FORMER, FORMER], 7.0, &[(Dropped::FormerName, 2)]);
    check(&[PRESENT, PRESENT], 7.0, &[(Dropped::Duplicate, 1)]);
}

#[test]
fn names_of_the_page_are_all_sent() {
    let mut tracker = tracker(Shaper { names: flink::NameMode::Raw, ..shaper() });
    let sent = scrape(&mut tracker, &[PRESENT, FORMER]);
    assert_eq!(sent.samples.len(), 2);
    assert_eq!(sent.tally.dropped.total(), 0);
}

#[test]
fn a_group_that_is_not_wanted_takes_nothing_from_one_that_is() {
    let groups = GroupFilter::try_new(&["io".to_owned()], &[]).unwrap();
    let mut tracker = tracker(Shaper { groups, ..shaper() });
    // The present name is in the group `shuffle`, the former one in `io`.
    let sent = scrape(&mut tracker, &[PRESENT, FORMER]);
    assert_eq!(sent.samples.len(), 1);
    assert_eq!(sent.samples[0].1.to_bits(), 8.0_f64.to_bits());
    assert_eq!(dropped(&sent), [(Dropped::Group, 1)]);
}

#[test]
fn two_attempts_under_two_names_are_two_series() {
    let mut tracker = tracker(shaper());
    let line = |name: &str, attempt: u8| {
        format!(
            "flink_taskmanager_job_task_{name}{{task_name=\"t\",task_attempt_num=\"{attempt}\"}} {attempt}"
        )
    };
    for [present, former] in [
        ["Shuffle_Netty_Input_numBytesInLocal", "numBytesInLocal"],
        // Here naming changes the present name too.
        ["Shuffle_Netty_Input_0_maxQueueLen", "Network_Input_0_maxQueueLen"],
    ] {
        let lines = [line(former, 0), line(present, 0), line(former, 1), line(present, 1)];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        for round in 0..2 {
            let sent = scrape(&mut tracker, &lines);
            assert_eq!(sent.samples.len(), 2, "round {round}");
            assert_ne!(sent.samples[0].0, sent.samples[1].0);
            assert!(sent.samples.iter().all(|(series, _)| !series.contains("exported_name")));
            assert_eq!(dropped(&sent), [(Dropped::FormerName, 2)], "round {round}");
            assert_eq!(sent.tally.ids_kept, if round == 0 { 2 } else { 0 });
        }
    }
}

#[test]
fn metrics_that_naming_would_make_one_series_keep_their_names() {
    let operator = "flink_taskmanager_job_task_operator_";
    let [in_name, in_label] =
        ["cf_rocksdb_estimate_num_keys", "column_family_rocksdb_estimate_num_keys"];
    let [in_name, in_label] = [in_name, in_label].map(|name| format!("{operator}{name}"));
    let [first, second] = [
        format!("{in_name}{{operator_id=\"o\",operator_name=\"x\"}} 1"),
        format!("{in_label}{{operator_id=\"o\",operator_name=\"x\",column_family=\"cf\"}} 2"),
    ];
    let series = |exported: Option<&str>| {
        let name = exported.map(|name| format!("exported_name=\"{name}\",")).unwrap_or_default();
        format!("{operator}rocksdb_estimate_num_keys{{{name}operator=\"x\",state=\"cf\"}}")
    };
    // Both are new: each says which it is. One that was there alone keeps its labels.
    let mut both = tracker(shaper());
    let mut one_by_one = tracker(shaper());
    scrape(&mut one_by_one, &[&second]);
    for (tracker, expect) in [
        (&mut both, [series(Some(&in_name)), series(Some(&in_label))]),
        (&mut one_by_one, [series(Some(&in_name)), series(None)]),
    ] {
        for _ in 0..2 {
            let sent = scrape(tracker, &[&first, &second]);
            assert_eq!(sent.samples, [(expect[0].clone(), 1.0), (expect[1].clone(), 2.0)]);
            assert_eq!((sent.tally.dropped.total(), sent.stale), (0, set(&[])));
        }
    }
}

#[test]
fn help_of_another_family_says_nothing() {
    let mut tracker = tracker(shaper());
    tracker.begin();
    let family = "flink_taskmanager_job_task_operator_my_stateClearLatency";
    let mut groups = Vec::new();
    for (described, text) in [
        (family, "my_stateClearLatency (scope: taskmanager_job_task_operator)"),
        ("flink_taskmanager_job_task_operator_my", "my (scope: taskmanager_job_task_operator)"),
        (family, ""),
    ] {
        tracker.observe_help(described, text);
        let line = format!("{family}_count{{a=\"{}\"}} 1", groups.len());
        tracker.observe(line.as_bytes(), NOW).unwrap();
        let [state, custom] = [flink::Group::StateLatency, flink::Group::Custom];
        groups.push([state, custom].map(|g| tracker.tally.groups.of(g).scraped));
    }
    assert_eq!(groups, [[0, 1], [1, 1], [2, 1]]);
}

#[test]
fn bad_lines_are_counted_and_the_rest_is_kept() {
    let mut tracker = tracker(shaper());
    let sent = scrape(&mut tracker, &["a 1", "a{", "b one", "a{x=\"1\",x=\"2\"} 1", "c 2"]);
    assert_eq!(names(&sent), ["a", "c"]);
    assert_eq!((sent.tally.scraped, sent.tally.dropped.total()), (5, 3));
    // The second time `b` is still no known line, and `a` is one with a bad value.
    let sent = scrape(&mut tracker, &["a x", "b one", "c 2"]);
    assert_eq!(names(&sent), ["c"]);
    assert_eq!(sent.stale, set(&["a"]));
}

#[test]
fn a_restarted_job_goes_on_in_the_same_series() {
    let mut tracker = tracker(shaper());
    let before = scrape(&mut tracker, &[&operator("map", "o1", "first", 7)]);
    let after = scrape(&mut tracker, &[&operator("map", "o1", "second", 1)]);
    assert_eq!(names(&before), names(&after));
    assert_eq!(after.stale, set(&[]), "the new attempt takes over the old one's series");
    assert_eq!(after.tally.series_added, 0);
}

#[test]
fn operators_of_one_name_keep_their_ids() {
    let mut tracker = tracker(shaper());
    let lines = [
        operator("map", "o1", "a", 1),
        operator("map", "o2", "a", 2),
        operator("sink", "o3", "a", 3),
    ];
    let lines: Vec<&str> = lines.iter().map(|line| &**line).collect();
    let rest = r#"job_id="j",job_name="J",operator="#;
    let tail = r#"subtask_index="0",task_name="T",tm_id="tm"}"#;
    let with_id = |id: &str| format!(r#"{OP}{{{rest}"map",operator_id="{id}",{tail}"#);
    let expected = [
        (with_id("o1"), 1.0),
        (with_id("o2"), 2.0),
        (format!(r#"{OP}{{{rest}"sink",{tail}"#), 3.0),
    ];
    let sent = scrape(&mut tracker, &lines);
    assert_eq!(sent.samples, expected);
    assert_eq!((sent.tally.ids_kept, sent.tally.dropped.total()), (2, 0));
    // In any order, and page after page, the labels stay.
    let reversed: Vec<&str> = lines.iter().rev().copied().collect();
    let again = scrape(&mut tracker, &reversed);
    assert_eq!(names(&again).into_iter().rev().collect::<Vec<_>>(), names(&sent));
    assert_eq!((again.tally.ids_kept, again.stale), (0, set(&[])));
}

#[test]
fn an_id_that_comes_back_does_not_take_the_place_of_a_targets_label() {
    let mut target: Labels<'static> =
        [("instance", "tm:9250"), ("job", "flink"), ("operator_id", "mine")].into_iter().collect();
    target.sort();
    let mut tracker = Tracker::new(Arc::new(shaper()), target);
    let sent =
        scrape(&mut tracker, &[&operator("map", "o1", "a", 1), &operator("map", "o2", "a", 2)]);
    for (text, id) in names(&sent).into_iter().zip(["o1", "o2"]) {
        assert!(text.contains(&format!("exported_operator_id=\"{id}\"")), "{text}");
        assert!(text.contains(",operator_id=\"mine\""), "{text}");
    }
}

#[test]
fn a_series_that_was_there_first_keeps_its_labels() {
    let mut tracker = tracker(shaper());
    let first = operator("map", "o1", "a", 1);
    let second = operator("map", "o2", "a", 2);
    let alone = scrape(&mut tracker, &[&first]);
    let both = scrape(&mut tracker, &[&first, &second]);
    assert_eq!(names(&both)[0], names(&alone)[0]);
    assert!(names(&both)[1].contains("operator_id=\"o2\""), "{both:?}");
    assert_eq!(both.stale, set(&[]));
    let left = scrape(&mut tracker, &[&second]);
    assert_eq!(names(&left), [names(&both)[1]], "and so does the other one afterwards");
    assert_eq!(left.stale, set(&[names(&alone)[0]]));
}

#[test]
fn two_attempts_at_once_are_told_apart_by_the_first_id_that_differs() {
    let mut tracker = tracker(shaper());
    let sent =
        scrape(&mut tracker, &[&operator("map", "o1", "a", 1), &operator("map", "o1", "b", 2)]);
    let ids = |text: &str| (text.contains("operator_id"), text.contains("task_attempt_id"));
    assert!(names(&sent).iter().all(|text| ids(text) == (false, true)), "{sent:?}");
    assert_eq!(sent.tally.dropped.total(), 0);
}

#[test]
fn raw_labels_stay_as_they_are() {
    let labels = LabelPolicy::try_new(LabelMode::Raw, &[]).unwrap();
    let mut tracker = tracker(Shaper { labels, ..shaper() });
    let sent = scrape(&mut tracker, &[&operator("map", "o1", "a", 1)]);
    for label in
        ["operator_name=\"map\"", "operator_id=\"o1\"", "task_attempt_id=\"a\"", "host=\"h\""]
    {
        assert!(names(&sent)[0].contains(label), "{label} in {sent:?}");
    }
}

#[test]
fn groups_are_filtered_and_counted() {
    let groups = GroupFilter::try_new(&[], &["io".to_owned()]).unwrap();
    let mut tracker = tracker(Shaper { groups, ..shaper() });
    for _ in 0..2 {
        let sent = scrape(&mut tracker, &[&operator("map", "o1", "a", 1), "mine 2"]);
        assert_eq!(names(&sent), ["mine"]);
        assert_eq!(sent.tally.dropped.iter().next(), Some((Dropped::Group, 1)));
        let io = sent.tally.groups.of(flink::Group::Io);
        assert_eq!((io.scraped, io.kept), (1, 0));
    }
}

#[test]
fn a_pages_own_job_is_exported_unless_labels_are_honored() {
    let line = "a{job=\"mine\",exported_job=\"x\"} 1";
    let mut clash = tracker(shaper());
    let sent = scrape(&mut clash, &[line]);
    assert_eq!(names(&sent), ["a{exported_exported_job=\"mine\",exported_job=\"x\"}"]);
    let mut honoring = tracker(Shaper { honor_labels: true, ..shaper() });
    honoring.begin();
    honoring.observe(line.as_bytes(), NOW).unwrap();
    honoring.close(NOW);
    let (block, _, _) = honoring.samples(0).next().unwrap();
    assert_eq!(v1::decode_labels(block).unwrap().get("job"), Some("mine"));
}

#[test]
fn rules_that_make_series_equal_cost_the_later_ones() {
    let drop_x = relabel::RawRule {
        action: Some("labeldrop".to_owned()),
        regex: Some("x".to_owned()),
        ..relabel::RawRule::default()
    };
    let mut tracker = tracker(Shaper { metric_relabel_configs: vec![rule(drop_x)], ..shaper() });
    let sent = scrape(&mut tracker, &["a{x=\"1\"} 1", "a{x=\"2\"} 2"]);
    assert_eq!(sent.samples, [("a".to_owned(), 1.0)]);
    assert_eq!(sent.tally.dropped.total(), 1);
}

#[test]
fn a_view_may_drop_a_series_that_another_one_keeps() {
    let drop_a = relabel::RawRule {
        action: Some("drop".to_owned()),
        source_labels: Some(vec!["__name__".to_owned()]),
        regex: Some("a".to_owned()),
        ..relabel::RawRule::default()
    };
    let views = Arc::from([view(Vec::new()), view(vec![rule(drop_a)])]);
    let mut tracker = tracker(Shaper { views, ..shaper() });
    tracker.begin();
    tracker.observe(b"a 1", NOW).unwrap();
    tracker.observe(b"b 1", NOW).unwrap();
    tracker.close(NOW);
    assert_eq!((tracker.samples(0).count(), tracker.samples(1).count()), (2, 1));
}

/// One receiver's limits keep a series from it alone; the others get it, and it is named once.
#[test]
fn a_series_that_a_receiver_would_refuse_is_kept_from_it() {
    let limits = Limits { labels: 5, name_bytes: 8, value_bytes: 20, cut_values: false };
    let no_name = relabel::RawRule {
        source_labels: Some(vec!["__name__".to_owned()]),
        regex: Some("c".to_owned()),
        target_label: Some("__name__".to_owned()),
        replacement: Some("1c".to_owned()),
        ..relabel::RawRule::default()
    };
    let views = [view(Vec::new()), View { limits, ..view(Vec::new()) }, view(vec![rule(no_name)])];
    let mut tracker = tracker(Shaper { views: Arc::from(views), ..shaper() });
    let long = "a{x=\"123456789012345678901\"} 1";
    let page = ["a 1", "b{x=\"1\"} 1", "b{x=\"1\",y=\"2\"} 1", long, "a{long_name=\"1\"} 1", "c 1"];
    let play = |tracker: &mut Tracker| {
        tracker.begin();
        page.iter().for_each(|line| assert!(tracker.observe(line.as_bytes(), NOW).unwrap()));
        tracker.close(NOW);
        let views = [0, 1, 2].map(|view| (tracker.samples(view).count(), tracker.unfit(view)));
        tracker.forget_stale();
        views
    };
    let [whole, limited, renamed] = play(&mut tracker);
    assert_eq!(whole, (6, UnfitCounts::default()));
    let named = [
        "a sample has 6 labels, label_limit is 5: b{x=\"1\",y=\"2\"}",
        "a label value has 21 bytes, label_value_length_limit is 20: a{x=\"123456789012345678901\"}",
        "a label name has 9 bytes, label_name_length_limit is 8: a{long_name=\"1\"}",
    ];
    let named = named.map(str::to_owned).to_vec();
    assert_eq!(limited, (3, UnfitCounts { label_limit: 3, named, ..UnfitCounts::default() }));
    let named = vec!["a series has no valid metric name after write_relabel_configs: c".to_owned()];
    assert_eq!(renamed, (5, UnfitCounts { invalid: 1, named, ..UnfitCounts::default() }));
    // From then on they are counted, not named; and gone when they have left the page.
    let [_, limited, _] = play(&mut tracker);
    assert_eq!(limited, (3, UnfitCounts { label_limit: 3, ..UnfitCounts::default() }));
    scrape(&mut tracker, &["a 1"]);
    assert_eq!(tracker.unfit(1), UnfitCounts::default());
    assert_eq!(play(&mut tracker)[1].1.named.len(), 3);
}

/// With long values cut nothing is kept from the receiver, and what differs goes on to differ.
#[test]
fn long_values_are_cut_for_the_receiver_that_takes_no_longer_ones() {
    let limits = Limits { value_bytes: 30, cut_values: true, ..Limits::default() };
    let views = Arc::from([view(Vec::new()), View { limits, ..view(Vec::new()) }]);
    let mut tracker = tracker(Shaper { views, ..shaper() });
    let long = "x".repeat(40);
    let page = [format!("a{{x=\"{long}1\"}} 1"), format!("a{{x=\"{long}2\"}} 2"), "a 3".to_owned()];
    for round in 0..2 {
        tracker.begin();
        page.iter().for_each(|line| assert!(tracker.observe(line.as_bytes(), NOW).unwrap()));
        tracker.close(NOW);
        let values = |view| -> Vec<String> {
            let labels = tracker.samples(view).map(|(block, ..)| v1::decode_labels(block).unwrap());
            labels.filter_map(|labels| labels.get("x").map(str::to_owned)).collect()
        };
        assert_eq!(values(0), [format!("{long}1"), format!("{long}2")]);
        let cut = values(1);
        assert!(cut.len() == 2 && cut[0] != cut[1], "{cut:?}");
        assert!(cut.iter().all(|value| value.len() == 30 && value.starts_with("xxxxxxxxxxx…")));
        let counts = tracker.unfit(1);
        assert_eq!((counts.cut, counts.label_limit, counts.named.len()), (2, 0, 0));
        assert_eq!(counts.named_cut.len(), if round == 0 { 2 } else { 0 }, "{counts:?}");
        assert_eq!(tracker.unfit(0), UnfitCounts::default());
        tracker.forget_stale();
    }
}

/// An id that is given back may be the label that is too many.
#[test]
fn a_series_that_is_told_apart_keeps_to_the_limits() {
    let one = operator("map", "o1", "x", 1);
    let two = operator("map", "o2", "x", 2);
    let limit = |labels| {
        let limits = Limits { labels, ..Limits::default() };
        let views = Arc::from([View { limits, ..view(Vec::new()) }]);
        let mut tracker = tracker(Shaper { views, ..shaper() });
        let sent = scrape(&mut tracker, &[&one, &two]);
        assert_eq!(sent.tally.ids_kept, 2);
        (sent.samples.len(), tracker.unfit(0))
    };
    let (kept, unfit) = limit(0);
    assert_eq!((kept, unfit), (2, UnfitCounts::default()));
    let (kept, UnfitCounts { label_limit, named, .. }) = limit(10);
    assert_eq!((kept, label_limit), (0, 2));
    assert!(named[0].contains("operator_id=\"o1\""), "{named:?}");
    assert_eq!(limit(11).0, 2);
    let without_ids = limit(9);
    assert_eq!((without_ids.0, without_ids.1.label_limit), (0, 2));
}

#[test]
fn a_label_limit_fails_the_page() {
    let limits = Limits { value_bytes: 3, ..Limits::default() };
    let mut tracker = tracker(Shaper { limits, ..shaper() });
    tracker.begin();
    let error = tracker.observe(b"a{x=\"long\"} 1", NOW).unwrap_err();
    assert!(matches!(error, ObserveError::LabelLimit(_)), "{error:?}");
}

#[test]
fn a_timestamp_of_the_pages_own_is_sent_and_its_series_gets_no_marker() {
    let mut honoring = tracker(shaper());
    honoring.begin();
    honoring.observe(b"a 1 77", NOW).unwrap();
    honoring.close(NOW);
    assert_eq!(honoring.samples(0).map(|(_, ms, _)| ms).collect::<Vec<_>>(), [77]);
    honoring.forget_stale();
    assert_eq!(scrape(&mut honoring, &["b 1"]).stale, set(&[]));

    let mut ignoring = tracker(Shaper { honor_timestamps: false, ..shaper() });
    ignoring.begin();
    ignoring.observe(b"a 1 77", NOW).unwrap();
    ignoring.close(NOW);
    assert_eq!(ignoring.samples(0).map(|(_, ms, _)| ms).collect::<Vec<_>>(), [NOW]);
}

/// A small world of lines, in which collisions, restarts and duplicates are frequent.
fn any_page() -> impl Strategy<Value = Option<Vec<(u8, u8, u8, u32)>>> {
    let line = (0_u8..3, 0_u8..3, 0_u8..3, 0_u32..100);
    prop_oneof![4 => proptest::collection::vec(line, 0..12).prop_map(Some), 1 => Just(None)]
}

proptest! {
    /// Whatever pages come: no sample is lost without being counted, no two samples of a page share
    /// their labels, each marker ends a series that was alive, and what is alive is what the last
    /// page had.
    #[test]
    fn histories_are_consistent(pages in proptest::collection::vec(any_page(), 1..12)) {
        let mut tracker = tracker(shaper());
        let mut alive = BTreeSet::<String>::new();
        for page in pages {
            let Some(page) = page else {
                tracker.begin();
                tracker.observe(operator("map", "o9", "x", 1).as_bytes(), NOW).unwrap();
                tracker.abort();
                let ended: BTreeSet<String> = tracker.live(0).map(text).collect();
                prop_assert_eq!(&ended, &alive);
                tracker.forget_live();
                alive.clear();
                continue;
            };
            let lines: Vec<String> = page
                .iter()
                .map(|(name, id, attempt, value)| {
                    operator(&format!("op{name}"), &format!("o{id}"), &format!("a{attempt}"), *value)
                })
                .collect();
            let distinct: BTreeSet<_> =
                lines.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
            let sent = scrape(&mut tracker, &lines.iter().map(|l| &**l).collect::<Vec<_>>());
            let now: BTreeSet<String> = sent.samples.iter().map(|(text, _)| text.clone()).collect();
            prop_assert_eq!(now.len(), sent.samples.len(), "two samples of one series");
            prop_assert_eq!(now.len(), distinct.len(), "each distinct line is a series of its own");
            prop_assert_eq!(sent.tally.dropped.total() as usize, lines.len() - distinct.len());
            let ended: BTreeSet<String> = alive.difference(&now).cloned().collect();
            prop_assert_eq!(sent.stale, ended);
            alive = now;
        }
    }
}

/// A page of a million lines has a million of each.
#[test]
fn lines_series_and_samples_are_small() {
    assert_eq!(size_of::<Line>(), 40);
    assert_eq!(size_of::<Series>(), 24);
    assert_eq!(size_of::<Observed>(), 16);
}
