//! Where the series of a fragment are, and the bytes around their labels.

use super::super::v1::{self, PARTS};
use super::elements::NEAR_OFFSETS;

/// Series whose places are known: of Flink's some 350 bytes each, more than twice as many as copies of
/// three bytes reach. A power of two.
const PLACED: u32 = 512;
/// Tag and length of a sample, and the value's tag.
pub(super) const SAMPLE_HEAD: u32 = 3;
/// Tag, and a time as long as it may be.
const TIME_LONGEST: usize = 11;
const SAMPLE_LONGEST: usize = SAMPLE_HEAD as usize + Sample::VALUE as usize + TIME_LONGEST;
/// Room for them, so that a number of bytes can be read behind each place of the value.
const SAMPLE_ROOM: usize = SAMPLE_LONGEST.next_multiple_of(16);

/// Where a series is in the fragment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Placed {
    /// Numbers of its parts.
    pub(super) numbers: [u32; PARTS],
    /// Where it begins.
    pub(super) at: u32,
    /// Where its parts begin, and where the last of them ends.
    pub(super) parts: [u32; PARTS + 1],
    /// Bytes of labels and sample, which its head tells.
    pub(super) len: u32,
    pub(super) value: u64,
    pub(super) timestamp_ms: i64,
    /// Whether there is a series right ahead of it.
    pub(super) is_joined: bool,
}

impl Placed {
    /// Where a part begins and ends, and its number.
    #[inline]
    pub(super) fn part(&self, part: usize) -> (u32, u32, u32) {
        let at = |part: usize| self.parts.get(part).copied().unwrap_or_default();
        (at(part), at(part + 1), self.numbers.get(part).copied().unwrap_or_default())
    }

    /// Where its labels begin.
    pub(super) const fn labels(&self) -> u32 {
        let [labels, ..] = self.parts;
        labels
    }

    /// Where its sample begins.
    pub(super) const fn labels_end(&self) -> u32 {
        let [.., end] = self.parts;
        end
    }

    /// Bytes of the sample.
    pub(super) const fn sample_len(&self) -> u32 {
        self.len - (self.labels_end() - self.labels())
    }

    /// Which of the parts are the same, a bit for each.
    #[inline]
    pub(super) fn same(&self, other: &Self) -> u32 {
        let ([a, b, c, d], [e, f, g, h]) = (self.numbers, other.numbers);
        u32::from(a == e) | u32::from(b == f) << 1 | u32::from(c == g) << 2 | u32::from(d == h) << 3
    }
}

/// The last series of a fragment. Series are counted from one fragment to the next, and none has number 0.
#[derive(Debug)]
pub(super) struct Ring {
    /// At their number modulo [`PLACED`], as many as are needed.
    placed: Vec<Placed>,
    /// The number of the first series that is known, and how many are.
    first: u32,
    len: u32,
}

impl Default for Ring {
    fn default() -> Self {
        Self { placed: Vec::new(), first: 1, len: 0 }
    }
}

impl Ring {
    /// The series of that number, if it is known.
    #[inline]
    pub(super) fn get(&self, series: u32) -> Option<&Placed> {
        if series.wrapping_sub(self.first) >= self.len {
            return None;
        }
        self.placed.get((series % PLACED) as usize)
    }

    /// As [`Ring::get`], if copies of three bytes reach it from `at`.
    #[inline]
    pub(super) fn near(&self, series: u32, at: u32) -> Option<&Placed> {
        self.get(series).filter(|placed| at - placed.at < NEAR_OFFSETS)
    }

    /// The last series and its number.
    #[inline]
    pub(super) fn last(&self) -> Option<(u32, &Placed)> {
        let last = self.first + self.len - 1;
        Some((last, self.get(last)?))
    }

    /// The number of the next series.
    #[inline]
    pub(super) const fn next(&self) -> u32 {
        self.first + self.len
    }

    /// Adds a series; returns its number.
    #[inline]
    pub(super) fn push(&mut self, placed: &Placed) -> u32 {
        let series = self.next();
        let at = (series % PLACED) as usize;
        if self.placed.len() <= at {
            self.placed.resize(at + 1, Placed::default());
        }
        if let Some(place) = self.placed.get_mut(at) {
            *place = *placed;
        }
        if self.len < PLACED {
            self.len += 1;
        } else {
            self.first += 1;
        }
        series
    }

    /// As if so many series less one had been.
    #[cfg(test)]
    pub(super) fn starting_at(first: u32) -> Self {
        Self { first, ..Self::default() }
    }

    /// Forgets all series. Returns whether numbers are given anew.
    pub(super) const fn clear(&mut self) -> bool {
        // A fragment has less than 2^31 series.
        self.first += self.len;
        self.len = 0;
        let is_anew = self.first > u32::MAX / 2;
        if is_anew {
            self.first = 1;
        }
        is_anew
    }
}

