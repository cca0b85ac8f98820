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
//! Of a line that is left out the value is not read either, only where it ends. What is made of a page may want
//! the values of lines that are left out ([`super::derived`], [`super::rollup`]): those are read.
//!
//! Invariant: a line that is read so has the same outcome as by [`Tracker::observe`].

use xxhash_rust::xxh3::xxh3_128;

use super::{Dropped, Fate, Line, Tracker, rollup};
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
    /// nothing to be told of it. Else nothing has happened, and the line is for [`Tracker::observe`]. As there, the
    /// value of a line that is left out may be garbage.
    #[inline]
    pub fn observe_known(&mut self, text: &[u8], scraped_at_ms: i64) -> Option<Known> {
        let at = self.expected();
        let line = self.lines.get(at as usize)?;
        let (series, rest) = text.split_at_checked(line.len as usize)?;
        // Before the text is read as a whole: another line of another length shows here.
        if !matches!(rest.first(), Some(b' ' | b'\t')) || !self.remade.is_empty() {
            return None;
        }
        if !line.fingerprint.is(xxh3_128(series)) {
            return None;
        }
        if let Fate::Dropped(reason) = line.fate() {
            if let Some(reason) = self.unread(line) {
                // Byte by byte, for values are short. What a series may end with is not where this one ends, so the
                // line is another one.
                let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'}'))?;
                if rest.get(end) != Some(&b'\n') {
                    return None;
                }
                let len = series.len() + end + 1;
                self.tally.scraped += 1;
                self.scraped_at_ms = scraped_at_ms;
                self.last = at;
                self.record_unread(at, reason);
                return Some(Known { len, kept: false });
            }
            if reason == Dropped::Mislabelled {
                return None;
            }
        }
        let (value, timestamp, rest_len) = exposition::value_to_end(rest)?;
        let len = series.len() + rest_len;
        self.tally.scraped += 1;
        self.scraped_at_ms = scraped_at_ms;
        self.last = at;
        let kept = self.record(at, value, timestamp);
        Some(Known { len, kept })
    }

    /// Why the line is left out, when nothing looks at its value: nothing is made of it, nor told of it.
    #[inline]
    pub(super) fn unread(&self, line: &Line) -> Option<Dropped> {
        let Fate::Dropped(reason) = line.fate() else { return None };
        let extra = self.extra_of(line);
        let is_fed = extra.member != rollup::NONE || extra.feed.is_some();
        (!is_fed && reason != Dropped::Mislabelled).then_some(reason)
    }

    /// Counts a line whose value is not looked at.
    #[inline]
    pub(super) fn record_unread(&mut self, line: u32, reason: Dropped) {
        let Some(state) = self.lines.get_mut(line as usize) else { return };
        self.lines_here += usize::from(!state.stand_on(self.page));
        self.tally.scraped_of(state.group);
        self.tally.dropped.add(reason, 1);
    }

    #[inline]
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
