//! Compressed runs of whole messages, and how they join into a request.
//!
//! A request body is snappy's raw format: the length of the content as a varint, then elements,
//! which are literals and copies. A copy counts back from where it stands, never from the start of
//! the body, and a protobuf message of repeated fields may be continued by another one. So
//!
//! ```text
//!  body = varint(raw bytes of all fragments) elements(fragment 1) elements(fragment 2) …
//! ```
//!
//! is a valid body that decodes to all their series and metadata. A scrape is compressed once, as
//! it runs, and batches are cut later without touching the bytes again, even when several
//! receivers cut differently.
//!
//! That holds for 1.0. A request of 2.0 refers to texts by their places in it, so it cannot be
//! continued, and a fragment of 2.0 is the content of one body ([`super::v2`]).
//!
//! Invariants: a fragment holds whole messages; its elements refer to nothing outside it; it holds
//! at most the samples of one batch, and at most [`BODY_RAW_BYTES_MAX`] raw bytes unless it is one
//! single longer message.

use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashMap;
use prost::encoding::{encode_varint, encoded_len_varint};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Message,
    direct::{self, Direct},
    replay::{Number, Replay, Told},
    v1::{self, Block, Metadata, PARTS, STALE_NAN},
};
use crate::limits::BODY_RAW_BYTES_MAX;

/// A compressed run of whole series and metadata entries, the unit that a scrape hands on.
///
/// All series of a fragment have seen the same relabelling, so it may go to every receiver that
/// shares that view.
#[derive(Clone, Debug)]
pub struct Fragment {
    message: Message,
    elements: Bytes,
    tally: Tally,
    created: Instant,
}

/// What is in a fragment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) raw_bytes: u64,
    pub(super) samples: u32,
    metadata: u32,
    /// Lowest and highest; `None` without a sample.
    timestamps_ms: Option<(i64, i64)>,
}

impl Tally {
    /// Of so many bytes, and nothing that is in them.
    pub(super) fn of(raw_bytes: u64) -> Self {
        Self { raw_bytes, ..Self::default() }
    }

    pub(super) fn add_sample(&mut self, timestamp_ms: i64) {
        self.add_samples(1, timestamp_ms);
    }

    pub(super) fn add_samples(&mut self, samples: u32, timestamp_ms: i64) {
        self.samples += samples;
        self.timestamps_ms = Some(match self.timestamps_ms {
            Some((lowest, highest)) => (lowest.min(timestamp_ms), highest.max(timestamp_ms)),
            None => (timestamp_ms, timestamp_ms),
        });
    }
}

impl Fragment {
    /// A fragment of a whole body in snappy's raw format.
    pub(super) fn new(message: Message, body: Bytes, tally: Tally, created: Instant) -> Self {
        let elements = body.slice(encoded_len_varint(tally.raw_bytes)..);
        Self { message, elements, tally, created }
    }

    /// Which message it is a run of. Only fragments of [`Message::V1`] join into one body.
    pub const fn message(&self) -> Message {
        self.message
    }

    /// Compressed bytes, which is what the fragment adds to a body.
    pub const fn bytes(&self) -> u64 {
        self.elements.len() as u64
    }

    /// Bytes before compression.
    pub const fn raw_bytes(&self) -> u64 {
        self.tally.raw_bytes
    }

    /// Samples, staleness markers included; each belongs to another series.
    pub const fn samples(&self) -> u32 {
        self.tally.samples
    }

    /// Metadata entries; in 2.0 there are none, since each series brings what is known of it.
    pub const fn metadata(&self) -> u32 {
        self.tally.metadata
    }

    /// The earliest time of a sample, in milliseconds since the epoch.
    pub fn lowest_timestamp_ms(&self) -> Option<i64> {
        self.tally.timestamps_ms.map(|(lowest, _)| lowest)
    }

    /// The latest time of a sample, in milliseconds since the epoch.
    pub fn highest_timestamp_ms(&self) -> Option<i64> {
        self.tally.timestamps_ms.map(|(_, highest)| highest)
    }

    /// When the scrape was done that the fragment is of.
    pub const fn created(&self) -> Instant {
        self.created
    }

