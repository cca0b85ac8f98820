//! Sentinels and derived series on pages of real clusters, against what the test itself reads from them.
//!
//! The expectations are made from the text of a page alone: they know nothing of the catalogue and the
//! rules. `snapshots/values__*` tell which metrics of a page have sentinels, for a person to read.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, not the functions they call"
)]

#[expect(dead_code, reason = "shared with the tests of the relay, which use all of it")]
#[path = "common/fakes.rs"]
mod fakes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

use fakes::{
    flink::FakeFlink,
    relay::{config, job, receiver},
};
use flinkrelay::{
    exposition::{self, Limits},
    flink::derived::DERIVED,
    labels::Labels,
    relay::Relay,
    remote_write::v1,
    scrape::{Scraped, Scraper},
    series::Dropped,
};

const CLUSTERS: [&str; 4] = ["1.14.2", "1.20.5", "2.3.0", "2.3.0-unfiltered"];
const PAGES: [&str; 3] = ["jobmanager", "taskmanager-1", "taskmanager-2"];

fn pages() -> impl Iterator<Item = (String, String)> {
    CLUSTERS.into_iter().flat_map(|cluster| {
        PAGES.map(|page| {
            let name = format!("{cluster}/{page}");
            let text = fs::read_to_string(format!("tests/pages/{name}.prom")).unwrap();
            (name, text)
        })
    })
}

async fn scrape(text: &str, flink_section: &str) -> (Scraper, Scraped) {
    let flink = FakeFlink::with_page(text).await;
    let slow = "scrape_interval: 1m\nscrape_timeout: 30s";
    let jobs = [job("flink", &[flink.address()], slow)];
    let receivers = [receiver("http://127.0.0.1:1/api/v1/write", "")];
    let relay = Relay::new(&config(&jobs, &receivers, flink_section)).unwrap();
    relay.scrape_once().await.targets.pop().unwrap()
}

/// A sample of a page: its name, its labels as one text, its value.
struct Line {
    name: String,
    labels: Labels<'static>,
    value: f64,
}

fn lines(text: &str) -> Vec<Line> {
    let page = exposition::page(text.as_bytes(), &Limits::default()).unwrap();
    let samples = page.samples().map(|sample| {
        let mut labels: Labels<'_> = sample.labels().collect();
        labels.sort();
        let labels = labels.into_owned();
        Line { name: sample.name.to_owned(), labels, value: sample.value }
    });
    samples.collect()
}

/// What a person who knows Flink would not take for a number.
fn is_sentinel(line: &Line) -> bool {
    const MIN_WATERMARK: f64 = -9_223_372_036_854_775_808.0;
    let Line { name, value, labels } = line;
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if value.is_nan() {
        return labels.get("quantile").is_some()
            || ends(&["_busyTimeMsPerSecond", "_accumulateBusyTimeMs"]);
    }
    if name.ends_with("Watermark") {
        return *value <= MIN_WATERMARK || *value >= -MIN_WATERMARK;
    }
    let may_be_minus_1 = name.contains("_job_lastC")
        || ends(&["NonHeap_Max", "Heap_Max", "Metaspace_Max", "_job_uptime", "_job_downtime"]);
    may_be_minus_1 && value.to_bits() == (-1.0_f64).to_bits()
}

#[tokio::test]
async fn each_sentinel_of_a_page_is_dropped_and_nothing_else() {
    let mut told = String::new();
    for (name, text) in pages() {
        let lines = lines(&text);
        let mut expected = BTreeMap::<&str, u64>::new();
        for line in lines.iter().filter(|line| is_sentinel(line)) {
            *expected.entry(&line.name).or_default() += 1;
        }
        let total: u64 = expected.values().sum();
        writeln!(told, "{name}: {total} of {}", lines.len()).unwrap();
        for (metric, samples) in expected {
            writeln!(told, "  {metric} {samples}").unwrap();
        }

        let raw = "names: raw, labels: raw, derived: none";
        let (scraper, scraped) = scrape(&text, &format!("flink: {{{raw}}}")).await;
        let tally = scraped.result.unwrap();
        let dropped: Vec<_> = tally.dropped.iter().filter(|(_, samples)| *samples > 0).collect();
        assert_eq!(dropped, [(Dropped::Sentinel, total)], "{name}");
        assert_eq!(tally.kept + total, lines.len() as u64, "{name}");
        let mut kept: Vec<u64> = scraper.samples(0).map(|(.., value)| value.to_bits()).collect();
        let numbers = lines.iter().filter(|line| !is_sentinel(line));
        let mut numbers: Vec<u64> = numbers.map(|line| line.value.to_bits()).collect();
        kept.sort_unstable();
        numbers.sort_unstable();
        assert!(kept == numbers, "{name}");

        let (_, scraped) = scrape(&text, &format!("flink: {{{raw}, sentinels: keep}}")).await;
        assert_eq!(scraped.result.unwrap().kept, lines.len() as u64, "{name}");
    }
    insta::assert_snapshot!("sentinels", told.trim_end());
}

