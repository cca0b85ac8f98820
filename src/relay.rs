//! The relay: builds everything from the config, spawns the tasks, and stops them in order.
//!
//! ```text
//!   config -> Plan -> per receiver an Outlet:   a task that tends its lanes
//!                     per scrape job a JobPlan: a task with its targets and ranges, a task each
//!   reload:     next Plan built beside the present one -> refused, or orders to the tasks
//!   on SIGTERM: (final scrapes) scrapes stop -> spools are flushed -> lanes drain within the grace
//!               -> the rest is counted
//! ```
//!
//! Only this module spawns tasks; each is joined here before the process ends.

mod across;
mod crew;
mod found;
mod job;
mod look;
mod memory;
mod once;
mod outlet;
mod plan;
mod range;
mod reload;
mod scraping;
mod wiring;

use std::{
    panic::resume_unwind,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{dispatcher, info, warn};

use self::{
    crew::{Crew, News},
    outlet::Outlet,
    plan::{Moves, Plan},
    scraping::Ending,
};
pub use self::{
    job::JobError,
    look::{JobLook, SourceLook},
    once::Once,
    reload::{AskError, Changes, ReloadRequest, ReloadState, Reloads},
};
use crate::{
    config::Config,
    disk::{DataDirectory, DirectoryError},
    flink_rest::Rest,
    http::BuildError,
    push::{Left, Receiver, ReceiverError, SpoolError},
    scale::Scale,
    shard::Shard,
    spool::Reason,
    status::Status,
};

/// Everything that runs, and what is known about it.
#[derive(Debug)]
pub struct Relay {
    state: Mutex<State>,
    /// The targets.
    pub status: Arc<Status>,
    /// How reloads went, and how to ask for one.
    pub reloads: Reloads,
    /// How many relays there are, when a StatefulSet says so.
    pub scale: Scale,
    commands: mpsc::Sender<Command>,
    commanded: Mutex<Option<mpsc::Receiver<Command>>>,
    hurry: CancellationToken,
    data: OnceLock<Arc<DataDirectory>>,
    ready: AtomicBool,
    broken: AtomicBool,
}

#[derive(Debug)]
struct State {
    plan: Arc<Plan>,
    /// Outlets of receivers that were removed and still drain.
    leaving: Vec<Arc<Outlet>>,
}

/// A configuration to take, and where to say what became of it.
type Command = (Box<Config>, oneshot::Sender<Result<Changes, ReloadError>>);

/// A relay that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A receiver's TLS files, headers or queue.
    #[error("remote_write {name}")]
    Receiver {
        /// The receiver's name.
        name: String,
        /// What is wrong.
        source: ReceiverError,
    },
    /// The data directory.
    #[error(transparent)]
    DataDirectory(#[from] DirectoryError),
    /// A receiver's spool in it.
    #[error("remote_write {name}")]
    Spool {
        /// The receiver's name.
        name: String,
        /// What is wrong.
        source: SpoolError,
    },
    /// The TLS files, secrets or headers of `flink.rest`.
    #[error("flink.rest")]
    Rest {
        /// What is wrong.
        source: BuildError,
    },
    /// A scrape job's TLS files, headers or targets.
    #[error("scrape job {name}")]
    Job {
        /// The job's name.
        name: String,
        /// What is wrong.
        source: JobError,
    },
}

/// A configuration that is not taken; the old one goes on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A relay of this configuration could not start either.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The relay does not run: it has not begun, or it stops.
    #[error("the relay is starting or stopping")]
    NotRunning,
}

impl State {
    /// Forgets an outlet that has left, unless it is in use again by now: it is known as itself, since another
    /// may have its name.
    fn forget(&mut self, gone: &Arc<Outlet>) {
        self.leaving.retain(|outlet| !Arc::ptr_eq(outlet, gone) || !outlet.is_closed());
    }
}

