//! Lines and series of a target: found by their hashes, entered when they are new.
//!
//! Invariants: a line's fingerprint and a series' identity are each in their table once; what an entry uses
//! of the target's [`Pool`](super::pool::Pool)s it lets go of when it leaves ([`super::forget`]).

use std::sync::Arc;

use super::{Fate, Line, Series, Shaped, Tracker, pool::NOTHING};

/// 128 bits of a hash that need no alignment of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wide([u32; 4]);

impl Wide {
    pub(super) const fn get(self) -> u128 {
        let [a, b, c, d] = self.0;
        (a as u128) | (b as u128) << 32 | (c as u128) << 64 | (d as u128) << 96
    }
}

impl From<u128> for Wide {
    fn from(bits: u128) -> Self {
        Self([0, 32, 64, 96].map(|shift| (bits >> shift) as u32))
    }
}

impl Tracker {
    pub(super) fn find_line(&self, fingerprint: u128) -> Option<u32> {
        let same = |&line: &u32| {
            self.lines.get(line as usize).is_some_and(|l| l.fingerprint.get() == fingerprint)
        };
        self.line_table.find(fingerprint as u64, same).copied()
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

    pub(super) fn add_line(&mut self, line: Line, normal: u128) -> u32 {
        self.subjects.add_line(line.subject);
        self.attempts.add_line(line.attempt);
        let (fingerprint, fate) = (line.fingerprint.get(), line.fate);
        let line = self.lines.insert(line);
        let line = u32::try_from(line).expect("a page has less than 2^32 lines: pages are capped");
        let lines = &self.lines;
        let rehash = |&l: &u32| lines.get(l as usize).map_or(0, |l| l.fingerprint.get() as u64);
        self.line_table.insert_unique(fingerprint as u64, line, rehash);
        if matches!(fate, Fate::Series(_)) {
            self.set_normal(line, normal);
        }
        line
    }

    /// Identity of a line's labels after normalisation, before `metric_relabel_configs`. That is nearly
    /// always its series', and kept only where it is not.
    pub(super) fn normal_of(&self, line: u32) -> Option<u128> {
        let Fate::Series(series) = self.lines.get(line as usize)?.fate else { return None };
        let own = self.normals.get(&line).copied();
        own.or_else(|| Some(self.series.get(series as usize)?.identity.get()))
    }

    pub(super) fn set_normal(&mut self, line: u32, normal: u128) {
        if self.normal_of(line) != Some(normal) {
            self.normals.insert(line, normal);
        }
    }

    pub(super) fn intern(&mut self, text: &[u8]) -> Arc<[u8]> {
        Arc::clone(self.shared.get_or_insert_with(text, |text| Arc::from(text)))
    }

    pub(super) fn find_series(&self, identity: u128) -> Option<u32> {
        let same =
            |&at: &u32| self.series.get(at as usize).is_some_and(|s| s.identity.get() == identity);
        self.series_table.find(identity as u64, same).copied()
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
        let series = Series {
            identity: identity.into(),
            about,
            seen: 0,
            withheld: 0,
            line: u32::MAX,
            live: false,
            own_timestamp: false,
        };
        let at = self.series.insert(series);
        let at = u32::try_from(at).expect("as many series as lines at most");
        let series = &self.series;
        let rehash = |&at: &u32| series.get(at as usize).map_or(0, |s| s.identity.get() as u64);
        self.series_table.insert_unique(identity as u64, at, rehash);
        self.blocks.insert(at, blocks);
        at
    }
}

#[cfg(test)]
mod tests;
