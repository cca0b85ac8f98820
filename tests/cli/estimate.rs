//! `flinkrelay scrape --estimate` against counts, sizes and aggregations of the tests' own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use flinkrelay::remote_write::proto::{Label, Sample, TimeSeries, WriteRequest};
use prost::Message as _;
use serde_json::Value;

use crate::{fakes::flink::FakeFlink, process::flinkrelay};

async fn json(arguments: &[&str]) -> Value {
    let output = flinkrelay(&[arguments, &["-o", "json"]].concat()).await;
    assert_eq!((output.code, &*output.stderr), (0, ""));
    serde_json::from_str(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What each group and job of a plain scrape has: series.
fn counted(scrape: &Value) -> BTreeMap<(String, String), u64> {
    let mut rows = BTreeMap::new();
    for target in scrape["targets"].as_array().unwrap() {
        for series in target["series"].as_array().unwrap() {
            let group = series["group"].as_str().unwrap().to_owned();
            let job = series["labels"]["job_name"].as_str().unwrap_or("-").to_owned();
            *rows.entry((group, job)).or_insert(0) += 1;
        }
    }
    rows
}

/// The compressed body of a target's series, made with other encoders than the relay's.
fn body_bytes(target: &Value) -> usize {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let series = target["series"].as_array().unwrap().iter().map(|series| {
        let mut labels = vec![label("__name__", series["name"].as_str().unwrap())];
        let own = series["labels"].as_object().unwrap();
        labels.extend(own.iter().map(|(name, value)| label(name, value.as_str().unwrap())));
        labels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let value = series["value"].as_str().unwrap().replace("Inf", "inf").parse().unwrap();
        let timestamp = series["timestamp_ms"].as_i64().unwrap();
        TimeSeries { labels, samples: vec![Sample { value, timestamp }] }
    });
    let request = WriteRequest { timeseries: series.collect(), ..WriteRequest::default() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap().len()
}

#[tokio::test]
async fn series_samples_and_bytes_are_those_of_the_pages() {
    let read = |name: &str| std::fs::read_to_string(format!("tests/pages/2.3.0/{name}")).unwrap();
    let manager = FakeFlink::with_page(&read("jobmanager.prom")).await;
    let task_manager = FakeFlink::with_page(&read("taskmanager-2.prom")).await;
    let (one, two) = (manager.address(), task_manager.address());
    let targets =
        ["scrape", "--flink-rest", "off", "--target", &one, "--target", &two, "--interval", "10s"];
    let scrape = json(&targets).await;
    let estimate = json(&[&targets[..], &["--estimate"]].concat()).await;

    let counted = counted(&scrape);
    let mut rows = BTreeMap::new();
    for row in estimate["rows"].as_array().unwrap() {
        let group = row["group"].as_str().unwrap().to_owned();
        let job = row["job_name"].as_str().unwrap_or("-").to_owned();
        let series = row["series"].as_u64().unwrap();
        assert!((number(&row["samples_per_second"]) - series as f64 / 10.0).abs() < 1e-9, "{row}");
        *rows.entry((group, job)).or_insert(0) += series;
    }
    assert_eq!(rows.remove(&("report".to_owned(), "-".to_owned())), Some(2 * 5));
    assert!(counted.len() > 12, "{counted:?}");
    assert_eq!(rows, counted);

    let series: u64 = counted.values().sum();
    let total = &estimate["total"];
    assert_eq!(total["series"], series + 2 * 5);
    assert!((number(&total["samples_per_second"]) - (series + 10) as f64 / 10.0).abs() < 1e-9);
    let scrapes_a_day = 8640.0;
    let bodies: usize = scrape["targets"].as_array().unwrap().iter().map(body_bytes).sum();
    // The tests' bodies lack the report, which adds less than a hundredth, and are made by a compressor
    // that knows nothing of series; what the relay knows saves it a sixth.
    let ratio = number(&total["bytes_per_day_v1"]) / (bodies as f64 * scrapes_a_day);
    assert!((0.75..0.92).contains(&ratio), "{ratio}");
    let v2 = number(&total["bytes_per_day_v2"]);
    assert!(v2 > 0.0 && v2 < number(&total["bytes_per_day_v1"]), "{total}");

    let manager_series = scrape["targets"].as_array().unwrap().iter();
    let of_role = |role: &str| {
        let target = manager_series.clone().find(|target| target["role"] == role).unwrap();
        target["series"].as_array().unwrap()
    };
    for role in ["jobmanager", "taskmanager"] {
        assert_eq!(estimate["targets"][role]["series"], of_role(role).len(), "{role}");
    }
    let with = |label: &str| {
        let all = ["jobmanager", "taskmanager"].map(of_role).into_iter().flatten();
        all.filter(|series| !series["labels"][label].is_null()).count()
    };
    assert_eq!(estimate["new_series"]["jobs"], with("job_id"));
    assert_eq!(estimate["new_series"]["task_managers"], with("tm_id"));
    assert_eq!(estimate["new_series"]["attempts"], 0, "normalised labels have no attempt");
    assert!(with("job_id") > 100 && with("tm_id") > 100);

    // What a TaskManager's page has counts 50 times, what the JobManager's has once.
    let scaled = json(&[&targets[..], &["--estimate", "--task-managers", "50"]].concat()).await;
    let expected = of_role("jobmanager").len() + 5 + 50 * (of_role("taskmanager").len() + 5);
    assert_eq!(scaled["scaled"]["series"], expected);
    assert_eq!(scaled["total"]["series"], estimate["total"]["series"]);
    let series = scaled["mimir"].as_array().unwrap().iter();
    let mut series = series.filter(|limit| limit["name"] == "max_global_series_per_user");
    assert_eq!(series.next().unwrap()["found"], expected);
}

/// A page of a counter and a gauge of so many tasks and subtasks of one job.
fn page(tasks: usize, subtasks: usize) -> String {
    let mut page = String::new();
    for metric in ["numRecordsIn", "numBytesOut"] {
        for (task, subtask) in (0..tasks).flat_map(|task| (0..subtasks).map(move |s| (task, s))) {
            writeln!(
                page,
                "flink_taskmanager_job_task_{metric}{{job_id=\"j\",job_name=\"orders\",task_id=\"t{task}\",\
                 task_name=\"task {task}\",subtask_index=\"{subtask}\",task_attempt_num=\"0\",\
                 task_attempt_id=\"a{task}{subtask}\",host=\"h\",tm_id=\"tm\",}} 1.0"
            )
            .unwrap();
        }
    }
    page + "flink_taskmanager_Status_JVM_Threads_Count{host=\"h\",tm_id=\"tm\",} 9.0\n"
        + "flink_taskmanager_job_task_own{job_name=\"orders\",subtask_index=\"1\",} 9.0\n"
}

#[tokio::test]
async fn levels_leave_the_series_that_an_aggregation_leaves() {
    let (tasks, subtasks) = (3, 40);
    let flink = FakeFlink::with_page(&page(tasks, subtasks)).await;
    let target = flink.address();
    let arguments = ["scrape", "--flink-rest", "off", "--target", &target];
    let scrape = json(&arguments).await;
    let estimate = json(&[&arguments[..], &["--estimate"]].concat()).await;
    // `count(count by (…) (…))` over what is scraped: counters have one function, the sum.
    let left = |by: &[&str]| {
        let series = scrape["targets"][0]["series"].as_array().unwrap().iter();
        let series = series.filter(|series| series["group"] == "io");
        let key = |series: &Value| {
            let labels = by.iter().map(|label| series["labels"][label].to_string());
            (series["name"].to_string(), labels.collect::<Vec<_>>())
        };
        series.map(key).collect::<BTreeSet<_>>().len()
    };
    let rows = estimate["rows"].as_array().unwrap();
    let io = rows.iter().find(|row| row["group"] == "io").unwrap();
    assert_eq!((io["job_name"].as_str(), io["job_id"].as_str()), (Some("orders"), Some("j")));
    assert_eq!(io["series"], 2 * tasks * subtasks);
    assert_eq!(io["at_level_task"]["series"], left(&["job_name", "task_name"]));
    assert_eq!(io["at_level_task"]["series"], 2 * tasks);
    assert_eq!(io["at_level_job"]["series"], left(&["job_name"]));
    assert_eq!(io["at_level_job"]["series"], 2);
    for row in rows.iter().filter(|row| row["group"] != "io") {
        // A JVM has no subtasks, and of what is unknown nobody knows how to add it up.
        assert_eq!(row["at_level_job"]["series"], row["series"], "{row}");
    }
    let of = |level: &str| number(&io[level]["bytes_per_day_v1"]);
    assert!(of("at_level_task") < number(&io["bytes_per_day_v1"]) / 5.0, "{io}");
    assert!(of("at_level_job") < of("at_level_task"), "{io}");
    assert!(of("at_level_job") > 0.0);
}

#[tokio::test]
async fn limits_that_would_be_hit_are_told_with_the_series() {
    let long = "x".repeat(2049);
    let labels: String = (0..31).map(|n| format!("l{n}=\"v\",")).collect();
    let page =
        format!("flink_jobmanager_long{{a=\"{long}\"}} 1\nflink_jobmanager_many{{{labels}}} 1\n");
    let flink = FakeFlink::with_page(&page).await;
    let target = flink.address();
    let arguments = ["scrape", "--flink-rest", "off", "--estimate", "--target", &target];
    let estimate = json(&arguments).await;
    let hit: BTreeMap<_, _> = estimate["mimir"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|limit| limit["is_hit"] == true)
        .map(|limit| {
            (limit["name"].as_str().unwrap(), (limit["found"].as_u64().unwrap(), &limit["series"]))
        })
        .collect();
    let expected = [
        // Its own, `__name__`, `job` and `instance`.
        ("max_label_names_per_series", (34, &Value::from("flink_jobmanager_many"))),
        ("max_label_value_length", (2049, &Value::from("flink_jobmanager_long"))),
    ];
    assert_eq!(hit, expected.into());
    // Two series and five of the report, once a second; the default is every 15 s.
    assert_eq!(estimate["mimir"][0]["name"], "ingestion_rate");
    assert_eq!(estimate["mimir"][0]["found"], 1);
    let fast = json(&[&arguments[..], &["--interval", "1s"]].concat()).await;
    assert_eq!(fast["mimir"][0]["found"], 7);
}

#[tokio::test]
async fn the_estimate_is_shown_for_people() {
    let flink = FakeFlink::with_page(&page(2, 4)).await;
    let target = flink.address();
    let arguments = ["scrape", "--estimate", "--flink-rest", "off", "--target", &target];
    let output = flinkrelay(&[&arguments[..], &["--task-managers", "10"]].concat()).await;
    let told = output.told(&[(&target, "HOST:PORT")]);
    // Sizes, and with them the columns, depend on digits of ports and times.
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        for at in 1..words.len() {
            if matches!(words[at], "kB" | "MB") {
                (words[at - 1], words[at]) = ("SIZE", "UNIT");
            }
        }
        words.join(" ")
    };
    let lines: Vec<_> = told.lines().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let wrong = flinkrelay(&[&arguments[..], &["-o", "prom"]].concat()).await;
    assert_eq!((wrong.code, &*wrong.stdout), (2, ""));
    let wrong = flinkrelay(&["scrape", "--task-managers", "3", "--target", &target]).await;
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
}
