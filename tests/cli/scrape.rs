//! `flinkrelay scrape`: what is shown, in each format, and what its exit code says.

use std::collections::BTreeMap;

use flinkrelay::{
    exposition::{self, Entry, Limits},
    flink::{NameMode, catalogue},
};
use serde_json::Value;

use crate::{
    fakes::{
        flink::{FakeFlink, page},
        http::Answer,
    },
    process::{Output, flinkrelay},
};

/// A small page with everything that the formats treat differently.
const PAGE: &str = r#"# HELP flink_taskmanager_Status_JVM_CPU_Time Time (scope: taskmanager_Status_JVM_CPU)
# TYPE flink_taskmanager_Status_JVM_CPU_Time gauge
flink_taskmanager_Status_JVM_CPU_Time{host="h",tm_id="tm_1",} 1.5E10
# TYPE flink_taskmanager_job_task_numRecordsIn gauge
flink_taskmanager_job_task_numRecordsIn{job_id="1",task_id="2",task_name="a \"b\" \\ c\nd",subtask_index="0",host="h",tm_id="tm_1",} 7.0
flink_taskmanager_job_task_numRecordsIn{job_id="1",task_id="2",task_name="a \"b\" \\ c\nd",subtask_index="1",host="h",tm_id="tm_1",} 0.0
# HELP flink_taskmanager_job_task_operator_own back\\slash\nand line
# TYPE flink_taskmanager_job_task_operator_own summary
flink_taskmanager_job_task_operator_own_count{operator_id="3",operator_name="op",tm_id="tm_1",} 2.0
flink_taskmanager_job_task_operator_own{operator_id="3",operator_name="op",tm_id="tm_1",quantile="0.5",} NaN
flink_taskmanager_job_task_operator_own{operator_id="3",operator_name="op",tm_id="tm_1",quantile="0.99",} +Inf
flink_taskmanager_job_task_operator_own_count{operator_id="4",operator_name="op",tm_id="tm_1",} 3.0
flink_taskmanager_Status_JVM_Threads_Count{host="h",tm_id="tm_1",} 40.0
flink_taskmanager_Status_JVM_Threads_Count{host="h",tm_id="tm_1",} 41.0
flink_taskmanager_broken{host="h} 1.0
"#;

async fn scrape_of(flink: &FakeFlink, more: &[&str]) -> Output {
    let address = flink.address();
    flinkrelay(&[&["scrape", "--target", &address], more].concat()).await
}

/// Durations differ from run to run.
fn redact(told: &str) -> String {
    let lines = told.lines().map(|line| match line.split_once(" bytes in ") {
        Some((before, after)) => {
            let (_, after) = after.split_once(" s,").unwrap();
            format!("{before} bytes in TIME s,{after}")
        }
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_table_shows_a_target_its_groups_its_losses_and_its_series() {
    let flink = FakeFlink::with_page(PAGE).await;
    let output = scrape_of(&flink, &["--external-label", "cluster=eu"]).await;
    assert_eq!(output.code, 0);
    insta::assert_snapshot!(redact(&output.told(&[(&flink.address(), "HOST:PORT")])));
}

#[tokio::test]
async fn groups_filter_what_is_shown() {
    let flink = FakeFlink::with_page(PAGE).await;
    let output = scrape_of(&flink, &["--groups", "cpu,threads"]).await;
    insta::assert_snapshot!(redact(&output.told(&[(&flink.address(), "HOST:PORT")])));
}

#[tokio::test]
async fn the_json_has_it_all() {
    let flink = FakeFlink::with_page(PAGE).await;
    let output = scrape_of(&flink, &["-o", "json"]).await;
    assert_eq!((output.code, &*output.stderr), (0, ""));
    let stdout = output.stdout.replace(&flink.address(), "HOST:PORT");
    let mut document: Value = serde_json::from_str(&stdout).unwrap();
    let target = &mut document["targets"][0];
    assert!(target["duration_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    target["duration_seconds"] = "NUMBER".into();
    for series in target["series"].as_array_mut().unwrap() {
        assert!(series["timestamp_ms"].as_i64().is_some_and(|ms| ms > 1_600_000_000_000));
        series["timestamp_ms"] = "NUMBER".into();
    }
    insta::assert_json_snapshot!(document);
}

#[tokio::test]
async fn the_page_that_prom_prints_is_read_again_to_the_same_series() {
    let flink = FakeFlink::with_page(PAGE).await;
    let manager =
        FakeFlink::with_page("flink_jobmanager_Status_JVM_CPU_Time{host=\"h\",} 1.0\n").await;
    let both = ["-o", "prom", "--target", &manager.address()];
    let prom = scrape_of(&flink, &both).await;
    assert_eq!((prom.code, &*prom.stderr), (0, ""));
    let addresses = [(&*flink.address(), "HOST:PORT"), (&*manager.address(), "MANAGER:PORT")];
    insta::assert_snapshot!(prom.told(&addresses));

    let read = exposition::page(prom.stdout.as_bytes(), &Limits::default()).unwrap();
    assert!(read.faults.is_empty(), "{:?}", read.faults);
    let mut families = Vec::new();
    for (_, entry) in &read.entries {
        if let Entry::Type { name, .. } = entry {
            assert!(!families.contains(name), "{name} comes twice");
            families.push(*name);
        }
    }
    let json = scrape_of(&flink, &["-o", "json", "--target", &manager.address()]).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let mut expected = BTreeMap::new();
    for series in
        json["targets"].as_array().unwrap().iter().flat_map(|t| t["series"].as_array().unwrap())
    {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(series["labels"].clone()).unwrap();
        let key = (series["name"].as_str().unwrap().to_owned(), labels);
        let (value, _) = exposition::value(series["value"].as_str().unwrap().as_bytes()).unwrap();
        assert!(expected.insert(key, value.to_bits()).is_none());
    }
    let of_sample = |sample: &exposition::Sample<'_>| {
        let labels = sample.labels().map(|(name, value)| (name.to_owned(), value.into_owned()));
        ((sample.name.to_owned(), labels.collect()), sample.value.to_bits())
    };
    let found: BTreeMap<_, _> = read.samples().map(of_sample).collect();
    assert_eq!(found.len(), read.samples().count());
    assert_eq!(found.len(), 8);
    assert!(found == expected, "{found:#?}\n{expected:#?}");

    // And scraped from a Flink that has this page: labels of targets move aside, the rest stays.
    let again = FakeFlink::with_page(&prom.stdout).await;
    let again = scrape_of(&again, &["-o", "json"]).await;
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again["targets"][0]["samples_kept"], 8);
    assert_eq!(again["targets"][0]["faults_total"], 0);
}

/// What each series is: its name with the labels that are its own, its group; and the types by name.
fn meaning(document: &Value) -> (BTreeMap<String, String>, BTreeMap<String, [String; 3]>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_target = |label: &str| label.trim_start_matches("exported_").to_owned();
    let (mut groups, mut metrics) = (BTreeMap::new(), BTreeMap::new());
    for target in document["targets"].as_array().unwrap() {
        for series in target["series"].as_array().unwrap() {
            let labels = series["labels"].as_object().unwrap().iter();
            let labels =
                labels.filter(|(label, _)| !matches!(&*of_target(label), "job" | "instance"));
            let labels: Vec<_> = labels.map(|(label, value)| format!("{label}={value}")).collect();
            let key = format!("{} {}", text(&series["name"]), labels.join(","));
            assert!(groups.insert(key, text(&series["group"])).is_none(), "{series}");
        }
        for metric in target["metrics"].as_array().unwrap() {
            let about = ["type", "unit", "help"].map(|key| text(&metric[key]));
            metrics.insert(text(&metric["name"]), about);
        }
    }
    (groups, metrics)
}

#[tokio::test]
async fn a_page_that_prom_printed_means_the_same_when_it_is_scraped() {
    for name in ["2.3.0/taskmanager-2.prom", "1.14.2/taskmanager-2.prom", "1.20.5/jobmanager.prom"]
    {
        let text = std::fs::read_to_string(format!("tests/pages/{name}")).unwrap();
        let flink = FakeFlink::with_page(&text).await;
        let prom = scrape_of(&flink, &["-o", "prom"]).await;
        let first = scrape_of(&flink, &["-o", "json"]).await;
        let again = FakeFlink::with_page(&prom.stdout).await;
        let second = scrape_of(&again, &["-o", "json"]).await;
        let [first, second] =
            [first, second].map(|out| serde_json::from_str::<Value>(&out.stdout).unwrap());
        let ((groups, metrics), (groups_again, metrics_again)) =
            (meaning(&first), meaning(&second));
        assert!(groups.len() > 80, "{name}: {}", groups.len());
        let differ = |one: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
            let differ = one.iter().filter(|(series, group)| other.get(*series) != Some(group));
            differ.map(|(series, group)| format!("{group} {series}")).collect::<Vec<_>>()
        };
        let none = Vec::<String>::new();
        assert_eq!(differ(&groups, &groups_again), none, "{name}: gone or of another group");
        assert_eq!(differ(&groups_again, &groups), none, "{name}: new");
        // The text format has no units, and no help of several lines.
        assert_eq!(metrics.keys().collect::<Vec<_>>(), metrics_again.keys().collect::<Vec<_>>());
        for (metric, about) in &metrics {
            assert_eq!(about, &metrics_again[metric], "{name}: {metric}");
        }
    }
}

#[tokio::test]
async fn real_pages_survive_prom_too() {
    for name in ["2.3.0/taskmanager-2.prom", "odd/tm_2.3.0_odd_values.txt"] {
        let text = std::fs::read_to_string(format!("tests/pages/{name}")).unwrap();
        let flink = FakeFlink::with_page(&text).await;
        let prom = scrape_of(&flink, &["-o", "prom"]).await;
        assert_eq!((prom.code, &*prom.stderr), (0, ""), "{name}");
        let before = exposition::page(text.as_bytes(), &Limits::default()).unwrap();
        let after = exposition::page(prom.stdout.as_bytes(), &Limits::default()).unwrap();
        assert!(after.faults.is_empty(), "{name}: {:?}", after.faults);
        // What stands on the page under a former name stands there under the present one too, and a
        // sentinel is no value.
        let sent = before.samples().filter_map(|sample| {
            let known = catalogue().find(sample.name);
            if known.is_some_and(|known| known.no_value().is(sample.value)) {
                return None;
            }
            let name = NameMode::Canonical.sample(known.as_ref(), sample.name).into_owned();
            (!NameMode::Canonical.stands_back(known.as_ref()))
                .then_some((name, sample.value.to_bits()))
        });
        let mut sent: Vec<_> = sent.collect();
        let is_derived =
            |name: &str| catalogue().lookup(name).is_some_and(|m| !m.derived_from.is_empty());
        let printed = after.samples().filter(|sample| !is_derived(sample.name));
        let printed = printed.map(|sample| (sample.name.to_owned(), sample.value.to_bits()));
        let mut printed: Vec<_> = printed.collect();
        sent.sort_unstable();
        printed.sort_unstable();
        assert!(sent == printed, "{name}");
        let families: Vec<_> = prom.stdout.lines().filter(|l| l.starts_with("# TYPE ")).collect();
        let distinct: std::collections::BTreeSet<_> = families.iter().collect();
        assert_eq!(distinct.len(), families.len(), "{name}: each family once");
    }
}

#[tokio::test]
async fn a_target_that_cannot_be_scraped_is_exit_code_1_and_the_others_are_shown() {
    let well = FakeFlink::with_page("flink_jobmanager_numRunningJobs{host=\"h\",} 3.0\n").await;
    let ill = FakeFlink::with_script(|_| Answer::words(503, "starting")).await;
    let site = FakeFlink::with_script(|_| {
        Answer::new(200, &[("content-type", "text/html")], "<html></html>")
    })
    .await;
    let cut = FakeFlink::with_script(|_| page(PAGE).cut(700)).await;
    let dead = FakeFlink::with_page("").await;
    let names = [
        (well.address(), "WELL"),
        (ill.address(), "ILL"),
        (site.address(), "SITE"),
        (cut.address(), "CUT"),
        (dead.address(), "DEAD"),
    ];
    dead.kill().await;
    let mut arguments = vec!["scrape"];
    arguments.extend(names.iter().flat_map(|(address, _)| ["--target", address]));
    let output = flinkrelay(&arguments).await;
    assert_eq!(output.code, 1);
    let replace: Vec<_> = names.iter().map(|(address, name)| (&**address, *name)).collect();
    let told = redact(&output.told(&replace));
    // Targets are sorted by URL, which here is by port: chance. So are their blocks.
    let (stdout, stderr) = told.split_once("--- stderr\n").unwrap();
    let mut blocks: Vec<_> = stdout.split("\n\n").map(str::trim).collect();
    let mut lines: Vec<_> = stderr.lines().collect();
    blocks[0] = blocks[0].strip_prefix("exit 1\n--- stdout\n").unwrap();
    blocks.sort_unstable();
    lines.sort_unstable();
    insta::assert_snapshot!(format!("{}\n\n--- stderr\n{}", blocks.join("\n\n"), lines.join("\n")));
}

#[tokio::test]
async fn a_range_without_flink_is_exit_code_1() {
    let exporter = FakeFlink::with_page("node_load1 0.5\n").await;
    let address = exporter.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    // The port before it is taken by nobody, or by another test that is no Flink either.
    let range = format!("{host}:{port}-{}", port.saturating_add(1));
    let output = flinkrelay(&["scrape", "--target", &range]).await;
    assert_eq!(output.code, 1, "{}", output.stdout);
    assert!(output.stdout.contains("no port answers with a Flink page"), "{}", output.stdout);
    let ignored = format!("ignored {port}: metrics of other software, none of Flink's");
    assert!(output.stdout.contains(&ignored), "{}", output.stdout);
    assert!(output.stderr.ends_with(": no port answers with a Flink page\n"), "{}", output.stderr);
}
