//! The cursor: which records of the log are settled, as a small file that is replaced as a whole.
//!
//! ```text
//!  cursor = "flinkcur" | version u32 | entries u32 | entry* | crc32c u32 over everything before
//!  entry  = run u64 | base u64 | words u32 | bits u64*
//! ```
//!
//! An entry is about one segment, named by the run that wrote it and the sequence number it begins with; bit
//! `n` tells that its frame `n` is settled. What the cursor does not tell is sent again, so losing it costs
//! duplicates and no sample; and what it tells of a segment of another run is about another segment, so an
//! old cursor can hide nothing either. Segments that are settled as a whole are removed, not listed.
//!
//! Bits instead of one number per lane: lanes advance at their own pace, live data may overtake a backlog,
//! and the number of lanes may be another at the next start.

use std::collections::HashMap;

use super::frame::{u32_at, u64_at};

const MAGIC: &[u8; 8] = b"flinkcur";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
const ENTRY_BYTES: usize = 20;

/// The settled frames of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Sets a bit.
    pub(super) fn set(&mut self, at: u32) {
        let word = (at / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (at % 64);
        }
    }

    /// Whether a bit is set.
    pub(super) fn has(&self, at: u32) -> bool {
        self.0.get((at / 64) as usize).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// Whether no bit is set.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// What a cursor tells, by run and base of the segment.
pub(super) type Cursor = HashMap<(u64, u64), Bits>;

/// The file's content for these entries, of which those that fit below `bytes_max` are written.
pub(super) fn encode<'a>(
    entries: impl Iterator<Item = (u64, u64, &'a Bits)>,
    bytes_max: usize,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let mut count = 0_u32;
    for (run, base, bits) in entries.filter(|(_, _, bits)| !bits.is_empty()) {
        if out.len() + ENTRY_BYTES + bits.0.len() * 8 + CRC_BYTES > bytes_max {
            continue;
        }
        let words = u32::try_from(bits.0.len()).expect("ordinals are u32");
        out.extend_from_slice(&run.to_le_bytes());
        out.extend_from_slice(&base.to_le_bytes());
        out.extend_from_slice(&words.to_le_bytes());
        bits.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        count += 1;
    }
    if let Some(place) = out.get_mut(12..HEAD_BYTES) {
        place.copy_from_slice(&count.to_le_bytes());
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Reads the file. `None` when it is not as it was written.
pub(super) fn decode(bytes: &[u8]) -> Option<Cursor> {
    let (checked, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    if crc32c::crc32c(checked) != u32::from_le_bytes(*crc)
        || checked.get(..8)? != MAGIC
        || u32_at(checked, 8)? != VERSION
    {
        return None;
    }
    let mut rest = checked.get(HEAD_BYTES..)?;
    let mut cursor = Cursor::new();
    for _ in 0..u32_at(checked, 12)? {
        let (run, base) = (u64_at(rest, 0)?, u64_at(rest, 8)?);
        let words = usize::try_from(u32_at(rest, 16)?).ok()?;
        let (bits, behind) = rest.get(ENTRY_BYTES..)?.split_at_checked(words.checked_mul(8)?)?;
        let words = bits.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        cursor.insert((run, base), Bits(words.collect()));
        rest = behind;
    }
    rest.is_empty().then_some(cursor)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn bits(set: &[u32]) -> Bits {
        let mut bits = Bits::default();
        set.iter().for_each(|at| bits.set(*at));
        bits
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(
            entries in prop::collection::hash_map(any::<(u64, u64)>(), vec(0..300_u32, 1..20), 0..6),
            damage: Option<prop::sample::Index>,
        ) {
            let entries: Cursor =
                entries.into_iter().map(|(key, set)| (key, bits(&set))).collect();
            let list = entries.iter().map(|((run, base), bits)| (*run, *base, bits));
            let mut bytes = encode(list, usize::MAX);
            if let Some(at) = damage {
                let bit = at.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                prop_assert_eq!(decode(&bytes), None);
            } else {
                prop_assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
                prop_assert_eq!(decode(&bytes), Some(entries));
            }
        }
    }

    #[test]
    fn bits_are_those_that_were_set() {
        let bits = bits(&[0, 63, 64, 200]);
        let set: Vec<u32> = (0..300).filter(|at| bits.has(*at)).collect();
        assert_eq!(set, [0, 63, 64, 200]);
        assert!(!bits.is_empty() && Bits::default().is_empty());
    }

    #[test]
    fn what_exceeds_the_limit_and_what_is_empty_is_left_out() {
        let (small, large, none) = (bits(&[1]), bits(&[9000]), Bits::default());
        let list = [(1, 1, &large), (1, 2, &none), (1, 3, &small)];
        let bytes = encode(list.into_iter(), 100);
        assert!(bytes.len() <= 100);
        let cursor = decode(&bytes).unwrap();
        assert_eq!(cursor, Cursor::from([((1, 3), small.clone())]));
    }
}
