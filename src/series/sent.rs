//! What of a closed page is sent, as remote write 1.0 wants it: samples, and the series that end.
//!
//! The same as remote write 2.0 wants it is in [`super::numbered`].

use super::{Fate, Line, Observed, Series, Tracker};
use crate::{
    flink::Group,
    remote_write::{Encoder, Replay, v1::Block},
};

impl Tracker {
    /// Encodes the samples of the closed page for one view. Returns how many there are.
    pub fn encode(&mut self, view: usize, encoder: &mut Encoder) -> u64 {
        if self.blocks.have_changed() {
            self.replays.clear();
        }
        if !self.own_times.is_empty() {
            let samples = self.samples(view);
            return samples.map(|(block, ms, value)| encoder.push(block, value, ms)).count() as u64;
        }
        if self.replays.len() <= view {
            self.replays.resize_with(view + 1, Replay::default);
        }
        let Self { replays, observed, lines, blocks, scraped_at_ms, .. } = self;
        let Some(replay) = replays.get_mut(view) else { return 0 };
        let page = observed.iter().filter_map(|sample| {
            let Fate::Series(series) = lines.get(sample.line as usize)?.fate() else { return None };
            blocks.has(series, view).then_some((series, sample.value.to_bits()))
        });
        let block = |series| blocks.get(series, view).unwrap_or(Block::EMPTY);
        encoder.push_page(page, *scraped_at_ms, block, replay)
    }

    /// Lets go of what [`Tracker::encode`] keeps for the next page.
    pub fn forget_replay(&mut self, view: usize) {
        if let Some(replay) = self.replays.get_mut(view) {
            replay.clear();
        }
    }

    /// The samples of the closed page for one view: encoded labels, timestamp, value.
    pub fn samples(&self, view: usize) -> impl Iterator<Item = (Block<'_>, i64, f64)> + '_ {
        self.sent(view).map(move |(_, block, sample)| (block, self.time_of(sample), sample.value))
    }

    /// As [`Tracker::samples`], each with its metric group.
    pub fn samples_by_group(
        &self,
        view: usize,
    ) -> impl Iterator<Item = (Group, Block<'_>, i64, f64)> {
        let groups = self.shaper.catalogue.groups();
        self.sent(view).filter_map(|(line, block, sample)| {
            let group = *groups.get(usize::from(line.group))?;
            Some((group, block, self.time_of(sample), sample.value))
        })
    }

    fn sent(&self, view: usize) -> impl Iterator<Item = (&Line, Block<'_>, &Observed)> + '_ {
        self.observed.iter().filter_map(move |sample| {
            let line = self.lines.get(sample.line as usize)?;
            let Fate::Series(series) = line.fate() else { return None };
            Some((line, self.blocks.get(series, view)?, sample))
        })
    }

    /// The encoded labels, for one view, of series that were sent but are not on the closed page.
    pub fn stale(&self, view: usize) -> impl Iterator<Item = Block<'_>> + '_ {
        let stale = self.stale_series().filter_map(move |(at, _)| self.blocks.get(at, view));
        stale.chain(self.inherited(view).map(Block::from))
    }

    pub(super) fn stale_series(&self) -> impl Iterator<Item = (u32, &Series)> {
        let page = self.page;
        self.live_series().filter(move |(_, series)| !series.is_sent_on(page))
    }

    /// The encoded labels, for one view, of all series that receivers know: what gets markers when a
    /// scrape fails or the target goes.
    pub fn live(&self, view: usize) -> impl Iterator<Item = Block<'_>> + '_ {
        let live = self.live_series().filter_map(move |(at, _)| self.blocks.get(at, view));
        live.chain(self.inherited(view).map(Block::from))
    }

    pub(super) fn live_series(&self) -> impl Iterator<Item = (u32, &Series)> {
        let series = self.series.iter().map(|(at, series)| (at as u32, series));
        series.filter(|(_, s)| s.is_live() && !s.has_own_timestamp())
    }
}
