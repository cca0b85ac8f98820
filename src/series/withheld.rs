//! Lines that are here and have no sample to send: those of a page whose value says that there is none,
//! and those of the relay's own ([`super::made`]) that nothing was made for.
//!
//! Their series end, with a marker, as if the line had left the page; but the line stays, for its next
//! value may be one. What was settled when it was new stays with it: so such lines take part in telling
//! apart, since only a new line is told apart, and their series keep the labels.
//!
//! Invariants: a line that is known has its series, live or not; a withheld series gets one marker, at
//! the page that withholds it first.

use super::{Fate, Tracker};

impl Tracker {
    /// All lines of the page that may have a sample, in the order in which they may take places.
    pub(super) fn lines_here(&self) -> impl Iterator<Item = u32> + '_ {
        self.observed.iter().map(|sample| sample.line).chain(self.withheld.iter().copied())
    }

    /// Makes the series of withheld lines outlive the page.
    pub(super) fn keep_withheld(&mut self) {
        let page = self.page;
        for &line in &self.withheld {
            let fate = self.lines.get(line as usize).map(|line| line.fate);
            let Some(Fate::Series(series)) = fate else { continue };
            if let Some(series) = self.series.get_mut(series as usize) {
                series.withheld = page;
            }
        }
    }

    /// The withheld series have had their markers.
    pub(super) fn end_withheld(&mut self) {
        self.withheld_len = 0;
        if self.withheld.is_empty() {
            return;
        }
        let (page, series) = (self.page, &self.series);
        if !self.remade.is_empty() {
            // Blocks that were made anew are not known to anyone and are gone: what they were made
            // for begins anew with its next value.
            let withheld = |at: u32| {
                series.get(at as usize).is_some_and(|s| s.seen != page && s.withheld == page)
            };
            let lines = self.withheld.iter().filter_map(|&at| {
                let Fate::Series(series) = self.lines.get(at as usize)?.fate else { return None };
                withheld(series).then_some(series)
            });
            let gone: std::collections::BTreeSet<u32> = lines.collect();
            self.drop_lines(|line| !matches!(line.fate, Fate::Series(s) if gone.contains(&s)));
            for series in gone {
                if let Some(series) = self.series.get_mut(series as usize) {
                    series.withheld = 0;
                }
            }
            return;
        }
        for (_, series) in &mut self.series {
            if series.withheld == page && series.seen != page {
                series.live = false;
                self.withheld_len += 1;
            }
        }
    }
}
