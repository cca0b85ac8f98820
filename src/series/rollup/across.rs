//! Roll-ups across targets: what the pages of one scrape job's targets come to, per aligned interval.
//!
//! ```text
//!   target a   --page--------page--------page----->     each page is a list of parts, see Tracker::parts
//!   target b   ------page--------x-----------page->     x: a scrape that failed
//!              |-----------|-----------|-----------|    intervals, aligned on the wall clock
//!                           ^ close     ^ close         a slack after each end: a + b, a alone, …
//! ```
//!
//! A target **contributes** its last page before the end of the interval when that is no older than
//! the target's own interval and a tenth, so that a page that comes a moment earlier or later than
//! the one before does not leave a hole; one whose last scrape failed, or that is late, contributes
//! nothing. Pages of the next interval that come before the close wait for it.
//!
//! **Counters** are made of increases: each target's total, which its tracker has made of its sources'
//! increases, is one source here, and the rules are the same. What it has when it is first seen is added
//! as a whole, later its increase, whether or not the page it was on contributes; a total that began anew
//! is added on top; a target that fails or leaves keeps its share. A counter ends when the pages of
//! no target have it any more.
//!
//! The interval in which this begins is not closed: some targets have not had their turn in it, and
//! what they have would look like an increase in the next.
//!
//! Invariants: ends grow strictly, whatever the wall clock does; a counter never falls while it lasts;
//! what is kept of a target is its last page and those that wait, and it goes with the target.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use hashbrown::{HashMap, HashSet};

use super::sums::Sums;
use crate::flink::{
    Group,
    catalogue::Unit,
    rollup::{Function, Level},
};

/// What one target's page has of a roll-up.
#[derive(Clone, Debug)]
pub struct Part {
    pub(super) of: Arc<PartOf>,
    /// Another number says that the total began anew.
    pub(super) began: u32,
    pub(super) sums: Sums,
}

/// What a roll-up across targets is, whoever has a part of it.
#[derive(Debug)]
pub(super) struct PartOf {
    pub(super) key: u128,
    pub(super) level: Level,
    pub(super) group: Group,
    pub(super) functions: Box<[Function]>,
    pub(super) is_counter: bool,
    pub(super) help: Box<str>,
    pub(super) unit: Unit,
    /// Normal labels with the metric's name, without those of the target but `job`, encoded.
    pub(super) labels: Box<[u8]>,
    /// The ids that tell it apart from another of the same labels, encoded.
    pub(super) ids: Option<Box<[u8]>>,
}

/// What several targets come to.
#[derive(Clone, Debug)]
pub struct Whole {
    pub(super) of: Arc<PartOf>,
    pub(super) sums: Sums,
}

/// An interval that has ended.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Its end, milliseconds since the epoch: the timestamp of its samples.
    pub at_ms: i64,
    /// How many targets contributed.
    pub targets: usize,
    /// What they come to.
    pub wholes: Vec<Whole>,
}

/// Combines the pages of one scrape job's targets, see the module's documentation.
#[derive(Debug)]
pub struct Across {
    interval_ms: i64,
    slack_ms: i64,
    /// An interval was closed before the open one, so this one is whole.
    is_whole: bool,
    /// The end of the interval that is open.
    end_ms: i64,
    /// The end of the last one that was closed.
    last_ms: i64,
    /// By the caller's number.
    targets: BTreeMap<u64, Target>,
    combined: HashMap<u128, Combined>,
}

#[derive(Debug, Default)]
struct Target {
    /// The last page before the open interval's end; none when that scrape failed.
    page: Option<Page>,
    /// The roll-ups that it has a share in.
    shares: HashSet<u128>,
    /// What belongs to the next interval.
    early: VecDeque<Page>,
}

#[derive(Debug)]
struct Page {
    at_ms: i64,
    interval_ms: i64,
    /// `None` for a scrape that failed.
    parts: Option<Vec<Part>>,
}

#[derive(Debug, Default)]
struct Combined {
    total: f64,
    /// The present total of each target, and the number of its beginning.
    shares: HashMap<u64, (u32, f64)>,
}

impl Across {
    /// With intervals of this length, each closed `slack` after its end. `now_ms` is the wall clock in
    /// milliseconds since the epoch.
    pub fn new(interval: Duration, slack: Duration, now_ms: i64) -> Self {
        let mut across = Self {
            interval_ms: 1,
            slack_ms: 0,
            is_whole: false,
            end_ms: 0,
            last_ms: i64::MIN,
            targets: BTreeMap::new(),
            combined: HashMap::new(),
        };
        across.align(interval, slack, now_ms);
        across
    }

    /// Other intervals from now on. Sums go on.
    pub fn align(&mut self, interval: Duration, slack: Duration, now_ms: i64) {
        let (interval_ms, slack_ms) = (millis(interval).max(1), millis(slack));
        if (interval_ms, slack_ms) != (self.interval_ms, self.slack_ms) {
            (self.interval_ms, self.slack_ms) = (interval_ms, slack_ms);
            self.end_ms = self.end_after(now_ms);
        }
    }

