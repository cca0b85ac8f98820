//! Elements of snappy's raw format, written one after the other from runs that are known to repeat.
//!
//! ```text
//!  literal  1 to 60 bytes                               0 | len-1 << 2, the bytes
//!           more                                        0 | 60|61|62|63 << 2, len-1 in 1|2|3|4 bytes, the bytes
//!  copy     4 to 11 bytes from less than 2 KiB back     1 | len-4 << 2 | offset >> 8 << 5, offset
//!           1 to 64 bytes from less than 64 KiB back    2 | len-1 << 2, offset in 2 bytes
//!           1 to 64 bytes                               3 | len-1 << 2, offset in 4 bytes
//! ```
//!
//! A copy says at most 64 bytes, so a long run is many copies, and its last one is shorter. Where two
//! runs know the same bytes, the border between them is put where the first of them leaves no such rest.
//!
//! Invariants: elements come in the order of what they decode to and leave no gap; an offset is at
//! least 1 and reaches to the first byte at most.
//!
//! Source: google/snappy, `format_description.txt`.

/// The longest copy.
const COPY_LONGEST: u32 = 64;
/// Lengths of the copies that take two bytes, and how far they reach.
const SHORT_MIN: u32 = 4;
const SHORT_LONGEST: u32 = 11;
const SHORT_OFFSETS: u32 = 1 << 11;
/// How far the copies reach that take three bytes; those beyond take five.
pub(super) const NEAR_OFFSETS: u32 = 1 << 16;
/// So many bytes more for the next run are worth the byte that a short copy spares, as a copy of three
/// bytes tells 64.
const SPARED: u32 = 21;
/// A rest of so many bytes costs less as part of the literal behind it.
const REST: u32 = 2;
/// Bytes of a copy of up to 64 bytes that is not far.
const COPY_BYTES: usize = 3;
const COPY_BITS: u32 = COPY_BYTES as u32 * u8::BITS;
/// Such copies are written so many at a time: those which 16 bytes hold. Times this, one is as many.
const WORD_COPIES: u32 = 5;
const WORD: u128 =
    1 | 1 << COPY_BITS | 1 << (2 * COPY_BITS) | 1 << (3 * COPY_BITS) | 1 << (4 * COPY_BITS);
const ROOM_OF_WORDS: usize = WORD_COPIES as usize * COPY_BYTES + size_of::<u64>() + 1;
/// Literals of up to so many bytes are written by one store.
const LITERAL_WORD: usize = 16;
/// The longest literal whose length is in its tag.
const TAGGED: usize = 60;
/// Bytes in front of a longer one.
const LITERAL_HEAD: usize = 5;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// What is written, and room: it is longer than that.
    out: Vec<u8>,
    written: usize,
    /// Where in `out` the tag of a literal belongs that may still grow.
    literal: Option<usize>,
    /// Where the run starts, in bytes of what is decoded.
    at: u32,
    /// Up to where it is known to go on.
    end: u32,
    /// How far back it comes from; of no meaning while it is empty.
    offset: u32,
}

impl Elements {
    /// Says that the bytes from `begin` to `end` are those which stand `offset` bytes ahead of them.
    /// `begin` is not behind what is told; what is told already may be told either way.
    #[inline]
    pub(super) fn copy(&mut self, offset: u32, begin: u32, end: u32) {
        debug_assert!(begin <= self.end && begin <= end, "{begin} {end} after {}", self.end);
        debug_assert!(offset > 0 && offset <= begin, "{offset} back from {begin}");
        if end <= self.end {
            return;
        }
        if offset != self.offset || self.at == self.end {
            if self.at < self.end {
                self.write_run(self.border(begin.max(self.at), offset));
            }
            self.offset = offset;
        }
        self.end = end;
    }

    /// Says what the bytes from `begin` to `end` are, of which the first are not behind what is told;
    /// there may be more than these.
    #[inline]
    pub(super) fn literal(&mut self, begin: u32, end: u32, bytes: &[u8]) {
        debug_assert!(begin <= self.end, "{begin} after {}", self.end);
        if end <= self.end {
            return;
        }
        let rest = (self.end - self.at) % COPY_LONGEST;
        let is_worth = rest <= REST && self.end - rest >= begin;
        let cut = if is_worth { self.end - rest } else { self.end };
        self.write_run(cut);
        let bytes = bytes.get((cut - begin) as usize..).unwrap_or_default();
        let len = (end - cut) as usize;
        let at = match self.literal {
            Some(_) => self.written,
            None => {
                self.literal = Some(self.written);
                self.written + 1
            }
        };
        if let Some(place) = self.room(at, len.max(LITERAL_WORD)) {
            // Most are short, and so many bytes at once are one store.
            if len <= LITERAL_WORD
                && let (Some(place), Some(bytes)) = (place.first_chunk_mut(), bytes.first_chunk())
            {
                let _: &[u8; LITERAL_WORD] = bytes;
                *place = *bytes;
            } else {
                let pairs = (place.get_mut(..len), bytes.get(..len));
                if let (Some(place), Some(bytes)) = pairs {
                    place.copy_from_slice(bytes);
                }
            }
        }
        self.written = at + len;
        (self.at, self.end) = (end, end);
    }

    /// Up to where bytes are told.
    #[inline]
    pub(super) const fn told(&self) -> u32 {
        self.end
    }

