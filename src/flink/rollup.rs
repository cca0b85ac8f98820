//! Roll-ups: what one series stands for many subtasks', and by which function.
//!
//! A job of ten operators that runs 200 subtasks wide has 2,000 series of each operator metric. A roll-up
//! aggregates the subtasks away, on the relay, before anything is sent:
//!
//! ```text
//!  flink_taskmanager_job_task_busyTimeMsPerSecond{job_name="j",task_name="Map",subtask_index="0",tm_id="a"} 900
//!  flink_taskmanager_job_task_busyTimeMsPerSecond{job_name="j",task_name="Map",subtask_index="1",tm_id="a"} 100
//!      level task:  …busyTimeMsPerSecond:task_avg{job_name="j",task_name="Map"} 500
//!                   …busyTimeMsPerSecond:task_max{job_name="j",task_name="Map"} 900
//!                   …busyTimeMsPerSecond:task_skew{job_name="j",task_name="Map"} 1.8
//!      level job:   …busyTimeMsPerSecond:job_avg{job_name="j"} 500      and so on
//! ```
//!
//! Which functions say something about a metric is the catalogue's knowledge ([`super::Metric::rollup`]).
//! This module knows the functions, the levels with the labels that go at each of them, and the names.
//!
//! **Names** are those of vmagent's stream aggregation without its interval, `NAME:BY_OUTPUT`: the
//! colon, which Prometheus reserves for series that were computed, keeps a query for `NAME` from ever
//! meeting a roll-up, and level and function in the name keep two roll-ups from being added up. The
//! metric's own name comes first, so that they stand beside it in every list.
//!
//! Invariants: a roll-up's labels are a subset of its sources', so it cannot exceed a limit that they
//! keep, but for its name; equal labels mean equal level and function, since both are in the name.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::Deserialize;

use super::{
    Group, Kind,
    catalogue::{Found, Registered, Unit},
    groups::{did_you_mean, nearest},
};
use crate::labels::Labels;

/// What many values become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// All together; of counters their increases, so that it never goes back.
    Sum,
    /// The mean.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The greatest divided by the mean: 1 is even, 4 of 4 subtasks is that one does everything.
    Skew,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sum, Self::Avg, Self::Min, Self::Max, Self::Skew];

    /// The function in the catalogue and in names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Skew => "skew",
        }
    }

    /// What the HELP of a roll-up begins with.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Sum => "Sum",
            Self::Avg => "Mean",
            Self::Min => "Least",
            Self::Max => "Greatest",
            Self::Skew => "Greatest divided by mean",
        }
    }

    /// The functions of a metric for which none are named.
    pub const fn usual(kind: Kind, registered: Registered, unit: Unit) -> &'static [Self] {
        match (kind, registered, unit) {
            (Kind::Info, ..) => &[],
            (Kind::Counter, ..)
            | (_, Registered::Meter, Unit::PerSecond | Unit::BytesPerSecond)
            | (_, _, Unit::Count | Unit::Bytes) => &[Self::Sum],
            (Kind::Summary, ..) => &[Self::Max],
            (_, _, Unit::TimestampMs) => &[Self::Min],
            (_, _, Unit::Boolean) => &[Self::Sum, Self::Max],
            (_, _, Unit::Ratio | Unit::Percent | Unit::MillisecondsPerSecond | Unit::Mixed) => {
                &[Self::Avg, Self::Max]
            }
            _ => &[Self::Max],
        }
    }
}

/// How far series are aggregated; each level holds less than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Not at all: a series for each subtask.
    #[default]
    Subtask,
    /// A series for each task, or operator of a task.
    Task,
    /// A series for each job.
    Job,
}

impl Level {
    /// All of them, finest first.
    pub const ALL: [Self; 3] = [Self::Subtask, Self::Task, Self::Job];

