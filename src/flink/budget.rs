//! Budgets: how many series there may be, and which jobs give way when there are more.
//!
//! ```text
//!   subtask --too many--> task --too many--> job --too many--> no new series
//!           <--room for a while--  <--room for a while--
//! ```
//!
//! The [`Ledger`] holds what each target would send of each job at each level. Before anything of a page
//! is sent, its target says what the page has and is told what of it may go, so a budget holds from
//! the first page on. A job that exceeds its own budget is degraded until it fits. When the relay as a
//! whole exceeds its budget, the job with the most series is degraded, again and again, until all fit.
//!
//! A job comes back level by level, when the finer level has fitted with a fifth of the budget to spare
//! for [`RESTORE_AFTER`]: one whose size swings around its budget does not swing with it.
//!
//! What exceeds a budget even at the level of jobs is not sent: series that are there go on, new ones are
//! left out. Never is a scrape failed for it.
//!
//! A target counts with its last good page until it is gone, whether or not it answers: an outage of
//! some targets must not restore a job that the next minute would degrade again.
//!
//! Invariants: no clock; what all targets are granted of a job is its budget at most, but for series
//! that were granted before a budget became smaller or a job coarser elsewhere, until their next page.

use std::collections::{BTreeMap, BTreeSet};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The job's name, empty where it is not known.
    pub name: Box<str>,
    /// Series at each level, in the order of [`Level::ALL`].
    pub series: [u64; Level::ALL.len()],
}

/// What one target has, by the id of the job; the empty id is for what belongs to no job.
pub type Demands = BTreeMap<Box<str>, Demand>;

/// What one target may send of its page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// By id; what is not limited is not here.
    pub jobs: BTreeMap<Box<str>, Grant>,
    /// Series of all jobs together, and of none.
    pub series: u64,
}

/// What one target may send of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How far it is rolled up at least.
    pub level: Level,
    /// Most series.
    pub series: u64,
}

impl Grant {
    const ALL: Self = Self { level: Level::Subtask, series: u64::MAX };
}

impl Default for Grants {
    fn default() -> Self {
        Self { jobs: BTreeMap::new(), series: u64::MAX }
    }
}

impl Grants {
    /// What may be sent of a job.
    pub fn of(&self, job: &str) -> Grant {
        self.jobs.get(job).copied().unwrap_or(Grant::ALL)
    }

    /// Whether anything is limited to a number of series.
    pub fn is_short(&self) -> bool {
        self.series < u64::MAX || self.jobs.values().any(|grant| grant.series < u64::MAX)
    }
}

impl<I: Into<Box<str>>> FromIterator<(I, Level)> for Grants {
    fn from_iter<T: IntoIterator<Item = (I, Level)>>(jobs: T) -> Self {
        let grant = |(id, level): (I, Level)| (id.into(), Grant { level, ..Grant::ALL });
        Self { jobs: jobs.into_iter().map(grant).collect(), ..Self::default() }
    }
}

/// All targets' demands, and the levels of the jobs.
#[derive(Debug, Default)]
pub struct Ledger {
    budgets: Budgets,
    targets: BTreeMap<u64, Demands>,
    /// What each target was granted of each job.
    held: BTreeMap<u64, BTreeMap<Box<str>, u64>>,
    jobs: BTreeMap<Box<str>, Job>,
}

/// One job on all targets.
#[derive(Clone, Debug, Default)]
struct Job {
    /// Of all targets together.
    all: Demand,
    level: Level,
    /// Since when the finer level has fitted with room to spare, in milliseconds since the epoch.
    roomy_since_ms: Option<i64>,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobBudget {
    /// The job's id.
    pub job: Box<str>,
    /// Its name, empty where it is not known.
    pub name: Box<str>,
    /// How far it is rolled up at least.
    pub level: Level,
    /// Its series at that level.
    pub series: u64,
    /// How many more there would be without the budget.
    pub saved: u64,
}

/// A job that was degraded, or has come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How it stood before.
    pub before: Level,
    /// How it stands now.
    pub now: JobBudget,
}