/// The page as it would be after a first checkpoint and a first watermark on each of two inputs, which
/// no recorded page shows.
fn with_numbers((name, text): (String, String)) -> (String, String) {
    let shown = |line: &str| {
        let is_none = [
            "flink_jobmanager_job_lastCheckpointCompletedTimestamp{",
            "flink_taskmanager_job_task_operator_currentInput1Watermark{",
            "flink_taskmanager_job_task_operator_currentInput2Watermark{",
        ];
        match line.rsplit_once(' ') {
            Some((series, _)) if is_none.iter().any(|name| line.starts_with(name)) => {
                format!("{series} 1.7E12\n")
            }
            _ => format!("{line}\n"),
        }
    };
    (format!("{name} with numbers"), text.lines().map(shown).collect())
}

/// The reporter's own classes with a topology made for it, users' metrics among it: their gauges keep
/// what they show, and a quantile of nothing is none of theirs either.
#[tokio::test]
async fn sentinels_of_odd_pages() {
    for (page, expected) in
        [("tm_1.14.6", 6), ("tm_2.3.0_odd_values", 26), ("jm_and_tm_2.3.0_names", 13)]
    {
        let text = fs::read_to_string(format!("tests/pages/odd/{page}.txt")).unwrap();
        let lines = lines(&text);
        let is_lag =
            |line: &&Line| line.name.ends_with("currentEmitEventTimeLag") && line.value < 0.0;
        let found = lines.iter().filter(|line| is_sentinel(line) || is_lag(line)).count();
        assert_eq!(found, expected, "{page}");
        let (scraper, scraped) = scrape(&text, "flink: {names: raw, labels: raw}").await;
        let tally = scraped.result.unwrap();
        let dropped = tally.dropped.iter().find(|(reason, _)| *reason == Dropped::Sentinel);
        assert_eq!(dropped, Some((Dropped::Sentinel, expected as u64)), "{page}");
        // What is left of them are gauges of the user's own.
        for (block, _, value) in scraper.samples(0) {
            let name = v1::decode_labels(block).unwrap().metric_name().to_owned();
            let is_odd = value.is_nan() || value < -9e18;
            let of_user = ["g_nan", "g_long"].iter().any(|own| name.ends_with(own));
            assert_eq!(is_odd, of_user, "{page}: {name} {value}");
        }
    }
}

type Series = BTreeMap<(String, String), f64>;

/// What follows from the page at this time, worked out here.
fn derived(lines: &[Line], now_ms: f64) -> Series {
    const JOB: &str = "flink_jobmanager_job_";
    const TASK: &str = "flink_taskmanager_job_task_";
    const OPERATOR: &str = "flink_taskmanager_job_task_operator_";
    let mut series = Series::new();
    let mut add = |name: String, labels: &Labels<'_>, value: f64| {
        *series.entry((name, labels.to_string())).or_default() += value;
    };
    let find = |name: &str, labels: &Labels<'_>| {
        let same = |line: &&Line| line.name == name && line.labels.iter().eq(labels.iter());
        lines.iter().find(same).map(|line| line.value)
    };
    for line in lines.iter().filter(|line| !is_sentinel(line)) {
        let Line { name, labels, value } = line;
        let lag = (now_ms - value) / 1000.0;
        let share = |of: &str| value / find(of, labels).unwrap();
        if name == &format!("{TASK}currentInputWatermark") {
            add(format!("{TASK}watermark_lag_seconds"), labels, lag);
        } else if name == &format!("{OPERATOR}currentInputWatermark") {
            add(format!("{OPERATOR}watermark_lag_seconds"), labels, lag);
        } else if name == &format!("{OPERATOR}currentOutputWatermark") {
            add(format!("{OPERATOR}output_watermark_lag_seconds"), labels, lag);
        } else if name == &format!("{OPERATOR}currentInput1Watermark")
            || name == &format!("{OPERATOR}currentInput2Watermark")
        {
            let mut labels = labels.clone();
            labels.set("input", if name.contains("Input1") { "1" } else { "2" });
            labels.sort();
            add(format!("{OPERATOR}input_watermark_lag_seconds"), &labels, lag);
        } else if name == &format!("{JOB}lastCheckpointCompletedTimestamp") {
            add(format!("{JOB}last_completed_checkpoint_age_seconds"), labels, lag);
        } else if name == &format!("{JOB}numberOfFailedCheckpoints") {
            add(format!("{JOB}checkpoint_failures_total"), labels, *value);
        } else if name == &format!("{JOB}numRestarts") {
            add(format!("{JOB}restarts_total"), labels, *value);
        } else if name == &format!("{TASK}busyTimeMsPerSecond") {
            add(format!("{TASK}busy_ratio"), labels, (value / 1000.0).min(1.0));
        } else if name == &format!("{TASK}idleTimeMsPerSecond") {
            add(format!("{TASK}idle_ratio"), labels, (value / 1000.0).min(1.0));
        } else if name == &format!("{TASK}backPressuredTimeMsPerSecond") {
            add(format!("{TASK}backpressured_ratio"), labels, (value / 1000.0).min(1.0));
        } else if let Some(prefix) = name.strip_suffix("Status_JVM_Memory_Heap_Used") {
            let ratio = share(&format!("{prefix}Status_JVM_Memory_Heap_Max"));
            add(format!("{prefix}memory_heap_used_ratio"), labels, ratio);
        } else if let Some(prefix) = name.strip_suffix("Status_Flink_Memory_Managed_Used") {
            let ratio = share(&format!("{prefix}Status_Flink_Memory_Managed_Total"));
            add(format!("{prefix}memory_managed_used_ratio"), labels, ratio);
        } else if name.ends_with("_rocksdb_cur_size_all_mem_tables") {
            add(format!("{OPERATOR}rocksdb_memory_bytes"), labels, *value);
        } else if name == "flink_jobmanager_taskSlotsTotal" {
            let free = find("flink_jobmanager_taskSlotsAvailable", labels).unwrap();
            add("flink_jobmanager_task_slots_used".to_owned(), labels, value - free);
        }
    }
    series
}

