//! A changed configuration under a running target: what receivers know before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::*;
use crate::{
    flink::NameMode,
    relabel,
    remote_write::{Encoder, body, proto, v1},
    series::{Limits, View},
};

const NOW: i64 = 1_000;

/// Two operators of one name, whose series are told apart by an id; two metrics that naming makes
/// one, and one under two names; and what else pages hold.
fn lines() -> Vec<String> {
    let operator = |id: &str, task: &str| {
        format!(
            "flink_taskmanager_job_task_operator_numRecordsIn{{job_id=\"j\",task_id=\"{task}\",\
             operator_name=\"N\",operator_id=\"{id}\",host=\"h\",tm_id=\"tm\",}} 1.0"
        )
    };
    let mut lines: Vec<String> =
        ["o1", "o2", "o3"].map(|id| operator(id, "t")).into_iter().collect();
    lines.push(operator("o1", "t2"));
    lines.extend(["a 1", "b{x=\"1\"} 2", "b{x=\"2\"} 2", "bad", "c 1 5000"].map(str::to_owned));
    let names = [
        "flink_taskmanager_job_task_operator_cf_rocksdb_estimate_num_keys",
        "flink_taskmanager_job_task_operator_column_family_rocksdb_estimate_num_keys{column_family=\"cf\"}",
        "flink_jobmanager_job_fullRestarts",
        "flink_jobmanager_job_numRestarts",
        "long{x=\"more than nineteen bytes\"}",
    ];
    lines.extend(names.map(|name| format!("{name} 1")));
    // Sentinels, and what is derived, where ids tell the lines apart.
    let watermark = |id: &str, value: &str| {
        let name = "flink_taskmanager_job_task_operator_currentOutputWatermark";
        format!("{name}{{operator_name=\"N\",operator_id=\"{id}\"}} {value}")
    };
    lines.extend(["o1", "o2", "o3"].map(|id| watermark(id, "1.7E12")));
    lines.extend(["o1", "o2", "o3"].map(|id| watermark(id, "-9.223372036854776E18")));
    lines
}

fn rule(action: &str, regex: &str) -> relabel::Rule {
    let raw = relabel::RawRule {
        action: Some(action.to_owned()),
        regex: Some(regex.to_owned()),
        source_labels: (!action.starts_with("label")).then(|| vec!["__name__".to_owned()]),
        ..relabel::RawRule::default()
    };
    relabel::Rule::try_new(raw).unwrap()
}

fn views() -> Vec<View> {
    let view = |cluster: &str, rules| View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: BTreeMap::from([("cluster".to_owned(), cluster.to_owned())]),
        write_relabel_configs: rules,
        limits: Limits::default(),
    };
    vec![
        view("eu", Vec::new()),
        view("us", Vec::new()),
        view("eu", vec![rule("drop", "b")]),
        view("eu", vec![rule("labeldrop", "tm_id|job_id")]),
        // Some of the series that got an id back have one label too many.
        View { limits: Limits { labels: 7, ..Limits::default() }, ..view("eu", Vec::new()) },
        View { limits: Limits { value_bytes: 7, ..Limits::default() }, ..view("eu", Vec::new()) },
        View {
            limits: Limits { value_bytes: 19, cut_values: true, ..Limits::default() },
            ..view("eu", Vec::new())
        },
    ]
}

fn rules() -> Vec<Vec<relabel::Rule>> {
    vec![Vec::new(), vec![rule("drop", "a")], vec![rule("labeldrop", "operator.*")]]
}

#[derive(Clone, Debug)]
enum Step {
    /// A page with these lines, or a scrape that fails at its end.
    Page { lines: BTreeSet<usize>, fails: bool },
    /// Rules, and for each view which one it is and where it comes from.
    Adopt { rules: usize, names: NameMode, views: Vec<(usize, Option<usize>)>, host: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page = (prop::collection::btree_set(0..lines().len(), 0..16), prop::bool::weighted(0.1));
    let view = (0..views().len(), prop::option::weighted(0.8, 0..3_usize));
    let raw = prop::bool::weighted(0.2);
    let adopt = (0..rules().len(), vec(view, 1..4), prop::bool::weighted(0.1), raw);
    let step = prop_oneof![
        3 => page.prop_map(|(lines, fails)| Step::Page { lines, fails }),
        1 => adopt.prop_map(|(rules, views, host, raw)| {
            let names = if raw { NameMode::Raw } else { NameMode::Canonical };
            Step::Adopt { rules, names, views, host }
        }),
    ];
    vec(step, 1..24)
}

fn shaper(rules: Vec<relabel::Rule>, views: Vec<View>) -> Arc<Shaper> {
    named(NameMode::default(), rules, views)
}

fn named(names: NameMode, rules: Vec<relabel::Rule>, views: Vec<View>) -> Arc<Shaper> {
    Arc::new(Shaper {
        names,
        metric_relabel_configs: rules,
        views: views.into(),
        ..Shaper::plain()
    })
}

fn target(host: bool) -> Labels<'static> {
    let instance = if host { "other:9250" } else { "tm:9250" };
    [("instance", instance), ("job", "flink")].into_iter().collect()
}

