//! What a tracker forgets, and when: lines and series that have left, and a page that does not count.

use std::sync::Arc;

use super::{Line, Series, Tally, Tracker, made};

impl Tracker {
    /// Takes back everything of a page that failed in the middle.
    pub fn abort(&mut self) {
        let page = self.page;
        self.observed.clear();
        self.rollups.clear_page();
        self.withheld.clear();
        self.tally = Tally::default();
        self.drop_lines(|line| line.born != page);
        self.drop_series(|series| series.live || series.line != u32::MAX || series.withheld != 0);
        self.unmake_blocks();
        self.subjects.sweep();
        self.attempts.sweep();
    }

    /// Forgets the lines and series that are not on the closed page, after their markers are encoded.
    pub fn forget_stale(&mut self) {
        let page = self.page;
        self.drop_lines(|line| line.seen == page || line.made != made::NONE);
        self.keep_withheld();
        self.end_withheld();
        self.drop_series(|series| series.seen == page || series.withheld == page);
        self.sweep_rollups();
        self.inherited.clear();
        self.remade.clear();
        let live = self.lines.len();
        if self.texts.len() > 64.max(live) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
        }
        if self.abouts.len() > 64.max(live) {
            self.abouts.retain(|about| Arc::strong_count(about) > 1);
        }
        self.subjects.end_page();
        self.attempts.sweep();
    }

    /// After the markers of [`Tracker::live`] are encoded: no series is known to receivers any more.
    /// What the lines mean is kept, since a target that comes back shows them again.
    pub fn forget_live(&mut self) {
        for (_, series) in &mut self.series {
            series.live = false;
        }
        self.inherited.clear();
    }

    pub(super) fn drop_lines(&mut self, keep: impl Fn(&Line) -> bool) {
        let (lines, subjects, made) = (&mut self.lines, &mut self.subjects, &mut self.made);
        let (derivers, attempts) = (&mut self.derivers, &mut self.attempts);
        let mut released = Vec::new();
        self.line_table.retain(|&mut at| lines.get(at as usize).is_some_and(&keep));
        lines.retain(|_, line| {
            let kept = keep(line);
            if !kept {
                subjects.drop_line(line.subject);
                attempts.drop_line(line.attempt);
                if let Some(made) = made.get_mut(line.made as usize) {
                    made.forget_line();
                }
                released.extend(line.feed.and_then(|feed| derivers.starve(feed)));
            }
            kept
        });
        // A line of the relay's own goes with the last line that it was made from.
        let orphans: Vec<u32> =
            released.into_iter().filter_map(|made| self.release(made)).collect();
        for at in orphans {
            let Some(line) = self.lines.get(at as usize).filter(|line| !keep(line)) else {
                continue;
            };
            let Line { fingerprint, subject, attempt, .. } = *line;
            if let Ok(entry) = self.line_table.find_entry(fingerprint as u64, |&l| l == at) {
                entry.remove();
            }
            self.lines.remove(at as usize);
            self.subjects.drop_line(subject);
            self.attempts.drop_line(attempt);
        }
    }

    pub(super) fn drop_series(&mut self, keep: impl Fn(&Series) -> bool) {
        let table = &mut self.series_table;
        self.series.retain(|_, series| {
            let kept = keep(series);
            if !kept {
                table.remove(&series.identity);
            }
            kept
        });
        self.unfit.retain(|identity| table.contains_key(identity));
    }
}
