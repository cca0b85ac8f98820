//! What a tracker forgets, and when: lines and series that have left, and a page that does not count.

use std::sync::Arc;

use super::{Fate, Line, Pool, Series, Tally, Tracker, Whose, comments::Comments};

/// Room that is not worth giving back.
const SPARE: usize = 16;

impl Tracker {
    /// Takes back everything of a page that failed in the middle.
    pub fn abort(&mut self) {
        self.observed.clear();
        self.rollups.clear_page();
        self.withheld.clear();
        self.tally = Tally::default();
        if !self.new_lines.is_empty() {
            self.drop_lines(|line, _| !line.is_new());
        }
        self.new_lines.clear();
        self.drop_series(|series| series.is_live() || series.is_known());
        self.unmake_blocks();
        self.subjects.sweep();
        self.attempts.sweep();
    }

    /// Forgets the lines and series that are not on the closed page, after their markers are encoded.
    pub fn forget_stale(&mut self) {
        let page = self.page;
        // On nearly every page all are there that were on the one before.
        let stays = |line: &Line| line.seen == page || line.is_made();
        if self.lines_here != self.lines.len() {
            self.drop_lines(|line, _| stays(line));
        }
        debug_assert!(self.lines.iter().all(|(_, line)| stays(line)), "all that are here");
        self.keep_withheld();
        self.forget_remade();
        let stays = |series: &Series| series.is_sent_on(page) || series.is_withheld_on(page);
        if self.series_here != self.series.len() {
            self.drop_series(stays);
        }
        debug_assert!(self.series.iter().all(|(_, series)| stays(series)), "all that are here");
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

    /// Gives back the room that only a page takes, until the next one. Its samples are not there any more.
    pub fn rest(&mut self) {
        self.know_lines();
        self.new_lines = Vec::new();
        self.comments = Comments::default();
        (self.observed, self.own_times, self.withheld) = (Vec::new(), Vec::new(), Vec::new());
    }

    /// After the markers of [`Tracker::live`] are encoded: no series is known to receivers any more.
    /// What the lines mean is kept, since a target that comes back shows them again.
    pub fn forget_live(&mut self) {
        for (_, series) in self.series.iter_mut() {
            series.set_live(false);
        }
        self.inherited.clear();
    }

    /// Lines that were new on the last page are no longer.
    pub(super) fn know_lines(&mut self) {
        for at in self.new_lines.drain(..) {
            if let Some(line) = self.lines.get_mut(at as usize) {
                line.set_known();
            }
        }
    }

    /// Moves lines and series together where a job that has restarted has left holes. Between two pages, for
    /// what is remembered of a page names its lines.
    pub(super) fn pack(&mut self) {
        if self.lines.is_sparse() {
            let moves = self.lines.pack();
            self.line_index.forget();
            self.first = moves.of(self.first);
            for (_, line) in self.lines.iter_mut() {
                line.next = moves.of(line.next);
            }
            self.normals = self.normals.drain().map(|(at, id)| (moves.of(at), id)).collect();
            self.made_of = self.made_of.drain().map(|(at, own)| (moves.of(at), own)).collect();
            for (_, made) in &mut self.made {
                made.follow(&moves);
            }
        }
        if self.series.is_sparse() {
            let moves = self.series.pack();
            self.series_index.forget();
            for (_, line) in self.lines.iter_mut() {
                if let Fate::Series(series) = line.fate() {
                    line.set_fate(Fate::Series(moves.of(series)));
                }
            }
            self.blocks.follow(&moves);
        }
        if self.extras.is_sparse() {
            let moves = self.extras.pack();
            for (_, line) in self.lines.iter_mut() {
                line.extra = moves.of(line.extra);
            }
        }
    }

    /// Gives back room that a page has left which was much larger, as while a job restarts: the lines of
    /// both attempts are there then. Room that was left to grow into is given back too.
    fn shrink(&mut self) {
        self.lines.shrink();
        self.line_index.end_page(&self.lines);
        self.whose.shrink();
        self.extras.shrink();
        self.series.shrink();
        self.series_index.end_page(&self.series);
        self.blocks.shrink(self.series.end());
        self.texts.shrink();
        self.abouts.shrink();
        let most = self.observed_most;
        if self.observed.capacity() > most + most / 4 + SPARE {
            self.observed.shrink_to(most);
        }
        if self.made.capacity() > self.made.len() + self.made.len() / 16 + SPARE {
            self.made.shrink_to_fit();
        }
        self.derivers.shrink();
    }

    pub(super) fn drop_lines(&mut self, keep: impl Fn(&Line, Whose) -> bool) {
        let (lines, whose) = (&mut self.lines, &mut self.whose);
        let kept = |line: &Line, whose: &Pool<Whose>| {
            keep(line, whose.get(line.whose).copied().unwrap_or(Whose::NONE))
        };
        self.line_index.retain(|at| lines.get(at as usize).is_some_and(|line| kept(line, whose)));
        let mut gone = Vec::new();
        for (at, line) in lines.iter() {
            if !kept(line, whose) {
                gone.push(at as u32);
            }
        }
        let mut released = Vec::new();
        for at in gone.into_iter().rev() {
            released.extend(self.drop_line(at));
        }
        // A line of the relay's own goes with the last line that it was made from.
        let orphans: Vec<u32> =
            released.into_iter().filter_map(|made| self.release(made)).collect();
        for at in orphans {
            let line = self.lines.get(at as usize);
            let Some(line) = line.filter(|line| !keep(line, self.whose_of(line))) else { continue };
            self.line_index.remove(line.fingerprint, at);
            self.drop_line(at);
        }
    }

    /// Forgets a line that is in the index no more. Returns the line of the relay's own that nothing feeds any
    /// longer.
    fn drop_line(&mut self, at: u32) -> Option<u32> {
        let line = self.lines.remove(at as usize)?;
        if line.is_of_page() {
            self.room.give_back();
        }
        if let Some(Whose { ids, subject, attempt, .. }) = self.whose.get(line.whose).copied() {
            self.subjects.drop_line(subject);
            self.attempts.drop_line(attempt);
            if self.whose.leave(line.whose).is_some() {
                self.texts.leave(ids);
            }
        }
        self.normals.remove(&at);
        if line.is_made()
            && let Some(own) = self.made_of.remove(&at)
            && let Some(made) = self.made.get_mut(own as usize)
        {
            made.forget_line();
        }
        let extra = self.extras.remove(line.extra as usize)?;
        self.texts.leave(extra.name);
        self.derivers.starve(extra.feed?)
    }

    pub(super) fn drop_series(&mut self, keep: impl Fn(&Series) -> bool) {
        let Self { series, series_index, blocks, abouts, unfit, .. } = self;
        let mut gone = Vec::new();
        series_index.retain(|at| series.get(at as usize).is_some_and(&keep));
        series.retain(|at, series| {
            let kept = keep(series);
            if !kept {
                blocks.remove(at as u32);
                abouts.leave(series.about);
                gone.push(series.identity.bits());
            }
            kept
        });
        unfit.forget(&gone);
    }
}
