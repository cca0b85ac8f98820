//! Derived series and sentinels on a target's pages.

use std::collections::BTreeMap;

use super::*;
use crate::{
    flink::{Derivations, GroupFilter, Sentinels, derived::Switch},
    relabel,
    remote_write::v1,
    series::{Dropped, Limits, Shaper, Tally, View},
};

const NOW: i64 = 1_700_000_000_000;

fn shaper() -> Shaper {
    let view = View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: BTreeMap::new(),
        write_relabel_configs: Vec::new(),
        limits: Limits::default(),
    };
    Shaper { views: [view].into(), ..Shaper::plain() }
}

fn tracker(shaper: Shaper) -> Tracker {
    Tracker::new(shaper.into(), crate::labels::Labels::new())
}

fn text<'a>(block: impl Into<v1::Block<'a>>) -> String {
    v1::decode_labels(block).unwrap().to_string()
}

/// What a page led to: what is sent, what ended, the account.
fn scrape(
    tracker: &mut Tracker,
    lines: &[&str],
    at_ms: i64,
) -> (BTreeMap<String, f64>, Vec<String>, Tally) {
    tracker.begin();
    for line in lines {
        tracker.observe(line.as_bytes(), at_ms).unwrap();
    }
    let tally = tracker.close(at_ms);
    assert_eq!(tally.scraped + tally.made, tally.kept + tally.dropped.total());
    let sent = tracker.samples(0).map(|(block, _, value)| (text(block), value)).collect();
    let stale = tracker.stale(0).map(text).collect();
    tracker.forget_stale();
    tracker.rest();
    (sent, stale, tally)
}

fn dropped(tally: &Tally) -> Vec<(Dropped, u64)> {
    tally.dropped.iter().filter(|(_, samples)| *samples > 0).collect()
}

const WATERMARK: &str = "flink_taskmanager_job_task_currentInputWatermark{task_name=\"T\",}";
const LAG: &str = "flink_taskmanager_job_task_watermark_lag_seconds{task_name=\"T\"}";

#[test]
fn a_sentinel_ends_its_series_and_what_is_derived_from_it() {
    let mut tracker = tracker(shaper());
    let (none, some) =
        (format!("{WATERMARK} -9.223372036854776E18"), format!("{WATERMARK} 1.7E12"));
    let series = "flink_taskmanager_job_task_currentInputWatermark{task_name=\"T\"}";
    for _ in 0..2 {
        let (sent, stale, tally) = scrape(&mut tracker, &[&none], NOW);
        assert_eq!((sent.len(), stale.len()), (0, 0));
        assert_eq!((tally.scraped, tally.made, tally.kept), (1, 0, 0));
        assert_eq!(dropped(&tally), [(Dropped::Sentinel, 1)]);
        assert_eq!(tracker.series_len(), 0);
    }
    let (sent, _, tally) = scrape(&mut tracker, &[&some], NOW + 2_500);
    let expect = [(series.to_owned(), 1.7e12), (LAG.to_owned(), 2.5)];
    assert_eq!(sent, BTreeMap::from(expect));
    assert_eq!((tally.series_added, tally.made, tracker.series_len()), (2, 1, 2));
    let (_, mut stale, _) = scrape(&mut tracker, &[&none], NOW + 15_000);
    stale.sort();
    assert_eq!(stale, [series, LAG]);
    let (_, stale, _) = scrape(&mut tracker, &[&none], NOW + 30_000);
    assert_eq!(stale, [""; 0], "a marker comes once");
    let (sent, ..) = scrape(&mut tracker, &[&some], NOW + 45_000);
    assert_eq!(sent[LAG].to_bits(), 45.0_f64.to_bits());
}

#[test]
fn sentinels_that_are_kept_are_no_numbers_still() {
    let mut tracker = tracker(Shaper { sentinels: Sentinels::Keep, ..shaper() });
    let (sent, _, tally) =
        scrape(&mut tracker, &[&format!("{WATERMARK} -9.223372036854776E18")], NOW);
    assert_eq!(sent.into_values().collect::<Vec<_>>(), [-9.223_372_036_854_776E18]);
    assert_eq!((tally.made, dropped(&tally).len()), (0, 0));
}

/// A job that restarts between two scrapes shows its next attempt where the one before was.
#[test]
fn a_derived_series_goes_on_when_its_job_restarts() {
    let line = |attempt: u8, value: &str| {
        format!(
            "flink_taskmanager_job_task_busyTimeMsPerSecond{{task_name=\"T\",subtask_index=\"0\",\
             task_attempt_num=\"{attempt}\"}} {value}"
        )
    };
    let busy = "flink_taskmanager_job_task_busy_ratio{subtask_index=\"0\",task_name=\"T\"}";
    let mut tracker = tracker(shaper());
    for (attempt, value) in [(0, "500"), (1, "250"), (2, "NaN"), (3, "100")] {
        let (sent, stale, tally) = scrape(&mut tracker, &[&line(attempt, value)], NOW);
        let expect = value.parse().ok().filter(|ms: &f64| !ms.is_nan()).map(|ms| ms / 1000.0);
        assert_eq!(sent.get(busy).copied(), expect, "attempt {attempt}: {sent:?}");
        assert!(stale.iter().all(|_| value == "NaN"), "attempt {attempt}: {stale:?}");
        assert_eq!(tally.ids_kept, 0);
    }
}

