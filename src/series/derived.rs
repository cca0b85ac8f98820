//! Derived series of one target: collects the numbers that lines feed, and makes what follows from them
//! when the page is closed. What follows from what is in [`crate::flink::derived`].
//!
//! ```text
//!   Line --feed: maker, slot--> Maker --value of the page--> line of the relay's own
//!                                 `--key--> Past, which outlives the maker
//! ```
//!
//! A maker lives as long as one of its lines. Inputs are taken before `metric_relabel_configs` and
//! sample limits have their say, so a rule that drops Flink's own metric leaves what is derived from it.
//!
//! Invariants: only a good page changes the past; a maker whose inputs are not all there makes nothing.

use std::{collections::BTreeSet, num::NonZeroU32};

use hashbrown::HashMap;
use slab::Slab;
use xxhash_rust::xxh3::xxh3_128;

use super::{Tracker, index::Mark};
use crate::{
    exposition::Sample,
    flink::{
        catalogue::Found,
        derived::{self, Derived, INPUTS, Past},
    },
};

/// Longest time that the count of a job's restarts or failed checkpoints is remembered while its
/// JobManager does not show the job: a JobManager that is down longer than a day is another outage, and
/// a counter may begin again.
const PAST_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// Such counts of one target. Three for each job; a session cluster that runs a short job every ten
/// seconds has 26,000 in a day, and forgets those that are over early.
const PASTS_MAX: usize = 4096;

/// Makers that there may be room for without need.
const SPARE: usize = 16;

/// Where a line's values go: a maker's number times [`INPUTS`], plus which of its inputs, plus one. Every line
/// of a page has room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Feed(NonZeroU32);

impl Feed {
    fn new(maker: u32, slot: u8) -> Option<Self> {
        let places = INPUTS as u32;
        maker
            .checked_mul(places)?
            .checked_add(u32::from(slot) + 1)
            .and_then(NonZeroU32::new)
            .map(Self)
    }

    const fn maker(self) -> usize {
        (self.0.get() as usize - 1) / INPUTS
    }

    const fn slot(self) -> usize {
        (self.0.get() as usize - 1) % INPUTS
    }
}

/// All makers of a target.
#[derive(Debug, Default)]
pub(super) struct Derivers {
    makers: Slab<Maker>,
    /// By their line of the relay's own.
    index: HashMap<u32, u32>,
    pasts: HashMap<u128, Remembered>,
    /// Of the page that is being closed; kept for its room.
    due: Vec<(u32, f64)>,
}

/// One derived series.
#[derive(Debug)]
struct Maker {
    derived: &'static Derived,
    /// Its line of the relay's own.
    line: u32,
    /// Lines that feed it.
    lines: u32,
    /// Number of the page that had one of them last.
    seen: u32,
    /// What its past is kept under.
    key: Mark,
    /// Number of the page that had a value last.
    page: u32,
    /// Which of the values are of that page, as bits.
    has: u8,
    values: [f64; INPUTS],
}

/// A past, with the page and the time at which it was used last.
#[derive(Debug, Default)]
struct Remembered {
    past: Past,
    page: u32,
    at_ms: i64,
}

impl Tracker {
    /// What the samples feed of which the catalogue knows this, and into which slot.
    pub(super) fn feeds(&self, known: Option<&Found<'_, '_>>) -> Option<(&'static Derived, u8)> {
        // What has been through a relay has its derived series beside it.
        let known = known.filter(|known| !known.is_relays())?;
        let (derived, slot) = derived::fed_by(&known.canonical_name())?;
        let is_wanted = self.shaper.derived.has(derived.switch)
            && self.shaper.groups.allows(known.metric.group);
        is_wanted.then_some((derived, slot))
    }

    /// A new line of the page feeds one of the inputs of a derived series.
    pub(super) fn feed(
        &mut self,
        sample: &Sample<'_>,
        known: &Found<'_, '_>,
        (derived, slot): (&'static Derived, u8),
    ) -> Option<Feed> {
        let text = derived.series_text(sample.labels(), known);
        // A label of the user's own that is called like one of ours.
        let line = self.made_line(text.as_bytes()).ok()?;
        let maker = match self.derivers.index.get(&line) {
            Some(&maker) => {
                // The maker holds it once, whatever the number of its lines.
                self.release_line(line);
                maker
            }
            None => self.derivers.insert(Maker::new(derived, sample, &text, line)),
        };
        let feed = Feed::new(maker, slot)?;
        self.derivers.makers.get_mut(maker as usize)?.lines += 1;
        Some(feed)
    }

    /// Names of the derived metrics that the closed page has.
    pub fn derived_names(&self) -> BTreeSet<&'static str> {
        let makers = self.derivers.makers.iter().map(|(_, maker)| maker);
        makers.filter(|maker| self.is_kept(maker.line)).map(|m| m.derived.name).collect()
    }

