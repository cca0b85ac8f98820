//! The end of a good page: each series gets one sample, and the tally is made up.
//!
//! Of several samples of a series the first on the page wins. A metric that is on the page under a
//! former name too stands back for its present one, wherever on the page that is: families come in any
//! order. So lines that stand back take their places last, and have one only where no other line does.

use super::{Dropped, Fate, Line, Observed, Tally, Tracker};
use crate::flink::budget::{Demands, Grants};

impl Tracker {
    /// Ends a good page: makes what follows from its samples, tells equal series apart, drops duplicates
    /// and finds what is gone. Lines that stand back take their places last, wherever on the page they
    /// stood.
    /// [`Tracker::samples`] and [`Tracker::stale`] hold until [`Tracker::forget_stale`].
    pub fn close(&mut self, scraped_at_ms: i64) -> Tally {
        self.close_within(scraped_at_ms, |_| Grants::default())
    }

    /// As [`Tracker::close`], for a target whose series a budget limits: it is told what the page would
    /// have, and says what is sent.
    pub fn close_within(
        &mut self,
        scraped_at_ms: i64,
        budget: impl FnOnce(Demands) -> Grants,
    ) -> Tally {
        self.derive(scraped_at_ms);
        let grants = self.settle_rollups(budget);
        self.make_rollups(scraped_at_ms);
        self.withhold_unmade();
        self.tell_apart();
        if let Some(grants) = grants.filter(Grants::is_short) {
            self.keep_to(&grants);
        }
        let page = self.page;
        let mut observed = std::mem::take(&mut self.observed);
        self.observed_most = observed.len();
        let mut late = Vec::new();
        observed.retain(|sample| {
            let stands_back = self.lines.get(sample.line as usize).is_some_and(Line::stands_back);
            if stands_back {
                late.push(*sample);
            }
            !stands_back && self.take_place(sample, page, scraped_at_ms)
        });
        late.retain(|sample| self.take_place(sample, page, scraped_at_ms));
        observed.append(&mut late);
        self.observed = observed;
        self.settle_inherited();
        self.tally.kept = self.observed.len() as u64;
        let Tally { scraped, made, kept, .. } = self.tally;
        debug_assert_eq!(scraped + made, kept + self.tally.dropped.total());
        self.tally.clone()
    }

    /// Gives the sample its series' place on this page; false when another sample has it.
    fn take_place(&mut self, sample: &Observed, page: u32, scraped_at_ms: i64) -> bool {
        let own_timestamp = self.time_of(sample) != scraped_at_ms;
        let Some(line) = self.lines.get(sample.line as usize) else { return false };
        let Fate::Series(series) = line.fate() else { return false };
        let Some(series) = self.series.get_mut(series as usize) else { return false };
        if series.is_sent_on(page) {
            let stood_back = line.stands_back() && !series.stands_back();
            let reason = if stood_back { Dropped::FormerName } else { Dropped::Duplicate };
            self.tally.dropped.add(reason, 1);
            return false;
        }
        series.send(page, line.stands_back(), own_timestamp);
        self.series_here += 1;
        if !series.is_live() {
            series.set_live(true);
            self.tally.series_added += 1;
        }
        if let Some(group) = self.tally.groups.at(line.group) {
            group.kept += 1;
        }
        true
    }
}
