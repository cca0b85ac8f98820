//! The task of one target: scrapes at its place in each interval, until there is a reason to end.
//!
//! Orders come from the job. A new assignment is adopted between two scrapes, whatever it changes; a
//! scrape that is under way ends as it began. The lane of the target's samples stays the same for the
//! life of the task, since samples of one series must not overtake each other in another lane.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{across::Contributor, job::JobPlan, now_ms};
use crate::{
    limits::FAULTS_KEPT_MAX,
    scrape::{
        BadLine, PartialPage, PushdownState, Pushed, REFUSED_FOR, Reason, Scraped, Scraper, Whole,
    },
    series::{Dropped, PageSeries},
    status::{Before, TargetStatus},
    target::Target,
};

/// Longest time that a target whose page was late waits for its turn: others may be late because they hang.
const TURN_MAX: Duration = Duration::from_secs(60);

/// What a target's task is to do.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Scrape like this.
    Scrape(Assignment),
    /// Discovery no longer has the target: its series end.
    End,
    /// Another relay scrapes it from now on, so its series go on.
    Leave,
}

/// A target, and how it is scraped.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) plan: Arc<JobPlan>,
    pub(super) status: Arc<TargetStatus>,
}

/// How the relay stops scraping.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// The relay stops: series go on when it comes back, so they get no markers.
    pub(super) stop: CancellationToken,
    /// It stops in a hurry: nothing more is waited for.
    pub(super) hurry: CancellationToken,
    /// Longest time of the final scrape, the end of one that is under way included.
    pub(super) final_scrape_max: Duration,
}

impl Ending {
    fn last_call(&self) -> Instant {
        Instant::now() + self.final_scrape_max
    }
}

impl Assignment {
    pub(super) fn target(&self) -> &Target {
        &self.status.target
    }
}

/// Why the loop over the scrapes ended.
enum Until {
    Stopped,
    Gone,
    Left,
}

/// Scrapes one target until it is gone or the relay stops.
pub(super) async fn scrape(
    assignment: Assignment,
    contributor: Contributor,
    mut orders: watch::Receiver<Order>,
    ending: Ending,
) {
    let mut task = Task::new(assignment, contributor);
    let until = task.run(&mut orders, &ending).await;
    match until {
        Until::Stopped => {}
        Until::Gone => {
            task.append_end();
            info!(url = %task.assignment.target().url, "the target is gone, its series have ended");
        }
        Until::Left => {
            info!(url = %task.assignment.target().url, "another relay scrapes the target now");
        }
    }
    if !matches!(until, Until::Stopped) {
        task.assignment.plan.status.remove(&task.assignment.status);
    }
}

struct Task {
    assignment: Assignment,
    scraper: Scraper,
    contributor: Contributor,
    ticks: Interval,
    /// The last page had begun to arrive when its time was over.
    was_late: bool,
    lane_key: u64,
    /// When the relay's stop leaves no more time to scrape; set by the stop.
    last_call: Option<Instant>,
}

impl Task {
    fn new(assignment: Assignment, contributor: Contributor) -> Self {
        let target = assignment.target();
        let mut scraper = assignment.plan.scraper(target.clone());
        scraper.part_rollups(assignment.plan.is_across());
        Self {
            scraper,
            contributor,
            ticks: ticks(target),
            was_late: false,
            lane_key: target.hash(),
            last_call: None,
            assignment,
        }
    }

    async fn run(&mut self, orders: &mut watch::Receiver<Order>, ending: &Ending) -> Until {
        loop {
            let order = orders.borrow_and_update().clone();
            match order {
                Order::Scrape(assignment) => self.adopt(assignment),
                Order::End => return Until::Gone,
                Order::Leave => return Until::Left,
            }
            let _turn = tokio::select! {
                biased;
                () = ending.stop.cancelled() => {
                    self.scrape_finally(ending).await;
                    return Until::Stopped;
                }
                Ok(()) = orders.changed() => continue,
                turn = self.due() => turn,
            };
            self.want();
            let began = SystemTime::now();
            let final_scrape = self.assignment.plan.final_scrape;
            let scraped = {
                // Its room, which is nearly all that a task takes, is for the time of a scrape only.
                let mut scrape = Box::pin(self.scraper.scrape(now_ms()));
                tokio::select! {
                    biased;
                    () = ending.stop.cancelled() => {
                        if !final_scrape {
                            return Until::Stopped;
                        }
                        let last_call = *self.last_call.get_or_insert_with(|| ending.last_call());
                        let ended = in_time(ending, last_call, &mut scrape).await;
                        let Some(scraped) = ended.filter(|scraped| scraped.result.is_ok()) else {
                            return Until::Stopped;
                        };
                        scraped
                    }
                    // It may come back at any time, and then this task must not be in its way.
                    () = ended(orders) => continue,
                    scraped = &mut scrape => scraped,
                }
            };
            self.take(&scraped, began);
            self.scraper.rest();
        }
    }

