//! A page's samples as requests of 2.0: in the plain way, or told again from what the page before became.
//!
//! A request repeats as long as the same series come in the same order: texts, places and metadata are the same bytes,
//! and only values and the time differ. So what the plain way made is searched once for what its series have in
//! common ([`direct::search`]), when the same series come for the second time, and kept ([`Replay`]): its texts as snappy
//! made them, the series as a tape.
//!
//! Invariant: a request that is told again decodes, byte for byte, to what the plain way makes.

use prost::encoding::{encode_varint, encoded_len_varint};

use super::{Encoder, Sample, Series};
use crate::remote_write::{
    direct::{self, Direct},
    fragment::Tally,
    replay::{Number, Replay, Told},
};

/// One sample of a page, for [`Encoder::push_page`].
#[derive(Clone, Copy, Debug)]
pub struct Paged {
    /// A number of its series.
    pub series: u32,
    /// A number of what shows it, by which it is looked up. Several may show one series, each of them with a counter
    /// that began at another time.
    pub at: u32,
    /// The bits of its value.
    pub value: u64,
}

/// Some samples of a page that go into one request.
#[derive(Default)]
struct Chunk {
    /// Of each sample two, of its series and of what shows it; and the key.
    numbers: Vec<Number>,
    ats: Vec<u32>,
    values: Vec<u64>,
}

impl Encoder<'_> {
    /// Adds the samples of a page that have one time. Their numbers say for `replay` which series it is and when its counter
    /// began, as long as that is not cleared and `key` is the same. `series` gives both by [`Paged::at`] (0 is a start
    /// that is not known). Requests begin and end with the page.
    pub fn push_page(
        &mut self,
        page: impl Iterator<Item = Paged>,
        timestamp_ms: i64,
        key: u64,
        series: impl Fn(u32) -> Option<(Series, i64)>,
        replay: &mut Replay,
    ) {
        self.cut();
        let mut page = page.peekable();
        let mut chunk = Chunk::default();
        let mut at = 0;
        while page.peek().is_some() {
            chunk.fill(page.by_ref().take(self.samples_max as usize), key);
            if let Some(told) = replay.get(at, &chunk.numbers, timestamp_ms) {
                self.push_told(told, &chunk.values, timestamp_ms);
            } else {
                let again = replay.has_come_before(at, &chunk.numbers);
                let told = self.push_chunk(&chunk, timestamp_ms, again, &series);
                replay.set(at, &chunk.numbers, timestamp_ms, told);
                if again && !replay.has(at) {
                    replay.give_up(at, &chunk.numbers);
                }
            }
            at += 1;
        }
        replay.truncate(at);
    }

    /// Adds samples in the plain way. Returns how to tell them again, if that is wanted and they are one request.
    fn push_chunk(
        &mut self,
        chunk: &Chunk,
        timestamp_ms: i64,
        is_wanted: bool,
        series: impl Fn(u32) -> Option<(Series, i64)>,
    ) -> Option<Told> {
        let staged = self.staged.len();
        let mut value_ats = Vec::with_capacity(if is_wanted { chunk.values.len() } else { 0 });
        let mut are_before = true;
        for (&at, &value) in chunk.ats.iter().zip(&chunk.values) {
            let Some((series, start_ms)) = series(at) else { continue };
            let at = self.push_sample(&series, Sample { value, timestamp_ms, start_ms });
            if is_wanted {
                value_ats.push(at as u32);
            }
            // A start is written when it is before the sample, which it will be from then on.
            are_before &= start_ms < timestamp_ms;
        }
        let is_whole = value_ats.len() == chunk.values.len() && self.staged.len() == staged;
        let told = if is_whole && are_before { self.tell(&value_ats, timestamp_ms) } else { None };
        self.cut();
        told
    }

    /// How to tell the open request again, whose values are at these places of its series.
    fn tell(&mut self, value_ats: &[u32], timestamp_ms: i64) -> Option<Told> {
        let time_len = 1 + encoded_len_varint(timestamp_ms.cast_unsigned());
        let tape = direct::search(&self.series, value_ats, time_len as u32)?;
        let end = *value_ats.last()? as usize + size_of::<u64>() + time_len;
        let behind = self.series.get(end..)?.into();
        let texts = self.snappy.compress_vec(&self.texts).ok()?;
        let ahead = texts.get(encoded_len_varint(self.texts.len() as u64)..)?.into();
        Some(Told { ahead, tape, behind, raw_len: self.texts.len() + self.series.len() })
    }

    /// Adds a request that was told before.
    fn push_told(&mut self, told: &Told, values: &[u64], timestamp_ms: i64) {
        let mut direct = Direct::bare();
        direct.replay(&told.tape, values, timestamp_ms);
        direct.literal(&told.behind);
        let elements = direct.take();
        let raw_bytes = told.raw_len as u64;
        let len = encoded_len_varint(raw_bytes) + told.ahead.len() + elements.len();
        let mut body = Vec::with_capacity(len);
        encode_varint(raw_bytes, &mut body);
        body.extend_from_slice(&told.ahead);
        body.extend_from_slice(&elements);
        let mut tally = Tally::of(raw_bytes);
        tally.add_samples(values.len() as u32, timestamp_ms);
        self.staged.push((body.into(), tally));
    }
}

impl Chunk {
    fn fill(&mut self, samples: impl Iterator<Item = Paged>, key: u64) {
        let Self { numbers, ats, values } = self;
        numbers.clear();
        ats.clear();
        values.clear();
        for sample in samples {
            numbers.extend([sample.series.to_le_bytes(), sample.at.to_le_bytes()]);
            ats.push(sample.at);
            values.push(sample.value);
        }
        numbers.extend_from_slice(key.to_le_bytes().as_chunks().0);
    }
}

#[cfg(test)]
mod tests;