    /// The level in the configuration and in names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subtask => "subtask",
            Self::Task => "task",
            Self::Job => "job",
        }
    }

    /// The next coarser one.
    pub const fn coarser(self) -> Option<Self> {
        match self {
            Self::Subtask => Some(Self::Task),
            Self::Task => Some(Self::Job),
            Self::Job => None,
        }
    }

    /// The next finer one.
    pub const fn finer(self) -> Option<Self> {
        match self {
            Self::Subtask => None,
            Self::Task => Some(Self::Subtask),
            Self::Job => Some(Self::Task),
        }
    }

    /// Takes the labels away that tell apart what this level makes one. They are a sample's own labels,
    /// without those of its target.
    pub fn strip(self, labels: &mut Labels<'_>) {
        let of_output = labels.get("direction").is_some();
        labels.retain(|label| {
            let name = &*label.name;
            !((self >= Self::Task && OF_SUBTASK.contains(&name))
                || (self >= Self::Job
                    && (OF_TASK.contains(&name) || (of_output && name == "partition"))))
        });
    }
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

/// Labels that tell apart what is below a job; gates, inputs and result partitions are numbered
/// within a task. A Kafka partition is not, so `partition` goes only beside `direction`.
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

/// `flink.rollups`: what is rolled up, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupPolicy {
    /// Of the groups that have none of their own. `None` is never, not even when a budget is exceeded.
    pub level: Option<Level>,
    /// By group.
    pub levels: BTreeMap<Group, Option<Level>>,
    /// Whether a budget may raise the levels of a job.
    pub has_budget: bool,
    /// Whether the series of the subtasks are sent too.
    pub keep_raw: bool,
    /// Whether the roll-ups of a scrape job's targets are combined, and sent in place of each target's.
    pub across_targets: bool,
}

/// Nothing is rolled up unless a budget asks for it.
impl Default for RollupPolicy {
    fn default() -> Self {
        Self {
            level: Some(Level::Subtask),
            levels: BTreeMap::new(),
            has_budget: false,
            keep_raw: false,
            across_targets: false,
        }
    }
}

impl RollupPolicy {
    /// One level for all groups.
    pub fn of_all(level: Level) -> Self {
        Self { level: Some(level), ..Self::default() }
    }

    /// The level of a group; `None` when it is never rolled up.
    pub fn level(&self, group: Group) -> Option<Level> {
        self.levels.get(&group).copied().unwrap_or(self.level)
    }

    /// Whether any group is rolled up, or may be.
    pub fn is_on(&self) -> bool {
        let mut levels = self.levels.values().chain([&self.level]).flatten();
        self.has_budget || levels.any(|level| *level > Level::Subtask)
    }
}

/// The functions of a sample that the catalogue knows and that belongs to a subtask; none for others.
/// A summary's count is a counter whatever its quantiles are rolled up by.
pub fn functions<'c>(found: &Found<'c, '_>, sample_name: &str) -> &'c [Function] {
    if !sample_name.starts_with(OF_SUBTASK_PREFIX) {
        return &[];
    }
    if is_count(found, sample_name) { &[Function::Sum] } else { &found.metric.rollup }
}

/// Whether the sample counts up.
pub fn is_counter(found: &Found<'_, '_>, sample_name: &str) -> bool {
    found.metric.kind == Kind::Counter || is_count(found, sample_name)
}

/// What a sample measures: a summary's count counts.
pub fn unit(found: &Found<'_, '_>, sample_name: &str) -> Unit {
    if is_count(found, sample_name) { Unit::Count } else { found.metric.unit }
}

fn is_count(found: &Found<'_, '_>, sample_name: &str) -> bool {
    found.metric.kind == Kind::Summary && found.family.len() < sample_name.len()
}

/// What the names of all series begin with that are a task's, an operator's or a job's on a TaskManager.
const OF_SUBTASK_PREFIX: &str = "flink_taskmanager_job_";

/// The name of a roll-up.
pub fn name(metric_name: &str, level: Level, function: Function) -> String {
    format!("{metric_name}:{}_{}", level.as_str(), function.as_str())
}

/// The name of the metric that a series of this name is a roll-up of; its own name when it is none.
/// Flink's names may hold colons of their own.
pub fn metric_name(name: &str) -> &str {
    let parts = name.rsplit_once(':').and_then(|(metric, of)| Some((metric, of.split_once('_')?)));
    let rolled_up = parts.filter(|(_, (level, function))| {
        Level::ALL.iter().any(|l| *l > Level::Subtask && l.as_str() == *level)
            && Function::ALL.iter().any(|f| f.as_str() == *function)
    });
    rolled_up.map_or(name, |(metric, _)| metric)
}

