//! Series that a receiver would refuse, and with them the batch in which they come: they are found when
//! they are new, kept from that receiver alone, counted with each sample, and named once. Those that only
//! needed a shorter label value are sent, and counted and named likewise.

use hashbrown::{HashMap, HashSet};

use super::{Fate, LabelLimit, Limits, Line, Shaper, Tracker};
use crate::remote_write::v1;

/// Why a series is kept from a receiver, which would refuse it and all that is sent with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It exceeds a label limit of the receiver.
    #[error(transparent)]
    Limit(#[from] LabelLimit),
    /// `write_relabel_configs` left it without a valid metric name.
    #[error("a series has no valid metric name after write_relabel_configs")]
    MetricName,
    /// `write_relabel_configs` gave it a label name that remote write forbids.
    #[error("a series has a label name that is not valid after write_relabel_configs")]
    LabelName,
    /// It is sent, with a value that was cut to what the receiver takes.
    #[error("a label value has more than {limit} bytes")]
    Cut {
        /// The receiver's limit.
        limit: u64,
    },
}

/// Series that are unfit, with the number of the view that they are kept from; empty nearly always.
pub type Unfits = Vec<(usize, Unfit)>;

/// What a page has for the receivers of a view that they would refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnfitCounts {
    /// Samples of series that exceed a label limit.
    pub label_limit: u64,
    /// Samples of series whose labels remote write forbids.
    pub invalid: u64,
    /// Some of the series that are new, each with its fault, for the log.
    pub named: Vec<String>,
    /// Samples that are sent, of series with a label value that was cut.
    pub cut: u64,
    /// Some of these series that are new, for the log.
    pub named_cut: Vec<String>,
}

/// Series of a page that are named because a receiver would refuse them; the rest is only counted.
const UNFIT_NAMED_MAX: usize = 5;

/// What is shown of a series that a receiver would refuse, in characters: its labels may be unfit
/// because they are endless.
const UNFIT_CHARS_MAX: usize = 300;

/// The series of one target that are kept from some view.
#[derive(Debug, Default)]
pub(super) struct UnfitSeries {
    /// By identity and number of the view.
    faults: HashMap<(u128, usize), Unfit>,
    /// Those that are new on this page, for the log, with the number of the view and whether they are
    /// only cut.
    news: Vec<((usize, bool), String)>,
}

impl UnfitSeries {
    /// A page begins.
    pub(super) fn begin(&mut self) {
        self.news.clear();
    }

    /// Which views a series is kept from.
    pub(super) fn of(&self, identity: u128) -> Unfits {
        let of = self.faults.iter().filter(|((series, _), _)| *series == identity);
        of.map(|((_, view), why)| (*view, *why)).collect()
    }

    /// A configuration follows another: what is kept of it is the old view of each new one, `None` for
    /// those whose blocks are made anew.
    pub(super) fn adopt(&mut self, kept: &[Option<usize>]) {
        let old = std::mem::take(&mut self.faults);
        for (view, from) in kept.iter().enumerate() {
            let Some(from) = from else { continue };
            let of_view = old.iter().filter(|((_, view), _)| view == from);
            self.faults.extend(of_view.map(|((series, _), why)| ((*series, view), *why)));
        }
    }

    fn why(&self, identity: u128, view: usize) -> Option<Unfit> {
        self.faults.get(&(identity, view)).copied()
    }

    /// Forgets the series that are no more.
    pub(super) fn forget(&mut self, gone: &[u128]) {
        if !gone.is_empty() && !self.faults.is_empty() {
            let gone: HashSet<u128> = gone.iter().copied().collect();
            self.faults.retain(|(identity, _), _| !gone.contains(identity));
        }
    }

    /// The blocks of a series were made anew for these views.
    pub(super) fn remake(
        &mut self,
        identity: u128,
        views: &[usize],
        mut unfit: Unfits,
        series: &[u8],
    ) {
        for view in views {
            self.faults.remove(&(identity, *view));
        }
        unfit.retain(|(view, _)| views.contains(view));
        self.insert(identity, unfit, series);
    }

    fn insert(&mut self, identity: u128, unfit: Unfits, series: &[u8]) {
        for (view, why) in unfit {
            self.faults.insert((identity, view), why);
            let of = (view, matches!(why, Unfit::Cut { .. }));
            if self.news.iter().filter(|(other, _)| *other == of).count() < UNFIT_NAMED_MAX {
                let series = String::from_utf8_lossy(series);
                let shown: String = series.chars().take(UNFIT_CHARS_MAX).collect();
                self.news.push((of, format!("{why}: {shown}")));
            }
        }
    }
}

impl Shaper {
    /// Takes the blocks away that exceed their view's limits, or cuts their values, adds why to `unfit`, and
    /// returns the last of them as people write it.
    pub(super) fn fit(&self, blocks: &mut [Option<Box<[u8]>>], unfit: &mut Unfits) -> String {
        let mut shown = String::new();
        let views = self.views.iter().zip(blocks).enumerate();
        for (at, (view, block)) in views.filter(|(_, (v, _))| v.limits != Limits::default()) {
            let labels = block.as_deref().and_then(|block| v1::decode_labels(block).ok());
            let Some(labels) = labels else { continue };
            match view.limits.fitted(&labels) {
                Ok((_, false)) => {}
                Ok((cut, true)) => {
                    shown = labels.to_string();
                    unfit.push((at, view.limits.cut()));
                    *block = cut;
                }
                Err(why) => {
                    shown = labels.to_string();
                    unfit.push((at, why));
                    *block = None;
                }
            }
        }
        shown
    }
}

impl Tracker {
    /// Remembers why a series of a new line is kept from views. One that is known keeps what is known
    /// of it, but for the views whose blocks are made anew.
    pub(super) fn remember_unfit(&mut self, identity: u128, unfit: Unfits, series: &[u8]) {
        if self.find_series(identity).is_none() {
            self.unfit.insert(identity, unfit, series);
        } else if !self.remade.is_empty() {
            self.unfit.remake(identity, &self.remade, unfit, series);
        }
    }

    /// The samples of the closed page that are kept from one view because its receivers would refuse
    /// them.
    pub fn unfit(&self, view: usize) -> UnfitCounts {
        let mut counts = UnfitCounts::default();
        if self.unfit.faults.is_empty() {
            return counts;
        }
        for sample in &self.observed {
            let fate = self.lines.get(sample.line as usize).map(Line::fate);
            let Some(Fate::Series(series)) = fate else { continue };
            let Some(series) = self.series.get(series as usize) else { continue };
            match self.unfit.why(series.identity.bits(), view) {
                None => {}
                Some(Unfit::Limit(_)) => counts.label_limit += 1,
                Some(Unfit::MetricName | Unfit::LabelName) => counts.invalid += 1,
                Some(Unfit::Cut { .. }) => counts.cut += 1,
            }
        }
        let news = |of: (usize, bool)| {
            let of_view = self.unfit.news.iter().filter(move |(other, _)| *other == of);
            of_view.map(|(_, text)| text.clone()).collect()
        };
        (counts.named, counts.named_cut) = (news((view, false)), news((view, true)));
        counts
    }
}
