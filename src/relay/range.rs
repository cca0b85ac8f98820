//! Probing the ports of a range for as long as it is configured.
//!
//! What is known of the ports is shared between the task that probes and the job, which makes targets
//! of the instances: a reload starts a new task that goes on with what the old one knew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::job::JobPlan;
use crate::{
    discovery::{
        Range,
        probe::probe,
        range::{Health, Ports},
    },
    flink::Role,
    status::RangeState,
    target::Target,
};

/// What is known of the ports of one range.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Ports>>);

/// A range that is probed.
pub(super) struct Prober {
    pub(super) source: Range,
    pub(super) ports: Shared,
    /// Whether the last round found an instance, for the log.
    found_any: Arc<Mutex<Option<bool>>>,
    cancel: CancellationToken,
}

impl Shared {
    pub(super) fn new(ports: Ports) -> Self {
        Self(Arc::new(Mutex::new(ports)))
    }

    fn lock(&self) -> MutexGuard<'_, Ports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prober {
    /// A prober of a range; with what is known from `old`, which ends.
    pub(super) fn new(
        source: &Range,
        plan: &JobPlan,
        old: Option<Self>,
        cancel: CancellationToken,
    ) -> Self {
        let (own, forget_after) = (source.ports.iter().copied(), plan.scrape.forget_after);
        let source = source.clone();
        let Some(old) = old else {
            let ports = Shared::new(Ports::new(own, forget_after));
            return Self { source, ports, found_any: Arc::default(), cancel };
        };
        old.cancel.cancel();
        old.ports.lock().adopt(own, forget_after);
        Self { source, ports: old.ports, found_any: old.found_any, cancel }
    }

    /// Whether `source` is this range with other ports.
    pub(super) fn is_like(&self, source: &Range) -> bool {
        let (ours, theirs) = (&self.source.spec, &source.spec);
        ours.host == theirs.host && ours.path == theirs.path && ours.scheme == theirs.scheme
    }

    /// Probes, and tells `found` when the instances have changed. `at` is the range's place in the
    /// plan.
    pub(super) fn probe(
        &self,
        plan: Arc<JobPlan>,
        at: usize,
        found: Arc<Notify>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (ports, cancel) = (self.ports.clone(), self.cancel.clone());
        let found_any = Arc::clone(&self.found_any);
        async move {
            let Some(source) = plan.sources.ranges.get(at) else { return };
            let mut rounds = interval(plan.scrape.probe_interval);
            rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let round = async {
                    rounds.tick().await;
                    probe_round(&plan, source, &ports).await
                };
                let Some(changed) = cancel.run_until_cancelled(round).await else { return };
                let state = state(&plan, &ports);
                if cancel.is_cancelled() {
                    return;
                }
                tell(source, &state, &found_any);
                plan.status.set_range(&source.spec.to_string(), state);
                if changed {
                    found.notify_one();
                }
            }
        }
    }

    /// Ends the probing.
    pub(super) fn end(self, plan: &JobPlan) {
        self.cancel.cancel();
        plan.status.remove_range(&plan.scrape.job_name, &self.source.spec.to_string());
    }
}

/// Says once when the range has nobody to scrape, and when that is over.
fn tell(source: &Range, state: &RangeState, found_any: &Mutex<Option<bool>>) {
    let range = &source.spec;
    debug!(%range, ?state, "probed");
    let finds = !state.instances.is_empty();
    let before = found_any.lock().unwrap_or_else(PoisonError::into_inner).replace(finds);
    // Of ports that several relays share, one may rightly find none.
    let alone = source.ports.len() == range.ports.len();
    if !finds && before != Some(false) && alone {
        warn!(%range, closed = state.closed, ignored = ?state.ignored,
            "no port of the range answers with a Flink page; it is probed again and again");
    } else if finds && before == Some(false) {
        info!(%range, "the range has a Flink page now");
    }
}

/// The range for people.
pub(super) fn state(plan: &JobPlan, ports: &Shared) -> RangeState {
    ports.lock().state(&plan.scrape.job_name)
}

/// The targets that the range's instances are.
pub(super) fn instances(plan: &JobPlan, source: &Range, ports: &Shared) -> Vec<Target> {
    let instances: Vec<_> = ports.lock().instances().collect();
    let resolve = |(port, role)| {
        let target = resolve(plan, source, port, Some(role))?;
        // So that names are known before the first scrape, whoever's turn that is.
        if let (Role::JobManager | Role::Both, Some(rest)) = (role, &plan.rest) {
            rest.found_job_manager(&target.url);
        }
        Some(target)
    };
    instances.into_iter().filter_map(resolve).collect()
}

fn resolve(plan: &JobPlan, source: &Range, port: u16, role: Option<Role>) -> Option<Target> {
    Target::resolve(&plan.scrape, &source.spec, port, &source.config.labels, role).ok()?
}

/// Looks at each port once. Returns whether the set of instances, or a role, has changed.
pub(super) async fn probe_round(plan: &JobPlan, source: &Range, ports: &Shared) -> bool {
    let roles: HashMap<u16, _> = ports.lock().instances().collect();
    let health = |port| {
        let target = resolve(plan, source, port, roles.get(&port).copied())?;
        let state = plan.status.target(target.hash())?.state();
        Some(Health { last_ok: state.last_ok, role: state.role })
    };
    let (mut changed, to_probe) = {
        let mut ports = ports.lock();
        (ports.review(Instant::now(), health), ports.to_probe())
    };
    let limit = plan.scrape.timeout.min(PROBE_TIMEOUT);
    let mut probes = stream::iter(to_probe)
        .map(|port| async move {
            let url = resolve(plan, source, port, None)?.url;
            Some((port, probe(&plan.client, &url, limit).await))
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
