//! What a page's series became when they were encoded last, kept for the next page.
//!
//! A page repeats, and where each label is copied from depends on the order of the series alone. So that is
//! searched once, and kept as a tape for each fragment ([`Tape`]); as long as the same series come in the same order,
//! a fragment costs what its values cost, and the labels are not looked at.
//!
//! It can always be left out, so it is bounded: no target keeps more than
//! [`REPLAY_TARGET_BYTES_MAX`], and all of them together no more than [`REPLAY_BYTES_MAX`]. What is beyond is
//! searched each time.
//!
//! Invariants: a fragment that is replayed is, byte for byte, what it would be without; who changes the labels of
//! a series that was pushed calls [`Replay::clear`].

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use xxhash_rust::xxh3::xxh3_128;

use super::{direct::Tape, v1};
use crate::limits::{REPLAY_BYTES_MAX, REPLAY_TARGET_BYTES_MAX};

/// The fragments of one target's last page for one view.
#[derive(Debug)]
pub struct Replay {
    fragments: Vec<Option<Kept>>,
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
    tape: Tape,
    /// Bytes of them before compression.
    raw_len: usize,
}

/// What all replays may keep, and what they do.
#[derive(Debug)]
struct Allowance {
    kept: AtomicUsize,
    most: usize,
}

static ALL: Allowance = Allowance { kept: AtomicUsize::new(0), most: REPLAY_BYTES_MAX };

impl Default for Replay {
    fn default() -> Self {
        Self { fragments: Vec::new(), bytes: 0, allowance: &ALL }
    }
}

impl Replay {
    /// Forgets all of it: labels have changed.
    pub fn clear(&mut self) {
        self.truncate(0);
        self.fragments = Vec::new();
    }

    /// Bytes that are kept by all replays of the process.
    pub fn kept_bytes() -> usize {
        ALL.kept.load(Relaxed)
    }

    /// The tape of the fragment with that index, if it has exactly these series, and their bytes before compression.
    pub(super) fn get(
        &self,
        at: usize,
        series: &[u32],
        timestamp_ms: i64,
    ) -> Option<(&Tape, usize)> {
        let kept = self.fragments.get(at)?.as_ref()?;
        let is_of = kept.len == series.len()
            && kept.sample_len == v1::sample_field_len(timestamp_ms)
            && kept.series == hash(series);
        is_of.then_some((&kept.tape, kept.raw_len))
    }

    /// Keeps a tape for the next time, if it may.
    pub(super) fn set(
        &mut self,
        at: usize,
        series: &[u32],
        timestamp_ms: i64,
        tape: Option<(Tape, usize)>,
    ) {
        if self.fragments.len() <= at {
            self.fragments.resize_with(at + 1, || None);
        }
        if let Some(old) = self.fragments.get_mut(at).and_then(Option::take) {
            self.let_go(old.bytes());
        }
        let kept = tape.map(|(tape, raw_len)| Kept {
            series: hash(series),
            len: series.len(),
            sample_len: v1::sample_field_len(timestamp_ms),
            tape,
            raw_len,
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
        size_of::<Option<Self>>() + self.tape.len()
    }
}

fn hash(series: &[u32]) -> u128 {
    let mut bytes = vec![0; size_of_val(series)];
    let places = bytes.as_chunks_mut().0.iter_mut();
    places.zip(series).for_each(|(place, number)| *place = number.to_le_bytes());
    xxh3_128(&bytes)
}

#[cfg(test)]
mod tests;