impl Ledger {
    /// An empty one.
    pub fn new(budgets: Budgets) -> Self {
        Self { budgets, ..Self::default() }
    }

    /// Goes on with other limits; levels follow with the next page.
    pub const fn set_budgets(&mut self, budgets: Budgets) {
        self.budgets = budgets;
    }

    /// The limits.
    pub const fn budgets(&self) -> Budgets {
        self.budgets
    }

    /// Takes what a target's page has. Says what may be sent of it, and which jobs change their level
    /// by it. `now_ms` is the wall clock in milliseconds since the epoch.
    pub fn settle(&mut self, target: u64, demands: Demands, now_ms: i64) -> (Grants, Vec<Change>) {
        let before = self.levels();
        self.targets.insert(target, demands);
        self.add_up();
        self.degrade();
        self.restore(now_ms);
        let changed = self.jobs.iter().filter_map(|(id, job)| {
            let before = before.get(id).copied().unwrap_or_default();
            (before != job.level).then(|| Change { before, now: job.stands(id) })
        });
        let changed = changed.collect();
        (self.grants(target), changed)
    }

    /// A target is gone.
    pub fn remove(&mut self, target: u64) {
        self.targets.remove(&target);
        self.held.remove(&target);
        self.add_up();
    }

    /// The jobs that a budget has degraded.
    pub fn degraded(&self) -> Vec<JobBudget> {
        let degraded = self.jobs.iter().filter(|(_, job)| job.level > Level::Subtask);
        degraded.map(|(id, job)| job.stands(id)).collect()
    }

    /// The jobs of which new series are left out, and `None` when those of all are.
    pub fn short(&self) -> BTreeSet<Option<Box<str>>> {
        let Budgets { series_total, series_per_job } = self.budgets;
        let jobs = self.jobs.iter().filter(|(id, _)| !id.is_empty());
        let short = jobs.filter(|(_, job)| exceeds(job.now(), series_per_job));
        let in_all = exceeds(self.series(), series_total);
        short.map(|(id, _)| Some(id.clone())).chain(in_all.then_some(None)).collect()
    }

    /// The level of a job.
    pub fn level(&self, job: &str) -> Level {
        self.jobs.get(job).map_or(Level::Subtask, |job| job.level)
    }

    /// Series of all targets together, as they are rolled up.
    pub fn series(&self) -> u64 {
        self.jobs.values().map(Job::now).sum()
    }

    fn levels(&self) -> BTreeMap<Box<str>, Level> {
        self.jobs.iter().map(|(id, job)| (id.clone(), job.level)).collect()
    }

    /// Adds the targets' demands up. A job that no target has is forgotten.
    fn add_up(&mut self) {
        self.jobs.values_mut().for_each(|job| job.all.series = Default::default());
        let mut present = BTreeSet::new();
        for (id, demand) in self.targets.values().flatten() {
            let job = self.jobs.entry(id.clone()).or_default();
            if !demand.name.is_empty() {
                job.all.name.clone_from(&demand.name);
            }
            job.all.series.iter_mut().zip(demand.series).for_each(|(sum, series)| *sum += series);
            present.insert(id);
        }
        self.jobs.retain(|id, _| present.contains(id));
    }

    fn degrade(&mut self) {
        let Budgets { series_total, series_per_job } = self.budgets;
        for (_, job) in self.jobs.iter_mut().filter(|(id, _)| !id.is_empty()) {
            while exceeds(job.now(), series_per_job) && job.degrade() {}
        }
        while exceeds(self.series(), series_total) {
            let jobs = self.jobs.iter_mut().filter(|(id, job)| !id.is_empty() && job.can_degrade());
            // Of equal ones the first, so that it does not depend on chance.
            let largest = jobs.rev().max_by_key(|(_, job)| job.now());
            let Some((_, job)) = largest else { break };
            job.degrade();
        }
    }