/// Two operators of one name have one line each; one of them has no value when both are new.
#[test]
fn a_line_without_a_value_is_told_apart_all_the_same() {
    let line = |id: u8, value: &str| {
        format!(
            "flink_taskmanager_job_task_operator_currentOutputWatermark{{operator_name=\"N\",\
             operator_id=\"o{id}\"}} {value}"
        )
    };
    let mut tracker = tracker(shaper());
    scrape(&mut tracker, &[&line(1, "1.7E12"), &line(2, "-9.223372036854776E18")], NOW);
    let (sent, stale, _) = scrape(&mut tracker, &[&line(1, "1.7E12"), &line(2, "1.7E12")], NOW);
    let names: Vec<&str> = sent.keys().map(String::as_str).collect();
    let (lag, watermark) = (
        "flink_taskmanager_job_task_operator_output_watermark_lag_seconds",
        "flink_taskmanager_job_task_operator_currentOutputWatermark",
    );
    let labels = |id: u8| format!("{{operator=\"N\",operator_id=\"o{id}\"}}");
    let expect =
        [watermark, lag].map(|name| [1, 2].map(|id| format!("{name}{}", labels(id)))).concat();
    assert_eq!(names, expect);
    assert_eq!(stale, [""; 0]);
}

#[test]
fn states_are_summed_and_a_shared_cache_is_not() {
    let line = |state: &str, metric: &str, labels: &str, value: u32| {
        format!(
            "flink_taskmanager_job_task_operator_{state}_rocksdb_{metric}{{operator_name=\"N\"{labels}}} {value}"
        )
    };
    let variable = ",column_family=\"d\"";
    let page = [
        line("a", "cur_size_all_mem_tables", "", 100),
        line("b", "cur_size_all_mem_tables", "", 10),
        line("a", "estimate_table_readers_mem", "", 1),
        line("a", "block_cache_usage", "", 64),
        line("b", "block_cache_usage", "", 64),
        line("a", "block_cache_capacity", "", 256),
        line("b", "block_cache_capacity", "", 256),
        // The name of the state as a label is one state more.
        line("column_family", "cur_size_all_mem_tables", variable, 1000),
        // The same line twice is one line.
        line("b", "cur_size_all_mem_tables", "", 10),
    ];
    let page: Vec<&str> = page.iter().map(String::as_str).collect();
    let mut tracker = tracker(shaper());
    for _ in 0..2 {
        let (sent, ..) = scrape(&mut tracker, &page, NOW);
        let made = |name: &str| {
            sent[&format!("flink_taskmanager_job_task_operator_{name}{{operator=\"N\"}}")]
        };
        assert_eq!(made("rocksdb_memory_bytes").to_bits(), 1111.0_f64.to_bits());
        assert_eq!(made("rocksdb_block_cache_used_ratio").to_bits(), 0.25_f64.to_bits());
    }
}

#[test]
fn each_input_has_its_lag() {
    let line = |input: u8| {
        format!(
            "flink_taskmanager_job_task_operator_currentInput{input}Watermark{{operator_name=\"N\"}} 1.7E12"
        )
    };
    let (sent, ..) = scrape(&mut tracker(shaper()), &[&line(1), &line(2)], NOW + 1000);
    for input in [1, 2] {
        let name = format!(
            "flink_taskmanager_job_task_operator_input_watermark_lag_seconds{{input=\"{input}\",operator=\"N\"}}"
        );
        assert_eq!(sent[&name].to_bits(), 1.0_f64.to_bits());
    }
}

const RESTARTS: &str = "flink_jobmanager_job_restarts_total";

fn restarts(host: &str, job: &str, count: u32) -> String {
    format!(
        "flink_jobmanager_job_numRestarts{{host=\"{host}\",job_id=\"{job}\",job_name=\"n\",}} {count}.0"
    )
}

fn total(sent: &BTreeMap<String, f64>) -> Option<f64> {
    sent.iter().find(|(name, _)| name.starts_with(RESTARTS)).map(|(_, value)| *value)
}