/// Tag and length of a series.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Its bytes, the first of them lowest.
    word: u64,
    len: u32,
}

impl Head {
    /// Of a series with so many bytes of labels and sample.
    #[inline]
    pub(super) const fn new(len: u32) -> Self {
        let (mut varint, mut bits, mut rest) = (0, 0, len as u64);
        while rest > 0x7f {
            varint |= (rest & 0x7f | 0x80) << bits;
            (rest, bits) = (rest >> 7, bits + u8::BITS);
        }
        varint |= rest << bits;
        Self { word: varint << u8::BITS | v1::TAG_TIMESERIES as u64, len: 2 + bits / u8::BITS }
    }

    pub(super) const fn len(self) -> u32 {
        self.len
    }

    /// The bytes, and others behind them.
    pub(super) const fn bytes(self) -> [u8; size_of::<u64>()] {
        self.word.to_le_bytes()
    }

    /// How many of the bytes must be told when those of `like` are known: all up to the last that differs.
    pub(super) const fn differ(self, like: Self) -> u32 {
        if self.len != like.len {
            return self.len;
        }
        (u64::BITS - (self.word ^ like.word).leading_zeros()).div_ceil(u8::BITS)
    }
}

/// A sample as its series ends with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    bytes: [u8; SAMPLE_ROOM],
    /// Bytes ahead of the value: [`SAMPLE_HEAD`], or none where they belong to the labels.
    head: u32,
    /// 0 is no sample.
    len: u32,
    value: u64,
    timestamp_ms: i64,
}

impl Default for Sample {
    fn default() -> Self {
        Self { bytes: [0; SAMPLE_ROOM], head: SAMPLE_HEAD, len: 0, value: 0, timestamp_ms: 0 }
    }
}

impl Sample {
    /// Bytes of a value.
    pub(super) const VALUE: u32 = 8;

    /// The bytes that a sample of that time has.
    #[inline]
    pub(super) const fn len_at(&self, timestamp_ms: i64) -> u32 {
        if self.is_at(timestamp_ms) {
            return self.len;
        }
        v1::sample_field_len(timestamp_ms) as u32 - (SAMPLE_HEAD - self.head)
    }

    /// Becomes the sample behind this one, which is likely to have the same time.
    #[inline]
    pub(super) fn set(&mut self, value: u64, timestamp_ms: i64) {
        if !self.is_at(timestamp_ms) {
            *self = self.at(timestamp_ms);
        }
        let place = self.bytes.get_mut(self.head as usize..);
        if let Some(place) = place.and_then(<[u8]>::first_chunk_mut) {
            *place = value.to_le_bytes();
        }
        self.value = value;
    }

    /// Whether it is a sample of that time.
    #[inline]
    pub(super) const fn is_at(&self, timestamp_ms: i64) -> bool {
        self.len > 0 && self.timestamp_ms == timestamp_ms
    }

    pub(super) const fn value(&self) -> u64 {
        self.value
    }

    fn at(&self, timestamp_ms: i64) -> Self {
        let (mut bytes, head) = ([0; SAMPLE_ROOM], self.head);
        let time = head as usize + Self::VALUE as usize;
        let mut places = bytes.iter_mut().skip(time + 1);
        let len = time as u32 + 1 + put_varint(timestamp_ms.cast_unsigned(), &mut places);
        if head > 0 {
            let head = [v1::TAG_SAMPLE, len as u8 - 2, v1::TAG_VALUE];
            bytes.iter_mut().zip(head).for_each(|(place, byte)| *place = byte);
        }
        if let Some(tag) = bytes.get_mut(time) {
            *tag = v1::TAG_TIMESTAMP;
        }
        Self { bytes, head, len, value: 0, timestamp_ms }
    }

    /// No sample; those that follow are a value and its time, without what is ahead of them.
    pub(super) fn bare() -> Self {
        Self { head: 0, ..Self::default() }
    }

    /// Bytes ahead of the value.
    pub(super) const fn head(&self) -> u32 {
        self.head
    }

    /// Becomes no sample.
    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The bytes, and others behind them.
    pub(super) const fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes a varint; returns its length.
#[inline]
fn put_varint<'a>(mut number: u64, mut places: impl Iterator<Item = &'a mut u8>) -> u32 {
    let mut len = 0;
    loop {
        let more = number > 0x7f;
        if let Some(place) = places.next() {
            *place = number as u8 & 0x7f | if more { 0x80 } else { 0 };
        }
        len += 1;
        number >>= 7;
        if !more {
            return len;
        }
    }
}
