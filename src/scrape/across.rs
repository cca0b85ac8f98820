//! Staging what several targets come to: as a scrape of a target that is not there.
//!
//! One [`Combiner`] belongs to one scrape job. What an interval has come to ([`Closed`]) goes through
//! relabelling and views as a page's roll-ups do, and is staged as they are, without the report series
//! that only a scrape has.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Staged,
    families::Families,
    stage::{Part, Wanted},
};
use crate::{
    remote_write::{Message, v2::Symbols},
    series::{Closed, Origin, Shaper, Tracker, View},
};

/// Stages what the targets of one scrape job come to, see the module's documentation.
#[derive(Debug)]
pub struct Combiner {
    tracker: Tracker,
    views: Arc<[View]>,
    wanted: Vec<Wanted>,
    symbols: Symbols,
    /// When each view's metadata was sent last.
    metadata_sent: Vec<Option<Instant>>,
    /// A page's own families: none.
    families: Families,
    newest_ms: i64,
}

impl Combiner {
    /// With the shaper of the scrape job's targets.
    pub fn new(shaper: Arc<Shaper>) -> Self {
        let views = Arc::clone(&shaper.views);
        Self {
            wanted: vec![Wanted::default(); views.len()],
            symbols: Symbols::default(),
            metadata_sent: vec![None; views.len()],
            families: Families::new(Arc::clone(&shaper.catalogue), shaper.names),
            tracker: Tracker::of_wholes(shaper),
            views,
            newest_ms: i64::MIN,
        }
    }

    /// Goes on with what a changed configuration says, see [`super::Scraper::adopt`].
    pub fn adopt(&mut self, shaper: Arc<Shaper>, origins: &[Origin]) {
        let sent = |origin: &Origin| {
            let from = origin.view.filter(|_| !origin.joined)?;
            self.metadata_sent.get(from).copied().flatten()
        };
        self.metadata_sent = origins.iter().map(sent).collect();
        self.views = Arc::clone(&shaper.views);
        self.wanted = vec![Wanted::default(); self.views.len()];
        self.families = Families::new(Arc::clone(&shaper.catalogue), shaper.names);
        self.tracker.adopt(shaper, crate::labels::Labels::default(), origins);
    }

    /// See [`super::Scraper::want`].
    pub fn want(&mut self, receivers: impl IntoIterator<Item = (usize, Message)>) {
        Wanted::set(&mut self.wanted, receivers);
        if !self.symbols.is_empty() && !self.wanted.iter().any(|wanted| wanted.has_v2()) {
            self.symbols = Symbols::default();
            self.tracker.forget_numbers();
        }
    }

    /// Stages an interval, for every view.
    pub fn stage(&mut self, closed: Closed, now: Instant) -> Vec<Staged> {
        self.newest_ms = closed.at_ms;
        let tally = self.tracker.combine(closed.wholes, closed.at_ms);
        let Self { tracker, views, wanted, symbols, metadata_sent, families, .. } = self;
        let mut staged = Vec::with_capacity(views.len());
        for (at, ((view, wanted), sent_at)) in
            views.iter().zip(wanted).zip(metadata_sent).enumerate()
        {
            let part = part(at, view, true, closed.at_ms);
            let due = wanted.metadata_is_due(view, *sent_at, now);
            let families = due.then_some(&*families);
            let (mut of_view, sent) = part.stage(*wanted, families, tracker, symbols, now);
            of_view.unfit = tracker.unfit(at);
            let unfit = of_view.unfit.label_limit + of_view.unfit.invalid;
            of_view.filtered = tally.kept - sent - unfit;
            if due {
                *sent_at = Some(now);
            }
            staged.push(of_view);
        }
        self.symbols.settle();
        self.tracker.forget_stale();
        self.tracker.rest();
        staged
    }

    /// The markers that end all of these series, because nothing is combined any more.
    pub fn end(&mut self, now_ms: i64, now: Instant) -> Vec<Staged> {
        let now_ms = now_ms.max(self.newest_ms.saturating_add(1));
        self.newest_ms = now_ms;
        let Self { tracker, views, wanted, symbols, .. } = self;
        let views = views.iter().zip(wanted).enumerate();
        let staged = views.map(|(at, (view, wanted))| {
            part(at, view, false, now_ms).stage(*wanted, None, tracker, symbols, now).0
        });
        let staged = staged.collect();
        self.tracker.forget_live();
        staged
    }
}

fn part(view: usize, of: &View, good: bool, now_ms: i64) -> Part<'static> {
    Part { view, samples_max: of.max_samples_per_send, good, now_ms, report: Vec::new() }
}
