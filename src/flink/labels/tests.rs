//! Normalisation as tables, and its laws as properties.

use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::labels::METRIC_NAME;

fn policy(keep: &[&str]) -> LabelPolicy {
    let keep: Vec<_> = keep.iter().map(|k| (*k).to_owned()).collect();
    LabelPolicy::try_new(LabelMode::Normalised, &keep).unwrap()
}

/// `name{a="1"}` for the pairs, sorted, so that order does not matter.
fn line(labels: &Labels<'_>) -> String {
    let mut labels = labels.clone();
    labels.sort();
    labels.to_string()
}

const OPERATOR: &[(&str, &str)] = &[
    ("job_id", "4586"),
    ("job_name", "clicks"),
    ("task_id", "f6dc"),
    ("task_name", "Window -> Sink"),
    ("task_attempt_id", "f87f_1_0"),
    ("task_attempt_num", "2"),
    ("subtask_index", "1"),
    ("operator_id", "ba20"),
    ("operator_name", "Window"),
    ("host", "127_0_0_1"),
    ("tm_id", "tm_2"),
];
/// A latency histogram: the operator is known by its id alone.
const LATENCY: &[(&str, &str)] = &[
    ("job_id", "4586"),
    ("task_id", "f6dc"),
    ("task_name", "Window"),
    ("task_attempt_num", "0"),
    ("operator_id", "ba20"),
    ("operator_subtask_index", "1"),
    ("source_id", "cbc3"),
    ("host", "h"),
    ("tm_id", "tm"),
    ("quantile", "0.5"),
];
const COORDINATOR: &[(&str, &str)] = &[
    ("host", "jm"),
    ("job_id", "4586"),
    ("task_id", "f6dc"),
    ("task_name", "Source"),
    ("operator_id", "ba20"),
    ("operator_name", "Source"),
];

#[track_caller]
fn check(policy: LabelPolicy, metric: &str, raw: &[(&str, &str)], expect: &str, dropped: &str) {
    let mut labels: Labels<'_> = raw.iter().copied().collect();
    labels.set(METRIC_NAME, metric);
    let before = labels.clone();
    let lost = policy.normalise(&mut labels);
    assert_eq!(line(&labels), expect);
    let lost: Vec<_> = lost.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(lost.join(" "), dropped, "dropped from {before}");
}

#[test]
fn each_scope_keeps_its_names_and_loses_its_ids() {
    let plain = LabelPolicy::default();
    check(
        plain,
        "flink_taskmanager_job_task_operator_x",
        OPERATOR,
        r#"flink_taskmanager_job_task_operator_x{job_id="4586",job_name="clicks",operator="Window",subtask_index="1",task_name="Window -> Sink",tm_id="tm_2"}"#,
        "operator_id=ba20 task_id=f6dc task_attempt_num=2 task_attempt_id=f87f_1_0 host=127_0_0_1",
    );
    check(
        plain,
        "flink_taskmanager_Status_JVM_CPU_Load",
        &[("host", "h"), ("tm_id", "tm")],
        r#"flink_taskmanager_Status_JVM_CPU_Load{tm_id="tm"}"#,
        "host=h",
    );
    check(
        plain,
        "flink_jobmanager_job_uptime",
        &[("host", "jm"), ("job_id", "1"), ("job_name", "j")],
        r#"flink_jobmanager_job_uptime{host="jm",job_id="1",job_name="j"}"#,
        "",
    );
    check(
        plain,
        "flink_jobmanager_job_operator_coordinator_x",
        COORDINATOR,
        r#"flink_jobmanager_job_operator_coordinator_x{host="jm",job_id="4586",operator="Source",task_name="Source"}"#,
        "operator_id=ba20 task_id=f6dc",
    );
}

#[test]
fn an_id_stays_where_no_name_tells_the_same() {
    check(
        LabelPolicy::default(),
        "flink_taskmanager_job_task_latency",
        LATENCY,
        r#"flink_taskmanager_job_task_latency{job_id="4586",operator_id="ba20",operator_subtask_index="1",quantile="0.5",source_id="cbc3",task_name="Window",tm_id="tm"}"#,
        "task_id=f6dc task_attempt_num=0 host=h",
    );
    // `scope.variables.excludes: task_name;operator_name` in Flink's own config.
    check(
        LabelPolicy::default(),
        "flink_taskmanager_job_task_x",
        &[("task_id", "f6"), ("operator_id", "ba"), ("host", "h")],
        r#"flink_taskmanager_job_task_x{host="h",operator_id="ba",task_id="f6"}"#,
        "",
    );
}

