//! What of a closed page is sent: samples, and the series that end; and what is kept of it for the next page, in
//! either message.
//!
//! Samples one by one, as remote write 2.0 wants them, are in [`super::numbered`].

use super::{Fate, Following, Line, Observed, Series, Tracker};
use crate::{
    flink::{Group, rest::START_UNKNOWN_MS},
    remote_write::{
        Encoder, Message, Replay,
        v1::Block,
        v2::{self, Paged},
    },
};

/// What is kept for one view, by message.
#[derive(Debug, Default)]
pub(super) struct Replays {
    v1: Replay,
    v2: Replay,
}

/// Samples that follow a page are numbered from here on, behind all lines and series.
const OF_FOLLOWING: u32 = 1 << 31;

impl Tracker {
    /// Encodes the samples of the closed page for one view. Returns how many there are.
    pub fn encode(&mut self, view: usize, encoder: &mut Encoder) -> u64 {
        self.begin_replay(view);
        if !self.own_times.is_empty() {
            let samples = self.samples(view);
            return samples.map(|(block, ms, value)| encoder.push(block, value, ms)).count() as u64;
        }
        let Self { replays, observed, lines, blocks, scraped_at_ms, .. } = self;
        let Some(Replays { v1, .. }) = replays.get_mut(view) else { return 0 };
        let page = observed.iter().filter_map(|sample| {
            let Fate::Series(series) = lines.get(sample.line as usize)?.fate() else { return None };
            blocks.has(series, view).then_some((series, sample.value.to_bits()))
        });
        let block = |series| blocks.get(series, view).unwrap_or(Block::EMPTY);
        encoder.push_page(page, *scraped_at_ms, block, v1)
    }

    /// As [`Tracker::encode`], as remote write 2.0: with what follows the page.
    /// `None`, and nothing is encoded, when samples have times of their own or series end.
    pub fn encode_numbered(
        &mut self,
        view: usize,
        following: &[Following],
        encoder: &mut v2::Encoder<'_>,
    ) -> Option<u64> {
        self.begin_replay(view);
        if !self.own_times.is_empty() || self.numbered_stale(view).next().is_some() {
            return None;
        }
        let mut replay = std::mem::take(&mut self.replays.get_mut(view)?.v2);
        let mut sent = 0;
        let page = self.observed.iter().filter_map(|sample| {
            let at = sample.line;
            let Fate::Series(series) = self.lines.get(at as usize)?.fate() else { return None };
            debug_assert!(at < OF_FOLLOWING && series < OF_FOLLOWING, "a page of half a terabyte");
            let paged = Paged { series, at, value: sample.value.to_bits() };
            self.blocks.has(series, view).then_some(paged)
        });
        let page = page.inspect(|_| sent += 1);
        let behind = (OF_FOLLOWING..).zip(following);
        let behind = behind.map(|(at, &Following { value, .. })| Paged { series: at, at, value });
        let series = |at: u32| {
            if at >= OF_FOLLOWING {
                let following = following.get((at - OF_FOLLOWING) as usize)?;
                return Some((following.series, START_UNKNOWN_MS));
            }
            let line = self.lines.get(at as usize)?;
            let Fate::Series(series) = line.fate() else { return None };
            self.numbered_of(line, series, view)
        };
        let starts = self.attempts.changes();
        let key = following.iter().fold(starts, |key, next| key.rotate_left(1) ^ next.hash);
        encoder.push_page(page.chain(behind), self.scraped_at_ms, key, series, &mut replay);
        self.replays.get_mut(view)?.v2 = replay;
        Some(sent)
    }

    /// Lets go of what is kept for the next page of a view, in a message that nobody wants.
    pub fn forget_replay(&mut self, view: usize, message: Message) {
        if let Some(Replays { v1, v2 }) = self.replays.get_mut(view) {
            match message {
                Message::V1 => v1.clear(),
                Message::V2 => v2.clear(),
            }
        }
    }

    /// What is kept for a view is there, and is of its series.
    fn begin_replay(&mut self, view: usize) {
        if self.blocks.have_changed() {
            self.replays.clear();
        }
        if self.replays.len() <= view {
            self.replays.resize_with(view + 1, Replays::default);
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
