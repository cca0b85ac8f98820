//! Scraping with the names that people gave: when a page is read a second time, and what is added to it.
//!
//! ```text
//!   read the page -> anything new under names that are not known?
//!      no:  it counts
//!      yes: its samples are held back while REST is asked, `hold` at most, then
//!             names have come:  the page is read once more and counts with them
//!             they have not:    it counts as it is; when they come, its series end and begin anew
//! ```
//!
//! A second reading costs the process one page more whenever a job begins; the alternatives cost more: to
//! keep the page in memory, up to 67 MB of it, or to send series under names that change seconds
//! later. Both readings together have the scrape's time-out, and nothing is waited for that would
//! leave too little of it for the second.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Failure, Scraper};
use crate::{flink::Role, flink_rest::Rest};

impl Scraper {
    /// Reads the page with all names that can be had by now.
    pub(super) async fn read_named(
        &mut self,
        with_families: bool,
        now_ms: i64,
    ) -> Result<(), Failure> {
        let Some(rest) = self.rest.clone() else { return self.read(with_families, now_ms).await };
        let started = Instant::now();
        let names = rest.names();
        self.tracker.take_names(&names);
        self.read(with_families, now_ms).await?;
        if matches!(self.page.role(), Role::JobManager | Role::Both) {
            rest.found_job_manager(&self.target.url);
        }
        rest.want(self.tracker.tell_wants());
        let new = self.tracker.new_wants();
        let cluster = self.cluster(&rest);
        // The second reading takes about as long as the first; as much again is for bad luck.
        let took = started.elapsed();
        let room = self.target.timeout.saturating_sub(3 * took);
        rest.hold(&new, cluster, room.min(rest.hold_max())).await;
        // Asked in any case: the second reading needs what the first one has seen as a whole.
        let needs_all = self.tracker.wants_another_look();
        let has_come = !new.is_empty() && !Arc::ptr_eq(&names, &rest.names());
        if (has_come || needs_all) && !room.is_zero() {
            self.tracker.abort();
            self.tracker.take_names(&rest.names());
            self.read(with_families, now_ms).await?;
        }
        self.add_info(&rest)
    }

    /// Asks for what the page has left open, now that it is known what has left the page.
    pub(super) fn want_names(&mut self) {
        let Some(rest) = &self.rest else { return };
        if let Some(wants) = self.tracker.untold_wants() {
            rest.want(wants);
        }
        if self.wanted.iter().any(|wanted| wanted.has_v2()) {
            rest.want(&self.tracker.wants_of_starts());
        }
    }

    /// Takes names from here, or from nowhere, after a change of the configuration. Names that were
    /// given stay while any are to be given.
    pub fn name_from(&mut self, rest: Option<Arc<Rest>>) {
        if rest.is_none() && self.rest.is_some() {
            self.tracker.leave_names();
        }
        self.rest = rest;
    }

    /// Whether the last page shows anything under a name that has become known since.
    pub fn is_outdated(&self) -> bool {
        let Some(rest) = &self.rest else { return false };
        let names = rest.names();
        self.tracker.wants().iter().any(|want| names.knows(want))
            || self
                .cluster(rest)
                .is_some_and(|c| !self.has_info && rest.info(c, &self.tracker.jobs()).is_some())
    }

    /// The endpoint that tells of the cluster whose leader the target is.
    fn cluster(&self, rest: &Rest) -> Option<usize> {
        let is_leader = self.tracker.is_leader();
        is_leader.then(|| rest.cluster_of(&self.target.url, &self.tracker.jobs())).flatten()
    }

    fn add_info(&mut self, rest: &Rest) -> Result<(), Failure> {
        let info = self.cluster(rest).and_then(|id| rest.info(id, &self.tracker.jobs()));
        self.has_info = info.is_some();
        info.map_or(Ok(()), |info| self.page.add(&info, &mut self.tracker))
    }
}