    /// Writes all that is told.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.write_run(self.end);
        self.end_literal();
        self.out.get(..self.written).unwrap_or_default()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        (self.written, self.literal, self.at, self.end) = (0, None, 0, 0);
    }

    /// Where the run should end, which may end anywhere from `lowest` to its end.
    #[inline]
    const fn border(&self, lowest: u32, next_offset: u32) -> u32 {
        let rest = (self.end - self.at) % COPY_LONGEST;
        let free = self.end - lowest;
        if next_offset >= NEAR_OFFSETS {
            return self.end;
        }
        if rest <= free {
            return self.end - rest;
        }
        let beyond = rest.saturating_sub(SHORT_LONGEST);
        if self.offset < SHORT_OFFSETS && beyond <= free && beyond <= SPARED {
            return self.end - beyond;
        }
        self.end
    }

    /// Writes the run up to `end`.
    #[inline]
    fn write_run(&mut self, end: u32) {
        let len = end - self.at;
        if len == 0 {
            return;
        }
        self.end_literal();
        self.at = end;
        let offset = self.offset;
        if offset >= NEAR_OFFSETS {
            return self.write_far(len);
        }
        // The last copy takes no less than a short one can, at the cost of the copy ahead of it.
        let mut full = len.saturating_sub(SHORT_MIN) / COPY_LONGEST;
        let rest = len - full * COPY_LONGEST;
        while full > WORD_COPIES {
            self.write_words(copy(offset, COPY_LONGEST), WORD_COPIES, 0, 0);
            full -= WORD_COPIES;
        }
        let (first, last) =
            if rest > COPY_LONGEST { (rest - SHORT_MIN, SHORT_MIN) } else { (0, rest) };
        let is_short =
            offset < SHORT_OFFSETS && last.wrapping_sub(SHORT_MIN) <= SHORT_LONGEST - SHORT_MIN;
        let (mut ends, mut ends_len) = if is_short {
            let (low, high) = (offset & 0xff, offset >> 8);
            (u64::from(1 | (last - SHORT_MIN) << 2 | high << 5 | low << 8), COPY_BYTES - 1)
        } else {
            (copy(offset, last), COPY_BYTES)
        };
        if first > 0 {
            ends = copy(offset, first) | ends << COPY_BITS;
            ends_len += COPY_BYTES;
        }
        self.write_words(copy(offset, COPY_LONGEST), full, ends, ends_len);
    }

    /// Writes a copy so many times, at most [`WORD_COPIES`], and other bytes.
    #[inline]
    fn write_words(&mut self, copy: u64, copies: u32, ends: u64, ends_len: usize) {
        let written = self.written;
        // More is written than told, since that is one store.
        let Some(place) = self.room(written, ROOM_OF_WORDS) else { return };
        if copies > 0
            && let Some(place) = place.first_chunk_mut()
        {
            *place = (u128::from(copy) * WORD).to_le_bytes();
        }
        let copies_len = copies as usize * COPY_BYTES;
        let place = place.get_mut(copies_len..).and_then(<[u8]>::first_chunk_mut);
        if let Some(place) = place {
            *place = ends.to_le_bytes();
        }
        self.written = written + copies_len + ends_len;
    }

    #[cold]
    fn write_far(&mut self, mut len: u32) {
        let [a, b, c, d] = self.offset.to_le_bytes();
        while len > 0 {
            let part = len.min(COPY_LONGEST);
            let copy = [3 | (part as u8 - 1) << 2, a, b, c, d];
            if let Some(place) = self.room(self.written, copy.len()) {
                place.copy_from_slice(&copy);
            }
            self.written += copy.len();
            len -= part;
        }
    }

    #[inline]
    fn end_literal(&mut self) {
        let Some(at) = self.literal.take() else { return };
        let len = self.written - at - 1;
        if len > TAGGED {
            return self.end_long_literal(at, len);
        }
        if let Some(tag) = self.out.get_mut(at) {
            *tag = (len as u8 - 1) << 2;
        }
    }

    #[cold]
    fn end_long_literal(&mut self, at: usize, len: usize) {
        let [a, b, c, d] = (len as u32 - 1).to_le_bytes();
        let extra = match len - 1 {
            0..0x100 => 1,
            0x100..0x1_0000 => 2,
            0x1_0000..0x100_0000 => 3,
            _ => 4,
        };
        let tag = (TAGGED as u8 + extra - 1) << 2;
        let extra = usize::from(extra);
        let _ = self.room(self.written, LITERAL_HEAD);
        self.out.copy_within(at + 1..self.written, at + 1 + extra);
        let head = [tag, a, b, c, d];
        for (place, byte) in self.out.iter_mut().skip(at).zip(head).take(1 + extra) {
            *place = byte;
        }
        self.written += extra;
    }

    /// Bytes of `out`, made when there are none yet.
    #[inline]
    fn room(&mut self, at: usize, len: usize) -> Option<&mut [u8]> {
        if self.out.len() < at + len {
            self.grow(at + len);
        }
        self.out.get_mut(at..at + len)
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        self.out.resize(len.next_power_of_two().max(ROOM_MIN), 0);
    }
}

/// Room to begin with: 2,000 samples are some 50 KiB.
const ROOM_MIN: usize = 16 << 10;

/// A copy of three bytes as a number, the first of them lowest.
#[inline]
const fn copy(offset: u32, len: u32) -> u64 {
    (2 | (len - 1) << 2) as u64 | (offset as u64) << u8::BITS
}