    /// The compressed bytes themselves, for a spool that stores them.
    pub const fn elements(&self) -> &Bytes {
        &self.elements
    }

    /// A fragment that was stored.
    pub const fn restore(
        message: Message,
        elements: Bytes,
        raw_bytes: u64,
        samples: u32,
        metadata: u32,
        timestamps_ms: Option<(i64, i64)>,
        created: Instant,
    ) -> Self {
        let tally = Tally { raw_bytes, samples, metadata, timestamps_ms };
        Self { message, elements, tally, created }
    }
}

/// The body of a request that carries `fragments`, in their order: any number of [`Message::V1`], or
/// one of [`Message::V2`].
///
/// The raw bytes of all of them must stay below 4 GiB, the limit of snappy's format; batches keep
/// to [`BODY_RAW_BYTES_MAX`].
pub fn body<'a>(fragments: impl Iterator<Item = &'a Fragment> + Clone) -> Bytes {
    debug_assert!(
        fragments.clone().all(|f| f.message == Message::V1) || fragments.clone().count() == 1,
        "requests of remote write 2.0 do not join"
    );
    let raw_bytes: u64 = fragments.clone().map(|f| f.tally.raw_bytes).sum();
    debug_assert!(raw_bytes <= u64::from(u32::MAX), "{raw_bytes} bytes in one snappy body");
    let elements: usize = fragments.clone().map(|f| f.elements.len()).sum();
    let mut body = Vec::with_capacity(encoded_len_varint(raw_bytes) + elements);
    encode_varint(raw_bytes, &mut body);
    for fragment in fragments {
        body.extend_from_slice(&fragment.elements);
    }
    body.into()
}

/// Encodes and compresses the series of one scrape, for one view, as they come.
///
/// Until the scrape ends, blocks with numbers are of one target. What is kept from scrape to scrape is in the
/// target's [`Replay`]; buffers (`direct`) are made anew, at some thousandths of what a scrape costs, for
/// targets that wait should hold none.
#[derive(Debug)]
pub struct Encoder {
    samples_max: u32,
    direct: Direct,
    /// Numbers of the parts, in this fragment, of blocks that come without.
    numbers: HashMap<u128, u32>,
    /// A message other than a series.
    message: Vec<u8>,
    /// The open fragment's content; its `raw_bytes` are told at its end.
    open: Tally,
    /// Fragments of the scrape that goes on.
    staged: Vec<(Bytes, Tally)>,
}

impl Encoder {
    /// An encoder of fragments of at most `samples_max` samples (`max_samples_per_send`); zero
    /// counts as one.
    pub fn new(samples_max: u32) -> Self {
        Self {
            samples_max: samples_max.max(1),
            direct: Direct::default(),
            numbers: HashMap::new(),
            message: Vec::new(),
            open: Tally::default(),
            staged: Vec::new(),
        }
    }