    /// Waits until the target is due.
    ///
    /// Pages that are new cost fifteen times what known ones do, so at a start, or when all jobs begin anew, a relay
    /// with little CPU reads all of them at once and none in time, again and again. So those that were late take
    /// turns.
    async fn due(&mut self) -> Option<OwnedSemaphorePermit> {
        self.ticks.tick().await;
        if !self.was_late {
            return None;
        }
        let turn = Arc::clone(&self.assignment.plan.late).acquire_owned();
        timeout(TURN_MAX, turn).await.ok()?.ok()
    }

    /// Goes on with another assignment. The place in the interval stays unless the interval changes.
    fn adopt(&mut self, next: Assignment) {
        let present = &self.assignment;
        let same_plan = Arc::ptr_eq(&present.plan, &next.plan);
        if same_plan && Arc::ptr_eq(&present.status, &next.status) {
            return;
        }
        let target = next.target();
        if present.target().interval != target.interval {
            self.ticks = ticks(target);
        }
        let plan = &next.plan;
        let origins = plan.wiring.origins(&present.plan.wiring);
        let (client, shaper) = (plan.client.clone(), Arc::clone(&plan.shaper));
        self.scraper.adopt(target.clone(), client, &plan.scrape, shaper, &origins);
        self.scraper.name_from(plan.rest.clone());
        self.scraper.keep_to(plan.budget());
        self.scraper.push_down(plan.pushdown);
        self.scraper.part_rollups(plan.is_across());
        self.assignment = next;
    }

    /// One more scrape when the relay stops. A target that does not answer is left out: that it is
    /// gone together with the relay says nothing about its series.
    async fn scrape_finally(&mut self, ending: &Ending) {
        if !self.assignment.plan.final_scrape {
            return;
        }
        self.want();
        let began = SystemTime::now();
        let last_call = *self.last_call.get_or_insert_with(|| ending.last_call());
        let scraped = in_time(ending, last_call, Box::pin(self.scraper.scrape(now_ms()))).await;
        match scraped {
            Some(scraped) if scraped.result.is_ok() => self.take(&scraped, began),
            left_out => {
                let failure = left_out.and_then(|scraped| scraped.result.err());
                debug!(url = %self.assignment.target().url, ?failure, "no final scrape");
            }
        }
    }

    /// Tells the scraper in which messages its receivers want the next scrape.
    fn want(&mut self) {
        let outlets = &self.assignment.plan.wiring.outlets;
        self.scraper.want(outlets.iter().map(|(outlet, view)| (*view, outlet.message())));
    }

    fn take(&mut self, scraped: &Scraped, began: SystemTime) {
        let Assignment { plan, status } = &self.assignment;
        plan.wiring.append(self.lane_key, &scraped.staged, Instant::now());
        if plan.is_across() {
            self.contributor.take(&mut self.scraper, scraped);
        }
        self.was_late = matches!(&scraped.result, Err(failure) if failure.reason == Reason::Timeout)
            && scraped.page_bytes > 0;
        let before = status.record(scraped, began, Instant::now(), self.scraper.series_len());
        log(status, scraped, &before, &plan.status.page_series);
    }

    fn append_end(&mut self) {
        let staged = self.scraper.end(now_ms(), Instant::now());
        self.assignment.plan.wiring.append(self.lane_key, &staged, Instant::now());
    }
}

