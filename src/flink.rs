//! Everything that knows Flink: what its metrics mean, which of them to relay, and how to name them.
//!
//! | module | question it answers |
//! |---|---|
//! | [`mod@catalogue`] | which metric is this sample of, and what is it truly (kind, unit, help)? |
//! | [`groups`] | which group does it belong to, and is that group relayed? |
//! | [`labels`] | which of Flink's labels say something, and which only make new series? |
//! | [`misplaced`] | do its values stand under the right label names? |
//! | [`names`] | under which name is it sent, whichever version of Flink it comes from? |
//! | [`sentinels`] | is that value a number, or does it say that there is none? |
//! | [`derived`] | what follows from several samples of a page, as series of their own? |
//! | [`rest`] | which names did people give, where the reporter shows underscores? |
//! | [`role`] | whose page is this: a JobManager's, a TaskManager's, the Kubernetes operator's? |
//! | [`rollup`] | what becomes one series when the subtasks of a task are too many? |
//!
//! All of it is pure: names and labels in, decisions out. A page that is not Flink's passes through
//! unharmed: its metrics are in the group `custom`, its labels are left alone.

pub mod budget;
pub mod catalogue;
pub mod derived;
pub mod groups;
pub mod labels;
pub mod misplaced;
pub mod names;
pub mod rest;
pub mod role;
pub mod rollup;
pub mod sentinels;

pub use budget::Budgets;
pub use catalogue::{Catalogue, Kind, Metric, catalogue};
pub use derived::Derivations;
pub use groups::{Group, GroupFilter};
pub use labels::{LabelMode, LabelPolicy};
pub use names::NameMode;
pub use role::Role;
pub use rollup::RollupPolicy;
pub use sentinels::Sentinels;

/// What every name that Flink's Prometheus reporter exports begins with
/// (`AbstractPrometheusReporter.SCOPE_PREFIX`).
pub const NAME_PREFIX: &str = "flink_";
