//! One scrape job: keeps the set of its targets and runs a task for each.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, interval_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::now_ms;
use crate::{
    config::{self, Scrape, StaticConfig, TargetSpec},
    discovery::{
        Sources,
        probe::probe,
        range::{Health, Ports},
    },
    http::{BuildError, Client},
    push::Receiver,
    scrape::{Scraped, Scraper, Staged},
    series::{Shaper, View},
    status::{Before, RangeState, Status, TargetStatus},
    target::{Target, TargetError},
};

/// One scrape job.
#[derive(Debug)]
pub(super) struct Job {
    scrape: Scrape,
    sources: Sources,
    client: Client,
    shaper: Arc<Shaper>,
    receivers: Vec<Arc<Receiver>>,
    status: Arc<Status>,
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

/// Why a target's task ends.
#[derive(Clone, Debug)]
struct Stop {
    /// The relay stops: series go on when it comes back, so they get no markers.
    relay: CancellationToken,
    /// Discovery no longer has the target: its series end.
    gone: CancellationToken,
}

/// A source's whole set of targets.
type Found = (usize, Vec<Target>);

impl Job {
    pub(super) fn new(
        scrape: &Scrape,
        flink: &config::Flink,
        views: Arc<[View]>,
        receivers: Vec<Arc<Receiver>>,
        status: &Arc<Status>,
    ) -> Result<Self, JobError> {
        let sources = Sources::new(scrape)?;
        Ok(Self {
            client: Client::new(&scrape.http, sources.timeout_max)?,
            sources,
            shaper: Arc::new(Shaper::new(scrape, flink, views)),
            scrape: scrape.clone(),
            receivers,
            status: Arc::clone(status),
        })
    }

