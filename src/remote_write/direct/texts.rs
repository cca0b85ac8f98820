//! Texts that are new in a fragment: what of them stood there before, and what it is when it comes again.
//!
//! Names, operators and tasks are told once in each fragment, a tenth of what a compressor would look
//! at; what they have in common is found as compressors do, by a table of four bytes each.
//!
//! Invariants: what is kept of a text is what the fragment has at `raw`, byte for byte; no more than
//! [`KEPT_BYTES_MAX`] is kept, unless it is one text.

use super::{elements::NEAR_OFFSETS, tape::Teller};

/// Texts are forgotten, all at once, before more bytes of them are kept. Of the pages of one target
/// 2,000 series have some 40 KiB.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Places that are known by the four bytes that stand there.
const PLACES: usize = 1 << PLACES_BITS;
const PLACES_BITS: u32 = 12;
/// Fewer bytes than these are not worth a search.
const SEARCHED_MIN: usize = 8;
/// The fewest equal bytes that are worth a copy, near and far.
const EQUAL_MIN: usize = 4;
const EQUAL_FAR_MIN: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Texts {
    kept: Vec<u8>,
    texts: Vec<Text>,
    /// By the hash of four bytes where they stood last, counted on from `base`.
    places: Box<[u32]>,
    /// Places of texts that are forgotten are below it. Never zero.
    base: u32,
    /// How often texts were forgotten.
    forgotten: u32,
}

#[derive(Clone, Copy, Debug)]
struct Text {
    /// In `kept`.
    begin: u32,
    /// In the fragment.
    raw: u32,
}

/// The place of a text that is kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    begin: u32,
    /// 0 is no text: all have bytes.
    len: u32,
    forgotten: u32,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            texts: Vec::new(),
            places: vec![0; PLACES].into(),
            base: 1,
            forgotten: 0,
        }
    }
}

impl Texts {
    /// Forgets all texts.
    pub(super) fn clear(&mut self) {
        match self.base.checked_add(self.kept.len() as u32) {
            Some(base) if base < u32::MAX / 2 => self.base = base,
            _ => {
                self.places.fill(0);
                self.base = 1;
            }
        }
        self.forgotten = self.forgotten.wrapping_add(1);
        self.kept.clear();
        self.texts.clear();
    }

    /// The bytes of a text; none when it is forgotten.
    #[inline]
    pub(super) fn get(&self, text: Kept) -> &[u8] {
        if text.forgotten != self.forgotten {
            return &[];
        }
        self.kept.get(text.begin as usize..(text.begin + text.len) as usize).unwrap_or_default()
    }

    /// Tells the bytes of a text from `from` to `to`; those around them are told otherwise. The text
    /// stands at `raw`, and is kept from then on if it was not.
    pub(super) fn tell(
        &mut self,
        teller: &mut Teller,
        raw: u32,
        bytes: &[u8],
        (from, to): (usize, usize),
        kept: Kept,
    ) -> Kept {
        let is_kept = kept.len > 0 && kept.forgotten == self.forgotten;
        if !is_kept && self.kept.len() + bytes.len() > KEPT_BYTES_MAX {
            self.clear();
        }
        let begin = if is_kept { kept.begin as usize } else { self.kept.len() };
        if !is_kept {
            self.kept.extend_from_slice(bytes);
            self.texts.push(Text { begin: begin as u32, raw });
        }
        let (mut at, mut told) = (from, from);
        if to - from < SEARCHED_MIN {
            at = to;
        }
        while at + EQUAL_MIN <= to {
            let Some((offset, len)) = self.equal(begin + at, begin + to, raw + at as u32) else {
                at += 1;
                continue;
            };
            teller.literal(
                raw + told as u32,
                raw + at as u32,
                bytes.get(told..).unwrap_or_default(),
            );
            told = at + len;
            teller.copy(offset, raw + at as u32, raw + told as u32);
            at = told;
        }
        teller.literal(raw + told as u32, raw + to as u32, bytes.get(told..).unwrap_or_default());
        Kept { begin: begin as u32, len: bytes.len() as u32, forgotten: self.forgotten }
    }

    /// Where the bytes at `at` (in `kept`, and `raw` in the fragment) stood before, or the first of them:
    /// how far back, and how many, at most those up to `to`.
    fn equal(&mut self, at: usize, to: usize, raw: u32) -> Option<(u32, usize)> {
        let wanted = self.kept.get(at..to)?;
        let &first = wanted.first_chunk::<EQUAL_MIN>()?;
        let hash = u32::from_le_bytes(first).wrapping_mul(0x9e37_79b1) >> (u32::BITS - PLACES_BITS);
        let place = self.places.get_mut(hash as usize)?;
        let before = std::mem::replace(place, self.base + at as u32).checked_sub(self.base)?;
        if self.kept.get(before as usize..)?.first_chunk::<EQUAL_MIN>()? != &first {
            return None;
        }
        let next = self.texts.partition_point(|text| text.begin <= before);
        let text = self.texts.get(next.checked_sub(1)?)?;
        let end = self.texts.get(next).map_or(self.kept.len(), |next| next.begin as usize);
        let offset = raw.checked_sub(text.raw + (before - text.begin)).filter(|&back| back > 0)?;
        let len = common_prefix(self.kept.get(before as usize..end)?, wanted);
        let least = if offset < NEAR_OFFSETS { EQUAL_MIN } else { EQUAL_FAR_MIN };
        (len >= least).then_some((offset, len))
    }
}

/// How many bytes both begin with.
#[inline]
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (a.get(..len).unwrap_or_default(), b.get(..len).unwrap_or_default());
    let mut at = 0;
    for (x, y) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let differ = word(x) ^ word(y);
        if differ != 0 {
            return at + (differ.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    if let (Some(x), Some(y)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        return if differ == 0 { len } else { len - 8 + (differ.trailing_zeros() / 8) as usize };
    }
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// How many bytes both end with.
pub(super) fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let mut len = 0;
    for (x, y) in a.rchunks_exact(8).zip(b.rchunks_exact(8)) {
        let differ = word(x) ^ word(y);
        if differ != 0 {
            return len + (differ.leading_zeros() / 8) as usize;
        }
        len += 8;
    }
    let rest = a.iter().rev().skip(len).zip(b.iter().rev().skip(len));
    len + rest.take_while(|(x, y)| x == y).count()
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |&bytes| u64::from_le_bytes(bytes))
}
