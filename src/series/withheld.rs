//! Lines that are here and have no sample to send: those of a page whose value says that there is none,
//! and those of the relay's own ([`super::made`]) that nothing was made for.
//!
//! Their series end, with a marker, as if the line had left the page; but the line stays, for its next
//! value may be one. What was settled when it was new stays with it: so such lines take part in telling
//! apart, since only a new line is told apart, and their series keep the labels.
//!
//! Invariants: a line that is known has its series, live or not; a withheld series gets one marker, at
//! the page that withholds it first.

use std::collections::BTreeSet;

use super::{Fate, Line, Tracker};
use crate::{
    exposition::Sample,
    flink::{catalogue::Found, sentinels::NoValue},
};

impl Tracker {
    /// Which of [`Tracker::no_values`] are no values of the samples of a name, as [`super::Line::no_value`];
    /// `None` when it hangs on their labels.
    pub(super) fn no_value_of_name(
        &mut self,
        sample_name: &str,
        known: Option<&Found<'_, '_>>,
    ) -> Option<u8> {
        match known {
            Some(known) => Some(self.no_value(known.no_value())),
            None if self.comments.is_summary(sample_name) => None,
            None => Some(0),
        }
    }

    /// The same of a sample of a summary that is the user's own: it may be empty as one of Flink's.
    pub(super) fn no_value_of_own(&mut self, sample: &Sample<'_>) -> u8 {
        if sample.labels().any(|(name, _)| name == "quantile") {
            self.no_value(NoValue::new([f64::NAN]))
        } else {
            0
        }
    }

    fn no_value(&mut self, no_value: NoValue) -> u8 {
        if no_value.is_empty() {
            return 0;
        }
        // A handful: -1, NaN, what a watermark may be, and what a user's own metrics have.
        let found = self.no_values.iter().position(|known| *known == no_value);
        let at = found.unwrap_or_else(|| {
            self.no_values.push(no_value);
            self.no_values.len() - 1
        });
        u8::try_from(at + 1).unwrap_or(0)
    }

    /// All lines of the page that may have a sample, in the order in which they may take places.
    pub(super) fn lines_here(&self) -> impl Iterator<Item = u32> + '_ {
        self.observed.iter().map(|sample| sample.line).chain(self.withheld.iter().copied())
    }

    /// Makes the series of withheld lines outlive the page, as far as these lines do. They have had their markers.
    pub(super) fn keep_withheld(&mut self) {
        let page = self.page;
        self.withheld_len = 0;
        for &line in &self.withheld {
            let fate = self.lines.get(line as usize).map(Line::fate);
            let Some(Fate::Series(series)) = fate else { continue };
            // One with a sample on another line is here anyway.
            if let Some(series) = self.series.get_mut(series as usize)
                && series.withhold(page)
            {
                series.set_live(false);
                self.series_here += 1;
                self.withheld_len += 1;
            }
        }
    }

    /// Forgets withheld series whose blocks were made anew: these are not known to anyone and are gone, so what
    /// they were made for begins anew with its next value.
    pub(super) fn forget_remade(&mut self) {
        if self.remade.is_empty() || self.withheld.is_empty() {
            return;
        }
        let page = self.page;
        let mut gone = BTreeSet::new();
        for (at, series) in self.series.iter_mut() {
            if series.is_withheld_on(page) && !series.is_sent_on(page) {
                series.leave();
                gone.insert(at as u32);
            }
        }
        self.series_here -= gone.len();
        self.withheld_len = 0;
        self.drop_lines(
            |line, _| !matches!(line.fate(), Fate::Series(series) if gone.contains(&series)),
        );
    }
}
