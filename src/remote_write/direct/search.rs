//! What the series of a message have in common, found in its bytes.
//!
//! For a message whose bytes are there, as one of remote write 2.0 is before it is compressed: series that stand one
//! after the other, of each of which the value and its time vary. What is between two of those, a *region*, is compared with
//! regions ahead, and becomes a tape of copies and literals, as [`super::Direct`] would have written.
//!
//! ```text
//!   … value time | metadata | head refs | value time | metadata | head refs | value time …
//!               `------- region -------'             `------- region -------'
//! ```
//!
//! Invariants: no copy comes from a value; a time is copied from the same place as what stands behind it.

use std::ops::Range;

use hashbrown::HashMap;

use super::{
    elements::NEAR_OFFSETS,
    series::Sample,
    tape::{Samples, Tape, Writer},
};

/// Bytes by which places are looked up: what is equal in fewer is not worth a copy.
const KEY: usize = 4;
/// Places that are remembered, a power of two: the window of near copies has few places with other bytes.
const PLACES: usize = 1 << 12;
/// And those at the end of regions, which tell one subtask from the other.
const END_KEY: usize = 8;

/// The tape of series with values at these places of `raw`, each with `time_len` bytes of time behind it. Nothing
/// when they do not fit onto one.
pub(in super::super) fn search(raw: &[u8], values: &[u32], time_len: u32) -> Option<Tape> {
    let mut begin = 0;
    let regions = values.iter().map(|&end| {
        let region = begin..end;
        begin = end + Sample::VALUE + time_len;
        region
    });
    let regions: Vec<_> = regions.collect();
    let places = vec![(0, 0); PLACES];
    let mut search = Search { raw, places, ..Search::default() };
    for region in &regions {
        search.add(&regions, region.clone());
    }
    search.tape.finish()
}

#[derive(Default)]
struct Search<'a> {
    raw: &'a [u8],
    tape: Writer,
    /// How many regions are done.
    done: usize,
    /// By a hash of the bytes there: places, and in which region they are.
    places: Vec<(u32, usize)>,
    /// The last region that ended with these.
    ends: HashMap<[u8; END_KEY], usize>,
    /// The region that the end of the last one came from.
    source: Option<usize>,
}

/// Bytes that stand at two places.
#[derive(Clone, Copy)]
struct Match {
    offset: u32,
    len: u32,
    /// The region it comes from.
    region: usize,
}

impl Search<'_> {
    /// Writes down the next region.
    fn add(&mut self, regions: &[Range<u32>], region: Range<u32>) {
        let index = self.done;
        self.tape.begin_series(region.start);
        let (mut at, mut literal) = (region.start, region.start);
        let ahead = self.ahead(regions, &region);
        if let Some(ahead) = ahead {
            at += ahead.len;
            literal = at;
            self.tape.copy(ahead.offset, region.start - 1, at);
        }
        let mut source = None;
        while at < region.end {
            let Some(found) = self.find(regions, &region, at) else {
                at += 1;
                continue;
            };
            self.literal(literal, at);
            at += found.len;
            literal = at;
            self.tape.copy(found.offset, at - found.len, at);
            let end = regions.get(found.region).map_or(0, |region| region.end);
            source = (at == region.end && at - found.offset == end).then_some(found);
        }
        self.literal(literal, region.end);
        let samples = Samples {
            ahead: ahead.map_or(0, |found| (index + 1 - found.region) as u32),
            source: source.map_or(0, |found| (index - found.region) as u32),
            offset: source.map_or(0, |found| found.offset),
        };
        self.tape.end_series(samples);
        self.source = source.map(|found| found.region);
        self.enter(region);
    }

    /// Where the time ahead of a region comes from, and what of the region goes on from there.
    fn ahead(&self, regions: &[Range<u32>], region: &Range<u32>) -> Option<Match> {
        let last = self.done.checked_sub(1)?;
        let found = self
            .place(region.start)
            .filter(|&(at, like)| regions.get(like).is_some_and(|like| like.start == at));
        let candidates = [Some(last), self.source.map(|at| at + 1), found.map(|(_, like)| like)];
        // Ahead of the first one there is no sample.
        let candidates = candidates.into_iter().flatten().filter(|&like| like > 0);
        let matches = candidates.filter_map(|index| {
            let like = regions.get(index)?;
            self.compare(like, like.start, region, region.start, index)
        });
        matches.max_by_key(|found| found.len)
    }

    /// The longest of what stood ahead and stands here too.
    fn find(&self, regions: &[Range<u32>], region: &Range<u32>, at: u32) -> Option<Match> {
        let end = self.end_of(region).and_then(|end| self.ends.get(&end).copied());
        let aligned = [self.source.map(|at| at + 1), end].into_iter().flatten();
        let aligned = aligned.filter_map(|index| {
            let like = regions.get(index).filter(|_| index < self.done)?;
            let from = like.end.checked_sub(region.end - at).filter(|&from| from >= like.start)?;
            self.compare(like, from, region, at, index)
        });
        let found = self
            .place(at)
            .and_then(|(from, index)| self.compare(regions.get(index)?, from, region, at, index));
        let longest = aligned.chain(found).max_by_key(|found| found.len)?;
        (longest.len as usize >= KEY).then_some(longest)
    }

    /// How much is equal from two places on, to the end of both regions at most.
    fn compare(
        &self,
        like: &Range<u32>,
        from: u32,
        region: &Range<u32>,
        at: u32,
        index: usize,
    ) -> Option<Match> {
        let offset = at.checked_sub(from).filter(|offset| (1..NEAR_OFFSETS).contains(offset))?;
        let bytes = |range: Range<u32>| self.raw.get(range.start as usize..range.end as usize);
        let pairs = bytes(from..like.end)?.iter().zip(bytes(at..region.end)?);
        let len = pairs.take_while(|(a, b)| a == b).count() as u32;
        Some(Match { offset, len, region: index })
    }

    fn literal(&mut self, begin: u32, end: u32) {
        if begin < end {
            let bytes = self.raw.get(begin as usize..).unwrap_or_default();
            self.tape.literal(begin, end, bytes);
        }
    }

    /// Takes note of the bytes of a region.
    fn enter(&mut self, region: Range<u32>) {
        for at in region.start..region.end.saturating_sub(KEY as u32 - 1) {
            let done = self.done;
            if let Some(place) = self.slot(at).and_then(|slot| self.places.get_mut(slot)) {
                *place = (at, done);
            }
        }
        if let Some(end) = self.end_of(&region) {
            self.ends.insert(end, self.done);
        }
        self.done += 1;
    }

    /// Where these bytes may have stood.
    fn place(&self, at: u32) -> Option<(u32, usize)> {
        self.places.get(self.slot(at)?).copied()
    }

    fn slot(&self, at: u32) -> Option<usize> {
        let bytes = self.raw.get(at as usize..).and_then(<[u8]>::first_chunk)?;
        // Fibonacci hashing: the high bits of a product depend on all of the number.
        let hash = u32::from_le_bytes(*bytes).wrapping_mul(0x9e37_79b1);
        Some((hash >> (u32::BITS - PLACES.ilog2())) as usize)
    }

    fn end_of(&self, region: &Range<u32>) -> Option<[u8; END_KEY]> {
        let bytes = self.raw.get(region.start as usize..region.end as usize)?;
        bytes.last_chunk().copied()
    }
}

#[cfg(test)]
mod tests;
