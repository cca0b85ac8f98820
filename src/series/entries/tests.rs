//! What is remembered of earlier pages changes nothing of what is sent of a page.

use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    labels::Labels,
    relabel,
    remote_write::{Encoder, Fragment, body, proto::metric_metadata::MetricType, v2},
    series::{Following, Limits, Numbered, Shaper, Tracker, View},
};

const NOW: i64 = 1_000;

fn tracker() -> Tracker {
    let view = |cluster: &str, write_relabel_configs| View {
        max_samples_per_send: 4,
        metadata_interval: None,
        external_labels: [("cluster".to_owned(), cluster.to_owned())].into(),
        write_relabel_configs,
        limits: Limits::default(),
    };
    let drop_of_subtask_1 = relabel::Rule::try_new(relabel::RawRule {
        source_labels: Some(vec!["subtask_index".to_owned()]),
        regex: Some("1".to_owned()),
        action: Some("drop".to_owned()),
        ..relabel::RawRule::default()
    });
    let views = [view("eu", Vec::new()), view("us", vec![drop_of_subtask_1.unwrap()])];
    let mut target: Labels<'static> =
        [("instance", "tm:9250"), ("job", "flink")].into_iter().collect();
    target.sort();
    Tracker::new(Shaper { views: views.into(), ..Shaper::plain() }.into(), target)
}

/// The bodies of both messages for both views.
fn sent(
    tracker: &mut Tracker,
    symbols: &mut v2::Symbols,
    page: &[String],
    at: Instant,
) -> Vec<Bytes> {
    tracker.begin();
    for line in page {
        tracker.observe(line.as_bytes(), NOW).unwrap();
    }
    tracker.close(NOW);
    tracker.number(symbols);
    let mut fragments = Vec::new();
    for view in 0..2 {
        let mut encoder = Encoder::new(4);
        let plain = tracker.samples(view).count() as u64;
        assert_eq!(tracker.encode(view, &mut encoder), plain);
        fragments.extend(encoder.finish(at));
        let mut encoder = v2::Encoder::new(symbols, 4);
        for Numbered { series, timestamp_ms, value, start_ms } in tracker.numbered(view) {
            encoder.push(&series, value, timestamp_ms, start_ms);
        }
        let plain = encoder.finish(at);
        check_told_again(tracker, view, symbols, &plain, at);
        fragments.extend(plain);
    }
    symbols.settle();
    tracker.forget_stale();
    tracker.rest();
    fragments.iter().map(|fragment| body(std::iter::once(fragment))).collect()
}

/// What is encoded with the help of the page before decodes to the same, and what follows the page is behind it.
fn check_told_again(
    tracker: &mut Tracker,
    view: usize,
    symbols: &mut v2::Symbols,
    plain: &[Fragment],
    at: Instant,
) {
    let up: Labels<'_> = [("__name__", "up")].into_iter().collect();
    let series = v2::Series::new(symbols, &up, &v2::About::kind(MetricType::Gauge));
    let following = [Following { series, hash: 7, value: 1.0_f64.to_bits() }];
    let mut encoder = v2::Encoder::new(symbols, 4);
    let Some(sent) = tracker.encode_numbered(view, &following, &mut encoder) else {
        let has_ends = tracker.numbered_stale(view).next().is_some();
        let has_own_times = !tracker.own_times.is_empty();
        assert!(has_ends || has_own_times, "nothing else keeps these pages from being told again");
        return;
    };
    let points = |fragments: &[Fragment]| {
        let body = |fragment| v2::read(&body(std::iter::once(fragment))).expect("a request");
        fragments.iter().flat_map(body).collect::<Vec<_>>()
    };
    let mut told = points(&encoder.finish(at));
    let up = told.pop().expect("what follows the page");
    assert_eq!((up.labels.get("__name__"), up.sample.value), (Some("up"), 1.0_f64.to_bits()));
    assert_eq!(sent, told.len() as u64);
    assert_eq!(told, points(plain));
}

/// A line of a small world but for its value: metrics that share labels, some with a quantile.
fn any_series() -> impl Strategy<Value = String> {
    let name =
        prop_oneof![Just("numRecordsIn"), Just("numRecordsOut"), Just("latency"), Just("my_own")];
    let quantile =
        prop_oneof![3 => Just(""), 1 => Just("quantile=\"0.5\","), 1 => Just("quantile=\"0.99\",")];
    (name, 0..3_u8, 0..3_u8, quantile).prop_map(|(name, operator, subtask, quantile)| {
        format!(
            "flink_taskmanager_job_task_operator_{name}{{job_id=\"j\",task_id=\"t\",\
             host=\"h\",operator_name=\"op{operator}\",task_name=\"T\",job_name=\"J\",\
             tm_id=\"tm\",{quantile}operator_id=\"id{operator}\",subtask_index=\"{subtask}\",}}"
        )
    })
}

/// What a page has that the one before had not, or not there.
#[derive(Clone, Debug)]
enum Edit {
    Nothing,
    Insert(usize, String),
    Remove(usize),
    Swap(usize, usize),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => Just(Edit::Nothing),
        1 => (0..12_usize, any_series()).prop_map(|(at, series)| Edit::Insert(at, series)),
        1 => (0..12_usize).prop_map(Edit::Remove),
        1 => (0..12_usize, 0..12_usize).prop_map(|(one, other)| Edit::Swap(one, other)),
    ]
}

impl Edit {
    fn apply(&self, page: &mut Vec<String>) {
        let len = page.len();
        match self {
            Self::Insert(at, series) => page.insert(at % (len + 1), series.clone()),
            Self::Remove(at) if len > 0 => drop(page.remove(at % len)),
            Self::Swap(one, other) if len > 0 => page.swap(one % len, other % len),
            _ => {}
        }
    }
}

/// Values and a time of their own for some lines of a page.
fn any_values() -> impl Strategy<Value = Vec<String>> {
    let value = prop_oneof![
        2 => prop::sample::select(vec![0.0, -0.0, 1.0, 2.5, 1e9, f64::NAN, f64::INFINITY]),
        1 => any::<f64>(),
    ];
    let time = prop_oneof![60 => Just(""), 1 => Just(" 77")];
    let value = (value, time).prop_map(|(value, time)| format!("{value:?}{time}"));
    proptest::collection::vec(value, 32)
}

proptest! {
    #[test]
    fn a_page_is_sent_as_if_it_were_the_first(
        mut page in proptest::collection::vec(any_series(), 0..12),
        pages in proptest::collection::vec((any_edit(), any_values()), 1..12),
    ) {
        let now = Instant::now();
        let (mut warm, mut warm_symbols) = (tracker(), v2::Symbols::default());
        for (edit, values) in pages {
            edit.apply(&mut page);
            let lines = page.iter().zip(values).map(|(series, value)| format!("{series} {value}"));
            let lines: Vec<_> = lines.collect();
            let cold = sent(&mut tracker(), &mut v2::Symbols::default(), &lines, now);
            let warm = sent(&mut warm, &mut warm_symbols, &lines, now);
            prop_assert_eq!(warm, cold);
        }
    }
}
