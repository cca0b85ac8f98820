//! The relay's budget of series, shared by its scrapers: each settles its page before anything of it is
//! sent, see [`Ledger`]. Here are the lock, the log, and the end of a scraper's share with the scraper.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tracing::{info, warn};

use crate::flink::{
    Budgets,
    budget::{Change, Demands, Grants, JobBudget, Ledger},
    rollup::Level,
};

/// The budget of one relay.
#[derive(Debug, Default)]
pub struct Budget {
    state: Mutex<State>,
    shares: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    /// Jobs of which new series are left out, and `None` for the relay as a whole.
    short: BTreeSet<Option<Box<str>>>,
}

/// What one scraper has of it.
pub(super) struct Share {
    budget: Arc<Budget>,
    id: u64,
}

/// How a budget is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetState {
    /// The limits.
    pub budgets: Budgets,
    /// Series of all targets together, as they are rolled up.
    pub series: u64,
    /// The jobs that are rolled up further because of it.
    pub degraded: Vec<JobBudget>,
    /// Ids of the jobs of which new series are left out; an empty one for all.
    pub short: Vec<Box<str>>,
}

impl Budget {
    /// Sets the limits; levels follow with the next pages.
    pub fn set(&self, budgets: Budgets) {
        self.lock().ledger.set_budgets(budgets);
    }

    /// How it is used.
    pub fn state(&self) -> BudgetState {
        let State { ledger, short } = &*self.lock();
        BudgetState {
            budgets: ledger.budgets(),
            series: ledger.series(),
            degraded: ledger.degraded(),
            short: short.iter().map(|job| job.clone().unwrap_or_default()).collect(),
        }
    }

    /// A share of a new scraper.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), id: self.shares.fetch_add(1, Relaxed) }
    }

    /// A poisoned lock holds numbers that the next page of each target sets anew.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The jobs that have begun to be short of series since this was asked last.
    fn newly_short(&mut self) -> Vec<Option<Box<str>>> {
        let short = self.ledger.short();
        let new = short.difference(&self.short).cloned().collect();
        self.short = short;
        new
    }
}

impl Share {
    /// Says what the page has, and is told what may be sent.
    pub(super) fn settle(&self, demands: Demands, now_ms: i64) -> Grants {
        let mut state = self.budget.lock();
        let (grants, changes) = state.ledger.settle(self.id, demands, now_ms);
        let short = state.newly_short();
        let Budgets { series_total, series_per_job } = state.ledger.budgets();
        drop(state);
        for Change { before, now } in changes {
            let JobBudget { job, name, level, series, saved } = now;
            if level > before {
                warn!(%job, %name, %level, series, saved, series_total, series_per_job,
                    "a budget of series is exceeded, so the job is rolled up further");
            } else {
                info!(%job, %name, %level, series, "the job has room for its series again");
            }
        }
        for job in short {
            warn!(
                job = job.as_deref().unwrap_or("all"),
                series_total,
                series_per_job,
                "a budget of series is exceeded and nothing more can be rolled up, so new series are \
                 left out and counted as dropped, reason budget"
            );
        }
        grants
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.lock().ledger.remove(self.id);
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Share").field(&self.id).finish()
    }
}

/// The level as a number, for metrics: 0 for subtasks, 1 for tasks, 2 for jobs.
pub const fn level_number(level: Level) -> u8 {
    level as u8
}
