//! Roll-ups of recorded pages against an evaluation of their own: what PromQL's aggregations over the raw
//! series of the same page come to.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints spare test functions, not the functions they call"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
};

use flinkrelay::{
    flink::{
        self, Kind, NameMode, catalogue,
        rollup::{Function, Level, RollupPolicy},
    },
    labels::Labels,
    remote_write::v1,
    series::{Limits, Shaper, Tally, Tracker, View},
};

/// The labels by which series of one metric differ although they are one at that level. Written down
/// once more, as the documentation has it.
const WITHOUT: [(Level, &[&str]); 2] = [
    (
        Level::Task,
        &[
            "subtask_index",
            "source_subtask_index",
            "operator_subtask_index",
            "tm_id",
            "host",
            "task_attempt_num",
            "task_attempt_id",
        ],
    ),
    (
        Level::Job,
        &[
            "subtask_index",
            "source_subtask_index",
            "operator_subtask_index",
            "tm_id",
            "host",
            "task_attempt_num",
            "task_attempt_id",
            "task_id",
            "task_name",
            "operator_id",
            "operator",
            "operator_name",
            "source_id",
            "gate",
            "input",
        ],
    ),
];

fn pages() -> Vec<PathBuf> {
    let directories = fs::read_dir("tests/pages").unwrap().map(|entry| entry.unwrap().path());
    let files = directories.flat_map(|directory| fs::read_dir(directory).unwrap());
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension != "json"));
    files.sort();
    files
}

type Series = BTreeMap<String, String>;

fn scrape(
    page: &str,
    names: NameMode,
    labels: flink::LabelPolicy,
    rollups: RollupPolicy,
) -> (Vec<(Series, f64)>, Tally) {
    let view = View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: BTreeMap::new(),
        write_relabel_configs: Vec::new(),
        limits: Limits::default(),
    };
    let shaper = Shaper {
        catalogue: Arc::clone(catalogue()),
        groups: flink::GroupFilter::default(),
        names,
        labels,
        sentinels: flink::Sentinels::Drop,
        derived: flink::Derivations::default(),
        rollups,
        honor_labels: false,
        honor_timestamps: true,
        metric_relabel_configs: Vec::new(),
        limits: Limits::default(),
        views: Arc::from([view]),
    };
    let target = [("instance", "tm:9250"), ("job", "flink")].into_iter().collect();
    let mut tracker = Tracker::new(Arc::new(shaper), target);
    let mut tally = Tally::default();
    // Twice, since on a page that repeats nothing is to change.
    for _ in 0..2 {
        tracker.begin();
        for line in page.lines() {
            let _odd_pages_have_bad_lines = tracker.observe(line.as_bytes(), 0);
        }
        tally = tracker.close(0);
        if tally.series_added > 0 {
            tracker.forget_stale();
        }
    }
    assert_eq!(tally.series_added, 0);
    assert_eq!(tracker.stale(0).count(), 0);
    let samples = tracker.samples(0).map(|(block, _, value)| {
        let labels = v1::decode_labels(block).unwrap();
        (labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(), value)
    });
    (samples.collect(), tally)
}

/// `FUNCTION without(labels) (series)`, as PromQL has it.
fn evaluate(function: Function, values: &[f64]) -> Option<f64> {
    let (sum, count) = (values.iter().sum::<f64>(), values.len() as f64);
    let best = |better: fn(f64, f64) -> bool| {
        values.iter().copied().reduce(|a, b| if better(b, a) || a.is_nan() { b } else { a })
    };
    match function {
        Function::Sum => Some(sum),
        Function::Avg => Some(sum / count),
        Function::Min => best(|a, b| a < b),
        Function::Max => best(|a, b| a > b),
        Function::Skew => {
            let avg = sum / count;
            best(|a, b| a > b).filter(|_| avg > 0.0).map(|max| max / avg)
        }
    }
}

/// The functions of a raw series by its name, none when it is not rolled up.
fn functions(name: &str) -> Vec<Function> {
    let Some(metric) = catalogue().lookup_canonical(name) else { return Vec::new() };
    if !name.starts_with("flink_taskmanager_job_") {
        return Vec::new();
    }
    let counts = metric.kind == Kind::Summary && name.ends_with("_count");
    if counts { vec![Function::Sum] } else { metric.rollup.clone() }
}

fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// The ids that operators or tasks of one name are told apart by, where that is needed. Raw series have
/// them always here, since that one name stands for two is not to be seen on each of them.
const IDS: [&str; 2] = ["operator_id", "task_id"];

/// Values by series without these ids, in order.
fn without_ids(samples: impl IntoIterator<Item = (Series, f64)>) -> BTreeMap<Series, Vec<f64>> {
    let mut values: BTreeMap<Series, Vec<f64>> = BTreeMap::new();
    for (mut series, value) in samples {
        series.retain(|label, _| !IDS.contains(&&**label));
        values.entry(series).or_default().push(value);
    }
    values.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
    values
}