    /// Adds a sample of the series whose [`v1::labels_block`] is given; the time is in
    /// milliseconds since the epoch.
    pub fn push<'a>(&mut self, labels_block: impl Into<Block<'a>>, value: f64, timestamp_ms: i64) {
        self.push_bits(labels_block.into(), value.to_bits(), timestamp_ms);
    }

    /// Adds the samples of a page that have one time: each with a number of its series and the bits of its value. The
    /// numbers say which series it is for `replay` as long as that is not cleared, and for `block`, which gives the
    /// labels. Returns how many there are.
    pub fn push_page<'a>(
        &mut self,
        page: impl Iterator<Item = (u32, u64)>,
        timestamp_ms: i64,
        block: impl Fn(u32) -> Block<'a>,
        replay: &mut Replay,
    ) -> u64 {
        let mut pushed = 0;
        let mut page = page.peekable();
        let (mut series, mut values) = (Vec::new(), Vec::new());
        let mut at = 0;
        while page.peek().is_some() {
            // Metadata of a scrape may be ahead of its samples.
            if self.open.samples > 0 {
                self.cut();
            }
            series.clear();
            values.clear();
            for (number, value) in page.by_ref().take(self.samples_max as usize) {
                series.push(number.to_le_bytes());
                values.push(value);
            }
            pushed += series.len() as u64;
            if let Some(told) = replay.get(at, &series, timestamp_ms) {
                self.make_room(told.raw_len);
                self.direct.replay(&told.tape, &values, timestamp_ms);
                self.open.add_samples(series.len() as u32, timestamp_ms);
            } else {
                let told = self.push_recorded(&series, &values, timestamp_ms, &block);
                replay.set(at, &series, timestamp_ms, told);
            }
            at += 1;
        }
        replay.truncate(at);
        pushed
    }

    /// Adds samples in the plain way. Returns what was told of them, when they are in one fragment.
    fn push_recorded<'a>(
        &mut self,
        series: &[Number],
        values: &[u64],
        timestamp_ms: i64,
        block: impl Fn(u32) -> Block<'a>,
    ) -> Option<Told> {
        self.direct.record();
        let (staged, raw_len) = (self.staged.len(), self.direct.raw_len());
        for (&number, &value) in series.iter().zip(values) {
            self.push_bits(block(u32::from_le_bytes(number)), value, timestamp_ms);
        }
        let tape = self.direct.recorded().filter(|_| self.staged.len() == staged)?;
        let raw_len = (self.direct.raw_len() - raw_len) as usize;
        Some(Told { ahead: [].into(), tape, behind: [].into(), raw_len })
    }

    /// Marks a series as stale from `timestamp_ms` on.
    pub fn push_stale<'a>(&mut self, labels_block: impl Into<Block<'a>>, timestamp_ms: i64) {
        self.push_bits(labels_block.into(), STALE_NAN, timestamp_ms);
    }

    fn push_bits(&mut self, labels_block: Block<'_>, value: u64, timestamp_ms: i64) {
        if self.open.samples == self.samples_max {
            self.cut();
        }
        self.make_room(v1::series_len(labels_block.len(), timestamp_ms));
        let Block { parts, numbers } = labels_block;
        let (parts, numbers) = match numbers {
            Some(numbers) => (parts, numbers),
            None => self.number(parts),
        };
        self.direct.series(parts, numbers, value, timestamp_ms);
        self.open.add_sample(timestamp_ms);
    }

    /// Adds the metadata of a family.
    pub fn push_metadata(&mut self, metadata: &Metadata<'_>) {
        self.make_room(v1::metadata_len(metadata));
        self.message.clear();
        v1::put_metadata(&mut self.message, metadata);
        self.direct.message(&self.message);
        self.open.metadata += 1;
    }

    /// Ends a good scrape: hands out everything pushed since the last end, in order. Empty when
    /// nothing was pushed.
    pub fn finish(&mut self, created: Instant) -> Vec<Fragment> {
        self.cut();
        let staged = self.staged.drain(..);
        staged
            .map(|(elements, tally)| Fragment { message: Message::V1, elements, tally, created })
            .collect()
    }

    /// Ends a scrape that failed: forgets everything pushed since the last end.
    pub fn discard(&mut self) {
        self.direct.clear();
        self.numbers.clear();
        self.open = Tally::default();
        self.staged.clear();
    }

    /// A block without numbers, cut and numbered.
    fn number<'a>(&mut self, parts: [&'a [u8]; PARTS]) -> ([&'a [u8]; PARTS], [u32; PARTS]) {
        let parts = match parts {
            [block, [], [], []] => Block::cut(block).parts,
            parts => parts,
        };
        let numbers = parts.map(|part| {
            let next = direct::OWN + self.numbers.len() as u32;
            *self.numbers.entry(xxh3_128(part)).or_insert(next)
        });
        (parts, numbers)
    }

    /// Makes sure that a message of `len` bytes may be added to the open fragment.
    fn make_room(&mut self, len: usize) {
        if u64::from(self.direct.raw_len()) + len as u64 > BODY_RAW_BYTES_MAX {
            self.cut();
        }
    }

    /// Stages the open fragment, if there is anything in it.
    fn cut(&mut self) {
        let raw_bytes = self.direct.raw_len().into();
        if raw_bytes == 0 {
            return;
        }
        let elements = self.direct.take().into();
        self.numbers.clear();
        self.staged.push((elements, Tally { raw_bytes, ..std::mem::take(&mut self.open) }));
    }
}
