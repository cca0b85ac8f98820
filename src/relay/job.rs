//! One scrape job: keeps the set of its targets, a task for each, and the probers of its ranges.
//!
//! A reload hands the job another [`JobPlan`]. Targets that are still there keep their task: it is told
//! the new plan and adopts it between two scrapes. What "still there" means is decided twice: by URL and
//! labels, and for those that are left by job and address as configured, so that a target whose labels
//! or path have changed goes on in one scraper, which knows what has to end.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::{Notify, watch},
    task::{JoinError, JoinSet},
};
use tracing::{error, info};

use super::{
    across::{self, Pool},
    range::{self, Prober},
    scraping::{Assignment, Ending, Order, scrape},
    wiring::Wiring,
};
use crate::{
    config::{self, Config, Scrape},
    discovery::{Sources, range::Ports},
    flink_rest::Rest,
    http::{BuildError, Client},
    scrape::{Budget, Scraper},
    series::Shaper,
    status::{RangeState, Status, TargetStatus},
    target::{Target, TargetError},
};

/// What a configuration says of one scrape job, ready to be used.
#[derive(Debug)]
pub(super) struct JobPlan {
    pub(super) scrape: Scrape,
    pub(super) sources: Sources,
    pub(super) client: Client,
    pub(super) shaper: Arc<Shaper>,
    pub(super) wiring: Arc<Wiring>,
    /// Whether each target is scraped once more at the end.
    pub(super) final_scrape: bool,
    /// Whether targets are asked only for what is relayed.
    pub(super) pushdown: bool,
    pub(super) status: Arc<Status>,
    pub(super) rest: Option<Arc<Rest>>,
}