    /// How long until the open interval is to be closed; not for long when the clock was set back.
    pub fn due_in(&self, now_ms: i64) -> Duration {
        let due = self.end_ms.saturating_add(self.slack_ms).saturating_sub(now_ms);
        let due = due.clamp(0, self.interval_ms.saturating_add(self.slack_ms));
        Duration::from_millis(due.unsigned_abs())
    }

    /// Takes what a target's scrape has come to, `None` when it failed. `at_ms` is the timestamp of
    /// the page, `interval` the target's own.
    pub fn take(&mut self, target: u64, at_ms: i64, interval: Duration, parts: Option<Vec<Part>>) {
        let page = Page { at_ms, interval_ms: millis(interval), parts };
        let known = self.targets.entry(target).or_default();
        // What lies beyond the next interval was stamped before the clock was set back.
        let next = self.end_ms..self.end_ms.saturating_add(self.interval_ms);
        if next.contains(&at_ms) {
            known.early.push_back(page);
        } else {
            self.apply(target, page);
        }
    }

    /// A target is gone. It keeps its share of the counters that others have, too.
    pub fn forget(&mut self, target: u64) {
        let Some(gone) = self.targets.remove(&target) else { return };
        for key in gone.shares {
            if let Some(combined) = self.combined.get_mut(&key) {
                combined.shares.remove(&target);
            }
        }
    }

    /// Ends the open interval and opens the next. `None` for the one in which this began.
    pub fn close(&mut self, now_ms: i64) -> Option<Closed> {
        let end_ms = self.end_ms;
        // After the clock was set back, each end is a millisecond after the one before until the
        // clock has caught up, as the timestamps of scrapes are.
        let at_ms = end_ms.min(now_ms).max(self.last_ms.saturating_add(1));
        let is_whole = std::mem::replace(&mut self.is_whole, true);
        let closed = is_whole.then(|| self.combine(at_ms));
        self.last_ms = at_ms;
        self.combined.retain(|_, combined| !combined.shares.is_empty());
        self.end_ms = self.end_after(now_ms.saturating_sub(self.slack_ms).max(at_ms.min(now_ms)));
        let early: Vec<(u64, Page)> = self
            .targets
            .iter_mut()
            .flat_map(|(at, target)| {
                let (at, pages) = (*at, std::mem::take(&mut target.early));
                pages.into_iter().map(move |page| (at, page))
            })
            .collect();
        for (target, Page { at_ms, interval_ms, parts }) in early {
            let interval = Duration::from_millis(interval_ms.unsigned_abs());
            self.take(target, at_ms, interval, parts);
        }
        closed
    }

    /// The first aligned end after a moment.
    const fn end_after(&self, now_ms: i64) -> i64 {
        (now_ms.div_euclid(self.interval_ms) + 1).saturating_mul(self.interval_ms)
    }

    /// Takes in a page of the open interval.
    fn apply(&mut self, at: u64, page: Page) {
        let Some(target) = self.targets.get_mut(&at) else { return };
        if let Some(parts) = &page.parts {
            let left = std::mem::take(&mut target.shares);
            target.shares.extend(parts.iter().map(|part| part.of.key));
            for key in left.difference(&target.shares) {
                if let Some(combined) = self.combined.get_mut(key) {
                    combined.shares.remove(&at);
                }
            }
            for Part { of, began, sums } in parts {
                let combined = self.combined.entry(of.key).or_default();
                let total = if of.is_counter { sums.total() } else { 0.0 };
                let before = combined.shares.insert(at, (*began, total));
                combined.total += match before {
                    Some((same, before)) if same == *began && total >= before => total - before,
                    // It is new, or it began anew.
                    _ => total,
                };
            }
        }
        target.page = Some(page);
    }

    fn combine(&self, end_ms: i64) -> Closed {
        let mut wholes: BTreeMap<u128, Whole> = BTreeMap::new();
        let mut targets = 0;
        for target in self.targets.values() {
            let Some(page) = &target.page else { continue };
            let age_max = page.interval_ms.saturating_add(page.interval_ms / TOLERANCE);
            if end_ms.saturating_sub(page.at_ms) > age_max {
                continue;
            }
            let Some(parts) = &page.parts else { continue };
            targets += 1;
            for Part { of, sums, .. } in parts {
                let new = || Whole { of: Arc::clone(of), sums: Sums::default() };
                let whole = wholes.entry(of.key).or_insert_with(new);
                whole.sums.join(sums);
            }
        }
        let total = |whole: Whole| {
            let total = self.combined.get(&whole.of.key).map_or(0.0, |combined| combined.total);
            Whole { sums: whole.sums.with_total(total), ..whole }
        };
        Closed { at_ms: end_ms, targets, wholes: wholes.into_values().map(total).collect() }
    }
}

/// A page is late when it is older than an interval and this part of it. Scrapes stand at the same place
/// in each interval but for the delays of a busy machine.
const TOLERANCE: i64 = 10;

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