/// A level that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown level `{name}`{}; expected subtask, task, job or off", did_you_mean(*.nearest))]
pub struct UnknownLevel {
    name: String,
    nearest: Option<&'static str>,
}

/// `subtask`, `task`, `job`.
impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        let words = Self::ALL.map(Self::as_str);
        Self::ALL.into_iter().find(|level| level.as_str() == name).ok_or_else(|| UnknownLevel {
            name: name.to_owned(),
            nearest: nearest(name, words.into_iter().chain(["off"])),
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flink::catalogue;

    #[test]
    fn a_level_takes_the_labels_that_it_makes_one() {
        let check = |level: Level, labels: &[&str], expect: &str| {
            let mut labels: Labels<'_> = labels.iter().map(|name| (*name, "x")).collect();
            level.strip(&mut labels);
            let left: Vec<_> = labels.iter().map(|(name, _)| name).collect();
            assert_eq!(left.join(" "), expect, "{level}");
        };
        let operator = ["job_id", "task_name", "operator", "subtask_index", "tm_id", "host"];
        check(Level::Subtask, &operator, "job_id task_name operator subtask_index tm_id host");
        check(Level::Task, &operator, "job_id task_name operator");
        check(Level::Job, &operator, "job_id");
        let raw =
            ["task_id", "task_attempt_id", "task_attempt_num", "operator_id", "operator_name"];
        check(Level::Task, &raw, "task_id operator_id operator_name");
        check(Level::Job, &raw, "");
        let latency =
            ["source_id", "source_subtask_index", "operator_id", "operator_subtask_index"];
        check(Level::Task, &latency, "source_id operator_id");
        check(Level::Job, &latency, "");
        check(Level::Job, &["direction", "gate", "partition", "state"], "direction state");
        check(Level::Job, &["topic", "partition", "quantile"], "topic partition quantile");
    }

    #[test]
    fn functions_of_samples() {
        let check = |name: &str, expect: &[Function], counter: bool| {
            let found = catalogue().find(name).unwrap();
            assert_eq!(functions(&found, name), expect, "{name}");
            assert_eq!(is_counter(&found, name), counter, "{name}");
        };
        use Function::{Avg, Max, Min, Skew, Sum};
        check("flink_taskmanager_job_task_numRecordsIn", &[Sum], true);
        check("flink_taskmanager_job_task_operator_numRecordsInPerSecond", &[Sum, Skew], false);
        check("flink_taskmanager_job_task_busyTimeMsPerSecond", &[Avg, Max, Skew], false);
        check("flink_taskmanager_job_task_currentInputWatermark", &[Min], false);
        check("flink_taskmanager_job_task_mailboxLatencyMs", &[Max], false);
        check("flink_taskmanager_job_task_mailboxLatencyMs_count", &[Sum], true);
        check("flink_taskmanager_job_task_operator_s_rocksdb_block_cache_usage", &[Max], false);
        check("flink_taskmanager_Status_JVM_CPU_Load", &[], false);
        check("flink_jobmanager_job_numRestarts", &[], true);
    }

    #[test]
    fn levels_have_names_and_an_order() {
        for level in Level::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
            assert_eq!(level.coarser().and_then(Level::finer).unwrap_or(level), level);
            assert!(level.coarser().is_none_or(|coarser| coarser > level));
        }
        let error = "tasks".parse::<Level>().unwrap_err();
        insta::assert_snapshot!(error, @"unknown level `tasks` (did you mean `task`?); expected subtask, task, job or off");
        assert_eq!(name("a_b", Level::Task, Function::Sum), "a_b:task_sum");
        let check = |name: &str, expect: &str| assert_eq!(metric_name(name), expect);
        check("a_b:task_sum", "a_b");
        check("a:b:job_skew", "a:b");
        for own in ["a_b", "a:b", "a:subtask_sum", "a:task_total", "task_sum", ":"] {
            check(own, own);
        }
    }
}