    /// Brings jobs back that have had room for long enough, one level and one job at a time: what it
    /// leaves to the others is known then.
    fn restore(&mut self, now_ms: i64) {
        let Budgets { series_total, series_per_job } = self.budgets;
        let mut total = self.series();
        let mut restored = false;
        for job in self.jobs.values_mut() {
            let Some(finer) = job.level.finer() else {
                job.roomy_since_ms = None;
                continue;
            };
            let then = total - job.now() + job.at(finer);
            let fits =
                leaves_room(job.at(finer), series_per_job) && leaves_room(then, series_total);
            if !fits {
                job.roomy_since_ms = None;
                continue;
            }
            let since = *job.roomy_since_ms.get_or_insert(now_ms);
            let long_enough = u128::try_from(now_ms.saturating_sub(since))
                .is_ok_and(|for_ms| for_ms >= RESTORE_AFTER.as_millis());
            if long_enough && !restored {
                job.level = finer;
                job.roomy_since_ms = None;
                total = then;
                restored = true;
            }
        }
    }

    /// What a target may send, and the note that it has it.
    fn grants(&mut self, target: u64) -> Grants {
        let Budgets { series_total, series_per_job } = self.budgets;
        let own = self.targets.get(&target);
        let (mut jobs, mut held) = (BTreeMap::new(), BTreeMap::new());
        for (id, job) in &self.jobs {
            let limit = if id.is_empty() { 0 } else { series_per_job };
            let series = if exceeds(job.now(), limit) {
                limit.saturating_sub(self.held_by_others(target, |of| *of == **id))
            } else {
                u64::MAX
            };
            let grant = Grant { level: job.level, series };
            if grant != Grant::ALL {
                jobs.insert(id.clone(), grant);
            }
            if let Some(demand) = own.and_then(|own| own.get(id)) {
                held.insert(id.clone(), demand.at(job.level).min(series));
            }
        }
        let series = if exceeds(self.series(), series_total) {
            series_total.saturating_sub(self.held_by_others(target, |_| true))
        } else {
            u64::MAX
        };
        let mut left = series;
        for held in held.values_mut() {
            *held = left.min(*held);
            left -= *held;
        }
        self.held.insert(target, held);
        Grants { jobs, series }
    }

    /// What all other targets have been granted of some jobs, as far as they still want it.
    fn held_by_others(&self, target: u64, of: impl Fn(&str) -> bool) -> u64 {
        let others = self.targets.iter().filter(|(other, _)| **other != target);
        let demands = others.flat_map(|(other, demands)| demands.iter().map(move |d| (other, d)));
        let held = demands.filter(|(_, (id, _))| of(id)).map(|(other, (id, demand))| {
            let granted = self.held.get(other).and_then(|held| held.get(id)).copied();
            demand.at(self.level(id)).min(granted.unwrap_or(0))
        });
        held.sum()
    }
}

impl Demand {
    fn at(&self, level: Level) -> u64 {
        self.series.get(level as usize).copied().unwrap_or(0)
    }
}

impl Job {
    fn at(&self, level: Level) -> u64 {
        self.all.at(level)
    }

    fn now(&self) -> u64 {
        self.at(self.level)
    }

    fn can_degrade(&self) -> bool {
        // A level that saves nothing is worth going through for the one behind it.
        self.now() > self.at(Level::Job)
    }

    fn degrade(&mut self) -> bool {
        let coarser = self.level.coarser().filter(|_| self.can_degrade());
        self.roomy_since_ms = None;
        self.level = coarser.unwrap_or(self.level);
        coarser.is_some()
    }

    fn stands(&self, id: &str) -> JobBudget {
        let series = self.now();
        let saved = self.at(Level::Subtask).saturating_sub(series);
        let name = self.all.name.clone();
        JobBudget { job: id.into(), name, level: self.level, series, saved }
    }
}

const fn exceeds(series: u64, limit: u64) -> bool {
    limit > 0 && series > limit
}

/// Whether it leaves a fifth of the limit, as it must before a job comes back.
const fn leaves_room(series: u64, limit: u64) -> bool {
    limit == 0 || series <= limit - limit.div_ceil(5)
}

#[cfg(test)]
mod tests;
