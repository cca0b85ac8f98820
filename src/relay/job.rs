//! One scrape job: keeps the set of its targets, a task for each, and the probers of its ranges.
//!
//! A reload hands the job another [`JobPlan`]. Targets that are still there keep their task: it is told
//! the new plan and adopts it between two scrapes. What "still there" means is decided twice: by URL and
//! labels, and for those that are left by job and address as configured, so that a target whose labels
//! or path have changed goes on in one scraper, which knows what has to end.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{error, info};

use super::{
    across::{self, Pool},
    found::{Finds, resolve},
    range::{self, Prober},
    scraping::{Assignment, Ending, Order, scrape},
    wiring::Wiring,
};
use crate::{
    config::{self, Config, Scrape},
    discovery::{
        Sources,
        range::Ports,
        source::{Answer, Source},
    },
    flink_rest::Rest,
    http::{BuildError, Client},
    scrape::{Budget, Scraper},
    series::Shaper,
    shard::{self, Shard},
    status::{RangeState, Status, TargetStatus},
    target::{Target, TargetError},
};

/// What a configuration says of one scrape job, ready to be used.
#[derive(Debug)]
pub(super) struct JobPlan {
    pub(super) scrape: Scrape,
    pub(super) sources: Sources,
    /// Where more targets are looked for, in the order of the config.
    pub(super) discovery: Vec<Arc<Source>>,
    /// Which part of the targets is this relay's.
    pub(super) shard: Option<Shard>,
    pub(super) client: Client,
    pub(super) shaper: Arc<Shaper>,
    pub(super) wiring: Arc<Wiring>,
    /// Whether each target is scraped once more at the end.
    pub(super) final_scrape: bool,
    /// Whether targets are asked only for what is relayed.
    pub(super) pushdown: bool,
    pub(super) status: Arc<Status>,
    pub(super) rest: Option<Arc<Rest>>,
    /// Who is scraped of those whose last page was late: one at a time.
    pub(super) late: Arc<Semaphore>,
}

/// What was found by looking once.
#[derive(Debug, Default)]
pub(super) struct FoundOnce {
    /// By their spelling.
    pub(super) ranges: Vec<(String, RangeState)>,
    pub(super) targets: Vec<Arc<Target>>,
    /// Sources that cannot tell, and targets that cannot be scraped: where, and why.
    pub(super) failures: Vec<(String, String)>,
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
        // What is configured as before goes on with what it has found.
        let mut known: Vec<_> =
            before.map(|before| before.discovery.iter().collect()).unwrap_or_default();
        let discovery = scrape.discovery.iter().map(|wanted| {
            match known.iter().position(|source| source.config == *wanted) {
                Some(at) => Ok(Arc::clone(known.swap_remove(at))),
                None => Source::new(&scrape.job_name, wanted).map(Arc::new),
            }
        });
        let flink: &config::Flink = &config.flink;
        Ok(Self {
            discovery: discovery.collect::<Result<_, _>>()?,
            shard: config.shard,
            shaper: Arc::new(Shaper::new(scrape, flink, Arc::clone(&wiring.views))),
            scrape: scrape.clone(),
            sources,
            client,
            wiring: Arc::clone(wiring),
            final_scrape: config.final_scrape,
            pushdown: flink.pushdown,
            status: Arc::clone(status),
            rest: rest.cloned(),
            late: before.map_or_else(|| Arc::new(Semaphore::new(1)), |b| Arc::clone(&b.late)),
        })
    }

    /// Finds the job's targets as they are now: asks each source and probes each range once.
    pub(super) async fn find_once(&self) -> FoundOnce {
        let mut found = FoundOnce { targets: self.sources.targets.clone(), ..FoundOnce::default() };
        let mut ranges = self.sources.ranges.clone();
        for (source, answer) in self.ask_sources().await {
            for group in &*answer.groups {
                let resolved = resolve(self, group);
                found.targets.extend(resolved.targets);
                ranges.extend(resolved.ranges);
                let invalid = resolved.invalid.into_iter();
                let told = |(address, error)| (source.clone(), format!("{address}: {error}"));
                found.failures.extend(invalid.map(told));
            }
            found.failures.extend(answer.failure.map(|failure| (source, failure)));
        }
        for range in &ranges {
            let ports = range::Shared::new(Ports::new(
                range.ports.iter().copied(),
                self.scrape.forget_after,
            ));
            range::probe_round(self, range, &ports, true).await;
            found.targets.extend(range::instances(self, range, &ports));
            found.ranges.push((range.seed.address.to_string(), range::state(self, &ports)));
        }
        found
    }

    /// What each source tells when it is asked once, by the source in words for people.
    pub(super) async fn ask_sources(&self) -> Vec<(String, Answer)> {
        let asked = self
            .discovery
            .iter()
            .map(async |source| (source.config.to_string(), source.ask(FIRST_ANSWER_MAX).await));
        join_all(asked).await
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
        let scraper = Scraper::new(target, client, &self.scrape, shaper, self.rest.clone());
        let mut scraper = scraper.within(Arc::clone(&self.status.page_series));
        scraper.keep_to(self.budget());
        scraper.push_down(self.pushdown);
        scraper
    }
}

