//! The JSON of the endpoints that are asked, of Flink 1.13 to 2.3.
//!
//! Only what is used is read. Fields that a version does not have are empty, fields that it has more are
//! skipped; the I/O numbers of a vertex, which are zero while `…-complete` is false, are not read at
//! all. Sources: `JobsOverviewHeaders`, `JobDetailsInfo`, `JobVertexDetailsInfo`, `SubtaskExecutionAttemptDetailsInfo`,
//! `TaskManagersInfo`, `DashboardConfiguration`, `CheckpointingStatistics` below `org.apache.flink.runtime.rest.messages` and `…webmonitor`.

use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

/// An answer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not the JSON that Flink writes there.
    #[error("{path} is not what Flink's REST API answers: {source}")]
    Json {
        /// What was asked.
        path: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// `/config`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Config {
    pub(super) flink_version: String,
    #[serde(default)]
    pub(super) flink_revision: String,
}

/// `/jobs/overview`
#[derive(Debug, Deserialize)]
pub(super) struct Overview {
    pub(super) jobs: Vec<JobRow>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct JobRow {
    pub(super) jid: Box<str>,
    pub(super) name: Box<str>,
    #[serde(default)]
    pub(super) state: Box<str>,
    #[serde(default)]
    pub(super) start_time: i64,
    #[serde(default)]
    pub(super) last_modification: i64,
}

/// `/jobs/:jobid`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Details {
    pub(super) jid: Box<str>,
    /// By 1.20.
    #[serde(default)]
    pub(super) job_type: Box<str>,
    /// The JobManager's clock, milliseconds since the epoch.
    #[serde(default)]
    pub(super) now: i64,
    #[serde(default)]
    pub(super) vertices: Vec<VertexRow>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VertexRow {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    #[serde(default)]
    pub(super) parallelism: i64,
    #[serde(default, rename = "maxParallelism")]
    pub(super) max_parallelism: i64,
    /// -1 while none of its subtasks was deployed.
    #[serde(default, rename = "start-time")]
    pub(super) start_time: i64,
}

/// `/jobs/:jobid/vertices/:vertexid`
#[derive(Debug, Deserialize)]
pub(super) struct VertexDetails {
    pub(super) subtasks: Vec<AttemptRow>,
}

/// The present attempt of a subtask.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AttemptRow {
    pub(super) subtask: u32,
    pub(super) attempt: u32,
    /// When it was deployed; -1 or 0 before.
    #[serde(default)]
    pub(super) start_time: i64,
    /// With speculative execution, by 1.16.
    #[serde(default)]
    pub(super) other_concurrent_attempts: Option<Vec<Self>>,
}

/// `/taskmanagers`
#[derive(Debug, Deserialize)]
pub(super) struct TaskManagers {
    pub(super) taskmanagers: Vec<TaskManagerRow>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TaskManagerRow {
    pub(super) id: Box<str>,
    /// The address of its actor: `pekko.tcp://flink@10.0.0.7:41235/user/rpc/taskmanager_0`.
    #[serde(default)]
    pub(super) path: Box<str>,
    #[serde(default, rename = "slotsNumber")]
    pub(super) slots: i64,
}

/// `/jobs/:jobid/checkpoints`
#[derive(Debug, Deserialize)]
pub(super) struct Checkpoints {
    /// Always there, which tells this answer from others.
    #[serde(rename = "counts")]
    _counts: IgnoredAny,
    pub(super) latest: Option<Latest>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Latest {
    #[serde(default)]
    pub(super) completed: Option<Completed>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Completed {
    /// `<checkpoint-not-externally-addressable>` where the storage has no path.
    #[serde(default)]
    pub(super) external_path: Option<Box<str>>,
}

/// What Flink says with a status of 400 and above: `{"errors": ["…"]}`.
#[derive(Debug, Deserialize)]
struct Errors {
    errors: Vec<String>,
}

pub(super) fn read<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, AnswerError> {
    serde_json::from_slice(body)
        .map_err(|source| AnswerError::Json { path: path.to_owned(), source })
}

/// Flink's own words in the body of an error, at most one short line; empty when there are none.
pub fn words(body: &[u8]) -> String {
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    // What follows is a stack trace of Java's.
    let line = errors.iter().flat_map(|error| error.lines()).find(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().chars().take(WORDS_CHARS_MAX).collect()
}

/// Characters of an error that are shown: a line of a log.
const WORDS_CHARS_MAX: usize = 200;