    /// Makes what follows from the page that is being closed.
    pub(super) fn derive(&mut self, now_ms: i64) {
        let mut due = self.derivers.due(self.page, now_ms);
        for (line, value) in due.drain(..) {
            self.make(line, value, now_ms);
        }
        self.derivers.due = due;
    }
}

impl Derivers {
    /// A line is on this page, with a value or without one.
    pub(super) fn note(&mut self, feed: Feed, page: u32, value: Option<f64>) {
        let Some(maker) = self.makers.get_mut(feed.maker()) else { return };
        maker.seen = page;
        let Some(value) = value else { return };
        if maker.page != page {
            (maker.page, maker.has) = (page, 0);
        }
        let (slot, rule) = (feed.slot(), maker.derived.rule);
        let Some(held) = maker.values.get_mut(slot) else { return };
        *held = if maker.has >> slot & 1 == 1 { rule.fold(*held, value) } else { value };
        maker.has |= 1 << slot;
    }

    /// Whether all that feeds this line of the relay's own has left the page, as when a job has restarted.
    pub(super) fn has_left(&self, line: u32, page: u32) -> bool {
        let maker = self.index.get(&line).and_then(|&maker| self.makers.get(maker as usize));
        maker.is_some_and(|maker| maker.seen != page)
    }

    /// A line is no more. Gives back the line of the relay's own that nothing feeds any longer.
    pub(super) fn starve(&mut self, feed: Feed) -> Option<u32> {
        let maker = self.makers.get_mut(feed.maker())?;
        maker.lines = maker.lines.saturating_sub(1);
        if maker.lines > 0 {
            return None;
        }
        let maker = self.makers.remove(feed.maker());
        self.index.remove(&maker.line);
        Some(maker.line)
    }

    fn insert(&mut self, maker: Maker) -> u32 {
        let line = maker.line;
        let at = u32::try_from(self.makers.insert(maker)).expect("as many makers as lines at most");
        self.index.insert(line, at);
        at
    }

    fn due(&mut self, page: u32, now_ms: i64) -> Vec<(u32, f64)> {
        let mut due = std::mem::take(&mut self.due);
        for (_, maker) in &self.makers {
            let inputs = maker.inputs(page);
            if inputs.iter().all(Option::is_none) {
                continue;
            }
            let rule = maker.derived.rule;
            let value = if rule.has_past() {
                let remembered = self.pasts.entry(maker.key.bits()).or_default();
                // Two lines of one job, which only labels of the user's tell apart.
                if remembered.page == page {
                    continue;
                }
                (remembered.page, remembered.at_ms) = (page, now_ms);
                rule.value(inputs, &mut remembered.past, now_ms)
            } else {
                rule.value(inputs, &mut Past::default(), now_ms)
            };
            due.extend(value.map(|value| (maker.line, value)));
        }
        self.forget_pasts(page, now_ms);
        due
    }

    /// Gives back room that makers have left.
    pub(super) fn shrink(&mut self) {
        if self.makers.capacity() > self.makers.len() + self.makers.len() / 16 + SPARE {
            self.makers.shrink_to_fit();
        }
        if self.index.capacity() > 2 * self.index.len() + SPARE {
            self.index.shrink_to_fit();
        }
    }

    fn forget_pasts(&mut self, page: u32, now_ms: i64) {
        let too_many = self.pasts.len() > PASTS_MAX;
        self.pasts.retain(|_, remembered| {
            remembered.page == page || !too_many && now_ms - remembered.at_ms < PAST_KEPT_MS
        });
    }
}

impl Maker {
    fn new(derived: &'static Derived, sample: &Sample<'_>, text: &str, line: u32) -> Self {
        // A job keeps its id when its JobManager's host changes.
        let job = sample.labels().find(|(name, _)| *name == "job_id");
        let key = match &job {
            Some((_, id)) => xxh3_128([derived.name, "\0", id].concat().as_bytes()),
            None => xxh3_128(text.as_bytes()),
        };
        let (key, values) = (key.into(), [0.0; INPUTS]);
        Self { derived, line, lines: 0, seen: 0, key, page: 0, has: 0, values }
    }

    fn inputs(&self, page: u32) -> [Option<f64>; INPUTS] {
        let mut inputs = [None; INPUTS];
        for (slot, (input, value)) in inputs.iter_mut().zip(self.values).enumerate() {
            *input = (self.page == page && self.has >> slot & 1 == 1).then_some(value);
        }
        inputs
    }
}

#[cfg(test)]
mod tests;
