//! The roll-ups across the targets of one scrape job: who contributes, and the task that sends them.
//!
//! Targets' tasks hand their parts in under a lock that is held for look-ups and additions only, so no
//! scrape waits for another. The task of the job wakes a slack after each interval's end, combines
//! what is there, and appends it as a target does, always in the same lane. It runs whether or not roll-ups
//! across targets are on, so that a reload can switch them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    job::{JobOrder, JobPlan},
    now_ms,
};
use crate::{
    limits::ACROSS_SLACK_MAX,
    scrape::{Combiner, Scraped, Scraper},
    series::Across,
};

/// What the targets of one scrape job share.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// `None` while roll-ups across targets are off.
    across: Mutex<Option<Across>>,
    contributors: AtomicU64,
}

/// One target's place in it; what it has shared stays when this goes, and it contributes no more.
#[derive(Debug)]
pub(super) struct Contributor {
    pool: Arc<Pool>,
    id: u64,
}

impl Pool {
    /// A place for a target.
    pub(super) fn contributor(self: &Arc<Self>) -> Contributor {
        Contributor { pool: Arc::clone(self), id: self.contributors.fetch_add(1, Relaxed) }
    }

    /// A poisoned lock holds what the next pages set anew.
    fn lock(&self) -> MutexGuard<'_, Option<Across>> {
        self.across.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it fit a plan.
    fn follow(&self, plan: &JobPlan) {
        let mut across = self.lock();
        if !plan.is_across() {
            *across = None;
            return;
        }
        let (interval, slack) = (plan.scrape.interval, slack(plan));
        match &mut *across {
            Some(across) => across.align(interval, slack, now_ms()),
            None => *across = Some(Across::new(interval, slack, now_ms())),
        }
    }

    /// How long until the open interval is to be closed; for ever while there is none.
    fn due_in(&self) -> Duration {
        self.lock().as_ref().map_or(Duration::MAX, |across| across.due_in(now_ms()))
    }
}

impl Contributor {
    /// Hands in what a scrape has come to.
    pub(super) fn take(&self, scraper: &mut Scraper, scraped: &Scraped) {
        let parts = scraped.result.is_ok().then(|| scraper.parts());
        if let Some(across) = &mut *self.pool.lock() {
            across.take(self.id, scraper.newest_ms(), scraper.target().interval, parts);
        }
    }
}

impl Drop for Contributor {
    fn drop(&mut self) {
        if let Some(across) = &mut *self.pool.lock() {
            across.forget(self.id);
        }
    }
}

/// Combines and sends until the relay stops or the job is ended.
pub(super) async fn combine(
    pool: Arc<Pool>,
    plan: Arc<JobPlan>,
    mut orders: watch::Receiver<JobOrder>,
    stop: CancellationToken,
) {
    let mut task = Task::new(pool, plan);
    loop {
        let order = orders.borrow_and_update().clone();
        match order {
            JobOrder::Run(plan) => task.adopt(plan),
            JobOrder::End => return task.end(),
        }
        tokio::select! {
            biased;
            // Its series go on when the relay comes back.
            () = stop.cancelled() => return,
            Ok(()) = orders.changed() => {}
            () = sleep(task.pool.due_in()) => task.close(),
        }
    }
}

struct Task {
    pool: Arc<Pool>,
    plan: Arc<JobPlan>,
    /// There while roll-ups across targets are on.
    combiner: Option<Combiner>,
    lane_key: u64,
}

impl Task {
    fn new(pool: Arc<Pool>, plan: Arc<JobPlan>) -> Self {
        pool.follow(&plan);
        let combiner = plan.is_across().then(|| Combiner::new(Arc::clone(&plan.shaper)));
        // As targets have theirs by their hash, which a restart does not change either.
        let lane_key = xxh3_64(plan.scrape.job_name.as_bytes());
        Self { pool, plan, combiner, lane_key }
    }

    fn adopt(&mut self, next: Arc<JobPlan>) {
        if Arc::ptr_eq(&self.plan, &next) {
            return;
        }
        let origins = next.wiring.origins(&self.plan.wiring);
        if !next.is_across() {
            self.end();
        }
        self.pool.follow(&next);
        self.combiner = match self.combiner.take() {
            _ if !next.is_across() => None,
            Some(mut combiner) => {
                combiner.adopt(Arc::clone(&next.shaper), &origins);
                Some(combiner)
            }
            None => Some(Combiner::new(Arc::clone(&next.shaper))),
        };
        self.plan = next;
    }

    fn close(&mut self) {
        let closed = self.pool.lock().as_mut().and_then(|across| across.close(now_ms()));
        let (Some(combiner), Some(closed)) = (&mut self.combiner, closed) else { return };
        let wiring = &self.plan.wiring;
        combiner.want(wiring.outlets.iter().map(|(outlet, view)| (*view, outlet.message())));
        self.plan.status.set_rollup_targets(&self.plan.scrape.job_name, Some(closed.targets));
        let staged = combiner.stage(closed, Instant::now());
        wiring.append(self.lane_key, &staged, Instant::now());
    }

    /// Ends the series: nothing is combined any more.
    fn end(&mut self) {
        let Some(combiner) = &mut self.combiner else { return };
        let staged = combiner.end(now_ms(), Instant::now());
        self.plan.wiring.append(self.lane_key, &staged, Instant::now());
        self.plan.status.set_rollup_targets(&self.plan.scrape.job_name, None);
    }
}

/// How long after an interval's end its last pages are waited for.
fn slack(plan: &JobPlan) -> Duration {
    let scrape = &plan.scrape;
    scrape.timeout.min(scrape.interval / 4).min(ACROSS_SLACK_MAX)
}
