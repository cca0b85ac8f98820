//! Probing the ports of a range for as long as it is configured.
//!
//! What is known of the ports is shared between the task that probes and the job, which makes targets
//! of the instances: a reload starts a new task that goes on with what the old one knew.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::job::JobPlan;
use crate::{
    config::TargetSpec,
    discovery::{
        Range,
        probe::probe,
        range::{Health, Pace, Ports},
    },
    flink::Role,
    status::RangeState,
    target::{Address, Target},
};

/// What is known of the ports of one range.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Known>);

#[derive(Debug)]
struct Known {
    ports: Mutex<Ports>,
    /// Whether its instances have changed since they were made targets.
    changed: AtomicBool,
}

/// A range that is probed.
pub(super) struct Prober {
    pub(super) range: Arc<Range>,
    ports: Shared,
    /// What its instances are, as of the last look.
    targets: Vec<Arc<Target>>,
    /// Whether the last round found an instance, for the log.
    found_any: Arc<Mutex<Option<bool>>>,
    cancel: CancellationToken,
}

impl Shared {
    pub(super) fn new(ports: Ports) -> Self {
        Self(Arc::new(Known { ports: Mutex::new(ports), changed: AtomicBool::new(true) }))
    }

    fn lock(&self) -> MutexGuard<'_, Ports> {
        self.0.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prober {
    /// A prober of a range; with what is known from `old`, which ends.
    pub(super) fn new(
        range: &Arc<Range>,
        plan: &JobPlan,
        old: Option<Self>,
        cancel: CancellationToken,
    ) -> Self {
        let (own, forget_after) = (range.ports.iter().copied(), plan.scrape.forget_after);
        let (range, targets) = (Arc::clone(range), Vec::new());
        let Some(old) = old else {
            let ports = Shared::new(Ports::new(own, forget_after));
            return Self { range, ports, targets, found_any: Arc::default(), cancel };
        };
        old.cancel.cancel();
        old.ports.lock().adopt(own, forget_after);
        old.ports.0.changed.store(true, Relaxed);
        Self { range, ports: old.ports, targets, found_any: old.found_any, cancel }
    }

    /// Whether the range is this one with other ports, by what the two have in common.
    pub(super) fn likeness(range: &Range) -> String {
        match &range.seed.address {
            Address::Spec(spec) => {
                let ports = TargetSpec { ports: 0..=0, params: Vec::new(), ..spec.clone() };
                ports.to_string()
            }
            Address::Text(text) => text.to_string(),
        }
    }

    /// Probes, and tells `found` when the instances have changed.
    pub(super) fn probe(
        &self,
        plan: Arc<JobPlan>,
        found: Arc<Notify>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (range, ports, cancel) =
            (Arc::clone(&self.range), self.ports.clone(), self.cancel.clone());
        let found_any = Arc::clone(&self.found_any);
        async move {
            let mut pace = Pace::new(range.seed.instances, plan.scrape.probe_interval);
            loop {
                let began = Instant::now();
                let probes = pace.probes(up(&plan, &range, &ports));
                let round = probe_round(&plan, &range, &ports, probes);
                let Some(changed) = cancel.run_until_cancelled(round).await else { return };
                let state = state(&plan, &ports);
                if cancel.is_cancelled() {
                    return;
                }
                tell(&range, &state, &found_any);
                plan.status.set_range(&range.seed.address.to_string(), state);
                if changed {
                    ports.0.changed.store(true, Relaxed);
                    found.notify_one();
                }
                let next = began + pace.next(up(&plan, &range, &ports));
                if cancel.run_until_cancelled(sleep_until(next)).await.is_none() {
                    return;
                }
            }
        }
    }

    /// The targets that its instances are; made anew when these have changed.
    pub(super) fn targets(&mut self, plan: &JobPlan) -> &[Arc<Target>] {
        if self.ports.0.changed.swap(false, Relaxed) {
            self.targets = instances(plan, &self.range, &self.ports);
        }
        &self.targets
    }

    /// Ends the probing.
    pub(super) fn end(self, plan: &JobPlan) {
        self.cancel.cancel();
        plan.status.remove_range(&plan.scrape.job_name, &self.range.seed.address.to_string());
    }
}

/// Says once when the range has nobody to scrape, and when that is over.
fn tell(source: &Range, state: &RangeState, found_any: &Mutex<Option<bool>>) {
    let range = &source.seed.address;
    debug!(%range, ?state, "probed");
    let finds = !state.instances.is_empty();
    let before = found_any.lock().unwrap_or_else(PoisonError::into_inner).replace(finds);
    // Of ports that several relays share, one may rightly find none.
    let alone = source.ports.len() == source.seed.ports().len();
    // Who comes and goes with its host, such as a pod, has nobody for as long as it starts.
    let stays = source.seed.instances.is_none();
    if !finds && before != Some(false) && alone && stays {
        warn!(%range, closed = state.closed, ignored = ?state.ignored,
            "no port of the range answers with a Flink page; it is probed again and again");
    } else if finds && before == Some(false) && stays {
        info!(%range, "the range has a Flink page now");
    }
}

/// The range for people.
pub(super) fn state(plan: &JobPlan, ports: &Shared) -> RangeState {
    ports.lock().state(&plan.scrape.job_name)
}

/// The targets that the range's instances are.
pub(super) fn instances(plan: &JobPlan, range: &Range, ports: &Shared) -> Vec<Arc<Target>> {
    let instances: Vec<_> = ports.lock().instances().collect();
    let resolve = |(port, role)| {
        let target = resolve(plan, range, port, Some(role))?;
        // So that names are known before the first scrape, whoever's turn that is.
        if let (Role::JobManager | Role::Both, Some(rest)) = (role, &plan.rest) {
            rest.found_job_manager(&target.url);
        }
        Some(Arc::new(target))
    };
    instances.into_iter().filter_map(resolve).collect()
}

fn resolve(plan: &JobPlan, range: &Range, port: u16, role: Option<Role>) -> Option<Target> {
    let target = range.target(&plan.scrape, port, role)?;
    let timeout = target.timeout.min(plan.sources.timeout_max);
    Some(Target { timeout, ..target })
}

fn health(plan: &JobPlan, range: &Range, ports: &Shared) -> impl Fn(u16) -> Option<Health> {
    let roles: HashMap<u16, _> = ports.lock().instances().collect();
    move |port| {
        let target = resolve(plan, range, port, roles.get(&port).copied())?;
        let state = plan.status.target(target.hash())?.state();
        let is_up = state.failure.is_none();
        Some(Health { last_ok: state.last_ok, role: state.role, is_up })
    }
}

/// How many of the range's instances answer.
fn up(plan: &JobPlan, range: &Range, ports: &Shared) -> usize {
    let health = health(plan, range, ports);
    ports.lock().up(health)
}

/// Looks at each port once; without `probes` only at the instances. Returns whether the set of instances,
/// or a role, has changed.
pub(super) async fn probe_round(
    plan: &JobPlan,
    range: &Range,
    ports: &Shared,
    probes: bool,
) -> bool {
    let health = health(plan, range, ports);
    let (mut changed, to_probe) = {
        let mut ports = ports.lock();
        let changed = ports.review(Instant::now(), health);
        (changed, if probes { ports.to_probe() } else { Vec::new() })
    };
    let limit = plan.scrape.timeout.min(PROBE_TIMEOUT);
    let mut probes = stream::iter(to_probe)
        .map(|port| async move {
            let url = resolve(plan, range, port, None)?.url;
            Some((port, range.expects(probe(&plan.client, &url, limit).await)))
        })
        .buffer_unordered(PROBES_IN_FLIGHT);
    while let Some(probed) = probes.next().await {
        if let Some((port, probed)) = probed {
            changed |= ports.lock().probed(port, probed, Instant::now());
        }
    }
    changed
}

/// A probe asks for one metric; a process that takes longer is looked at again in the next round.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Probes of one range at once.
const PROBES_IN_FLIGHT: usize = 16;
