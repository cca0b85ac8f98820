//! Samples that the relay makes, beside those that it reads: what follows from other samples of the page.
//!
//! A maker asks once for a line of its own ([`Tracker::made_line`]), in the spelling of a page, and then
//! gives it a value on each page that has one ([`Tracker::make`]), while the page is being closed. From
//! there on it is a line like any other: catalogue, names from REST, normalisation, relabelling, views,
//! staleness.
//!
//! ```text
//!   maker --made_line("name{…}")--> Made --line--> Line --fate--> Series
//!                                  text, holders     `- may be forgotten; made anew from the text
//! ```
//!
//! Invariants: what [`Tracker::made_line`] gave holds until it is released as often as it was given,
//! whatever happens to pages, names and configurations in between. A line that is held keeps its
//! series' labels over pages on which it has no sample, so that lines which were told apart stay so.
//! A sample that is made never fails a scrape: a page that is good stays good.

use xxhash_rust::xxh3::xxh3_128;

use super::{
    Fate, ObserveError, Observed, Source, Tracker, index::Mark, pool::NOTHING, rollup, rows::Moves,
};
use crate::exposition::{self, Entry, Reason, SyntaxError};

/// A line of the relay's own.
#[derive(Debug)]
pub(super) struct Made {
    fingerprint: Mark,
    /// As on a page, without a value: in pieces of one label each, which it shares with others of its subtask;
    /// some of [`Tracker::texts`].
    text: Box<[u32]>,
    /// [`NONE`] until the next sample when it was forgotten.
    line: u32,
    /// How often it was asked for and not released.
    holders: u32,
}

impl Made {
    /// The page's line is no more.
    pub(super) const fn forget_line(&mut self) {
        self.line = NONE;
    }

    /// The page's lines have other numbers.
    pub(super) fn follow(&mut self, moves: &Moves) {
        self.line = moves.of(self.line);
    }
}

/// No line.
pub(super) const NONE: u32 = u32::MAX;

impl Tracker {
    /// A line of the relay's own: `name{label="value",…}` as the reporter would have written it. The
    /// same text gives the same line; it is to be released as often as it was asked for.
    ///
    /// # Errors
    /// When the text is no series of the text format.
    pub fn made_line(&mut self, series_text: &[u8]) -> Result<u32, ObserveError> {
        let fingerprint = xxh3_128(series_text);
        let same = |&at: &u32| {
            self.made.get(at as usize).is_some_and(|made| made.fingerprint.is(fingerprint))
        };
        if let Some(&at) = self.made_table.find(fingerprint as u64, same) {
            if let Some(made) = self.made.get_mut(at as usize) {
                made.holders += 1;
            }
            return Ok(at);
        }
        let text = [series_text, VALUE].concat();
        match exposition::parse(&text, &self.limits)? {
            Entry::Sample(sample) if sample.series == series_text => {}
            _ => {
                let found = series_text.first().copied();
                return Err(SyntaxError { reason: Reason::MetricName, column: 1, found }.into());
            }
        }
        let text = pieces(series_text).map(|piece| self.texts.enter(piece)).collect();
        let made = Made { fingerprint: fingerprint.into(), text, line: NONE, holders: 1 };
        let at = u32::try_from(self.made.insert(made)).expect("fewer than lines of pages, or so");
        let made = &self.made;
        let rehash =
            |&at: &u32| made.get(at as usize).map_or(0, |made| made.fingerprint.bits() as u64);
        self.made_table.insert_unique(fingerprint as u64, at, rehash);
        Ok(at)
    }

    /// Gives a line of the relay's own a sample on the page that is being closed.
    pub fn make(&mut self, line: u32, value: f64, scraped_at_ms: i64) {
        let Some(at) = self.shape_made(line) else { return };
        if !self.remade.is_empty()
            && let Some(text) = self.made.get(line as usize).map(|made| self.with_value(made))
        {
            // The rules are those that it kept when it was shaped.
            let _same = self.reshape(at, &text);
        }
        let page = self.page;
        let Some(line) = self.lines.get_mut(at as usize) else { return };
        self.lines_here += usize::from(line.seen != page);
        line.seen = page;
        self.tally.made += 1;
        if let Some(group) = self.tally.groups.at(line.group) {
            group.made += 1;
        }
        if let Some(extra) = self.extras.get(line.extra as usize)
            && extra.member != rollup::NONE
        {
            self.rollups.observe(extra.member, value);
        }
        match line.fate() {
            Fate::Dropped(reason) => self.tally.dropped.add(reason, 1),
            Fate::Series(_) => {
                self.scraped_at_ms = scraped_at_ms;
                self.observed.push(Observed { line: at, time: NOTHING, value });
            }
        }
    }

