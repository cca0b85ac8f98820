//! Budgets: how many series there may be, and which jobs give way when there are more.
//!
//! ```text
//!   subtask --too many--> task --too many--> job --too many--> no new series
//!           <--room for a while--  <--room for a while--
//! ```
//!
//! The [`Ledger`] holds what each target would send of each job at each level. After each page a target
//! says what it has and is told at once what it may send, so that a relay never sends what exceeds a
//! budget in order to find that out. A job that exceeds its own budget is degraded until it fits. When
//! the relay as a whole exceeds its budget, the job with the most series is degraded, again and again,
//! until all fit.
//!
//! It comes back level by level when the finer level has fitted with a fifth of the budget to spare for
//! [`RESTORE_AFTER`], so that a job whose size swings around the budget does not swing with it.
//!
//! What exceeds the budget even so is not sent: series that are there go on, new ones are left out.
//!
//! Invariants: no clock, no job of another target's is told to a target; a job is never finer than what
//! fits, and coarser than needed for [`RESTORE_AFTER`] at most beyond what the margin asks.

use std::collections::{BTreeMap, HashMap};

use super::rollup::Level;
use crate::limits::RESTORE_AFTER;

/// `flink.budgets`; 0 is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Series of all targets together.
    pub series_total: u64,
    /// Series of one Flink job, on all targets.
    pub series_per_job: u64,
}

impl Budgets {
    /// Whether anything is limited.
    pub const fn is_on(&self) -> bool {
        self.series_total > 0 || self.series_per_job > 0
    }
}

/// What one target has of one job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Series at each level, in the order of [`Level::ALL`].
    pub series: [u64; Level::ALL.len()],
}

/// What one target has, by the id of the job; the empty id is for what belongs to no job.
pub type Demands = BTreeMap<Box<str>, Demand>;

/// What one target may send of its page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    jobs: BTreeMap<Box<str>, Level>,
}

impl Grants {
    /// The level that is demanded of a job.
    pub fn level(&self, job: &str) -> Level {
        self.jobs.get(job).copied().unwrap_or_default()
    }
}

impl<I: Into<Box<str>>> FromIterator<(I, Level)> for Grants {
    fn from_iter<T: IntoIterator<Item = (I, Level)>>(jobs: T) -> Self {
        Self { jobs: jobs.into_iter().map(|(id, level)| (id.into(), level)).collect() }
    }
}
