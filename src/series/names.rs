//! The names that people gave, on the lines of one target.
//!
//! A page is begun by [`Tracker::take_names`], which takes what REST has told by now: lines whose names have
//! become known are forgotten, so that this page shapes them anew. Their old series end with a marker
//! at the very scrape at which the new ones begin. Before the page counts, [`Tracker::new_wants`] and
//! [`Tracker::wants_another_look`] tell whether it is worth to wait for names and to read it once more.

use std::{collections::BTreeSet, sync::Arc};

use super::Tracker;
use crate::flink::rest::{Names, Subjects, Want};

impl Tracker {
    /// Gives names back on the page that is about to be read, and on all that follow.
    pub fn take_names(&mut self, names: &Arc<Names>) {
        self.attempts.adopt(names);
        let changed = self.subjects.adopt(names);
        if !changed.is_empty() {
            self.drop_lines(|_, whose| !changed.contains(&whose.subject));
        }
    }

    /// Leaves the names of pages as they are from now on.
    pub fn leave_names(&mut self) {
        self.drop_lines(|_, _| false);
        self.subjects = Subjects::default();
        self.attempts.leave();
    }

    /// What the page shows under names that are not known yet; it may be asked for.
    pub fn wants(&self) -> &BTreeSet<Want> {
        self.subjects.wants()
    }

    /// As [`Tracker::wants`], of a page that has just been read.
    pub fn tell_wants(&mut self) -> &BTreeSet<Want> {
        self.subjects.tell_wants()
    }

    /// As [`Tracker::wants`], unless nothing has changed since it was told.
    pub fn untold_wants(&mut self) -> Option<&BTreeSet<Want>> {
        self.subjects.untold_wants()
    }

    /// The counters on the page whose start is not known, which only receivers of remote write 2.0 get.
    pub fn wants_of_starts(&self) -> BTreeSet<Want> {
        self.attempts.wants()
    }

    /// The part of it that was not there on the page before: names are worth waiting for, because
    /// receivers have no series under the page's names yet.
    pub fn new_wants(&self) -> BTreeSet<Want> {
        self.subjects.new_wants()
    }

    /// Whether the page as a whole tells something that its first lines would have needed.
    pub fn wants_another_look(&mut self) -> bool {
        self.subjects.wants_another_look()
    }

    /// Whether the page is about something, a job or a task, that the one before was not.
    pub fn has_new_subjects(&self) -> bool {
        self.subjects.has_new()
    }

    /// Ids of the jobs on the page.
    pub fn jobs(&self) -> BTreeSet<&str> {
        self.subjects.jobs()
    }

    /// Whether the page is that of the JobManager that leads its cluster.
    pub fn is_leader(&self) -> bool {
        self.subjects.is_leader()
    }
}