impl Relay {
    /// Builds the relay; nothing is scraped or sent yet.
    ///
    /// # Errors
    /// Files that the config names and that cannot be used.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let status = Arc::new(Status::default());
        let (plan, _, errors) = Plan::build(config, None, &[], &status);
        if let Some(error) = errors.into_iter().next() {
            return Err(error);
        }
        status.budget.set(config.flink.budgets);
        status.page_series.set_limit(memory::page_series(config.page_series_limit));
        let (commands, commanded) = mpsc::channel(1);
        Ok(Self {
            state: Mutex::new(State { plan: Arc::new(plan), leaving: Vec::new() }),
            status,
            reloads: Reloads::new(config.hash),
            scale: Scale::default(),
            commands,
            commanded: Mutex::new(Some(commanded)),
            hurry: CancellationToken::new(),
            data: OnceLock::new(),
            ready: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }

    /// Everything that keeps a relay of this config from starting here.
    pub fn faults(config: &Config) -> Vec<StartError> {
        Plan::build(config, None, &[], &Arc::default()).2
    }

    /// Takes the data directory, if one is configured, and opens the spools in it. To be called before
    /// [`Relay::run`]; without it samples wait in memory.
    ///
    /// # Errors
    /// A directory that another relay has, or that cannot be used.
    pub fn open_spools(&self) -> Result<(), StartError> {
        let plan = self.plan();
        let Some(data) = DataDirectory::open(&plan.config.spool)? else { return Ok(()) };
        let strangers = data.strangers(plan.config.receivers.iter().map(|r| r.name.as_str()));
        if !strangers.is_empty() {
            warn!(data_dir = %data.path().display(), directories = strangers.join(","),
                "spools of receivers that are not configured are left alone; what is in them is sent \
                 when a receiver of that name comes back");
        }
        for (outlet, _) in &plan.wiring.outlets {
            open_spool(outlet, &data)?;
        }
        self.data.set(Arc::new(data)).expect("the spools are opened once");
        Ok(())
    }

    /// Scrapes and pushes until `stop` is set; then flushes for `grace` at most.
    /// Returns the number of samples that no receiver took.
    ///
    /// Also sets `stop` when a task of its own breaks, which is a bug: a relay that goes on without one
    /// of its parts would look healthy, and the supervisor starts a whole one. [`Relay::is_broken`]
    /// tells. A relay runs once.
    pub async fn run(&self, stop: CancellationToken, grace: Duration) -> u64 {
        let commanded = self.commanded.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut commands = commanded.expect("a relay runs once");
        let (hurry, final_scrape_max) = (self.hurry.clone(), grace / 2);
        let ending = Ending { stop: stop.clone(), hurry, final_scrape_max };
        let mut crew = Crew::new(ending, grace, self.data.get().cloned());
        crew.start(&self.plan());
        self.ready.store(true, Relaxed);
        loop {
            let news = tokio::select! {
                // First, because jobs end on their own once `stop` is set.
                biased;
                () = stop.cancelled() => break,
                Some((config, answer)) = commands.recv() => {
                    // Whoever asked may have gone; the log tells too.
                    let _gone = answer.send(self.follow(&config, &mut crew, &stop).await);
                    continue;
                }
                news = crew.news() => news,
            };
            match news {
                News::Removed(outlet) => self.state().forget(&outlet),
                News::Expected => {}
                News::Broken => {
                    self.broken.store(true, Relaxed);
                    stop.cancel();
                }
            }
        }
        self.ready.store(false, Relaxed);
        drop(commands);
        self.finish(crew, Instant::now() + grace).await
    }

    async fn finish(&self, mut crew: Crew, deadline: Instant) -> u64 {
        // Bounded by the final scrapes' share of the grace.
        crew.join_jobs().await;
        for receiver in self.receivers() {
            receiver.flush();
        }
        let drained = self.hurry.run_until_cancelled(timeout_at(deadline, crew.drain())).await;
        if !matches!(drained, Some(Ok(()))) {
            crew.abort().await;
        }
        self.close().await
    }

    /// Takes another configuration: what is in both goes on undisturbed, the rest is changed, begun or
    /// ended. Returns when all orders are given; receivers that have to finish a request first, and
    /// those that are removed, take their time in the background.
    ///
    /// # Errors
    /// What keeps the configuration from being used; nothing has changed then.
    pub async fn reload(&self, config: Config) -> Result<Changes, ReloadError> {
        let hash = config.hash;
        let changes = self.swap(config).await?;
        self.reloads.took(hash);
        Ok(changes)
    }

    /// As [`Relay::reload`], for the configuration that is in use, with another part of the targets: that says nothing
    /// about the file.
    ///
    /// # Errors
    /// As there.
    pub async fn swap(&self, config: Config) -> Result<Changes, ReloadError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send((Box::new(config), answer)).await;
        sent.map_err(|_| ReloadError::NotRunning)?;
        answered.await.map_err(|_| ReloadError::NotRunning)?
    }

