//! What a tracker forgets, and when: lines and series that have left, and a page that does not count.

use std::sync::Arc;

use super::{Line, Series, Tally, Tracker};

/// Room that is not worth giving back.
const SPARE: usize = 64;

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
        self.drop_lines(|line| line.seen == page || line.is_made);
        self.keep_withheld();
        self.end_withheld();
        self.drop_series(|series| series.seen == page || series.withheld == page);
        self.sweep_rollups();
        self.inherited.clear();
        self.remade.clear();
        let live = self.lines.len();
        if self.shared.len() > 64.max(live) {
            self.shared.retain(|text| Arc::strong_count(text) > 1);
        }
        self.subjects.end_page();
        self.attempts.sweep();
        self.shrink();
    }

    /// After the markers of [`Tracker::live`] are encoded: no series is known to receivers any more.
    /// What the lines mean is kept, since a target that comes back shows them again.
    pub fn forget_live(&mut self) {
        for (_, series) in &mut self.series {
            series.live = false;
        }
        self.inherited.clear();
    }

    /// Gives back room that a page has left which was much larger, as while a job restarts: the lines of
    /// both attempts are there then. Room that grew by doubling is given back too, after the first page.
    fn shrink(&mut self) {
        let Self { lines, line_table, series, series_table, observed, .. } = self;
        let most = self.observed_most;
        if lines.capacity() > lines.len() + lines.len() / 4 + SPARE {
            lines.shrink_to_fit();
        }
        if series.capacity() > series.len() + series.len() / 4 + SPARE {
            series.shrink_to_fit();
        }
        if observed.capacity() > most + most / 4 + SPARE {
            observed.shrink_to(most);
        }
        if line_table.capacity() > 4 * line_table.len() + SPARE {
            let hash = |&at: &u32| lines.get(at as usize).map_or(0, |l| l.fingerprint.get() as u64);
            line_table.shrink_to(0, hash);
        }
        if series_table.capacity() > 4 * series_table.len() + SPARE {
            let hash = |&at: &u32| series.get(at as usize).map_or(0, |s| s.identity.get() as u64);
            series_table.shrink_to(0, hash);
        }
        let places = series.iter().next_back().map_or(0, |(at, _)| at + 1);
        self.blocks.shrink(places);
        self.texts.shrink();
        self.abouts.shrink();
    }

    pub(super) fn drop_lines(&mut self, keep: impl Fn(&Line) -> bool) {
        let (lines, subjects) = (&mut self.lines, &mut self.subjects);
        let (made, made_of) = (&mut self.made, &mut self.made_of);
        let (derivers, attempts) = (&mut self.derivers, &mut self.attempts);
        let (texts, normals) = (&mut self.texts, &mut self.normals);
        let mut released = Vec::new();
        self.line_table.retain(|&mut at| lines.get(at as usize).is_some_and(&keep));
        lines.retain(|at, line| {
            let kept = keep(line);
            if !kept {
                subjects.drop_line(line.subject);
                attempts.drop_line(line.attempt);
                texts.leave(line.ids);
                texts.leave(line.name);
                normals.remove(&(at as u32));
                if line.is_made
                    && let Some(own) = made_of.remove(&(at as u32))
                    && let Some(made) = made.get_mut(own as usize)
                {
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
            let Line { fingerprint, subject, attempt, ids, name, .. } = *line;
            if let Ok(entry) = self.line_table.find_entry(fingerprint.get() as u64, |&l| l == at) {
                entry.remove();
            }
            self.lines.remove(at as usize);
            self.texts.leave(ids);
            self.texts.leave(name);
            self.normals.remove(&at);
            self.subjects.drop_line(subject);
            self.attempts.drop_line(attempt);
        }
    }

    pub(super) fn drop_series(&mut self, keep: impl Fn(&Series) -> bool) {
        let Self { series, series_table, blocks, abouts, unfit, .. } = self;
        let mut gone = Vec::new();
        series_table.retain(|&mut at| series.get(at as usize).is_some_and(&keep));
        series.retain(|at, series| {
            let kept = keep(series);
            if !kept {
                blocks.remove(at as u32);
                abouts.leave(series.about);
                gone.push(series.identity.get());
            }
            kept
        });
        unfit.forget(&gone);
    }
}
