//! Flink's REST API: the names that people gave their jobs, tasks and TaskManagers.
//!
//! The reporter replaces every character outside `[a-zA-Z0-9:_]` by `_`, so that a job `日志清洗 / log-clean
//! (eu)` is `_______log_clean__eu_` on the page, and so is any other job whose name has its word
//! characters at the same places. The JobManager's REST API knows the true names. Jobs and tasks are
//! joined by their ids, which the reporter leaves alone, and never by name; operators and TaskManagers,
//! whose ids REST does not tell or the reporter rewrites, by the one name that the page's can stand for.
//!
//! ```text
//!  page labels -> Subjects: one per TaskManager, job and task of a page --names--> true label values
//!                    |  which ids are unknown?                               ^
//!                    v                                                       |
//!                  Wants -> Schedule: when? -> Ask: what? -> [flink_rest] -> Cluster
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`answer`] | the JSON of the endpoints that are asked, of 1.13 to 2.3 |
//! | [`cluster`] | what one cluster's REST API has told, what to ask it next, and the look-ups |
//! | [`spelling`] | what the reporter makes of a name, and back |
//! | [`subjects`] | what the lines of one target are about, and which names they have been given |
//! | [`attempts`] | when the counters on a target's page began to count |
//! | [`wants`] | the ids that pages show and nobody has explained yet |
//! | [`schedule`] | when an endpoint may be asked again |
//! | [`info`] | the info series that are added to a JobManager's page |
//!
//! Invariants: a name is given only when the page's value can stand for it, so a wrong cluster gives no
//! wrong names; a line's names are completed at most once, and stay when REST falls silent; numbers
//! are never taken from REST, so its `…-complete: false` zeros cannot do harm.

pub mod answer;
pub mod attempts;
pub mod cluster;
pub mod info;
pub mod schedule;
pub mod spelling;
pub mod subjects;
pub mod wants;

pub use answer::AnswerError;
pub use attempts::{AttemptId, Attempts, START_UNKNOWN_MS};
pub use cluster::{Ask, Cluster, Names};
pub use schedule::{Need, Schedule};
pub use subjects::{SubjectId, Subjects, subject_key};
pub use wants::{Want, Wants};
