//! Staging: what a scrape hands to the spools, per view and in the messages that its receivers want.
//!
//! The same samples in the same order go into each message: the page's, then the staleness markers,
//! then the report. In 1.0 the metadata of the families goes ahead when it is due; in 2.0 each series
//! brings what is known of its family.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Failure, PartialPage, Scraper,
    families::Families,
    report::{Entry, Passing},
};
use crate::{
    remote_write::{
        Encoder, Fragment, Message,
        v1::Metadata,
        v2::{self, About, Symbols},
    },
    series::{Following, MadeFamily, Numbered, Tally, Tracker, UnfitCounts, View},
};

/// What one view's receivers get of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Staged {
    /// The samples, markers and metadata as remote write 1.0; empty when no receiver wants that.
    pub v1: Vec<Arc<Fragment>>,
    /// The samples and markers as remote write 2.0; empty when no receiver wants that.
    pub v2: Vec<Arc<Fragment>>,
    /// Samples of the page that the view's `write_relabel_configs` drop.
    pub filtered: u64,
    /// Samples of the page that the view's receivers would refuse.
    pub unfit: UnfitCounts,
}

/// Which messages the receivers of one view want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    v1: bool,
    v2: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { v1: true, v2: false }
    }
}

impl Wanted {
    /// Notes what each view's receivers want.
    pub(super) fn set(all: &mut [Self], receivers: impl IntoIterator<Item = (usize, Message)>) {
        let nobody = Self { v1: false, v2: false };
        all.fill(nobody);
        for (view, message) in receivers {
            if let Some(wanted) = all.get_mut(view) {
                match message {
                    Message::V1 => wanted.v1 = true,
                    Message::V2 => wanted.v2 = true,
                }
            }
        }
        for wanted in all.iter_mut().filter(|wanted| **wanted == nobody) {
            *wanted = Self::default();
        }
    }

    /// Whether 2.0 is among them.
    pub(super) const fn has_v2(self) -> bool {
        self.v2
    }

    /// Whether a view's metadata is due, which only 1.0 sends by itself.
    pub(super) fn metadata_is_due(self, view: &View, sent: Option<Instant>, now: Instant) -> bool {
        self.v1
            && view.metadata_interval.is_some_and(|interval| {
                sent.is_none_or(|sent| now.saturating_duration_since(sent) >= interval)
            })
    }
}

impl Staged {
    /// The fragments for a receiver that wants this message. One that has changed its mind since the
    /// scrape began gets what it wanted then.
    pub fn fragments(&self, message: Message) -> &[Arc<Fragment>] {
        let (wanted, other) = match message {
            Message::V1 => (&self.v1, &self.v2),
            Message::V2 => (&self.v2, &self.v1),
        };
        if wanted.is_empty() { other } else { wanted }
    }
}

impl Scraper {
    /// Says which message each receiver wants from the next scrape on, by its view. A view that no
    /// receiver names gets 1.0.
    pub fn want(&mut self, receivers: impl IntoIterator<Item = (usize, Message)>) {
        Wanted::set(&mut self.wanted, receivers);
        if !self.symbols.is_empty() && !self.wanted.iter().any(|wanted| wanted.v2) {
            self.symbols = v2::Symbols::default();
            self.tracker.forget_numbers();
        }
    }

    /// The markers that end all of the target's series, because it is no longer to be scraped.
    pub fn end(&mut self, now_ms: i64, now: Instant) -> Vec<Staged> {
        let now_ms = now_ms.max(self.newest_ms.saturating_add(1));
        self.newest_ms = now_ms;
        let Self { report, tracker, symbols, views, wanted, .. } = self;
        let staged = views.iter().zip(wanted).enumerate().map(|(at, (view, wanted))| {
            let samples_max = view.max_samples_per_send;
            let part = Part { view: at, samples_max, good: false, now_ms, report: report.end(at) };
            part.stage(*wanted, None, tracker, symbols, now).0
        });
        let staged = staged.collect();
        self.tracker.forget_live();
        staged
    }

    /// Which views' metadata is due.
    pub(super) fn metadata_due(&self, now: Instant) -> Vec<bool> {
        let due = |((view, sent), wanted): ((&View, &Option<Instant>), &Wanted)| {
            wanted.metadata_is_due(view, *sent, now)
        };
        self.views.iter().zip(&self.metadata_sent).zip(&self.wanted).map(due).collect()
    }

