//! The comments of the page before, which are mostly those of this one: HELP and TYPE that need not be read again.
//!
//! A comment that is the one expected next is as good as it was, and says the same. What it says is asked for when
//! metadata is due, while a page is counted for filtering at the source, and when a new line stands below
//! it; the last finds it in the tracker ([`Tracker::observe_comment`](crate::series::Tracker::observe_comment)).
//!
//! One that is inserted or missing lets the rest of its page be read; the next page is as before.
//!
//! Invariants: only what was read without a fault is remembered, so a bad comment counts on every page; eight bytes
//! for each comment of the last page, [`COMMENTS_KNOWN_MAX`] at most.

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    exposition::{Skimmed, skim},
    limits::COMMENTS_KNOWN_MAX,
};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Comments {
    /// xxh3-64 of the lines: those of this page, then those of the page before that were not reached yet.
    known: Vec<u64>,
    here: usize,
}

impl Comments {
    pub(super) const fn begin(&mut self) {
        self.here = 0;
    }

    /// What the line is about, if it is the comment that is expected next.
    pub(super) fn expected<'line>(&self, line: &'line [u8]) -> Option<Skimmed<'line>> {
        let known = self.known.get(self.here)?;
        (*known == xxh3_64(line)).then(|| skim(line))?
    }

    /// The comment that was expected was taken.
    pub(super) const fn go_on(&mut self) {
        self.here += 1;
    }

    /// A line was read, and was a HELP or a TYPE.
    pub(super) fn learn(&mut self, line: &[u8]) {
        if self.here >= COMMENTS_KNOWN_MAX || skim(line).is_none() {
            return;
        }
        let hash = xxh3_64(line);
        match self.known.get_mut(self.here) {
            Some(known) => *known = hash,
            None => self.known.push(hash),
        }
        self.here += 1;
    }

    /// The page has ended: what it did not have is forgotten.
    pub(super) fn end(&mut self) {
        self.known.truncate(self.here);
        self.known.shrink_to_fit();
    }

    /// All comments are read again.
    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