fn check(page: &str, names: NameMode, level: Level) -> usize {
    let keep = flink::LabelPolicy::try_new(flink::LabelMode::Normalised, &IDS.map(str::to_owned));
    let (raw, of_raw) = scrape(page, names, keep.unwrap(), RollupPolicy::default());
    let (_, without) = WITHOUT.iter().find(|(of, _)| *of == level).unwrap();
    let mut groups: BTreeMap<(Function, Series), Vec<f64>> = BTreeMap::new();
    let mut kept = Vec::new();
    for (series, value) in &raw {
        let name = &series["__name__"];
        let functions = functions(name);
        if functions.is_empty() {
            kept.push((series.clone(), *value));
        }
        let metric = catalogue().lookup_canonical(name);
        let is_none = |none: &f64| none == value || none.is_nan() && value.is_nan();
        if metric.is_some_and(|metric| metric.no_value.iter().any(is_none)) {
            continue;
        }
        for function in functions {
            let mut rolled = series.clone();
            let of_output = series.contains_key("direction");
            rolled.retain(|label, _| {
                let number = level == Level::Job && of_output && label == "partition";
                !without.contains(&&**label) && label != "exported_name" && !number
            });
            let name = format!("{name}:{}_{}", level.as_str(), function.as_str());
            rolled.insert("__name__".to_owned(), name);
            groups.entry((function, rolled)).or_default().push(*value);
        }
    }
    let evaluated = groups
        .into_iter()
        .filter_map(|((function, series), values)| Some((series, evaluate(function, &values)?)));
    let expected = without_ids(evaluated);

    let policy = RollupPolicy::of_all(level);
    let (sent, tally) = scrape(page, names, flink::LabelPolicy::default(), policy);
    let (rolled, others): (Vec<_>, Vec<_>) =
        sent.into_iter().partition(|(series, _)| series["__name__"].contains(':'));
    let keys = |values: BTreeMap<Series, Vec<f64>>| values.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(keys(without_ids(others)), keys(without_ids(kept)), "what is not rolled up stays");
    assert_eq!(tally.scraped, of_raw.scraped);
    assert_eq!(tally.made, of_raw.made + rolled.len() as u64, "beside derived series");
    assert_eq!(tally.scraped + tally.made, tally.kept + tally.dropped.total());
    let (count, rolled) = (rolled.len(), without_ids(rolled));
    for (series, expect) in &expected {
        let Some(values) = rolled.get(series) else { panic!("{series:?} is missing") };
        let same = values.iter().zip(expect).all(|(a, b)| close(*a, *b));
        assert!(same && values.len() == expect.len(), "{series:?}: {values:?}, not {expect:?}");
    }
    assert_eq!(rolled.len(), expected.len(), "{level}");
    count
}

#[test]
fn roll_ups_are_what_promql_makes_of_the_raw_series() {
    let mut rolled = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        for names in [NameMode::Canonical, NameMode::Raw] {
            let [of_tasks, of_jobs] =
                [Level::Task, Level::Job].map(|level| check(&page, names, level));
            assert!(of_jobs <= of_tasks, "{}", path.display());
            rolled += of_tasks + of_jobs;
        }
    }
    assert!(rolled > 10_000, "the pages have subtasks: {rolled}");
}

#[test]
fn roll_ups_of_a_wide_job_save_most_of_its_series() {
    // A recorded task with 64 subtasks.
    let page = fs::read_to_string("tests/pages/2.3.0/taskmanager-1.prom").unwrap();
    let first = |line: &&str| line.contains("subtask_index=\"0\"");
    let wide: String = (0..64)
        .flat_map(|subtask| {
            let own = format!("subtask_index=\"{subtask}\"");
            // The attempt's id names the subtask, too.
            let attempt = format!("_{subtask}_0\",");
            let lines = page.lines().filter(first);
            lines.map(move |line| {
                line.replace("subtask_index=\"0\"", &own).replace("_0_0\",", &attempt) + "\n"
            })
        })
        .collect();
    let count = |level| {
        let policy = RollupPolicy::of_all(level);
        scrape(&wide, NameMode::Canonical, flink::LabelPolicy::default(), policy).1.kept
    };
    let [subtask, task, job] = Level::ALL.map(count);
    assert!(task * 20 < subtask && job < task, "{subtask} {task} {job}");
    check(&wide, NameMode::Canonical, Level::Task);
}

#[test]
fn labels_of_the_target_stay() {
    let page =
        "flink_taskmanager_job_task_numRecordsIn{host=\"h\",subtask_index=\"0\",instance=\"x\"} 1";
    let policy = RollupPolicy::of_all(Level::Job);
    let (sent, _) = scrape(page, NameMode::Canonical, flink::LabelPolicy::default(), policy);
    let labels: Labels<'_> =
        sent.iter().flat_map(|(series, _)| series.iter().map(|(n, v)| (&**n, &**v))).collect();
    assert_eq!(
        labels.to_string(),
        "flink_taskmanager_job_task_numRecordsIn:job_sum{exported_instance=\"x\",instance=\"tm:9250\",job=\"flink\"}"
    );
}
