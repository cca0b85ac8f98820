//! What is remembered of earlier pages changes nothing of what is sent of a page.

use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    labels::Labels,
    relabel,
    remote_write::{Encoder, body, v2},
    series::{Limits, Numbered, Shaper, Tracker, View},
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
        for (block, timestamp_ms, value) in tracker.samples(view) {
            encoder.push(block, value, timestamp_ms);
        }
        fragments.extend(encoder.finish(at));
        let mut encoder = v2::Encoder::new(symbols, 4);
        for Numbered { series, timestamp_ms, value, start_ms } in tracker.numbered(view) {
            encoder.push(&series, value, timestamp_ms, start_ms);
        }
        fragments.extend(encoder.finish(at));
    }
    symbols.settle();
    tracker.forget_stale();
    tracker.rest();
    fragments.iter().map(|fragment| body(std::iter::once(fragment))).collect()
}

/// Lines of a small world: metrics that share labels, some with a quantile or a time of their own, and some
/// that are on the page twice.
fn any_line() -> impl Strategy<Value = String> {
    let name =
        prop_oneof![Just("numRecordsIn"), Just("numRecordsOut"), Just("latency"), Just("my_own")];
    let quantile =
        prop_oneof![3 => Just(""), 1 => Just("quantile=\"0.5\","), 1 => Just("quantile=\"0.99\",")];
    let time = prop_oneof![5 => Just(""), 1 => Just(" 77")];
    (name, 0..3_u8, 0..3_u8, quantile, any::<f64>(), time).prop_map(
        |(name, operator, subtask, quantile, value, time)| {
            format!(
                "flink_taskmanager_job_task_operator_{name}{{job_id=\"j\",task_id=\"t\",\
                 host=\"h\",operator_name=\"op{operator}\",task_name=\"T\",job_name=\"J\",\
                 tm_id=\"tm\",{quantile}operator_id=\"id{operator}\",subtask_index=\"{subtask}\",}} \
                 {value:?}{time}"
            )
        },
    )
}

proptest! {
    #[test]
    fn a_page_is_sent_as_if_it_were_the_first(
        pages in proptest::collection::vec(proptest::collection::vec(any_line(), 0..12), 1..8),
    ) {
        let now = Instant::now();
        let (mut warm, mut warm_symbols) = (tracker(), v2::Symbols::default());
        for page in pages {
            let cold = sent(&mut tracker(), &mut v2::Symbols::default(), &page, now);
            let warm = sent(&mut warm, &mut warm_symbols, &page, now);
            prop_assert_eq!(warm, cold);
        }
    }
}