    /// Takes another configuration. The state is locked for moments only: to look at it must not wait for a
    /// disk.
    async fn follow(
        &self,
        config: &Config,
        crew: &mut Crew,
        stop: &CancellationToken,
    ) -> Result<Changes, ReloadError> {
        let (present, leaving) = {
            let state = self.state();
            (Arc::clone(&state.plan), state.leaving.clone())
        };
        let (next, moves, errors) = Plan::build(config, Some(&present), &leaving, &self.status);
        if let Some(error) = errors.into_iter().next() {
            return Err(error.into());
        }
        if let Some(data) = self.data.get() {
            // A stop does not wait for disks either. Nothing of the plan is in use by then.
            let opened = stop.run_until_cancelled(open_spools(&moves.added, data)).await;
            opened.ok_or(ReloadError::NotRunning)??;
        }
        if config.spool != present.config.spool {
            warn!("the section `spool` has changed, which takes effect at the next start");
        }
        self.status.budget.set(config.flink.budgets);
        self.status.page_series.set_limit(memory::page_series(config.page_series_limit));
        let next = Arc::new(next);
        let changes = changes(&present, &next, &moves);
        let removed = crew.follow(&present, &next, &moves).await;
        let mut state = self.state();
        state.leaving.extend(removed);
        state.leaving.retain(|outlet| {
            !next.wiring.outlets.iter().any(|(present, _)| Arc::ptr_eq(present, outlet))
        });
        state.plan = next;
        Ok(changes)
    }

    /// Cuts the grace short: what is not delivered by now is left.
    pub fn hurry(&self) {
        self.hurry.cancel();
    }

    /// The receivers, in the order of the config, and then those that were removed and still drain.
    pub fn receivers(&self) -> Vec<Arc<Receiver>> {
        let state = self.state();
        let present = state.plan.wiring.outlets.iter().map(|(outlet, _)| outlet);
        present.chain(&state.leaving).map(|outlet| outlet.receiver()).collect()
    }

    /// How many targets and port ranges the configuration gives to this relay.
    pub fn configured_targets(&self) -> (usize, usize) {
        let plan = self.plan();
        let sources = plan.jobs.iter().map(|job| &job.sources);
        sources.fold((0, 0), |(targets, ranges), sources| {
            (targets + sources.targets.len(), ranges + sources.ranges.len())
        })
    }

    /// Where names come from; `None` when pages keep theirs.
    pub fn rest(&self) -> Option<Arc<Rest>> {
        self.state().plan.rest.clone()
    }

    /// Whether the relay scrapes and pushes.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// Which part of the targets is this relay's; `None` for all.
    pub fn shard(&self) -> Option<Shard> {
        self.plan().config.shard
    }

    /// Receivers whose spool writes nothing more until the next start, each with the reason.
    pub fn poisoned_spools(&self) -> Vec<(String, String)> {
        let receivers = self.receivers();
        let poisoned = receivers.iter().filter_map(|receiver| {
            let store = receiver.store().filter(|store| store.is_poisoned)?;
            Some((receiver.config.name.clone(), store.trouble))
        });
        poisoned.collect()
    }

