//! Series as elements of snappy, without a message and without a compressor.
//!
//! What is in a message of 1.0 is known before it is written: parts of labels that series before it have
//! too ([`v1::Block`](super::v1::Block)), a value, a time that is the same for all. So what a compressor would find out by
//! looking at each byte follows from the numbers of the parts, and the message is never made:
//!
//! ```text
//!   time | head | name | host, job | operator | subtask, task | 12 10 09 value | 10 time | head | name …
//!   `-- as in the series before ---'`-- as where the rest of the labels -'  |    `-- as before -------
//!                                       stood last, with the value's first  what of the value neither
//!                                       bytes that are equal                has
//! ```
//!
//! A run of equal bytes goes on as long as it comes from one place, so a series is looked for that has all
//! that is left of this one's labels. Texts that are new, and parts that stood too far back, are compared
//! with what the series before has there, and what differs is searched ([`texts`]).
//!
//! Invariants: the elements decode to what [`v1::put_series`](super::v1::put_series) and [`v1::put_metadata`](super::v1::put_metadata) write, byte for
//! byte; they refer to nothing outside of the fragment.

mod elements;
mod series;
mod texts;

use self::{
    elements::Elements,
    series::{Head, Placed, Ring, SAMPLE_HEAD, Sample},
    texts::{Kept, Texts, common_prefix, common_suffix},
};
use super::v1::PARTS;

/// Lengths of series, of each of which it is known which series had it last. A power of two.
const LENGTHS: u32 = 64;

/// Numbers that are given to parts which come without one differ from the others by this.
pub(super) const OWN: u32 = 1 << 31;

/// Writes the elements of one fragment after the other.
///
/// It keeps some 60 KiB, up to 64 KiB of texts, 16 bytes for each part of labels of a target, and the bytes
/// of the longest fragment.
#[derive(Debug, Default)]
pub(super) struct Direct {
    elements: Elements,
    texts: Texts,
    /// By the number of a part; the second of those with [`OWN`].
    known: [Vec<Known>; 2],
    ring: Ring,
    by_len: Lengths,
    /// The series that the last rest of a block came from.
    source: u32,
    /// The sample of the last series, whose last bytes are not told yet, and where it begins. It has no bytes
    /// when the last thing was not a series.
    sample: Sample,
    sample_at: u32,
    /// Bytes of the fragment when it is decoded.
    raw_len: u32,
}

/// What is known of a part.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// A series that had it, the last one of those before the last change.
    series: u32,
    kept: Kept,
}

#[derive(Debug)]
struct Lengths([u32; LENGTHS as usize]);

impl Default for Lengths {
    fn default() -> Self {
        Self([0; LENGTHS as usize])
    }
}

/// Where the bytes come from that are being told.
#[derive(Clone, Copy)]
struct Source {
    /// A series that has something in common with this one.
    series: u32,
    /// How far back its bytes are from those of this one.
    offset: u32,
    /// Which parts it has too ([`Placed::same`]).
    same: u32,
}

impl Direct {
    /// Bytes that are pushed and not taken.
    pub(super) const fn raw_len(&self) -> u32 {
        self.raw_len
    }

    /// Adds a series with a sample: the parts of its labels, of which those with the same number (below
    /// 2^31, or from [`OWN`] on) are the same bytes.
    pub(super) fn series(
        &mut self,
        parts: [&[u8]; PARTS],
        numbers: [u32; PARTS],
        value: u64,
        timestamp_ms: i64,
    ) {
        let at = self.raw_len;
        let sample_len = self.sample.len_at(timestamp_ms);
        let labels_len: u32 = parts.iter().map(|part| part.len() as u32).sum();
        let len = labels_len + sample_len;
        let head = Head::new(len);
        let mut end = at + head.len();
        let [a, b, c, d] = parts.map(|part| {
            end += part.len() as u32;
            end
        });
        let parts_at = [at + head.len(), a, b, c, d];
        let is_joined = self.sample.len() > 0;
        let new = Placed { numbers, at, parts: parts_at, len, value, timestamp_ms, is_joined };

        let source = self.lead(&new, head);
        let source = self.labels(parts, &new, source);
        self.sample.set(value, timestamp_ms);
        (self.sample_at, self.raw_len) = (end, end + sample_len);
        self.begin_sample(&new, source);
        self.place(&new);
    }

    /// Adds a message that is no series.
    pub(super) fn message(&mut self, bytes: &[u8]) {
        self.end_sample();
        let Self { elements, texts, raw_len, .. } = self;
        texts.tell(elements, *raw_len, bytes, (0, bytes.len()), Kept::default());
        *raw_len += bytes.len() as u32;
        self.sample_at = *raw_len;
        self.sample.clear();
    }