#[test]
fn what_is_asked_for_is_kept() {
    check(
        policy(&["host", "task_attempt_num"]),
        "flink_taskmanager_x",
        OPERATOR,
        r#"flink_taskmanager_x{host="127_0_0_1",job_id="4586",job_name="clicks",operator="Window",subtask_index="1",task_attempt_num="2",task_name="Window -> Sink",tm_id="tm_2"}"#,
        "operator_id=ba20 task_id=f6dc task_attempt_id=f87f_1_0",
    );
    let mut labels: Labels<'_> = OPERATOR.iter().copied().collect();
    labels.set(METRIC_NAME, "flink_x");
    assert!(policy(&IDS_BY_PRIORITY).normalise(&mut labels).is_empty());
    for id in IDS_BY_PRIORITY {
        assert!(labels.get(id).is_some(), "{id} was to be kept");
    }
    assert_eq!(labels.get("operator"), Some("Window"), "renaming is not dropping");
}

#[test]
fn a_users_label_named_operator_survives_beside_flinks() {
    check(
        LabelPolicy::default(),
        "flink_taskmanager_job_task_operator_x",
        &[("operator", "vodafone"), ("operator_name", "Map"), ("operator_id", "ba"), ("a_b", "1")],
        r#"flink_taskmanager_job_task_operator_x{a_b="1",operator="vodafone",operator_name="Map"}"#,
        "operator_id=ba",
    );
}

#[test]
fn raw_mode_and_other_softwares_metrics_are_left_alone() {
    let raw = LabelPolicy::try_new(LabelMode::Raw, &[]).unwrap();
    for (policy, metric) in
        [(raw, "flink_taskmanager_x"), (LabelPolicy::default(), "node_x"), (policy(&[]), "flinkx")]
    {
        let mut labels: Labels<'_> = OPERATOR.iter().copied().collect();
        labels.set(METRIC_NAME, metric);
        let before = labels.clone();
        assert!(policy.normalise(&mut labels).is_empty());
        assert_eq!(labels, before, "{metric}");
    }
}

#[test]
fn policies_that_are_refused() {
    let refused = |(mode, keep): (LabelMode, &str)| {
        LabelPolicy::try_new(mode, &[keep.to_owned()]).unwrap_err().to_string()
    };
    let normalised =
        ["attempt_id", "job_id", "taskid", "host "].map(|k| (LabelMode::Normalised, k));
    let all = normalised.into_iter().chain([(LabelMode::Raw, "host")]).map(refused);
    insta::assert_snapshot!(all.collect::<Vec<_>>().join("\n"));
}

/// Any subset of Flink's labels and users' own, in any order, under any of these names.
fn any_labels() -> impl Strategy<Value = Labels<'static>> {
    let mut names: Vec<&'static str> = OPERATOR.iter().map(|(name, _)| *name).collect();
    names.extend(["operator", "quantile", "region", "operator_subtask_index"]);
    let metric =
        prop::sample::select(vec!["flink_taskmanager_a", "flink_jobmanager_b", "c", "flink_"]);
    let some = subsequence(names.clone(), 0..=names.len()).prop_shuffle();
    (metric, some, prop::collection::vec("[a-z_0-9]{1,3}", 15)).prop_map(
        |(metric, some, values)| {
            let mut labels = Labels::new();
            labels.push(METRIC_NAME, metric);
            for (name, value) in some.into_iter().zip(values) {
                labels.push(name, value);
            }
            labels
        },
    )
}

fn any_policy() -> impl Strategy<Value = LabelPolicy> {
    let keep = subsequence(IDS_BY_PRIORITY.to_vec(), 0..=IDS_BY_PRIORITY.len());
    prop_oneof![
        1 => Just(LabelPolicy::try_new(LabelMode::Raw, &[]).unwrap()),
        9 => keep.prop_map(|keep| policy(&keep)),
    ]
}

proptest! {
    #[test]
    fn normalising_twice_is_normalising_once(raw in any_labels(), policy in any_policy()) {
        let mut once = raw;
        let _ = policy.normalise(&mut once);
        let mut twice = once.clone();
        prop_assert!(policy.normalise(&mut twice).is_empty(), "second pass dropped from {once}");
        prop_assert_eq!(line(&twice), line(&once));
    }

    /// Putting back what was dropped and undoing the renaming gives the page's labels again, hence
    /// two different series of a page stay different once all dropped labels are put back.
    #[test]
    fn nothing_is_lost(raw in any_labels(), policy in any_policy()) {
        let mut labels = raw.clone();
        for (name, value) in policy.normalise(&mut labels) {
            labels.push(name, value);
        }
        if raw.get("operator").is_none() && let Some(operator) = labels.remove("operator") {
            labels.push("operator_name", operator);
        }
        prop_assert_eq!(line(&labels), line(&raw));
    }

    #[test]
    fn iter_shows_what_into_iter_gives(raw in any_labels(), policy in any_policy()) {
        let mut labels = raw;
        let dropped = policy.normalise(&mut labels);
        let seen: Vec<_> = dropped.iter().map(|(n, v)| (n, v.to_owned())).collect();
        prop_assert_eq!(dropped.is_empty(), seen.is_empty());
        let given: Vec<_> = dropped.into_iter().map(|(n, v)| (n, v.into_owned())).collect();
        prop_assert_eq!(seen, given);
    }
}
