//! Room for the lines of pages: how many all targets together may have the relay remember.
//!
//! A page is bounded by itself (`body_size_limit`, `sample_limit`), and what is sent by budgets; but lines that are
//! filtered out are remembered too, and the number of targets is bounded by nothing. So trackers share an allowance.
//! A new line takes one place of it, and gives it back when it is forgotten. A line that finds no place is not
//! remembered: its sample is dropped and counted, and everything that is known goes on, unless the relay itself shapes
//! lines anew (other rules, names that REST has told): those give their places back first, and others may take them.
//!
//! Lines of the relay's own ([`super::made`]) take none: there are no more of them than lines they are made from, or
//! so, and their makers count on them.
//!
//! Invariants: as many places are taken as there are lines that pages brought in all trackers, no more than the limit at the
//! time; a line that is known asks for nothing, so the path of its samples knows nothing of this.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// How many lines of pages are remembered of all targets, and how many may be; 0 is unlimited, and the default.
///
/// The number stands for itself, nothing else is read by it: so no order is asked of memory.
#[derive(Debug, Default)]
pub struct PageSeries {
    remembered: AtomicU64,
    limit: AtomicU64,
}

/// What one tracker has of them; goes with it.
#[derive(Debug, Default)]
pub(super) struct Room {
    of: Arc<PageSeries>,
    taken: u64,
}

impl PageSeries {
    /// Changes the limit, 0 is unlimited. What is remembered beyond it stays until its target forgets it; until then
    /// nothing new is remembered.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// The limit, 0 is unlimited.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// How many are remembered now.
    pub fn remembered(&self) -> u64 {
        self.remembered.load(Relaxed)
    }

    fn take(&self) -> bool {
        let limit = self.limit();
        let fits = |taken: u64| (limit == 0 || taken < limit).then_some(taken + 1);
        self.remembered.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }
}

impl Room {
    /// A part of what is shared, with nothing taken.
    pub(super) const fn of(shared: Arc<PageSeries>) -> Self {
        Self { of: shared, taken: 0 }
    }

    /// Whether there is a place for one more line, which is taken then.
    pub(super) fn take(&mut self) -> bool {
        let has_place = self.of.take();
        self.taken += u64::from(has_place);
        has_place
    }

    /// A line is no more.
    pub(super) fn give_back(&mut self) {
        debug_assert!(self.taken > 0, "each line gives back what it took");
        self.taken -= 1;
        self.of.remembered.fetch_sub(1, Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.remembered.fetch_sub(self.taken, Relaxed);
    }
}

#[cfg(test)]
mod tests;