#[tokio::test]
async fn what_is_derived_is_what_follows_from_the_page() {
    let mut names = BTreeSet::new();
    for (name, text) in pages().chain(pages().map(with_numbers)) {
        let lines = lines(&text);
        let (scraper, scraped) = scrape(&text, "flink: {names: raw, labels: raw}").await;
        let made: BTreeSet<&str> = DERIVED.iter().map(|derived| derived.name).collect();
        let mut sent = Series::new();
        let mut now_ms = 0;
        for (block, timestamp_ms, value) in scraper.samples(0) {
            now_ms = timestamp_ms;
            let mut labels = v1::decode_labels(block).unwrap().into_owned();
            if made.contains(labels.metric_name()) {
                let own = ["__name__", "job", "instance"].map(|label| labels.remove(label));
                let [Some(name), ..] = own else { unreachable!("a series has a name") };
                names.insert(name.clone().into_owned());
                labels.sort();
                sent.insert((name.into_owned(), labels.to_string()), value);
            }
        }
        let expected = derived(&lines, now_ms as f64);
        assert_eq!(
            sent.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{name}: the same series"
        );
        for (series, value) in &expected {
            let sent = sent.get(series).unwrap();
            assert!(
                (sent - value).abs() <= value.abs() * 1e-12,
                "{name} {series:?}: {sent}, {value}"
            );
        }
        let tally = scraped.result.unwrap();
        assert_eq!((tally.scraped, tally.made), (lines.len() as u64, sent.len() as u64), "{name}");
        let (_, without) = scrape(&text, "flink: {names: raw, labels: raw, derived: none}").await;
        assert_eq!(without.result.unwrap().kept + tally.made, tally.kept, "{name}");
    }
    let all: BTreeSet<String> = DERIVED.iter().map(|derived| derived.name.to_owned()).collect();
    let not_shown: Vec<&String> = all.difference(&names).collect();
    // No cluster that was recorded shows the capacity of its block cache.
    assert_eq!(not_shown, ["flink_taskmanager_job_task_operator_rocksdb_block_cache_used_ratio"]);
}

/// Under canonical names the three versions give the same derived metrics, with the labels of what
/// they are made from.
#[tokio::test]
async fn what_is_derived_is_called_alike_in_all_versions() {
    let mut by_version = BTreeMap::<&str, BTreeMap<String, BTreeSet<String>>>::new();
    for cluster in ["1.14.2", "1.20.5", "2.3.0"] {
        let metrics = by_version.entry(cluster).or_default();
        for page in PAGES {
            let text = fs::read_to_string(format!("tests/pages/{cluster}/{page}.prom")).unwrap();
            let (_, text) = with_numbers((page.to_owned(), text));
            let (scraper, _) = scrape(&text, "").await;
            for (block, ..) in scraper.samples(0) {
                let labels = v1::decode_labels(block).unwrap();
                if DERIVED.iter().any(|derived| derived.name == labels.metric_name()) {
                    let names = labels.iter().map(|(name, _)| name.to_owned()).collect();
                    metrics.insert(labels.metric_name().to_owned(), names);
                }
            }
        }
    }
    // Flink tells the time of a checkpoint since 2.0; before, one scrape knows nothing of it. The task
    // with two inputs is another one in 2.3.
    let age = "flink_jobmanager_job_last_completed_checkpoint_age_seconds";
    let two_inputs = "flink_taskmanager_job_task_operator_input_watermark_lag_seconds";
    for (version, metrics) in &mut by_version {
        assert_eq!(metrics.remove(age).is_some(), *version == "2.3.0", "{version}");
        assert_eq!(metrics.remove(two_inputs).is_some(), *version != "2.3.0", "{version}");
        assert_eq!(metrics.len(), 13, "{version}: {:?}", metrics.keys());
    }
    let oldest = by_version.pop_first().unwrap().1;
    for (version, metrics) in by_version {
        assert_eq!(metrics, oldest, "{version}");
    }
}