    /// Scrapes the job's targets until `stop` is set.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (found, mut changes) = mpsc::channel::<Found>(16);
        let mut tasks = JoinSet::new();
        for (source, (spec, config)) in self.sources.ranges.iter().cloned().enumerate() {
            let (job, found, stop) = (Arc::clone(&self), found.clone(), stop.clone());
            tasks.spawn(
                async move { job.probe_range(source + 1, &spec, &config, found, stop).await },
            );
        }
        let mut sets = BTreeMap::from([(0, self.sources.targets.clone())]);
        let mut running = HashMap::new();
        self.reconcile(&sets, &mut running, &mut tasks, &stop);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some((source, targets)) = changes.recv() => {
                    sets.insert(source, targets);
                    self.reconcile(&sets, &mut running, &mut tasks, &stop);
                }
                Some(ended) = tasks.join_next() => log_panic(ended),
            }
        }
        while let Some(ended) = tasks.join_next().await {
            log_panic(ended);
        }
    }

    /// Finds the job's targets as they are now: probes each range once.
    pub(super) async fn find_once(&self) -> (Vec<(String, RangeState)>, Vec<Target>) {
        let (mut ranges, mut targets) = (Vec::new(), self.sources.targets.clone());
        for (spec, config) in &self.sources.ranges {
            let mut ports = Ports::new(spec.ports.clone(), self.scrape.forget_after);
            self.probe_round(&mut ports, spec, config).await;
            targets.extend(self.instances(&ports, spec, config));
            ranges.push((spec.to_string(), ports.state(&self.scrape.job_name)));
        }
        (ranges, targets)
    }

    /// A scraper for a target of this job.
    pub(super) fn scraper(&self, target: Target) -> Scraper {
        Scraper::new(target, self.client.clone(), &self.scrape, Arc::clone(&self.shaper))
    }

    fn instances(&self, ports: &Ports, spec: &TargetSpec, config: &StaticConfig) -> Vec<Target> {
        let resolve = |(port, role)| {
            Target::resolve(&self.scrape, spec, port, &config.labels, Some(role)).ok()?
        };
        ports.instances().filter_map(resolve).collect()
    }

    /// Starts tasks for new targets and ends those of targets that are gone.
    fn reconcile(
        self: &Arc<Self>,
        sets: &BTreeMap<usize, Vec<Target>>,
        running: &mut HashMap<u64, CancellationToken>,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let wanted: HashMap<u64, &Target> =
            sets.values().flatten().map(|target| (target.hash(), target)).collect();
        running.retain(|hash, gone| {
            let kept = wanted.contains_key(hash);
            if !kept {
                gone.cancel();
            }
            kept
        });
        for (hash, target) in wanted {
            running.entry(hash).or_insert_with(|| {
                let gone = CancellationToken::new();
                let stop = Stop { relay: stop.clone(), gone: gone.clone() };
                let (job, target) = (Arc::clone(self), target.clone());
                info!(job = target.job(), url = %target.url, "scraping a target");
                tasks.spawn(async move { job.scrape(target, stop).await });
                gone
            });
        }
    }

    /// Scrapes one target at its place in each interval.
    async fn scrape(self: Arc<Self>, target: Target, stop: Stop) {
        let hash = target.hash();
        let status = self.status.add(target.clone());
        let first = target.due_in(u64::try_from(now_ms()).unwrap_or_default());
        let mut ticks = interval_at(Instant::now() + first, target.interval);
        // A scrape that outlasts its interval is followed by the next regular one, not by a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut scraper = self.scraper(target);
        loop {
            tokio::select! {
                biased;
                () = stop.relay.cancelled() => return,
                () = stop.gone.cancelled() => break,
                _ = ticks.tick() => {}
            }
            scraper.want(self.receivers.iter().map(|r| (r.view, r.message())));
            let began = SystemTime::now();
            let scraped = tokio::select! {
                biased;
                () = stop.relay.cancelled() => return,
                // It may come back at any time, and then this task must not be in its way.
                () = stop.gone.cancelled() => break,
                scraped = scraper.scrape(now_ms()) => scraped,
            };
            self.append(hash, &scraped.staged);
            let before = status.record(&scraped, began, Instant::now(), scraper.series_len());
            log(&status, &scraped, &before);
        }
        self.append(hash, &scraper.end(now_ms(), Instant::now()));
        self.status.remove(&status);
        info!(url = %status.target.url, "the target is gone, its series have ended");
    }

    fn append(&self, target: u64, staged: &[Staged]) {
        for receiver in &self.receivers {
            if let Some(staged) = staged.get(receiver.view) {
                receiver.append(target, staged, Instant::now());
            }
        }
    }

    /// Probes the ports of a range for as long as the relay runs.
    async fn probe_range(
        &self,
        source: usize,
        spec: &TargetSpec,
        config: &StaticConfig,
        found: mpsc::Sender<Found>,
        stop: CancellationToken,
    ) {
        let mut ports = Ports::new(spec.ports.clone(), self.scrape.forget_after);
        let mut rounds = interval(self.scrape.probe_interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let name = spec.to_string();
        let mut found_any = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            let changed = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.probe_round(&mut ports, spec, config) => changed,
            };
            let state = ports.state(&self.scrape.job_name);
            debug!(range = %name, ?state, "probed");
            let finds = !state.instances.is_empty();
            if !finds && found_any != Some(false) {
                warn!(range = %name, closed = state.closed, ignored = ?state.ignored,
                    "no port of the range answers with a Flink page; it is probed again and again");
            } else if finds && found_any == Some(false) {
                info!(range = %name, "the range has a Flink page now");
            }
            found_any = Some(finds);
            self.status.set_range(&name, state);
            if changed {
                let targets = self.instances(&ports, spec, config);
                if found.send((source, targets)).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn probe_round(
        &self,
        ports: &mut Ports,
        spec: &TargetSpec,
        config: &StaticConfig,
    ) -> bool {
        let roles: HashMap<u16, _> = ports.instances().collect();
        let resolve = |port| {
            let role = roles.get(&port).copied();
            Target::resolve(&self.scrape, spec, port, &config.labels, role).ok()?
        };
        let mut changed = ports.review(Instant::now(), |port| {
            let state = self.status.target(resolve(port)?.hash())?.state();
            Some(Health { last_ok: state.last_ok, role: state.role })
        });
        let limit = self.scrape.timeout.min(PROBE_TIMEOUT);
        let mut probes = stream::iter(ports.to_probe())
            .map(|port| async move {
                let target = Target::resolve(&self.scrape, spec, port, &config.labels, None);
                let url = target.ok()??.url;
                Some((port, probe(&self.client, &url, limit).await))
            })
            .buffer_unordered(PROBES_IN_FLIGHT);
        while let Some(probed) = probes.next().await {
            if let Some((port, probed)) = probed {
                changed |= ports.probed(port, probed, Instant::now());
            }
        }
        changed
    }
}

/// A panic is a bug of the relay and ends the scrapes of that one target; the log must say so.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a target or a port range is no longer looked after; restart the relay");
    }
}

/// One line when a target begins to fail or fails differently, one when it recovers.
fn log(status: &TargetStatus, scraped: &Scraped, before: &Before) {
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
    if let (Some(fault), 0) = (scraped.faults.first(), before.faults) {
        warn!(url = %target.url, lines = scraped.faults_total, first = %fault,
            "the page has lines that cannot be read; they are skipped and counted");
    }
}

/// A probe asks for one metric; a process that takes longer is looked at again in the next round.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Probes of one range at once.
const PROBES_IN_FLIGHT: usize = 16;