#[test]
fn a_counter_goes_on_over_failures_and_a_new_job_manager() {
    let mut tracker = tracker(shaper());
    let mut at = |count: Option<(&str, u32)>, seconds: i64| {
        let line = count.map(|(host, count)| restarts(host, "j", count));
        let lines: Vec<&str> = line.as_deref().into_iter().chain(["a 1"]).collect();
        total(&scrape(&mut tracker, &lines, NOW + seconds * 1000).0)
    };
    assert_eq!(at(Some(("h", 3)), 0), Some(3.0));
    assert_eq!(at(Some(("h", 5)), 15), Some(5.0));
    // The JobManager begins anew on another host; the job is not there at once.
    assert_eq!(at(None, 30), None);
    assert_eq!(at(Some(("g", 0)), 45), Some(5.0));
    assert_eq!(at(Some(("g", 2)), 60), Some(7.0));
    // After more than a day the job is one that nobody remembers.
    assert_eq!(at(None, 75), None);
    assert_eq!(at(None, 60 + 24 * 60 * 60), None);
    assert_eq!(at(Some(("g", 1)), 90 + 24 * 60 * 60), Some(1.0));
}

#[test]
fn a_page_that_fails_changes_no_counter() {
    let mut tracker = tracker(shaper());
    scrape(&mut tracker, &[&restarts("h", "j", 5)], NOW);
    tracker.begin();
    tracker.observe(restarts("h", "j", 0).as_bytes(), NOW).unwrap();
    tracker.abort();
    tracker.forget_live();
    let (sent, ..) = scrape(&mut tracker, &[&restarts("h", "j", 6)], NOW);
    assert_eq!(total(&sent), Some(6.0));
}

#[test]
fn a_change_of_rules_changes_no_counter() {
    let mut tracker = tracker(shaper());
    scrape(&mut tracker, &[&restarts("h", "j", 5)], NOW);
    scrape(&mut tracker, &[&restarts("h", "j", 1)], NOW);
    let mut raw = shaper();
    raw.derived.set(Switch::WatermarkLag, false);
    tracker.adopt(
        raw.into(),
        crate::labels::Labels::new(),
        &[crate::series::Origin { view: Some(0), joined: false }],
    );
    let (sent, stale, _) = scrape(&mut tracker, &[&restarts("h", "j", 1)], NOW);
    assert_eq!((total(&sent), stale.len()), (Some(6.0), 0));
}

#[test]
fn jobs_that_are_over_are_forgotten() {
    let mut tracker = tracker(shaper());
    for job in 0..=PASTS_MAX {
        scrape(&mut tracker, &[&restarts("h", &job.to_string(), 1)], NOW);
    }
    assert!(tracker.derivers.pasts.len() <= 2, "{}", tracker.derivers.pasts.len());
    assert_eq!((tracker.derivers.makers.len(), tracker.derivers.index.len()), (1, 1));
    assert_eq!(tracker.made.len(), 1);
    assert!(tracker.lines.len() <= 2);
}

/// Rules and groups: what is derived is wanted when the group of its inputs is, and rules that drop
/// the inputs leave it.
#[test]
fn what_is_derived_is_filtered_like_what_is_read() {
    let page = [WATERMARK, " 1.7E12"].concat();
    let made = |shaper: Shaper| scrape(&mut tracker(shaper), &[&page], NOW).2;
    let groups = GroupFilter::try_new(&["memory".to_owned()], &[]).unwrap();
    let tally = made(Shaper { groups, ..shaper() });
    assert_eq!((tally.made, dropped(&tally)), (0, vec![(Dropped::Group, 1)]));
    let rule = |regex: &str| {
        let raw = relabel::RawRule {
            action: Some("drop".to_owned()),
            regex: Some(regex.to_owned()),
            source_labels: Some(vec!["__name__".to_owned()]),
            ..relabel::RawRule::default()
        };
        vec![relabel::Rule::try_new(raw).unwrap()]
    };
    let tally = made(Shaper { metric_relabel_configs: rule(".*Watermark"), ..shaper() });
    assert_eq!((tally.made, tally.kept, dropped(&tally)), (1, 1, vec![(Dropped::Relabel, 1)]));
    let tally = made(Shaper { metric_relabel_configs: rule(".*lag.*"), ..shaper() });
    assert_eq!((tally.made, tally.kept, dropped(&tally)), (1, 1, vec![(Dropped::Relabel, 1)]));
    let tally = made(Shaper { derived: Derivations::NONE, ..shaper() });
    assert_eq!((tally.made, tally.kept), (0, 1));
}

#[test]
fn a_quantile_of_nothing_is_none_where_the_page_says_summary() {
    let quantile = b"mine{quantile=\"0.5\"} NaN";
    for (kind, expect) in [
        (crate::exposition::Kind::Summary, vec![(Dropped::Sentinel, 1)]),
        (crate::exposition::Kind::Gauge, Vec::new()),
    ] {
        let mut tracker = tracker(shaper());
        for _ in 0..2 {
            tracker.begin();
            tracker.observe_type("mine", kind);
            tracker.observe(quantile, NOW).unwrap();
            tracker.observe(b"mine_count NaN", NOW).unwrap();
            assert_eq!(dropped(&tracker.close(NOW)), expect);
            tracker.forget_stale();
        }
    }
}