    /// A maker needs the line no longer. It leaves with the next page that is closed.
    pub fn release_line(&mut self, line: u32) {
        let _leaves = self.release(line);
    }

    /// As [`Tracker::release_line`]; returns the line of the page that nobody holds any more.
    pub(super) fn release(&mut self, line: u32) -> Option<u32> {
        let made = self.made.get_mut(line as usize)?;
        made.holders = made.holders.saturating_sub(1);
        if made.holders > 0 {
            return None;
        }
        let made = self.made.remove(line as usize);
        let hash = made.fingerprint.bits() as u64;
        if let Ok(entry) = self.made_table.find_entry(hash, |&at| at == line) {
            entry.remove();
        }
        for piece in made.text {
            self.texts.leave(piece);
        }
        self.lines.get_mut(made.line as usize)?.set_made(false);
        self.made_of.remove(&made.line);
        Some(made.line)
    }

    /// Whether a line of the relay's own has a sample on the closed page.
    pub(super) fn is_kept(&self, line: u32) -> bool {
        let line = self.made.get(line as usize).and_then(|made| self.lines.get(made.line as usize));
        line.is_some_and(|line| line.seen == self.page && matches!(line.fate(), Fate::Series(_)))
    }

    /// Withholds the lines that have no sample on this page. Those whose makers leave with it are in
    /// nobody's way: a restarted job's lines take over their series.
    pub(super) fn withhold_unmade(&mut self) {
        let page = self.page;
        let stays = |(at, _): &(usize, &Made)| !self.derivers.has_left(*at as u32, page);
        let (unshaped, shaped): (Vec<_>, Vec<_>) = (self.made.iter().filter(stays))
            .map(|(at, made)| (at as u32, made.line))
            .partition(|(_, line)| *line == NONE);
        let lines = unshaped.into_iter().filter_map(|(at, _)| self.shape_made(at));
        let lines: Vec<u32> = lines.chain(shaped.into_iter().map(|(_, line)| line)).collect();
        let silent = lines.into_iter().filter(|&at| {
            let line = self.lines.get(at as usize);
            line.is_some_and(|l| l.seen != page && matches!(l.fate(), Fate::Series(_)))
        });
        self.withheld.extend(silent);
        // They are here as long as their makers are.
        let lines = self.made.iter().filter_map(|(_, made)| self.lines.get(made.line as usize));
        self.lines_here += lines.filter(|line| line.seen != page).count();
    }

    /// The line of the page behind a line of the relay's own, shaped while the page is being closed
    /// when it is new or was forgotten: what is to be told apart has to be new on one page.
    fn shape_made(&mut self, at: u32) -> Option<u32> {
        let made = self.made.get(at as usize)?;
        if made.line != NONE {
            return Some(made.line);
        }
        // The page itself may have such a line, as that of another relay would.
        let (fingerprint, text) = (made.fingerprint.bits(), self.with_value(made));
        let line = match self.find_line(fingerprint) {
            Some(line) => line,
            None => {
                let Ok(Entry::Sample(sample)) = exposition::parse(&text, &self.limits) else {
                    return None;
                };
                // The comments that were read last are about the page's lines.
                self.comments.clear();
                self.insert_line(fingerprint, &sample, Source::Made)
                    .expect("a line that is made is dropped where it exceeds a label limit")
            }
        };
        if let Some(state) = self.lines.get_mut(line as usize) {
            state.set_made(true);
            self.made_of.insert(line, at);
        }
        if let Some(made) = self.made.get_mut(at as usize) {
            made.line = line;
        }
        Some(line)
    }

    /// Its text with a value, so that it can be read as a line.
    fn with_value(&self, made: &Made) -> Vec<u8> {
        let mut text = Vec::new();
        for &piece in &made.text {
            text.extend_from_slice(self.texts.get(piece).map_or(&[], |piece| piece));
        }
        text.extend_from_slice(VALUE);
        text
    }
}

const VALUE: &[u8] = b" 0";

/// The text of a series cut behind its name and behind each label, or elsewhere where a value looks like that.
fn pieces(series_text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = series_text;
    std::iter::from_fn(move || {
        let end = rest
            .iter()
            .zip(rest.iter().skip(1))
            .position(|ends| matches!(ends, (b'"', b',') | (_, b'{')));
        let piece = rest.split_off(..end.map_or(rest.len(), |end| end + 2))?;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests;
