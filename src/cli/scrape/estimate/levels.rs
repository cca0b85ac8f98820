//! The series that are left at each roll-up level: see docs/flink.md.

use std::{borrow::Cow, collections::HashSet};

use super::size::{Item, Pages};
use crate::{
    flink::{
        Catalogue, Kind,
        catalogue::{Found, Registered, Unit},
    },
    labels::{Labels, METRIC_NAME},
};

/// How far series are aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// A series for each task, or operator of a task.
    Task,
    /// A series for each job.
    Job,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Job => "job",
        }
    }
}

/// The same pages rolled up; what is no subtask's, or unknown to the catalogue, stays as it is.
pub(super) fn rolled_up(pages: &Pages, level: Level, catalogue: &Catalogue) -> Pages {
    let mut rolled = pages.like();
    for (page, items) in pages.iter().enumerate() {
        let mut seen = HashSet::new();
        for item in items {
            let name = item.labels.metric_name();
            let found = catalogue.find(name);
            let functions = found.as_ref().map_or(&[][..], |found| functions(found, name));
            if functions.is_empty() {
                rolled.push(page, item.clone());
            }
            for function in functions {
                let labels = stripped(&item.labels, level, function);
                if seen.insert(labels.identity()) {
                    rolled.push(page, Item { labels, ..item.clone() });
                }
            }
        }
    }
    rolled
}

/// The functions by which a sample is rolled up; none where it is no subtask's.
fn functions(found: &Found<'_, '_>, name: &str) -> &'static [&'static str] {
    if !name.starts_with("flink_taskmanager_job_") {
        return &[];
    }
    let is_count = found.metric.kind == Kind::Summary && found.family.len() < name.len();
    if is_count {
        return &["sum"];
    }
    match (found.metric.kind, found.metric.registered, found.metric.unit) {
        (Kind::Info, ..) => &[],
        (Kind::Counter, ..)
        | (_, Registered::Meter, Unit::PerSecond | Unit::BytesPerSecond)
        | (_, _, Unit::Count | Unit::Bytes) => &["sum"],
        (_, _, Unit::TimestampMs) => &["min"],
        (_, _, Unit::Boolean) => &["sum", "max"],
        (_, _, Unit::Ratio | Unit::Percent | Unit::MillisecondsPerSecond | Unit::Mixed) => {
            &["avg", "max"]
        }
        _ => &["max"],
    }
}

/// The labels that are left, under the roll-up's name.
fn stripped(labels: &Labels<'static>, level: Level, function: &str) -> Labels<'static> {
    let of_output = labels.get("direction").is_some();
    let goes = |name: &str| {
        OF_SUBTASK.contains(&name)
            || (level == Level::Job
                && (OF_TASK.contains(&name) || (of_output && name == "partition")))
    };
    let mut left = Labels::new();
    for (name, value) in labels.iter().filter(|(name, _)| !goes(name)) {
        let value = match name {
            METRIC_NAME => format!("{value}:{}_{function}", level.as_str()),
            _ => value.to_owned(),
        };
        left.push(Cow::Owned(name.to_owned()), value);
    }
    left
}

/// Labels that tell apart the subtasks of a task, and where they run.
const OF_SUBTASK: [&str; 7] = [
    "subtask_index",
    "source_subtask_index",
    "operator_subtask_index",
    "task_attempt_id",
    "task_attempt_num",
    "tm_id",
    "host",
];

/// Labels that tell apart what is below a job.
const OF_TASK: [&str; 8] = [
    "task_id",
    "task_name",
    "operator_id",
    "operator_name",
    "operator",
    "source_id",
    "gate",
    "input",
];
