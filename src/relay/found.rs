//! What the sources of a job have found: runs them, and makes targets of their groups.
//!
//! Only groups that are new are resolved; a group that stays is known by its [`Arc`]. After a reload
//! the sources that stay go on undisturbed. What a source had found that is no longer configured is kept
//! until each of the present ones has answered once, so that a changed URL or path ends no series that goes on.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::select_all;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::job::JobPlan;
use crate::{
    discovery::{
        Group, Groups, Range, Resolved,
        source::{LeftOut, Source},
    },
    shard,
    target::Target,
};

/// The sources of a job that runs.
#[derive(Default)]
pub(super) struct Finds {
    followed: Vec<Followed>,
    /// What is left of sources that are no longer configured.
    left: Vec<Followed>,
}

/// A source with what it has found.
struct Followed {
    source: Arc<Source>,
    found: watch::Receiver<Option<Groups>>,
    /// What is resolved.
    taken: Option<Groups>,
    /// By the address of the group, which lives as long as its entry.
    resolved: HashMap<usize, (Arc<Group>, Resolved)>,
    /// The first invalid target that the log has told of.
    told: Option<String>,
    cancel: CancellationToken,
}

impl Finds {
    /// Follows the sources of a plan: begins those that are new, ends those that are gone.
    pub(super) fn follow(
        &mut self,
        plan: &JobPlan,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let mut before = std::mem::take(&mut self.followed);
        for source in &plan.discovery {
            let same = before.iter().position(|known| Arc::ptr_eq(&known.source, source));
            let followed = same.map(|at| before.swap_remove(at)).unwrap_or_else(|| {
                let (source, cancel) = (Arc::clone(source), stop.child_token());
                let (running, token) = (Arc::clone(&source), cancel.clone());
                tasks.spawn(async move { running.run(&token).await });
                Followed::new(source, cancel)
            });
            self.followed.push(followed);
        }
        before.iter().for_each(|gone| gone.cancel.cancel());
        self.left.extend(before);
    }

    /// Waits until a source has found something else.
    pub(super) async fn changed(&mut self) {
        let changes = self.followed.iter_mut().map(|followed| Box::pin(followed.found.changed()));
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            std::future::pending::<()>().await;
        }
        // The sender is the source's, which is held here.
        let (_changed, ..) = select_all(changes).await;
    }

    /// Takes what the sources have found; `again` resolves also what is as it was.
    pub(super) fn take(&mut self, plan: &JobPlan, again: bool) {
        for followed in self.followed.iter_mut().chain(&mut self.left) {
            followed.take(plan, again);
        }
        if self.followed.iter().all(|followed| followed.found.borrow().is_some()) {
            self.left.clear();
        }
    }

    /// The single targets.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.resolved().flat_map(|resolved| &resolved.targets)
    }

    /// The ranges to probe.
    pub(super) fn ranges(&self) -> impl Iterator<Item = &Arc<Range>> {
        self.resolved().flat_map(|resolved| &resolved.ranges)
    }

    /// What falls to other relays.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = shard::Key> {
        self.resolved().flat_map(|resolved| &resolved.elsewhere).copied()
    }

    /// Ends all sources.
    pub(super) fn end(&mut self) {
        self.followed.drain(..).for_each(|followed| followed.cancel.cancel());
        self.left.clear();
    }

    fn resolved(&self) -> impl Iterator<Item = &Resolved> {
        let all = self.followed.iter().chain(&self.left);
        all.flat_map(|followed| followed.resolved.values()).map(|(_, resolved)| resolved)
    }
}

impl Followed {
    fn new(source: Arc<Source>, cancel: CancellationToken) -> Self {
        let found = source.found();
        Self { source, found, taken: None, resolved: HashMap::new(), told: None, cancel }
    }

    fn take(&mut self, plan: &JobPlan, again: bool) {
        let Some(groups) = self.found.borrow_and_update().clone() else { return };
        if !again && self.taken.as_ref().is_some_and(|taken| Arc::ptr_eq(taken, &groups)) {
            return;
        }
        let mut before = std::mem::take(&mut self.resolved);
        for group in &*groups {
            let place = Arc::as_ptr(group).addr();
            let known = before.remove(&place).filter(|_| !again).map(|(_, resolved)| resolved);
            let resolved = known.unwrap_or_else(|| resolve(plan, group));
            self.resolved.insert(place, (Arc::clone(group), resolved));
        }
        self.taken = Some(groups);
        self.tell();
    }

    /// Counts what is not scraped, and names the first target that cannot be.
    fn tell(&mut self) {
        let (mut left_out, mut first) = (LeftOut::default(), None);
        for (_, resolved) in self.resolved.values() {
            left_out.relabel += resolved.dropped;
            left_out.invalid += resolved.invalid.len();
            left_out.shard += resolved.elsewhere.len();
            let faults =
                resolved.invalid.iter().map(|(address, error)| format!("{address}: {error}"));
            first = first.into_iter().chain(faults).min();
        }
        self.source.set_left_out(left_out);
        if let Some(first) = &first
            && self.told.is_none()
        {
            let (source, invalid) = (&self.source.config, left_out.invalid);
            warn!(%source, invalid, first,
                "discovery has found targets that cannot be scraped after relabelling; they are left out");
        }
        self.told = first;
    }
}

/// Makes targets of a group. Their scrapes keep to the time that the job's client gives a request.
pub(super) fn resolve(plan: &JobPlan, group: &Group) -> Resolved {
    let mut resolved = Resolved::new(&plan.scrape, group, plan.shard);
    for target in &mut resolved.targets {
        if target.timeout > plan.sources.timeout_max {
            Arc::make_mut(target).timeout = plan.sources.timeout_max;
        }
    }
    resolved
}