    /// Whether it stopped because a task of its own broke.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.state().plan)
    }

    async fn close(&self) -> u64 {
        let mut lost_in_all = 0;
        let receivers = self.receivers();
        // All at once: each may wait for a disk that hangs.
        let left =
            join_all(receivers.iter().map(|receiver| receiver.close(Reason::Shutdown))).await;
        for (receiver, Left { lost, kept }) in receivers.iter().zip(left) {
            lost_in_all += lost;
            let counts = receiver.counts();
            let delivered = counts.delivered.samples;
            let withheld = [Reason::WriteRelabel, Reason::LabelLimit, Reason::InvalidLabels];
            let withheld: u64 = withheld.map(|reason| counts.dropped(reason).samples).iter().sum();
            let dropped = counts.dropped_in_all().samples - withheld;
            if dropped > 0 {
                warn!(receiver = %receiver.config.name, delivered, dropped, pending_at_stop = lost,
                    kept, rejected = counts.dropped(Reason::Rejected).samples,
                    "stopped; the receiver did not take all samples");
            } else if kept > 0 {
                info!(receiver = %receiver.config.name, delivered, kept,
                    "stopped; what was not delivered is kept on disk and sent after the next start");
            } else {
                info!(receiver = %receiver.config.name, delivered, "stopped, all samples delivered");
            }
        }
        lost_in_all
    }
}

fn open_spool(outlet: &Outlet, data: &DataDirectory) -> Result<(), StartError> {
    let opened = outlet.receiver().open(data);
    opened.map_err(|source| StartError::Spool { name: outlet.name.clone(), source })
}

/// Opens the spools of outlets that nobody appends to yet.
async fn open_spools(outlets: &[Arc<Outlet>], data: &Arc<DataDirectory>) -> Result<(), StartError> {
    let (outlets, data) = (outlets.to_vec(), Arc::clone(data));
    off_the_runtime(move || outlets.iter().try_for_each(|outlet| open_spool(outlet, &data))).await
}

/// Does what waits for a disk on a thread on which it holds up nobody. Its lines of the log go where those
/// of the caller go.
#[expect(
    clippy::disallowed_methods,
    reason = "it is awaited, and dropped only when the relay stops"
)]
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let log = dispatcher::get_default(Clone::clone);
    let done = spawn_blocking(move || dispatcher::with_default(&log, work)).await;
    done.unwrap_or_else(|broken| resume_unwind(broken.into_panic()))
}

fn changes(before: &Plan, next: &Plan, moves: &Moves) -> Changes {
    let names = |outlets: &[Arc<Outlet>]| outlets.iter().map(|o| o.name.clone()).collect();
    let jobs_only_in = |plan: &Plan, other: &Plan| {
        let names = plan.jobs.iter().map(|job| &job.scrape.job_name);
        names.filter(|name| other.job(name).is_none()).cloned().collect()
    };
    Changes {
        receivers_added: names(&moves.added),
        receivers_changed: moves.replaced.iter().map(|(outlet, _)| outlet.name.clone()).collect(),
        receivers_removed: names(&moves.removed),
        jobs_added: jobs_only_in(next, before),
        jobs_removed: jobs_only_in(before, next),
    }
}

/// The wall clock in milliseconds since the epoch; the time that samples get.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Source, load};

    /// An outlet can have left, come back and gone again before the relay hears of its first end.
    #[tokio::test]
    async fn an_outlet_is_forgotten_when_it_is_itself_and_closed() {
        let text = "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]\n\
                    remote_write: [{url: 'http://localhost:1/'}]";
        let source = Source { path: "flinkrelay.yaml".into(), text: text.to_owned() };
        let config = load(Some(&source), &Overrides::default(), &|_| None).unwrap();
        let receiver = || Receiver::new(config.receivers[0].clone()).unwrap();
        let outlet = || Arc::new(Outlet::new(receiver()));
        let (gone, of_the_same_name) = (outlet(), outlet());
        let relay = Relay::new(&config).unwrap();
        let leaving = || relay.state().leaving.len();
        relay.state().leaving = vec![Arc::clone(&gone), Arc::clone(&of_the_same_name)];
        relay.state().forget(&gone);
        assert_eq!(leaving(), 2, "it is open again, and drains once more");
        gone.close();
        of_the_same_name.close();
        relay.state().forget(&gone);
        assert_eq!(leaving(), 1);
        assert!(Arc::ptr_eq(&relay.state().leaving[0], &of_the_same_name));
        of_the_same_name.reopen(Arc::new(receiver()), None).await;
        relay.state().forget(&of_the_same_name);
        assert_eq!(leaving(), 1);
    }
}