    /// Encodes the outcome of a scrape for every view and takes note of what was sent.
    pub(super) fn stage(
        &mut self,
        result: &Result<Tally, Failure>,
        partial: Option<&PartialPage>,
        duration: Duration,
        now_ms: i64,
        metadata_due: &[bool],
        started: Instant,
    ) -> Vec<Staged> {
        let Self { report, tracker, symbols, views, wanted, page, .. } = self;
        let good = result.is_ok();
        let passing = Passing::of(result, partial);
        let staged = views.iter().zip(wanted).enumerate().map(|(at, (view, wanted))| {
            let report = report.entries(at, result, passing, duration);
            let samples_max = view.max_samples_per_send;
            let part = Part { view: at, samples_max, good, now_ms, report };
            let due = good && metadata_due.get(at) == Some(&true);
            let families = due.then_some(&page.families);
            let (mut staged, sent) = part.stage(*wanted, families, tracker, symbols, started);
            if let Ok(tally) = result {
                staged.unfit = tracker.unfit(at);
                let UnfitCounts { label_limit, invalid, .. } = staged.unfit;
                staged.filtered = tally.kept - sent - label_limit - invalid;
            }
            staged
        });
        let staged = staged.collect();
        self.symbols.settle();
        self.report.remember(passing);
        if good {
            self.tracker.forget_stale();
            for (sent, due) in self.metadata_sent.iter_mut().zip(metadata_due) {
                *sent = if *due { Some(started) } else { *sent };
            }
        } else {
            self.tracker.forget_live();
        }
        staged
    }
}

/// One view's part of a scrape.
pub(super) struct Part<'a> {
    pub(super) view: usize,
    pub(super) samples_max: u32,
    /// Whether the page's samples are sent; else all series that receivers know end.
    pub(super) good: bool,
    pub(super) now_ms: i64,
    pub(super) report: Vec<Entry<'a>>,
}

impl Part<'_> {
    /// Encodes it in each message that is wanted. Returns how many samples of the page are in it too.
    pub(super) fn stage(
        &self,
        wanted: Wanted,
        families: Option<&Families>,
        tracker: &mut Tracker,
        symbols: &mut Symbols,
        created: Instant,
    ) -> (Staged, u64) {
        let (mut staged, mut sent) = (Staged::default(), 0);
        if wanted.v2 {
            tracker.number(symbols);
            let report: Vec<_> = self.report.iter().map(|entry| entry.number(symbols)).collect();
            let inherited = tracker.numbered_inherited(self.view, symbols);
            let mut encoder = v2::Encoder::new(symbols, self.samples_max);
            sent = self.encode_v2(tracker, &inherited, &report, &mut encoder);
            staged.v2 = shared(encoder.finish(created.into_std()));
        } else {
            tracker.forget_replay(self.view, Message::V2);
        }
        if wanted.v1 {
            let mut encoder = Encoder::new(self.samples_max);
            if let Some(families) = families {
                families.encode(&mut encoder);
                for MadeFamily { name, about } in tracker.made_families() {
                    let About { kind, help, unit } = &about;
                    encoder.push_metadata(&Metadata { kind: *kind, family: &name, help, unit });
                }
            }
            sent = self.encode_v1(tracker, &mut encoder);
            staged.v1 = shared(encoder.finish(created.into_std()));
        } else {
            tracker.forget_replay(self.view, Message::V1);
        }
        (staged, sent)
    }

    fn encode_v1(&self, tracker: &mut Tracker, encoder: &mut Encoder) -> u64 {
        let mut sent = 0;
        if self.good {
            sent = tracker.encode(self.view, encoder);
            tracker.stale(self.view).for_each(|block| encoder.push_stale(block, self.now_ms));
        } else {
            tracker.live(self.view).for_each(|block| encoder.push_stale(block, self.now_ms));
        }
        for Entry { block, value, .. } in &self.report {
            match *value {
                Some(value) => encoder.push(block, value, self.now_ms),
                None => encoder.push_stale(block, self.now_ms),
            }
        }
        sent
    }

    fn encode_v2(
        &self,
        tracker: &mut Tracker,
        inherited: &[v2::Series],
        report: &[Following],
        encoder: &mut v2::Encoder<'_>,
    ) -> u64 {
        if self.good
            && inherited.is_empty()
            && let Some(sent) = tracker.encode_numbered(self.view, report, encoder)
        {
            return sent;
        }
        let mut sent = 0;
        if self.good {
            for sample in tracker.numbered(self.view) {
                let Numbered { series, timestamp_ms, value, start_ms } = sample;
                encoder.push(&series, value, timestamp_ms, start_ms);
                sent += 1;
            }
            let stale = tracker.numbered_stale(self.view);
            stale.for_each(|series| encoder.push_stale(&series, self.now_ms));
        } else {
            let live = tracker.numbered_live(self.view);
            live.for_each(|series| encoder.push_stale(&series, self.now_ms));
        }
        for series in inherited {
            encoder.push_stale(series, self.now_ms);
        }
        for Following { series, value, .. } in report {
            let (value, timestamp_ms, start_ms) = (*value, self.now_ms, NO_START_MS);
            encoder.push_sample(series, v2::Sample { value, timestamp_ms, start_ms });
        }
        sent
    }
}

/// The report's series are gauges.
const NO_START_MS: i64 = 0;

fn shared(fragments: Vec<Fragment>) -> Vec<Arc<Fragment>> {
    fragments.into_iter().map(Arc::new).collect()
}
