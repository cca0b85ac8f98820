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
mod labels;
mod search;
mod series;
mod tape;
mod texts;

pub(super) use self::{search::search, tape::Tape};
use self::{
    series::{Head, Placed, Ring, Sample},
    tape::{AHEAD, Reader, Run, Samples, Teller},
    texts::{Kept, Texts},
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
    teller: Teller,
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

/// A sample with as many bytes as the last one.
#[derive(Clone, Copy)]
struct Like {
    /// How far back it is.
    offset: u32,
    value: u64,
    timestamp_ms: i64,
}

impl Direct {
    /// For the tapes of [`search()`] alone.
    pub(super) fn bare() -> Self {
        Self { sample: Sample::bare(), ..Self::default() }
    }

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

        self.teller.begin_series(at);
        let next = self.ring.next();
        let (source, ahead) = self.lead(&new, head);
        let source = self.labels(parts, &new, source);
        (self.sample_at, self.raw_len) = (end, end + sample_len);
        self.sample.set(value, timestamp_ms);
        let like = source.and_then(|source| self.sample_like(source));
        self.begin_sample(like);
        let source = source.filter(|_| like.is_some());
        self.teller.end_series(Samples {
            ahead: ahead.map_or(0, |series| next - series),
            source: source.map_or(0, |source| next - source.series),
            offset: source.map_or(0, |source| source.offset),
        });
        self.place(&new);
    }

    /// Writes down the series that are added until [`Direct::recorded`], which have one time.
    pub(super) fn record(&mut self) {
        self.part();
        self.teller.record();
    }

    /// The series that were added since [`Direct::record`]. Nothing when they do not fit onto a tape.
    pub(super) fn recorded(&mut self) -> Option<Tape> {
        self.part();
        self.teller.recorded()
    }

    /// Adds the series of a tape, with these values and this time, as if each of them were added again. The time takes
    /// as many bytes as that of the tape.
    pub(super) fn replay(&mut self, tape: &Tape, values: &[u64], timestamp_ms: i64) {
        self.part();
        let sample_len = self.sample.len_at(timestamp_ms);
        let mut reader = tape.read();
        let mut at = self.raw_len;
        for (index, &value) in values.iter().enumerate() {
            let ago = |series: u32| {
                let before = index.checked_sub(series as usize).filter(|_| series > 0)?;
                values.get(before)
            };
            let Some(head) = reader.head() else { break };
            let begin = self.end_like(ago(head.ahead).copied());
            at = self.raw_len;
            let Some((last, end)) = self.replay_labels(&mut reader, begin) else { break };
            let Some(samples) = reader.samples(head, last) else { break };
            (self.sample_at, self.raw_len) = (end, end + sample_len);
            self.sample.set(value, timestamp_ms);
            let like = ago(samples.source);
            let offset = samples.offset;
            self.begin_sample(like.map(|&value| Like { offset, value, timestamp_ms }));
        }
        if let [before @ .., _] = values {
            let begin = self.end_like(before.last().copied());
            self.teller.elements.copy(self.raw_len - at, begin, self.raw_len);
        }
        self.part();
    }

    /// Tells the labels of one series of a tape. Returns the last run, and where they end.
    #[inline]
    fn replay_labels(&mut self, reader: &mut Reader<'_>, ahead: u32) -> Option<(Run, u32)> {
        let at = self.raw_len;
        loop {
            let (run, bytes, is_last) = reader.run()?;
            let begin = if run.begin == AHEAD { ahead } else { at + run.begin };
            let end = at + run.end;
            if run.offset == 0 {
                self.teller.elements.literal(begin, end, bytes);
            } else {
                self.teller.elements.copy(run.offset, begin, end);
            }
            if is_last {
                return Some((run, end));
            }
        }
    }

    /// What comes refers to nothing of what came.
    fn part(&mut self) {
        self.end_sample();
        self.sample.clear();
        self.sample_at = self.raw_len;
        self.forget();
    }

    /// Adds a message that is no series.
    pub(super) fn message(&mut self, bytes: &[u8]) {
        self.end_sample();
        let Self { teller, texts, raw_len, .. } = self;
        texts.tell(teller, *raw_len, bytes, (0, bytes.len()), Kept::default());
        *raw_len += bytes.len() as u32;
        self.sample_at = *raw_len;
        self.sample.clear();
    }

    /// Adds bytes as they are, behind a tape.
    pub(super) fn literal(&mut self, bytes: &[u8]) {
        let end = self.raw_len + bytes.len() as u32;
        self.teller.elements.literal(self.raw_len, end, bytes);
        self.raw_len = end;
    }

    /// The elements of all that was added since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.end_sample();
        let elements = self.teller.elements.finish().to_vec();
        self.clear();
        elements
    }

    /// Forgets all that was added since the last time.
    pub(super) fn clear(&mut self) {
        self.teller.clear();
        self.forget();
        (self.raw_len, self.sample_at) = (0, 0);
        self.sample.clear();
    }

    /// Forgets where series and texts are.
    fn forget(&mut self) {
        self.texts.clear();
        if self.ring.clear() {
            self.known.iter_mut().for_each(Vec::clear);
        }
        // As if the one ahead of the first had been it, whatever its number.
        self.source = self.ring.next() - 1;
    }

    /// Tells the end of the series before, and the head of this one. Returns where its labels go on, and the series
    /// that the end was compared with.
    #[inline]
    fn lead(&mut self, new: &Placed, head: Head) -> (Option<Source>, Option<u32>) {
        let found = self.like(new).and_then(|series| Some((series, *self.ring.get(series)?)));
        let Some((series, like)) = found else {
            self.end_sample();
            self.teller.literal(new.at, new.labels(), &head.bytes());
            return (None, None);
        };
        let ahead = self.ahead_of(series);
        let begin = self.end_like(ahead.map(|(_, value)| value));
        let offset = new.labels() - like.labels();
        if like.len == new.len {
            self.teller.copy(offset, begin, new.labels());
        } else {
            // The tag is the same, and most of the length may be.
            self.teller.copy(new.at - like.at, begin, new.at + 1);
            let differ = head.differ(Head::new(like.len));
            self.teller.literal(new.at, new.at + differ, &head.bytes());
            self.teller.copy(offset, new.at + differ, new.labels());
        }
        let ahead = ahead.map(|(series, _)| series);
        (Some(Source { series, offset, same: new.same(&like) }), ahead)
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

    /// The series right ahead of `series`, and its value, when its sample has the time of the last one.
    fn ahead_of(&self, series: u32) -> Option<(u32, u64)> {
        let ahead = series - 1;
        let Placed { value, timestamp_ms, .. } = *self.ring.get(ahead)?;
        let is_joined = self.ring.get(series)?.is_joined;
        (is_joined && self.sample.is_at(timestamp_ms)).then_some((ahead, value))
    }

    /// Tells the sample of the series before as far as it does not end as one of the same time with this value
    /// does, and says from where on it does.
    #[inline]
    fn end_like(&mut self, ahead: Option<u64>) -> u32 {
        let mut begin = self.raw_len;
        if let Some(ahead) = ahead {
            let equal = (self.sample.value() ^ ahead).leading_zeros() / u8::BITS;
            begin = self.sample_at + self.sample.head() + Sample::VALUE - equal;
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
            let ahead = self.ahead_of(last);
            let begin = self.end_like(ahead.map(|(_, value)| value));
            self.teller.elements.copy(self.raw_len - at, begin, self.raw_len);
        }
    }

    /// Tells the sample of the series before up to a place.
    fn tell_sample(&mut self, to: u32) {
        self.teller.elements.literal(self.sample_at, to, self.sample.bytes());
    }

    /// The sample of the series that labels were taken from to the last, if it has as many bytes.
    fn sample_like(&self, Source { series, offset, .. }: Source) -> Option<Like> {
        let like = self.ring.get(series)?;
        let Placed { value, timestamp_ms, .. } = *like;
        (like.sample_len() == self.sample.len()).then_some(Like { offset, value, timestamp_ms })
    }

    /// Tells the first bytes of a sample: those which the other one has too.
    #[inline]
    fn begin_sample(&mut self, like: Option<Like>) {
        let begin = self.sample_at;
        let Some(Like { offset, value, timestamp_ms }) = like else {
            return self.tell_sample(begin + self.sample.head());
        };
        let equal = (value ^ self.sample.value()).trailing_zeros() / u8::BITS;
        let is_same = equal == Sample::VALUE && self.sample.is_at(timestamp_ms);
        let len = if is_same { self.sample.len() } else { self.sample.head() + equal };
        self.teller.elements.copy(offset, begin, begin + len);
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
