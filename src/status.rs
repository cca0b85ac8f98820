//! What the relay knows about its targets and ranges right now, for people and for metrics.
//!
//! Scrapes write here once each; `/targets`, `/metrics` and the port prober read. Nothing here is on
//! the path of a sample.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    flink::Role,
    scrape::{BadLine, Budget, Failure, PartialPage, PushdownState, Reason, Scraped},
    series::{DropCounts, Dropped, PageSeries, Tally},
    target::Target,
};

/// All targets and ranges.
#[derive(Debug, Default)]
pub struct Status {
    targets: Mutex<BTreeMap<u64, Arc<TargetStatus>>>,
    /// By job and by the range's spelling in the config.
    ranges: Mutex<BTreeMap<(String, String), RangeState>>,
    /// The series of all targets.
    pub budget: Arc<Budget>,
    /// The series of pages that are remembered of all targets.
    pub page_series: Arc<PageSeries>,
    /// By job, how many targets the last roll-ups across them are of.
    rollup_targets: Mutex<BTreeMap<String, usize>>,
}

/// One target.
#[derive(Debug)]
pub struct TargetStatus {
    /// What is scraped.
    pub target: Target,
    /// Shared with what the target was before a reload, whose last scrape may still be under way.
    state: Arc<Mutex<TargetState>>,
}

/// How a target is doing.
#[derive(Clone, Debug, Default)]
pub struct TargetState {
    /// Whose page it is, as far as known.
    pub role: Role,
    /// When the last scrape began, and how long it took; `None` before the first.
    pub last_scrape: Option<(SystemTime, Duration)>,
    /// When the last good scrape ended.
    pub last_ok: Option<Instant>,
    /// Why the last scrape failed; `None` when it did not.
    pub failure: Option<Failure>,
    /// All scrapes.
    pub scrapes: u64,
    /// Failed scrapes by reason, in the order of [`Reason::ALL`].
    pub failures: [u64; Reason::ALL.len()],
    /// The last good page's samples.
    pub tally: Tally,
    /// Samples of all good pages together.
    pub totals: Totals,
    /// The first bad lines of the last page.
    pub faults: Vec<BadLine>,
    /// All bad lines of the last page.
    pub faults_total: u64,
    /// Series on the last page.
    pub series: usize,
    /// How the last good page was asked for by name; `None` when it came whole.
    pub partial: Option<PartialPage>,
    /// Whether the next page is asked for by name, because the rest of it is left out anyway.
    pub pushdown: PushdownState,
    /// Good pages that were.
    pub scrapes_pushed: u64,
    /// Bad lines and mislabelled samples of the last whole page: one by name may leave them out.
    whole_faults: (u64, u64),
    /// Samples of it whose lines found no room.
    whole_left_out: u64,
}

/// Sums over all good pages of a target: `scraped + made = kept + dropped`.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Samples on the pages.
    pub scraped: u64,
    /// Samples that the relay made from them.
    pub made: u64,
    /// Samples of both kept.
    pub kept: u64,
    /// Samples dropped, by reason.
    pub dropped: DropCounts,
    /// Bytes of the pages, decompressed.
    pub page_bytes: u64,
    /// Series that got an id back, see [`Tally::ids_kept`].
    pub ids_kept: u64,
}

/// How the ports of a range are doing.
#[derive(Clone, Debug, Default)]
pub struct RangeState {
    /// The job the range belongs to.
    pub job: String,
    /// Ports that answer with a Flink page, or did until lately.
    pub instances: Vec<(u16, Role)>,
    /// Ports that answer with something else, and with what.
    pub ignored: BTreeMap<u16, String>,
    /// Number of the other ports: nobody listens.
    pub closed: usize,
}

/// How the scrape before this one went.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Lines of its page that could not be read.
    pub faults: u64,
    /// Samples of the last good page whose values stood under wrong label names.
    pub mislabelled: u64,
    /// Samples of the last good page whose lines found no room, see [`Dropped::PageSeriesLimit`].
    pub left_out: u64,
    /// How the last good page was asked for by name.
    pub partial: Option<PartialPage>,
    /// Whether the page was to be asked for by what is wanted of it.
    pub pushdown: PushdownState,
}

impl Status {
    /// Adds a target that is to be scraped from now on.
    pub fn add(&self, target: Target) -> Arc<TargetStatus> {
        let hash = target.hash();
        let status = Arc::new(TargetStatus { target, state: Arc::default() });
        lock(&self.targets).insert(hash, Arc::clone(&status));
        status
    }

