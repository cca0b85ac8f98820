//! What a page's series became when they were encoded last, kept for the next page.
//!
//! A page repeats, and where each label is copied from depends on the order of the series alone. So that is
//! searched once, and kept as a tape for each fragment ([`Tape`]); as long as the same series come in the same order,
//! a fragment costs what its values cost, and the labels are not looked at.
//!
//! It can always be left out, so it is bounded: a target keeps no more than [`REPLAY_TARGET_BYTES_MAX`] of a view in one
//! message, and all of them together no more than [`REPLAY_BYTES_MAX`]. What is beyond is encoded plainly each time.
//!
//! Invariants: a fragment that is replayed decodes, byte for byte, to what it would without, and in 1.0 it has the same
//! bytes; who changes the labels of a series that was pushed, or its metadata, calls [`Replay::clear`].

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use xxhash_rust::xxh3::xxh3_128;

use super::{direct::Tape, v1};
use crate::limits::{REPLAY_BYTES_MAX, REPLAY_TARGET_BYTES_MAX};

/// The fragments of one target's last page for one view, in one message.
#[derive(Debug)]
pub struct Replay {
    fragments: Vec<Option<Kept>>,
    /// xxh3-128 of what was asked for last, of each fragment; the complement of what was given up.
    asked: Vec<u128>,
    bytes: usize,
    allowance: &'static Allowance,
}

/// A fragment's series.
#[derive(Debug)]
struct Kept {
    /// xxh3-128 of their numbers.
    series: u128,
    len: usize,
    /// Bytes of a sample, for a tape holds for samples of that length.
    sample_len: usize,
    /// When it was told first. Starts of counters before that are told too, so it is not for earlier samples.
    since_ms: i64,
    told: Told,
}

/// What is told of a fragment.
#[derive(Debug)]
pub(super) struct Told {
    /// Elements of what is ahead of the series.
    pub(super) ahead: Box<[u8]>,
    /// The series.
    pub(super) tape: Tape,
    /// Bytes behind the last sample.
    pub(super) behind: Box<[u8]>,
    /// Bytes of all of it before compression.
    pub(super) raw_len: usize,
}

/// A number of a series, little-endian.
pub(super) type Number = [u8; size_of::<u32>()];

/// What all replays may keep, and what they do.
#[derive(Debug)]
struct Allowance {
    kept: AtomicUsize,
    most: usize,
}

static ALL: Allowance = Allowance { kept: AtomicUsize::new(0), most: REPLAY_BYTES_MAX };

impl Default for Replay {
    fn default() -> Self {
        Self { fragments: Vec::new(), asked: Vec::new(), bytes: 0, allowance: &ALL }
    }
}

#[cfg(test)]
impl Replay {
    /// One that shares so many bytes with no other.
    pub(super) fn within(most: usize) -> Self {
        let allowance = Box::leak(Box::new(Allowance { kept: AtomicUsize::new(0), most }));
        let mut replay = Self::default();
        replay.allowance = allowance;
        replay
    }
}

impl Replay {
    /// Forgets all of it: labels have changed.
    pub fn clear(&mut self) {
        self.truncate(0);
        (self.fragments, self.asked) = (Vec::new(), Vec::new());
    }

    /// Bytes that are kept by all replays of the process.
    pub fn kept_bytes() -> usize {
        ALL.kept.load(Relaxed)
    }

    /// What was told of the fragment with that index, if it has exactly these series.
    pub(super) fn get(&self, at: usize, series: &[Number], timestamp_ms: i64) -> Option<&Told> {
        let kept = self.fragments.get(at)?.as_ref()?;
        let is_of = kept.len == series.len()
            && kept.sample_len == v1::sample_field_len(timestamp_ms)
            && kept.since_ms <= timestamp_ms
            && kept.series == hash(series);
        is_of.then_some(&kept.told)
    }

    /// Whether the fragment with that index had exactly these series when this was asked last, and was not given up.
    pub(super) fn has_come_before(&mut self, at: usize, series: &[Number]) -> bool {
        if self.asked.len() <= at {
            self.asked.resize(at + 1, 0);
        }
        let new = hash(series);
        match self.asked.get_mut(at) {
            Some(asked) if *asked != !new => std::mem::replace(asked, new) == new,
            _ => false,
        }
    }

    /// These series cannot be kept, by what they are or for want of room: until others come it is not to be tried.
    pub(super) fn give_up(&mut self, at: usize, series: &[Number]) {
        if let Some(asked) = self.asked.get_mut(at) {
            *asked = !hash(series);
        }
    }

    /// Whether something is kept of the fragment with that index.
    pub(super) fn has(&self, at: usize) -> bool {
        self.fragments.get(at).is_some_and(Option::is_some)
    }

    /// Keeps what was told for the next time, if it may.
    pub(super) fn set(
        &mut self,
        at: usize,
        series: &[Number],
        timestamp_ms: i64,
        told: Option<Told>,
    ) {
        if self.fragments.len() <= at {
            self.fragments.resize_with(at + 1, || None);
        }
        if let Some(old) = self.fragments.get_mut(at).and_then(Option::take) {
            self.let_go(old.bytes());
        }
        let kept = told.map(|told| Kept {
            series: hash(series),
            len: series.len(),
            sample_len: v1::sample_field_len(timestamp_ms),
            since_ms: timestamp_ms,
            told,
        });
        let kept = kept.filter(|kept| self.take(kept.bytes()));
        if let Some(place) = self.fragments.get_mut(at) {
            *place = kept;
        }
    }

    /// Forgets the fragments from an index on.
    pub(super) fn truncate(&mut self, len: usize) {
        let gone = self.fragments.iter().skip(len).flatten().map(Kept::bytes).sum();
        self.fragments.truncate(len);
        self.asked.truncate(len);
        self.let_go(gone);
    }

    /// Whether so many bytes more may be kept, which they are then.
    fn take(&mut self, bytes: usize) -> bool {
        let Allowance { kept, most } = self.allowance;
        let fits = |kept: usize| Some(kept + bytes).filter(|kept| kept <= most);
        let may = self.bytes + bytes <= REPLAY_TARGET_BYTES_MAX
            && kept.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if may {
            self.bytes += bytes;
        }
        may
    }

    fn let_go(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.allowance.kept.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        let Told { ahead, tape, behind, .. } = &self.told;
        size_of::<Option<Self>>() + ahead.len() + tape.len() + behind.len()
    }
}

fn hash(series: &[Number]) -> u128 {
    xxh3_128(series.as_flattened())
}

#[cfg(test)]
mod tests;