proptest! {
    /// Whatever pages and configurations follow each other: a receiver that knows a series gets
    /// either another sample of it or one marker.
    #[test]
    fn what_a_receiver_knows_goes_on_or_ends_once(steps in steps()) {
        let (lines, all_views, rules) = (lines(), views(), rules());
        let mut tracker = Tracker::new(shaper(Vec::new(), vec![all_views[0].clone()]), target(false));
        // What each view's receivers know, and whether a marker may end it.
        let mut known: Vec<BTreeSet<Vec<u8>>> = vec![BTreeSet::new()];
        for step in steps {
            match step {
                Step::Adopt { rules: of, names, views, host } => {
                    // A view that is new to its receivers, or that comes from one there was.
                    let from = |from: Option<usize>| from.filter(|&from| from < known.len());
                    let origins: Vec<_> = views
                        .iter()
                        .map(|&(_, origin)| Origin { view: from(origin), joined: false })
                        .collect();
                    let past = origins.iter().map(|origin| {
                        origin.view.map_or_else(BTreeSet::new, |view| known[view].clone())
                    });
                    let past = past.collect();
                    let views = views.iter().map(|&(view, _)| all_views[view].clone());
                    let shaper = named(names, rules[of].clone(), views.collect());
                    tracker.adopt(shaper, target(host), &origins);
                    known = past;
                }
                Step::Page { lines: on_page, fails } => {
                    tracker.begin();
                    for line in on_page {
                        let _bad = tracker.observe(lines[line].as_bytes(), NOW);
                    }
                    let kept = if fails {
                        tracker.abort();
                        None
                    } else {
                        Some(tracker.close(NOW).kept)
                    };
                    for (view, known) in known.iter_mut().enumerate() {
                        if let Some(kept) = kept
                            && tracker.shaper.views[view].write_relabel_configs.is_empty()
                        {
                            let unfit = tracker.unfit(view);
                            let sent = tracker.samples(view).count() as u64;
                            prop_assert_eq!(sent + unfit.label_limit + unfit.invalid, kept);
                        }
                        let sent: BTreeMap<Vec<u8>, i64> = if fails {
                            BTreeMap::new()
                        } else {
                            let samples = tracker.samples(view);
                            samples.map(|(block, at, _)| (block.to_vec(), at)).collect()
                        };
                        if !fails {
                            // What is kept of the last encoding is of these labels.
                            let plain: Vec<_> = tracker
                                .samples(view)
                                .map(|(block, _, value)| (block.to_vec(), value.to_bits()))
                                .collect();
                            prop_assert_eq!(encoded(&mut tracker, view), plain);
                        }
                        let ended: Vec<Vec<u8>> = if fails {
                            tracker.live(view).map(v1::Block::to_vec).collect()
                        } else {
                            tracker.stale(view).map(v1::Block::to_vec).collect()
                        };
                        let once: BTreeSet<_> = ended.iter().cloned().collect();
                        prop_assert_eq!(once.len(), ended.len(), "a marker twice");
                        let expected: BTreeSet<_> =
                            known.iter().filter(|b| !sent.contains_key(*b)).cloned().collect();
                        prop_assert_eq!(texts(&once), texts(&expected));
                        // Samples with a time of their own get no markers.
                        let marked = sent.into_iter().filter(|(_, at)| *at == NOW);
                        *known = marked.map(|(block, _)| block).collect();
                    }
                    if fails {
                        tracker.forget_live();
                    } else {
                        tracker.forget_stale();
                    }
                }
            }
        }
    }
}

/// The labels and values of the closed page's samples as a receiver gets them, in their order.
fn encoded(tracker: &mut Tracker, view: usize) -> Vec<(Vec<u8>, u64)> {
    let mut encoder = Encoder::new(3);
    tracker.encode(view, &mut encoder);
    let fragments = encoder.finish(Instant::now());
    let raw = snap::raw::Decoder::new().decompress_vec(&body(fragments.iter())).unwrap();
    let request = proto::WriteRequest::decode(&*raw).unwrap();
    let series = request.timeseries.into_iter().map(|series| {
        let labels = series.labels.iter().map(|label| (&*label.name, &*label.value));
        (v1::pairs_block(labels).into(), series.samples[0].value.to_bits())
    });
    series.collect()
}

fn texts(blocks: &BTreeSet<Vec<u8>>) -> Vec<String> {
    blocks.iter().map(|block| v1::decode_labels(block).unwrap().to_string()).collect()
}

