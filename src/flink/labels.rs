//! Normalisation: from the labels Flink writes to the labels people query by.
//!
//! Flink names everything twice, by a name and by an id, and some ids change with every restart, so
//! each restart leaves a full set of dead series behind. By default a sample keeps the names:
//!
//! ```text
//! job_id job_name task_id task_name task_attempt_id task_attempt_num subtask_index operator_id operator_name host tm_id
//! job_id job_name         task_name                                  subtask_index operator                      tm_id
//! ```
//!
//! | label | what becomes of it |
//! |---|---|
//! | `operator_name` | renamed to `operator`, unless the sample has a label `operator` of its own |
//! | `operator_id` | dropped where `operator_name` tells the operator; latency histograms have the id alone and keep it |
//! | `task_id` | dropped where `task_name` tells the task |
//! | `task_attempt_id`, `task_attempt_num` | dropped |
//! | `host` | dropped where `tm_id` tells the process; a JobManager's series keep it |
//! | all others | untouched: `job_id`, `job_name`, `subtask_index`, `tm_id`, `quantile`, users' own |
//!
//! Invariants: only metrics whose name begins with `flink_` are touched; no value changes; nothing is
//! lost, because every dropped label is handed back in [`Dropped`], so that the caller can put back
//! what tells two series of one page apart (two operators of one name, say); normalising twice is
//! normalising once.

use std::{borrow::Cow, mem};

use super::{
    NAME_PREFIX,
    groups::{did_you_mean, nearest},
};
use crate::labels::Labels;

/// The labels that normalisation may drop, in the order in which a caller should put them back until
/// two series differ: first those that stay the same over a restart.
pub const IDS_BY_PRIORITY: [&str; 5] =
    ["operator_id", "task_id", "task_attempt_num", "task_attempt_id", "host"];

const OPERATOR_ID: usize = 0;
const TASK_ID: usize = 1;
const HOST: usize = 4;

/// Whether labels are normalised at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelMode {
    /// As the module describes.
    #[default]
    Normalised,
    /// All labels as the page has them.
    Raw,
}

/// How Flink's labels are normalised. The default drops all ids that the module's table names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelPolicy {
    mode: LabelMode,
    /// Which of [`IDS_BY_PRIORITY`] are never dropped.
    keep: [bool; IDS_BY_PRIORITY.len()],
}

impl LabelPolicy {
    /// A policy that never drops the labels of `keep`, each one of [`IDS_BY_PRIORITY`].
    ///
    /// # Errors
    /// When `keep` names a label that is never dropped, or names any in raw mode, which keeps all.
    pub fn try_new(mode: LabelMode, keep: &[String]) -> Result<Self, LabelPolicyError> {
        if mode == LabelMode::Raw && !keep.is_empty() {
            return Err(LabelPolicyError::KeepInRaw);
        }
        let mut policy = Self { mode, ..Self::default() };
        for name in keep {
            let known = IDS_BY_PRIORITY.iter().zip(&mut policy.keep).find(|(id, _)| *id == name);
            let Some((_, keep)) = known else {
                return Err(LabelPolicyError::NotDroppable {
                    name: name.clone(),
                    nearest: nearest(name, IDS_BY_PRIORITY),
                });
            };
            *keep = true;
        }
        Ok(policy)
    }

    /// Normalises the labels of one sample, `__name__` among them, in place, and returns what it
    /// dropped. The labels that stay keep their order.
    pub fn normalise<'a>(&self, labels: &mut Labels<'a>) -> Dropped<'a> {
        let mut dropped = Dropped::default();
        if self.mode == LabelMode::Raw || !labels.metric_name().starts_with(NAME_PREFIX) {
            return dropped;
        }
        let seen = Seen::in_labels(labels);
        let mut goes = self.keep.map(|keep| !keep);
        goes[OPERATOR_ID] &= seen.operator_name;
        goes[TASK_ID] &= seen.task_name;
        goes[HOST] &= seen.tm_id;
        let renames = seen.operator_name && !seen.operator;
        labels.retain_mut(|label| {
            let ids = IDS_BY_PRIORITY.iter().zip(goes).zip(&mut dropped.values);
            let id = ids.into_iter().find(|((id, _), _)| **id == label.name);
            if let Some(((_, true), place)) = id {
                *place = Some(mem::take(&mut label.value));
                return false;
            }
            if renames && label.name == "operator_name" {
                label.name = Cow::Borrowed("operator");
            }
            true
        });
        dropped
    }
}

/// The labels on which the fate of others depends.
#[derive(Default)]
struct Seen {
    operator: bool,
    operator_name: bool,
    task_name: bool,
    tm_id: bool,
}

impl Seen {
    fn in_labels(labels: &Labels<'_>) -> Self {
        let mut seen = Self::default();
        for (name, _) in labels.iter() {
            match name {
                "operator" => seen.operator = true,
                "operator_name" => seen.operator_name = true,
                "task_name" => seen.task_name = true,
                "tm_id" => seen.tm_id = true,
                _ => {}
            }
        }
        seen
    }
}

/// The labels that normalisation took from one sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "the dropped labels tell apart series that became equal"]
pub struct Dropped<'a> {
    /// Parallel to [`IDS_BY_PRIORITY`].
    values: [Option<Cow<'a, str>>; IDS_BY_PRIORITY.len()],
}

impl Dropped<'_> {
    /// Whether nothing was dropped.
    pub fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }

    /// The dropped labels as name and value, in the order of [`IDS_BY_PRIORITY`].
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let pairs = IDS_BY_PRIORITY.into_iter().zip(&self.values);
        pairs.filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// The dropped labels, sorted by name.
    pub fn sorted<'d>(&'d self) -> impl Iterator<Item = (&'d str, &'d str)> + Clone + use<'d> {
        let [operator_id, task_id, attempt_num, attempt_id, host] = &self.values;
        let [a, b, c, d, e] = IDS_BY_PRIORITY;
        let pairs = [(e, host), (a, operator_id), (d, attempt_id), (c, attempt_num), (b, task_id)];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

impl<'a> IntoIterator for Dropped<'a> {
    type Item = (&'static str, Cow<'a, str>);
    type IntoIter = std::iter::FilterMap<
        std::iter::Zip<
            std::array::IntoIter<&'static str, { IDS_BY_PRIORITY.len() }>,
            std::array::IntoIter<Option<Cow<'a, str>>, { IDS_BY_PRIORITY.len() }>,
        >,
        fn((&'static str, Option<Cow<'a, str>>)) -> Option<Self::Item>,
    >;

    /// As [`Dropped::iter`], giving the values away.
    fn into_iter(self) -> Self::IntoIter {
        let pairs = IDS_BY_PRIORITY.into_iter().zip(self.values);
        pairs.filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Why a label policy cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelPolicyError {
    /// A label to keep is none that is ever dropped.
    #[error(
        "`{name}` is not among the labels that are dropped by default{}; those are {}",
        did_you_mean(*.nearest),
        IDS_BY_PRIORITY.join(", ")
    )]
    NotDroppable {
        /// What was written.
        name: String,
        /// The label that was probably meant.
        nearest: Option<&'static str>,
    },
    /// Labels to keep were named although raw mode keeps all.
    #[error(
        "raw labels are all kept, so none can be named to be kept; remove the list or the mode"
    )]
    KeepInRaw,
}

#[cfg(test)]
mod tests;