/// The ticks of a target at its place in the interval.
fn ticks(target: &Target) -> Interval {
    let first = target.due_in(u64::try_from(now_ms()).unwrap_or_default());
    let mut ticks = interval_at(Instant::now() + first, target.interval);
    // A scrape that outlasts its interval is followed by the next regular one, not by a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Until the target is not to be scraped any more. What else is ordered is seen after the scrape.
async fn ended(orders: &mut watch::Receiver<Order>) {
    let alone = orders.wait_for(|order| !matches!(order, Order::Scrape(_))).await.is_err();
    if alone {
        // Nobody is left to order anything.
        std::future::pending().await
    }
}

/// What the relay's end leaves time for.
async fn in_time(
    ending: &Ending,
    last_call: Instant,
    scrape: impl Future<Output = Scraped>,
) -> Option<Scraped> {
    let scrape = ending.hurry.run_until_cancelled(scrape);
    timeout_at(last_call, scrape).await.ok().flatten()
}

/// One line when a target begins to fail or fails differently, one when it recovers.
fn log(status: &TargetStatus, scraped: &Scraped, before: &Before, page_series: &PageSeries) {
    let target = &status.target;
    match (&scraped.result, &before.failure) {
        (Ok(_), None) => {}
        (Ok(tally), Some(_)) => {
            info!(url = %target.url, samples = tally.scraped, "the target answers again");
        }
        (Err(failure), before) => {
            if before.as_ref().is_none_or(|before| before.reason != failure.reason) {
                warn!(url = %target.url, reason = failure.reason.as_str(), %failure,
                    "scrape failed");
            }
        }
    }
    if scraped.result.is_ok() {
        log_partial(target, scraped.partial.as_ref(), before.partial.as_ref());
    }
    log_pushdown(target, scraped.pushdown, before.pushdown);
    let mislabelled = |bad: &&BadLine| matches!(bad, BadLine::Mislabelled { .. });
    if let (Some(first), 0) = (scraped.faults.iter().find(mislabelled), before.mislabelled)
        && let Ok(tally) = &scraped.result
    {
        let samples = tally.dropped.of(Dropped::Mislabelled);
        warn!(url = %target.url, samples, %first,
            "the page has samples whose values stand under wrong label names; they are dropped and counted");
    }
    if let (Ok(tally), 0) = (&scraped.result, before.left_out)
        && let samples @ 1.. = tally.dropped.of(Dropped::PageSeriesLimit)
    {
        warn!(url = %target.url, samples, limit = page_series.limit(),
            remembered = page_series.remembered(),
            "the relay remembers as many series of pages as page_series_limit allows, so what is new on this page \
            is dropped and counted: raise the limit and the memory, let Flink write less (filter.excludes), bound \
            pages by sample_limit or body_size_limit, or share the targets among more relays");
    }
    let unreadable = scraped.faults.iter().find(|bad| !mislabelled(bad));
    if let (Some(fault), 0) = (unreadable, before.faults) {
        warn!(url = %target.url, lines = scraped.faults_total, first = %fault,
            "the page has lines that cannot be read; they are skipped and counted");
    }
}

/// One line when a target begins to be asked for what is wanted only, and when it is not for a reason of its own.
fn log_pushdown(target: &Target, now: PushdownState, before: PushdownState) {
    let url = &target.url;
    match now {
        PushdownState::Pushed(Pushed { families, left_out, whole_bytes, pushed_bytes, .. })
            if !matches!(before, PushdownState::Pushed(_)) =>
        {
            debug!(%url, families, left_out, whole_bytes, pushed_bytes,
                "the target is asked only for the metrics that are relayed");
        }
        PushdownState::Whole(why @ (Whole::Ignored | Whole::Refused)) if now != before => {
            info!(%url, reason = why.as_str(), retry_s = REFUSED_FOR.as_secs(),
                "the target cannot be asked for the metrics that are relayed only, so its pages come whole");
        }
        _ => {}
    }
}

/// One line when a page begins to come in parts, when more metrics turn out to throw, and at its end.
fn log_partial(target: &Target, partial: Option<&PartialPage>, before: Option<&PartialPage>) {
    let url = &target.url;
    let Some(partial) = partial else {
        if before.is_some() {
            info!(%url, "the page comes whole again: no metric throws");
        }
        return;
    };
    let PartialPage { quarantined, suspected, retry_in } = partial;
    let before = before.map(|before| &before.quarantined);
    let is_new = |metric| before.is_none_or(|before| !before.contains(metric));
    let shown: Vec<_> = quarantined.iter().take(FAULTS_KEPT_MAX).map(AsRef::as_ref).collect();
    let (retry_s, metrics) = (retry_in.as_secs(), shown.join(" "));
    if quarantined.iter().any(is_new) {
        let quarantined = quarantined.len();
        warn!(%url, quarantined, metrics, suspected, retry_s,
            "a metric of the process throws when it is read, which costs it the whole page; \
            it is in quarantine and the others are asked for by name");
    } else if before.is_none() {
        warn!(%url, suspected, retry_s,
            "a metric of the process throws when it is read, which costs it the whole page; \
            which one is not known, and the metrics that are known are asked for by name");
    } else if before.is_some_and(|before| before.len() > quarantined.len()) {
        let quarantined = quarantined.len();
        info!(%url, quarantined, metrics, "some metrics that threw work again");
    }
}