    /// Goes on with a target under what a reload has made of it, with all that is known about it.
    pub fn succeed(&self, old: &Arc<TargetStatus>, target: Target) -> Arc<TargetStatus> {
        let hash = target.hash();
        let status = Arc::new(TargetStatus { target, state: Arc::clone(&old.state) });
        self.remove(old);
        lock(&self.targets).insert(hash, Arc::clone(&status));
        status
    }

    /// Removes a target that is no longer scraped, unless it was added anew in the meantime.
    pub fn remove(&self, gone: &Arc<TargetStatus>) {
        let mut targets = lock(&self.targets);
        let hash = gone.target.hash();
        if targets.get(&hash).is_some_and(|present| Arc::ptr_eq(present, gone)) {
            targets.remove(&hash);
        }
    }

    /// Notes how many targets a job's last roll-ups across them are of; `None` when there are none any
    /// more.
    pub fn set_rollup_targets(&self, job: &str, targets: Option<usize>) {
        let mut jobs = lock(&self.rollup_targets);
        match targets {
            Some(targets) => jobs.insert(job.to_owned(), targets),
            None => jobs.remove(job),
        };
    }

    /// By job, how many targets the last roll-ups across them are of.
    pub fn rollup_targets(&self) -> BTreeMap<String, usize> {
        lock(&self.rollup_targets).clone()
    }

    /// All targets.
    pub fn targets(&self) -> Vec<Arc<TargetStatus>> {
        lock(&self.targets).values().cloned().collect()
    }

    /// The state of one target.
    pub fn target(&self, hash: u64) -> Option<Arc<TargetStatus>> {
        lock(&self.targets).get(&hash).cloned()
    }

    /// Sets the state of a range, named as in the config.
    pub fn set_range(&self, spec: &str, state: RangeState) {
        lock(&self.ranges).insert((state.job.clone(), spec.to_owned()), state);
    }

    /// Removes a range that is no longer configured.
    pub fn remove_range(&self, job: &str, spec: &str) {
        lock(&self.ranges).remove(&(job.to_owned(), spec.to_owned()));
    }

    /// Removes a job's ranges that are not to be kept.
    pub fn keep_ranges(&self, job: &str, keep: impl Fn(&str) -> bool) {
        lock(&self.ranges).retain(|(of_job, spec), _| of_job != job || keep(spec));
    }

    /// All ranges, by job and by their spelling in the config.
    pub fn ranges(&self) -> BTreeMap<(String, String), RangeState> {
        lock(&self.ranges).clone()
    }
}

impl TargetStatus {
    /// A copy of the present state.
    pub fn state(&self) -> TargetState {
        lock(&self.state).clone()
    }

    /// Records a scrape that began at `began`. Returns how the scrape before it went.
    pub fn record(
        &self,
        scraped: &Scraped,
        began: SystemTime,
        now: Instant,
        series: usize,
    ) -> Before {
        let mut state = lock(&self.state);
        let partial = state.partial.clone();
        let mislabelled = state.tally.dropped.of(Dropped::Mislabelled);
        let faults = state.faults_total.saturating_sub(mislabelled).max(state.whole_faults.0);
        let mislabelled = mislabelled.max(state.whole_faults.1);
        let left_out = state.tally.dropped.of(Dropped::PageSeriesLimit).max(state.whole_left_out);
        let pushdown = state.pushdown;
        state.scrapes += 1;
        state.last_scrape = Some((began, scraped.duration));
        state.faults.clone_from(&scraped.faults);
        state.faults_total = scraped.faults_total;
        let failure = match &scraped.result {
            Ok(tally) => {
                state.role = scraped.role;
                state.last_ok = Some(now);
                state.series = series;
                state.totals.scraped += tally.scraped;
                state.totals.made += tally.made;
                state.totals.kept += tally.kept;
                state.totals.dropped.merge(&tally.dropped);
                state.totals.page_bytes += scraped.page_bytes;
                state.totals.ids_kept += tally.ids_kept;
                if scraped.is_pushed {
                    state.scrapes_pushed += 1;
                } else {
                    let mislabelled = tally.dropped.of(Dropped::Mislabelled);
                    let faults = scraped.faults_total.saturating_sub(mislabelled);
                    state.whole_faults = (faults, mislabelled);
                    state.whole_left_out = tally.dropped.of(Dropped::PageSeriesLimit);
                }
                state.pushdown = scraped.pushdown;
                state.tally = tally.clone();
                state.partial.clone_from(&scraped.partial);
                state.failure.take()
            }
            Err(failure) => {
                if let Some(count) = state.failures.get_mut(failure.reason as usize) {
                    *count += 1;
                }
                state.failure.replace(failure.clone())
            }
        };
        Before { failure, faults, mislabelled, left_out, partial, pushdown }
    }
}

/// A poisoned lock holds plain counters that are still good to show.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