    /// The elements of all that was added since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.end_sample();
        let elements = self.elements.finish().to_vec();
        self.clear();
        elements
    }

    /// Forgets all that was added since the last time.
    pub(super) fn clear(&mut self) {
        self.elements.clear();
        self.texts.clear();
        if self.ring.clear() {
            self.known.iter_mut().for_each(Vec::clear);
        }
        (self.source, self.raw_len, self.sample_at) = (0, 0, 0);
        self.sample.clear();
    }

    /// Tells the end of the series before, and the head of this one. Returns where its labels go on.
    #[inline]
    fn lead(&mut self, new: &Placed, head: Head) -> Option<Source> {
        let series = self.like(new);
        let begin = series.map_or(new.at, |series| self.end_value(series));
        let Some((series, like)) = series.and_then(|series| Some((series, self.ring.get(series)?)))
        else {
            self.end_sample();
            self.elements.literal(new.at, new.labels(), &head.bytes());
            return None;
        };
        let offset = new.labels() - like.labels();
        if like.len == new.len {
            self.elements.copy(offset, begin, new.labels());
        } else {
            // The tag is the same, and most of the length may be.
            self.elements.copy(new.at - like.at, begin, new.at + 1);
            let differ = head.differ(Head::new(like.len));
            self.elements.literal(new.at, new.at + differ, &head.bytes());
            self.elements.copy(offset, new.at + differ, new.labels());
        }
        Some(Source { series, offset, same: new.same(like) })
    }

    /// The series whose head and first labels are to be taken.
    #[inline]
    fn like(&self, new: &Placed) -> Option<u32> {
        let (last, before) = self.ring.last()?;
        let [name, job, ..] = new.numbers;
        let [last_name, ..] = before.numbers;
        if last_name == name && before.len == new.len {
            return Some(last);
        }
        let found = if last_name == name {
            self.by_len.get(new.len)
        } else {
            self.known(name).map_or(0, |known| known.series)
        };
        let other = self.ring.near(found, new.at).filter(|other| {
            let [other_name, other_job, ..] = other.numbers;
            let is_better = last_name != name || (other.len == new.len && other_job == job);
            other_name == name && is_better
        });
        Some(if other.is_some() { found } else { last })
    }

    /// Tells the sample of the series before as far as it is not the end of the one before `series`, and
    /// says from where on it is.
    fn end_value(&mut self, series: u32) -> u32 {
        let mut begin = self.raw_len;
        let is_joined = self.ring.get(series).is_some_and(|like| like.is_joined);
        if let (Some((_, last)), Some(ahead)) = (self.ring.last(), self.ring.get(series - 1))
            && is_joined
            && self.sample.len() > 0
            && last.timestamp_ms == ahead.timestamp_ms
        {
            let equal = (last.value ^ ahead.value).leading_zeros() / u8::BITS;
            begin = self.sample_at + SAMPLE_HEAD + Sample::VALUE - equal;
        }
        self.tell_sample(begin);
        begin
    }

    /// Tells all of the sample of the series before.
    fn end_sample(&mut self) {
        if self.sample.len() == 0 {
            return;
        }
        if let Some((last, &Placed { at, .. })) = self.ring.last() {
            let begin = self.end_value(last);
            self.elements.copy(self.raw_len - at, begin, self.raw_len);
        }
    }

    /// Tells the sample of the series before up to a place.
    fn tell_sample(&mut self, to: u32) {
        self.elements.literal(self.sample_at, to, self.sample.bytes());
    }

    /// Tells the labels, from `source` as far as they are the same; returns where what follows may go on.
    #[inline]
    fn labels(
        &mut self,
        parts: [&[u8]; PARTS],
        new: &Placed,
        mut source: Option<Source>,
    ) -> Option<Source> {
        let mut part = 0;
        while let Some(&bytes) = parts.get(part) {
            let (begin, end, _) = new.part(part);
            let mut equal = 0;
            if let Some(Source { series, offset, same }) = source {
                let same = (same >> part).trailing_ones() as usize;
                if same > 0 {
                    part += same;
                    self.elements.copy(offset, begin, new.part(part).0);
                    continue;
                }
                let (like_begin, like_end, like_number) =
                    self.ring.get(series).map_or((0, 0, 0), |like| like.part(part));
                if begin == end {
                    source = source.filter(|_| like_begin == like_end);
                } else {
                    equal = common_prefix(self.text(like_number), bytes);
                    if equal > 0 {
                        self.elements.copy(offset, begin, begin + equal as u32);
                    }
                }
            }
            if begin < end {
                let found = self.find(part, new);
                if let Some((series, same)) = found {
                    source = self.known_part(part, new, series, same);
                    part += (same >> part).trailing_ones() as usize;
                    continue;
                }
                source = self.new_part(part, bytes, new, (source, equal));
            }
            part += 1;
        }
        source
    }

    /// A series near that has the part, best of all with all parts behind it, and which parts it has.
    #[inline]
    fn find(&self, part: usize, new: &Placed) -> Option<(u32, u32)> {
        const ALL: u32 = (1 << PARTS) - 1;
        let all = ALL >> part;
        let same = |series| self.ring.near(series, new.at).map_or(0, |like| new.same(like));
        let next = self.source + 1;
        let of_next = same(next);
        if of_next >> part == all {
            return Some((next, of_next));
        }
        let of = |number| self.known(number).map_or(0, |known| known.series);
        let (.., number) = new.part(part);
        let this = of(number);
        let of_this = same(this);
        if of_this >> part == all {
            return Some((this, of_this));
        }
        let (last, like) = self.ring.last()?;
        let of_last = new.same(like);
        if (of_this | of_last) >> part & 1 == 0 {
            return None;
        }
        let [.., last_part] = new.numbers;
        let rest = of(last_part);
        let all = [(rest, same(rest)), (this, of_this), (last, of_last)];
        all.into_iter().max_by_key(|(_, same)| (same >> part).trailing_ones())
    }

    /// Tells a part that `series` has, with those that are `same`.
    #[inline]
    fn known_part(&mut self, part: usize, new: &Placed, series: u32, same: u32) -> Option<Source> {
        let like = self.ring.get(series)?;
        // It may have parts ahead too: as many bits as are ones right below this part's.
        let ahead = same.unbounded_shl(u32::BITS - part as u32).leading_ones() as usize;
        let behind = (same >> part).trailing_ones() as usize;
        let (from, ..) = new.part(part - ahead);
        let (end, ..) = new.part(part + behind);
        let offset = end - like.part(part + behind).0;
        self.elements.copy(offset, from, end);
        self.source = series;
        Some(Source { series, offset, same })
    }

    /// Tells a part that no series near has; the source has the first bytes of it.
    fn new_part(
        &mut self,
        part: usize,
        bytes: &[u8],
        new: &Placed,
        (source, mut from): (Option<Source>, usize),
    ) -> Option<Source> {
        let (begin, end, number) = new.part(part);
        let series = source.or_else(|| {
            let (series, like) = self.ring.last()?;
            Some(Source { series, offset: begin - like.part(part).0, same: new.same(like) })
        });
        let mut to = bytes.len();
        let like = series.and_then(|s| Some((s, *self.ring.get(s.series)?)));
        if let Some((Source { offset, .. }, like)) = like {
            let (.., like_number) = like.part(part);
            let known = self.text(like_number);
            if source.is_none() {
                from = common_prefix(known, bytes);
            }
            let rest = bytes.get(from..).unwrap_or_default();
            to -= common_suffix(known.get(from..).unwrap_or_default(), rest);
            self.elements.copy(offset, begin, begin + from as u32);
        }
        let kept = self.known(number).map_or_else(Kept::default, |known| known.kept);
        let Self { elements, texts, .. } = self;
        let kept = texts.tell(elements, begin, bytes, (from, to), kept);
        if let Some(known) = self.known_mut(number) {
            known.kept = kept;
        }
        let (Source { series, same, .. }, like) = like?;
        let (_, like_end, _) = like.part(part);
        let offset = end - like_end;
        self.elements.copy(offset, begin + to as u32, end);
        Some(Source { series, offset, same })
    }

    /// Tells the first bytes of a sample: those which are the source's too.
    #[inline]
    fn begin_sample(&mut self, new: &Placed, source: Option<Source>) {
        let begin = self.sample_at;
        if let Some(Source { series, offset, .. }) = source
            && let Some(like) = self.ring.get(series)
            && like.sample_len() == self.sample.len()
        {
            let equal = (like.value ^ new.value).trailing_zeros() / u8::BITS;
            let is_same = equal == Sample::VALUE && like.timestamp_ms == new.timestamp_ms;
            let len = if is_same { self.sample.len() } else { SAMPLE_HEAD + equal };
            return self.elements.copy(offset, begin, begin + len);
        }
        self.tell_sample(begin + SAMPLE_HEAD);
    }

    /// Remembers where a series is.
    #[inline]
    fn place(&mut self, new: &Placed) {
        if let Some((last, before)) = self.ring.last() {
            let [theirs, own] = &mut self.known;
            for (new, before) in new.numbers.into_iter().zip(before.numbers) {
                if new == before {
                    continue;
                }
                let known = if before < OWN {
                    theirs.get_mut(before as usize)
                } else {
                    own.get_mut((before - OWN) as usize)
                };
                if let Some(known) = known {
                    known.series = last;
                }
            }
        }
        let series = self.ring.push(new);
        self.by_len.set(new.len, series);
    }

    /// The bytes of a part that was new lately.
    fn text(&self, number: u32) -> &[u8] {
        self.known(number).map_or(&[], |known| self.texts.get(known.kept))
    }

    #[inline]
    fn known(&self, number: u32) -> Option<&Known> {
        let [theirs, own] = &self.known;
        if number < OWN { theirs.get(number as usize) } else { own.get((number - OWN) as usize) }
    }

    fn known_mut(&mut self, number: u32) -> Option<&mut Known> {
        let [theirs, own] = &mut self.known;
        let (known, at) =
            if number < OWN { (theirs, number as usize) } else { (own, (number - OWN) as usize) };
        if at >= known.len() {
            known.resize(at + 1, Known::default());
        }
        known.get_mut(at)
    }
}

impl Lengths {
    fn get(&self, len: u32) -> u32 {
        self.0.get((len % LENGTHS) as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, len: u32, series: u32) {
        if let Some(place) = self.0.get_mut((len % LENGTHS) as usize) {
            *place = series;
        }
    }
}

#[cfg(test)]
mod tests;