/// A scrape job that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// TLS files or headers.
    #[error(transparent)]
    Client(#[from] BuildError),
    /// Relabelling leaves a target that cannot be scraped.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// What is to become of a job.
#[derive(Clone, Debug)]
pub(super) enum JobOrder {
    /// Scrape by this plan.
    Run(Arc<JobPlan>),
    /// It is no longer configured: all its series end.
    End,
}

impl JobPlan {
    /// `before` is the plan that this one follows; its connections are kept when they still fit.
    pub(super) fn new(
        scrape: &Scrape,
        config: &Config,
        wiring: &Arc<Wiring>,
        status: &Arc<Status>,
        rest: Option<&Arc<Rest>>,
        before: Option<&Self>,
    ) -> Result<Self, JobError> {
        let sources = Sources::new(scrape, config.shard)?;
        let fits = |before: &&Self| {
            before.scrape.http == scrape.http && before.sources.timeout_max == sources.timeout_max
        };
        let client = match before.filter(fits) {
            Some(before) => before.client.clone(),
            None => Client::new(&scrape.http, sources.timeout_max)?,
        };
        let flink: &config::Flink = &config.flink;
        Ok(Self {
            shaper: Arc::new(Shaper::new(scrape, flink, Arc::clone(&wiring.views))),
            scrape: scrape.clone(),
            sources,
            client,
            wiring: Arc::clone(wiring),
            final_scrape: config.final_scrape,
            pushdown: flink.pushdown,
            status: Arc::clone(status),
            rest: rest.cloned(),
        })
    }

    /// Finds the job's targets as they are now: probes each range once.
    pub(super) async fn find_once(&self) -> (Vec<(String, RangeState)>, Vec<Target>) {
        let (mut ranges, mut targets) = (Vec::new(), self.sources.targets.clone());
        for source in &self.sources.ranges {
            let ports = range::Shared::new(Ports::new(
                source.ports.iter().copied(),
                self.scrape.forget_after,
            ));
            range::probe_round(self, source, &ports).await;
            targets.extend(range::instances(self, source, &ports));
            ranges.push((source.spec.to_string(), range::state(self, &ports)));
        }
        (ranges, targets)
    }

    /// Whether the roll-ups of its targets are combined.
    pub(super) fn is_across(&self) -> bool {
        self.shaper.rollups.across_targets && self.shaper.rollups.is_on()
    }

    /// The budget that its series are to keep to.
    pub(super) fn budget(&self) -> Option<&Arc<Budget>> {
        self.shaper.rollups.has_budget.then_some(&self.status.budget)
    }

    /// A scraper for a target of this job.
    pub(super) fn scraper(&self, target: Target) -> Scraper {
        let (client, shaper) = (self.client.clone(), Arc::clone(&self.shaper));
        let mut scraper = Scraper::new(target, client, &self.scrape, shaper, self.rest.clone());
        scraper.keep_to(self.budget());
        scraper.push_down(self.pushdown);
        scraper
    }
}

/// A job that runs.
pub(super) struct Job {
    plan: Arc<JobPlan>,
    ending: Ending,
    probers: Vec<Prober>,
    /// Told by probers when their instances have changed.
    found: Arc<Notify>,
    running: Vec<Running>,
    /// What its targets share for roll-ups across them.
    pool: Arc<Pool>,
    tasks: JoinSet<()>,
}

/// A target with its task.
struct Running {
    assignment: Assignment,
    orders: watch::Sender<Order>,
}

impl Job {
    pub(super) fn new(plan: Arc<JobPlan>, ending: Ending) -> Self {
        Self {
            plan,
            ending,
            probers: Vec::new(),
            found: Arc::default(),
            running: Vec::new(),
            pool: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Scrapes the job's targets until the relay stops or the job is ended.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<JobOrder>) {
        let (pool, plan) = (Arc::clone(&self.pool), Arc::clone(&self.plan));
        let stop = self.ending.stop.clone();
        self.tasks.spawn(across::combine(pool, plan, orders.clone(), stop));
        self.start_probers();
        self.reconcile();
        loop {
            tokio::select! {
                () = self.ending.stop.cancelled() => break,
                Ok(()) = orders.changed() => {
                    let order = orders.borrow_and_update().clone();
                    match order {
                        JobOrder::Run(plan) => {
                            self.plan = plan;
                            self.start_probers();
                            self.reconcile();
                        }
                        JobOrder::End => {
                            self.end();
                            break;
                        }
                    }
                }
                () = self.found.notified() => self.reconcile(),
                Some(ended) = self.tasks.join_next() => log_panic(ended),
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            log_panic(ended);
        }
    }

    /// Starts a prober for each range. What an earlier one knew of the range goes to its successor.
    fn start_probers(&mut self) {
        let mut old = std::mem::take(&mut self.probers);
        for (at, source) in self.plan.sources.ranges.iter().enumerate() {
            let same = old.iter().position(|prober| prober.source.spec == source.spec);
            let like = || old.iter().position(|prober| prober.is_like(source));
            let old = same.or_else(like).map(|at| old.swap_remove(at));
            let cancel = self.ending.stop.child_token();
            let prober = Prober::new(source, &self.plan, old, cancel);
            let probing = prober.probe(Arc::clone(&self.plan), at, Arc::clone(&self.found));
            self.tasks.spawn(probing);
            self.probers.push(prober);
        }
        for gone in old {
            gone.end(&self.plan);
        }
        // Under its old spelling a range is gone even when its instances are kept.
        let job = &self.plan.scrape.job_name;
        for (of_job, spec) in self.plan.status.ranges().into_keys() {
            let kept = self.probers.iter().any(|prober| prober.source.spec.to_string() == spec);
            if of_job == *job && !kept {
                self.plan.status.remove_range(job, &spec);
            }
        }
    }

    fn wanted(&self) -> BTreeMap<u64, Target> {
        let mut wanted = self.plan.sources.targets.clone();
        for prober in &self.probers {
            wanted.extend(range::instances(&self.plan, &prober.source, &prober.ports));
        }
        wanted.into_iter().map(|target| (target.hash(), target)).collect()
    }

    /// Starts tasks for new targets, tells the others what has changed, and ends those of targets that
    /// are gone.
    fn reconcile(&mut self) {
        let mut wanted = self.wanted();
        let mut left = Vec::new();
        for mut running in std::mem::take(&mut self.running) {
            match wanted.remove(&running.assignment.target().hash()) {
                Some(target) => {
                    self.assign(&mut running, target);
                    self.running.push(running);
                }
                None => left.push(running),
            }
        }
        for mut running in left {
            let key = running.assignment.target().key;
            let same = wanted.iter().find(|(_, target)| target.key == key).map(|(hash, _)| *hash);
            match same.and_then(|hash| wanted.remove(&hash)) {
                Some(target) => {
                    self.assign(&mut running, target);
                    self.running.push(running);
                }
                None => self.let_go(&running),
            }
        }
        for target in wanted.into_values() {
            self.begin(target);
        }
    }

    fn begin(&mut self, target: Target) {
        info!(job = target.job(), url = %target.url, "scraping a target");
        let status = self.plan.status.add(target);
        let assignment = Assignment { plan: Arc::clone(&self.plan), status };
        let (orders, told) = watch::channel(Order::Scrape(assignment.clone()));
        let contributor = self.pool.contributor();
        self.tasks.spawn(scrape(assignment.clone(), contributor, told, self.ending.clone()));
        self.running.push(Running { assignment, orders });
    }

    fn assign(&self, running: &mut Running, target: Target) {
        let present = &running.assignment;
        if *present.target() == target && Arc::ptr_eq(&present.plan, &self.plan) {
            return;
        }
        let status: Arc<TargetStatus> = if *present.target() == target {
            Arc::clone(&present.status)
        } else {
            info!(job = target.job(), url = %target.url, "a target has changed and goes on");
            self.plan.status.succeed(&present.status, target)
        };
        running.assignment = Assignment { plan: Arc::clone(&self.plan), status };
        running.orders.send_replace(Order::Scrape(running.assignment.clone()));
    }

    fn let_go(&self, running: &Running) {
        let moved = self.plan.sources.elsewhere.contains(&running.assignment.target().key);
        running.orders.send_replace(if moved { Order::Leave } else { Order::End });
    }

    fn end(&mut self) {
        for running in self.running.drain(..) {
            running.orders.send_replace(Order::End);
        }
        for prober in self.probers.drain(..) {
            prober.end(&self.plan);
        }
    }
}

/// A panic is a bug of the relay and ends the scrapes of that one target; the log must say so.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a target or a port range is no longer looked after; restart the relay");
    }
}