/// A job that runs.
pub(super) struct Job {
    plan: Arc<JobPlan>,
    ending: Ending,
    finds: Finds,
    probers: Vec<Prober>,
    /// Told by probers when their instances have changed.
    found: Arc<Notify>,
    /// When what was found is taken; changes until then are taken together.
    due: Option<Instant>,
    taken: Option<Instant>,
    /// What falls to other relays.
    elsewhere: HashSet<shard::Key>,
    /// By the hash of the target.
    running: HashMap<u64, Running>,
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
            finds: Finds::default(),
            probers: Vec::new(),
            found: Arc::default(),
            due: None,
            taken: None,
            elsewhere: HashSet::new(),
            running: HashMap::new(),
            pool: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Scrapes the job's targets until the relay stops or the job is ended.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<JobOrder>) {
        let (pool, plan) = (Arc::clone(&self.pool), Arc::clone(&self.plan));
        let stop = self.ending.stop.clone();
        self.tasks.spawn(across::combine(pool, plan, orders.clone(), stop));
        self.adopt(Arc::clone(&self.plan));
        loop {
            let due = self.due;
            tokio::select! {
                () = self.ending.stop.cancelled() => break,
                Ok(()) = orders.changed() => {
                    let order = orders.borrow_and_update().clone();
                    match order {
                        JobOrder::Run(plan) => self.adopt(plan),
                        JobOrder::End => {
                            self.end();
                            break;
                        }
                    }
                }
                () = self.found.notified() => self.soon(),
                () = self.finds.changed() => self.soon(),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.finds.take(&self.plan, false);
                    self.reconcile(false);
                }
                Some(ended) = self.tasks.join_next() => log_panic(ended),
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            log_panic(ended);
        }
    }

    /// Goes on by this plan.
    fn adopt(&mut self, plan: Arc<JobPlan>) {
        self.plan = plan;
        self.finds.follow(&self.plan, &mut self.tasks, &self.ending.stop);
        self.finds.take(&self.plan, true);
        self.reconcile(true);
    }

    /// What was found is taken at once, or with everything else that comes within [`TAKE_EVERY`].
    fn soon(&mut self) {
        let now = Instant::now();
        let due = self.taken.map_or(now, |taken| now.max(taken + TAKE_EVERY));
        self.due.get_or_insert(due);
    }

    /// Starts a prober for each range that has none; all of them by another plan. What an earlier one
    /// knew of the range goes to its successor.
    fn start_probers(&mut self, all: bool) {
        let ranges: Vec<_> = self.plan.sources.ranges.iter().chain(self.finds.ranges()).collect();
        let mut kept = Vec::with_capacity(ranges.len());
        let mut old = HashMap::<_, Vec<Prober>>::new();
        for prober in std::mem::take(&mut self.probers) {
            old.entry(prober.range.seed.address.to_string()).or_default().push(prober);
        }
        let (mut without, mut like) = (Vec::new(), HashMap::<_, Vec<Prober>>::new());
        for range in ranges {
            let same = old.get_mut(&range.seed.address.to_string()).and_then(Vec::pop);
            match same {
                Some(same) if !all && same.range == *range => kept.push(same),
                same => without.push((Arc::clone(range), same)),
            }
        }
        for left in old.into_values().flatten() {
            like.entry(Prober::likeness(&left.range)).or_default().push(left);
        }
        for (range, same) in without {
            let like = || like.get_mut(&Prober::likeness(&range))?.pop();
            let cancel = self.ending.stop.child_token();
            let prober = Prober::new(&range, &self.plan, same.or_else(like), cancel);
            self.tasks.spawn(prober.probe(Arc::clone(&self.plan), Arc::clone(&self.found)));
            kept.push(prober);
        }
        like.into_values().flatten().for_each(|gone| gone.end(&self.plan));
        self.probers = kept;
        // Under its old spelling a range is gone even when its instances are kept.
        let job = &self.plan.scrape.job_name;
        let present = self.probers.iter().map(|prober| prober.range.seed.address.to_string());
        let present: HashSet<_> = present.collect();
        self.plan.status.keep_ranges(job, |spec| present.contains(spec));
    }

    /// All that is to be scraped now, by hash.
    fn wanted(&mut self) -> BTreeMap<u64, Arc<Target>> {
        let known = self.plan.sources.targets.iter().chain(self.finds.targets());
        let mut wanted: BTreeMap<_, _> =
            known.map(|target| (target.hash(), Arc::clone(target))).collect();
        for prober in &mut self.probers {
            let targets = prober.targets(&self.plan).iter();
            wanted.extend(targets.map(|target| (target.hash(), Arc::clone(target))));
        }
        wanted
    }

    /// Starts tasks for new targets, tells the others what has changed, and ends those of targets that
    /// are gone.
    fn reconcile(&mut self, by_another_plan: bool) {
        self.due = None;
        self.taken = Some(Instant::now());
        self.start_probers(by_another_plan);
        let elsewhere = self.plan.sources.elsewhere.iter().copied();
        self.elsewhere = elsewhere.chain(self.finds.elsewhere()).collect();
        let mut wanted = self.wanted();
        let mut left = Vec::new();
        for (hash, mut running) in std::mem::take(&mut self.running) {
            match wanted.remove(&hash) {
                Some(target) => {
                    self.assign(&mut running, &target);
                    self.running.insert(hash, running);
                }
                None => left.push(running),
            }
        }
        // In the order of their hashes, so that of several the same one is taken each time.
        let mut by_key = HashMap::<_, Vec<u64>>::new();
        for (hash, target) in wanted.iter().rev().filter(|_| !left.is_empty()) {
            by_key.entry(target.key).or_default().push(*hash);
        }
        for mut running in left {
            let same = by_key.get_mut(&running.assignment.target().key).and_then(Vec::pop);
            match same.and_then(|hash| Some((hash, wanted.remove(&hash)?))) {
                Some((hash, target)) => {
                    self.assign(&mut running, &target);
                    self.running.insert(hash, running);
                }
                None => self.let_go(&running),
            }
        }
        for (hash, target) in wanted {
            self.begin(hash, Target::clone(&target));
        }
    }

    fn begin(&mut self, hash: u64, target: Target) {
        info!(job = target.job(), url = %target.url, "scraping a target");
        let status = self.plan.status.add(target);
        let assignment = Assignment { plan: Arc::clone(&self.plan), status };
        let (orders, told) = watch::channel(Order::Scrape(assignment.clone()));
        let contributor = self.pool.contributor();
        self.tasks.spawn(scrape(assignment.clone(), contributor, told, self.ending.clone()));
        self.running.insert(hash, Running { assignment, orders });
    }

    fn assign(&self, running: &mut Running, target: &Target) {
        let present = &running.assignment;
        if present.target() == target && Arc::ptr_eq(&present.plan, &self.plan) {
            return;
        }
        let status: Arc<TargetStatus> = if present.target() == target {
            Arc::clone(&present.status)
        } else {
            info!(job = target.job(), url = %target.url, "a target has changed and goes on");
            self.plan.status.succeed(&present.status, target.clone())
        };
        running.assignment = Assignment { plan: Arc::clone(&self.plan), status };
        running.orders.send_replace(Order::Scrape(running.assignment.clone()));
    }

    fn let_go(&self, running: &Running) {
        let moved = self.elsewhere.contains(&running.assignment.target().key);
        running.orders.send_replace(if moved { Order::Leave } else { Order::End });
    }

    fn end(&mut self) {
        for (_, running) in self.running.drain() {
            running.orders.send_replace(Order::End);
        }
        for prober in self.probers.drain(..) {
            prober.end(&self.plan);
        }
        self.finds.end();
    }
}

/// A panic is a bug of the relay and ends the scrapes of that one target; the log must say so.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a target or a port range is no longer looked after; restart the relay");
    }
}

/// What is found within this time is taken together: a burst of changes, such as that of a rolling
/// update, is one look at all targets.
const TAKE_EVERY: Duration = Duration::from_millis(250);

/// Longest time for a source's first answer, where targets are looked for once.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(10);