/// A job may restart between the last page under the old views and the first under the new ones.
#[test]
fn a_series_whose_line_is_new_goes_on_under_another_view() {
    let views = views();
    let mut tracker = Tracker::new(shaper(Vec::new(), vec![views[0].clone()]), target(false));
    let page = |tracker: &mut Tracker, attempt: u8| {
        let line = format!("flink_taskmanager_job_x{{task_attempt_num=\"{attempt}\"}} 1");
        tracker.begin();
        tracker.observe(line.as_bytes(), NOW).unwrap();
        tracker.close(NOW);
        let sent = (tracker.samples(0).count(), tracker.stale(0).count());
        tracker.forget_stale();
        sent
    };
    assert_eq!(page(&mut tracker, 0), (1, 0));
    let origins = [Origin { view: Some(0), joined: false }];
    tracker.adopt(shaper(Vec::new(), vec![views[1].clone()]), target(false), &origins);
    assert_eq!(page(&mut tracker, 1), (1, 1), "the new labels begin, the old ones end");
    assert_eq!(page(&mut tracker, 1), (1, 0));
}

/// Series that got an id back keep it, and their place, when only the views change.
#[test]
fn series_that_were_told_apart_stay_so_under_another_view() {
    let (lines, views) = (lines(), views());
    let mut tracker = Tracker::new(shaper(Vec::new(), vec![views[0].clone()]), target(false));
    let page = |tracker: &mut Tracker, on_page: &[usize]| {
        tracker.begin();
        for &line in on_page {
            tracker.observe(lines[line].as_bytes(), NOW).unwrap();
        }
        let tally = tracker.close(NOW);
        let sent = tracker.samples(0).map(|(block, ..)| {
            let labels = v1::decode_labels(block).unwrap();
            let label = |name| labels.get(name).unwrap_or("-").to_owned();
            format!("{} {}", label("cluster"), label("operator_id"))
        });
        let sent: Vec<_> = sent.collect();
        tracker.forget_stale();
        (sent, tally.series_added)
    };
    // The first was alone at first, so it has no id; the second got one when it came.
    assert_eq!(page(&mut tracker, &[0]), (vec!["eu -".to_owned()], 1));
    let both = vec!["eu -".to_owned(), "eu o2".to_owned()];
    assert_eq!(page(&mut tracker, &[0, 1]), (both, 1));
    let origin = Origin { view: Some(0), joined: false };
    tracker.adopt(shaper(Vec::new(), vec![views[1].clone()]), target(false), &[origin]);
    let both = vec!["us -".to_owned(), "us o2".to_owned()];
    assert_eq!(page(&mut tracker, &[0, 1]), (both, 0), "no series is new");
}

/// The same for series that naming would have made one.
#[test]
fn series_that_keep_their_names_do_so_under_another_view() {
    let (lines, views) = (lines(), views());
    let mut tracker = Tracker::new(shaper(Vec::new(), vec![views[0].clone()]), target(false));
    let page = |tracker: &mut Tracker| {
        tracker.begin();
        for line in lines.iter().filter(|line| line.contains("rocksdb")) {
            tracker.observe(line.as_bytes(), NOW).unwrap();
        }
        let tally = tracker.close(NOW);
        let sent = tracker.samples(0).map(|(block, ..)| {
            let labels = v1::decode_labels(block).unwrap();
            labels.get("exported_name").unwrap_or("-").to_owned()
        });
        let sent: BTreeSet<String> = sent.collect();
        tracker.forget_stale();
        (sent, tally.series_added)
    };
    let (names, added) = page(&mut tracker);
    assert_eq!((names.len(), added), (2, 2));
    let origin = Origin { view: Some(0), joined: false };
    tracker.adopt(shaper(Vec::new(), vec![views[1].clone()]), target(false), &[origin]);
    assert_eq!(page(&mut tracker), (names, 0), "no series is new");
}

#[test]
fn a_view_that_is_as_before_is_not_made_anew() {
    let views = views();
    let both = vec![views[0].clone(), views[1].clone()];
    let mut tracker = Tracker::new(shaper(Vec::new(), both), target(false));
    tracker.begin();
    tracker.observe(b"a 1", NOW).unwrap();
    tracker.close(NOW);
    tracker.forget_stale();
    // The first receiver is gone, the second's view moves to its place.
    let origin = Origin { view: Some(1), joined: false };
    tracker.adopt(shaper(Vec::new(), vec![views[1].clone()]), target(false), &[origin]);
    assert!(tracker.remade.is_empty());
    let clusters: Vec<_> = tracker.live(0).map(|b| v1::decode_labels(b).unwrap()).collect();
    assert_eq!(clusters.len(), 1);
    assert_eq!(clusters[0].get("cluster"), Some("us"));
}
