//! The order of a page, which is that of the page before: the warm path of a line.
//!
//! Flink writes the same lines in the same order each time. So each line remembers which one followed it, and a
//! page is read by expectation: the text that begins here should be so long and have this fingerprint. If it does,
//! its end need not be looked for, nor the line in the table; what remains is the fingerprint and the value.
//!
//! ```text
//!   Line --len, fingerprint--> is it this text? --yes--> value, to the line break --> next Line
//!     `--next--.                                `--no--> [`Tracker::observe`], which also learns the new order
//! ```
//!
//! Invariant: a line that is read so has the same outcome as by [`Tracker::observe`].

use xxhash_rust::xxh3::xxh3_128;

use super::{Dropped, Fate, Tracker};
use crate::exposition;

/// A line that was read by expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its bytes, the line break included.
    pub len: usize,
    /// Whether its sample is kept.
    pub kept: bool,
}

impl Tracker {
    /// Takes the line at the head of `text`, if it is the one that is expected next, ends in `text` and has
    /// nothing to be told of it. Else nothing has happened, and the line is for [`Tracker::observe`].
    #[inline]
    pub fn observe_known(&mut self, text: &[u8], scraped_at_ms: i64) -> Option<Known> {
        let at = self.expected();
        let line = self.lines.get(at as usize)?;
        let (series, rest) = text.split_at_checked(line.len as usize)?;
        // Before the text is read as a whole: another line of another length shows here.
        if !matches!(rest.first(), Some(b' ' | b'\t')) || !self.remade.is_empty() {
            return None;
        }
        if !line.fingerprint.is(xxh3_128(series))
            || line.fate() == Fate::Dropped(Dropped::Mislabelled)
        {
            return None;
        }
        let (value, timestamp, rest_len) = exposition::value_to_end(rest)?;
        let len = series.len() + rest_len;
        self.tally.scraped += 1;
        self.scraped_at_ms = scraped_at_ms;
        self.last = at;
        let kept = self.record(at, value, timestamp);
        Some(Known { len, kept })
    }

    fn expected(&self) -> u32 {
        match self.lines.get(self.last as usize) {
            Some(last) => last.next,
            None => self.first,
        }
    }

    /// The line of this text, looked for where it is expected first.
    pub(super) fn find_next(&mut self, fingerprint: u128) -> Option<u32> {
        let at = self.expected();
        let line = self.lines.get(at as usize);
        let is_next = line.is_some_and(|line| line.fingerprint.is(fingerprint));
        if is_next { Some(at) } else { self.find_line(fingerprint) }
    }

    /// A line of the page was read; from now on it is expected behind the one before it.
    pub(super) fn follow(&mut self, line: u32) {
        match self.lines.get_mut(self.last as usize) {
            Some(last) => last.next = line,
            None => self.first = line,
        }
        self.last = line;
    }
}

#[cfg(test)]
mod tests;
