//! The segments of a log as the spool knows them: how large each is and what of it still waits.
//!
//! Segments are numbered by the sequence number that they begin with, so their order is that of their data.
//! The last one is being written, and stays while it is.

use std::collections::BTreeMap;

use super::{cursor::Bits, frame::HEAD_BYTES, log::Written};

/// One segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    run: u64,
    /// The sequence number behind its last record.
    pub(super) end: u64,
    bytes: u64,
    /// Records that wait.
    live: u64,
    settled: Bits,
}

/// All segments.
#[derive(Debug, Default)]
pub(super) struct Segments {
    by_base: BTreeMap<u64, Segment>,
    bytes: u64,
}

impl Segments {
    /// Takes in a record of this run that was written or found. `waits` tells whether it is still wanted.
    /// Returns the segment that this one has ended and that nobody needs.
    pub(super) fn add(&mut self, written: &Written, run: u64, waits: bool) -> Option<u64> {
        let ended = self.by_base.last_key_value().map(|(base, _)| *base);
        let segment = self.by_base.entry(written.base).or_insert_with(|| Segment {
            run,
            end: 0,
            bytes: 0,
            live: 0,
            settled: Bits::default(),
        });
        let bytes = (u64::from(written.offset) + written.frame_bytes).max(HEAD_BYTES as u64);
        self.bytes += bytes.saturating_sub(segment.bytes);
        segment.bytes = segment.bytes.max(bytes);
        segment.end = segment.end.max(written.sequence + 1);
        match waits {
            true => segment.live += 1,
            false => segment.settled.set(written.ordinal),
        }
        let ended = ended.filter(|ended| *ended < written.base)?;
        self.by_base.get(&ended).is_some_and(|segment| segment.live == 0).then_some(ended)
    }

    /// A record needs not be sent any more. Returns whether its segment can go.
    pub(super) fn settle(&mut self, base: u64, ordinal: u32) -> bool {
        let is_last = self.by_base.last_key_value().is_some_and(|(last, _)| *last == base);
        let Some(segment) = self.by_base.get_mut(&base) else { return false };
        debug_assert!(!segment.settled.has(ordinal), "{base}/{ordinal} is settled twice");
        segment.settled.set(ordinal);
        segment.live = segment.live.saturating_sub(1);
        segment.live == 0 && !is_last
    }

    /// Forgets a segment.
    pub(super) fn remove(&mut self, base: u64) -> Option<Segment> {
        let segment = self.by_base.remove(&base)?;
        self.bytes -= segment.bytes;
        Some(segment)
    }

    /// The segments of which nothing waits.
    pub(super) fn idle(&self) -> Vec<u64> {
        let idle = self.by_base.iter().filter(|(_, segment)| segment.live == 0);
        idle.map(|(base, _)| *base).collect()
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.by_base.first_key_value().map(|(base, _)| *base)
    }

    /// Bytes of all files.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.by_base.len()
    }

    /// What the cursor is to tell.
    pub(super) fn settled(&self) -> impl Iterator<Item = (u64, u64, &Bits)> {
        self.by_base.iter().map(|(base, segment)| (segment.run, *base, &segment.settled))
    }
}
