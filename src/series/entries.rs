//! Lines and series of a target: found by their hashes, entered when they are new.
//!
//! Invariants: no two lines have one fingerprint, no two series one identity; what an entry uses
//! of the target's [`Pool`](super::pool::Pool)s it lets go of when it leaves ([`super::forget`]).

use std::sync::Arc;

use super::{Extra, Fate, Line, Series, Shaped, Tracker, Whose, index::narrow, pool::NOTHING};

impl Tracker {
    pub(super) fn find_line(&mut self, fingerprint: u128) -> Option<u32> {
        self.line_index.find(&self.lines, fingerprint)
    }

    /// Finds or makes the series of a new line: what it is, its normal identity and its ids. `shown` is
    /// the line for people, `about` enters what is known of its family.
    pub(super) fn settle(
        &mut self,
        shaped: Shaped,
        shown: &[u8],
        about: impl FnOnce(&mut Self) -> u32,
    ) -> (Fate, u128, u32) {
        match shaped {
            Shaped::Dropped(reason) => (Fate::Dropped(reason), 0, NOTHING),
            Shaped::Series { identity, normal, blocks, unfit, ids } => {
                let (identity, normal) = (narrow(identity), narrow(normal));
                self.remember_unfit(identity, unfit, shown);
                let ids = ids.map_or(NOTHING, |ids| self.texts.enter(&ids));
                if !self.remade.is_empty() {
                    self.remake(identity, &blocks);
                }
                let about = about(self);
                let series = self.find_or_insert_series(identity, &blocks, about);
                (Fate::Series(series), normal, ids)
            }
        }
    }

    /// Enters a new line, which takes the use of its [`Whose`] over.
    pub(super) fn add_line(&mut self, mut line: Line, extra: Extra, normal: u128) -> u32 {
        let Whose { subject, attempt, .. } = self.whose_of(&line);
        self.subjects.add_line(subject);
        self.attempts.add_line(attempt);
        if extra != Extra::NONE {
            let extra = self.extras.insert(extra);
            line.extra = u32::try_from(extra).expect("one for each line at most");
        }
        let fate = line.fate();
        let line = self.lines.insert(line);
        let line = u32::try_from(line).expect("a page has less than 2^32 lines: pages are capped");
        self.line_index.insert(&self.lines, line);
        self.new_lines.push(line);
        if matches!(fate, Fate::Series(_)) {
            self.set_normal(line, normal);
        }
        line
    }

    /// The number of what a new line has in common with others. Takes the use of its ids over.
    pub(super) fn enter_whose(&mut self, whose: Whose) -> u32 {
        let (at, is_new) = self.whose.enter_new(&whose);
        if !is_new {
            self.texts.leave(whose.ids);
        }
        at
    }

    /// What the line has in common with others.
    #[inline]
    pub(super) fn whose_of(&self, line: &Line) -> Whose {
        self.whose.get(line.whose).copied().unwrap_or(Whose::NONE)
    }

    /// What the line has that most lines do not.
    #[inline]
    pub(super) fn extra_of(&self, line: &Line) -> Extra {
        self.extras.get(line.extra as usize).copied().unwrap_or(Extra::NONE)
    }

    /// Identity of a line's labels after normalisation, before `metric_relabel_configs`. That is nearly
    /// always its series', and kept only where it is not.
    pub(super) fn normal_of(&self, line: u32) -> Option<u128> {
        let Fate::Series(series) = self.lines.get(line as usize)?.fate() else { return None };
        let own = self.normals.get(&line).copied();
        own.or_else(|| Some(self.series.get(series as usize)?.identity.bits()))
    }

    pub(super) fn set_normal(&mut self, line: u32, normal: u128) {
        if self.normal_of(line) != Some(normal) {
            self.normals.insert(line, normal);
        }
    }

    pub(super) fn intern(&mut self, text: &[u8]) -> Arc<[u8]> {
        Arc::clone(self.shared.get_or_insert_with(text, |text| Arc::from(text)))
    }

    pub(super) fn find_series(&mut self, identity: u128) -> Option<u32> {
        self.series_index.find(&self.series, identity)
    }

    /// Takes the use of `about` over.
    pub(super) fn find_or_insert_series(
        &mut self,
        identity: u128,
        blocks: &[Option<Box<[u8]>>],
        about: u32,
    ) -> u32 {
        if let Some(known) = self.find_series(identity) {
            self.abouts.leave(about);
            return known;
        }
        let at = self.series.insert(Series::new(identity, about));
        let at = u32::try_from(at).expect("as many series as lines at most");
        self.series_index.insert(&self.series, at);
        self.blocks.insert(at, blocks);
        at
    }
}

#[cfg(test)]
mod tests;
