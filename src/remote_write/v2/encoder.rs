//! Encodes and compresses the series of one scrape as whole requests of remote write 2.0.
//!
//! Texts and series grow in two buffers, because the texts come first in a request and are known only
//! with the last series. A request is compressed when it is full.
//!
//! Invariants: each text stands once in a request, and the empty one first; a request holds at most
//! the samples of one batch, and would hold at most about [`BODY_RAW_BYTES_MAX`] as a request of 1.0
//! too, to which it may have to be turned for a receiver that knows no other, unless it is one longer
//! series.

use std::time::Instant;

use bytes::Bytes;

use super::{MetadataRefs, Run, Sample, Series, Symbols, put_ref, put_series, put_symbol};
use crate::{
    limits::BODY_RAW_BYTES_MAX,
    remote_write::{
        Fragment, Message,
        fragment::Tally,
        v1::{self, STALE_NAN},
    },
};

/// Turns series into fragments, each of them a whole body. For one scrape of one target: it
/// borrows the texts of that target.
#[derive(Debug)]
pub struct Encoder<'target> {
    symbols: &'target Symbols,
    pub(super) samples_max: u32,
    /// For each number of `symbols` where its text stands in the open request.
    places: Vec<Place>,
    /// Which entries of `places` are of the open request.
    request: u32,
    pub(super) texts: Vec<u8>,
    texts_count: u32,
    pub(super) series: Vec<u8>,
    /// For each run of `symbols` where its places stand in `refs`.
    run_places: Vec<RunPlace>,
    /// The places of the runs of the open request, encoded.
    refs: Vec<u8>,
    /// What the open request would be in 1.0, without its metadata.
    expanded_bytes: u64,
    open: Tally,
    pub(super) staged: Vec<(Bytes, Tally)>,
    pub(super) snappy: snap::raw::Encoder,
    /// Where snappy writes.
    scratch: Vec<u8>,
}

/// Where a text stands, valid in one request.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    request: u32,
    at: u32,
}

/// Where the encoded places of a run are, valid in one request.
#[derive(Clone, Copy, Debug, Default)]
struct RunPlace {
    request: u32,
    begin: u32,
    end: u32,
}

impl<'target> Encoder<'target> {
    /// An encoder of requests of at most `samples_max` samples (`max_samples_per_send`); zero counts
    /// as one.
    pub fn new(symbols: &'target Symbols, samples_max: u32) -> Self {
        Self {
            symbols,
            samples_max: samples_max.max(1),
            places: Vec::new(),
            request: 0,
            texts: Vec::new(),
            texts_count: 0,
            series: Vec::new(),
            run_places: Vec::new(),
            refs: Vec::new(),
            expanded_bytes: 0,
            open: Tally::default(),
            staged: Vec::new(),
            snappy: snap::raw::Encoder::new(),
            scratch: Vec::new(),
        }
    }

    /// Adds a sample; `timestamp_ms` and `start_ms` (0 when it is not known) are in milliseconds
    /// since the epoch.
    pub fn push(&mut self, series: &Series, value: f64, timestamp_ms: i64, start_ms: i64) {
        self.push_sample(series, Sample { value: value.to_bits(), timestamp_ms, start_ms });
    }

    /// Marks a series as stale from `timestamp_ms` on.
    pub fn push_stale(&mut self, series: &Series, timestamp_ms: i64) {
        self.push_sample(series, Sample { value: STALE_NAN, timestamp_ms, start_ms: 0 });
    }

    /// Adds a sample by its bits. Returns where the value is among the series of the open request.
    pub fn push_sample(&mut self, series: &Series, sample: Sample) -> usize {
        debug_assert!(series.is_of(self.symbols), "a series of another target or generation");
        if self.request == 0 {
            // Not before, since what is told again needs none of it.
            self.places.resize(self.symbols.len(), Place::default());
            self.run_places.resize(self.symbols.runs_len(), RunPlace::default());
            self.begin();
        }
        let block_len = self.symbols.block_len(series);
        let expanded = (v1::series_len(block_len, sample.timestamp_ms) + METADATA_LEN) as u64;
        if self.open.samples == self.samples_max || self.is_beyond(expanded, series) {
            self.cut();
        }
        let Series { labels, about } = series;
        let labels = labels.map(|run| self.run_place(run));
        let (help, unit) = (self.place(about.help), self.place(about.unit));
        let metadata = MetadataRefs { kind: about.kind, help, unit };
        let refs = labels.map(|RunPlace { begin, end, .. }| {
            self.refs.get(begin as usize..end as usize).unwrap_or_default()
        });
        let value_at = put_series(&mut self.series, &refs, sample, metadata);
        self.expanded_bytes += expanded;
        self.open.add_sample(sample.timestamp_ms);
        value_at
    }

    /// Hands out everything pushed, in order. Empty when nothing was.
    pub fn finish(mut self, created: Instant) -> Vec<Fragment> {
        self.cut();
        let staged = self.staged.into_iter();
        staged.map(|(body, tally)| Fragment::new(Message::V2, body, tally, created)).collect()
    }

    /// Whether the open request would outgrow its limit by that series.
    fn is_beyond(&self, expanded: u64, series: &Series) -> bool {
        let bytes = self.expanded_bytes + expanded + self.texts.len() as u64;
        // The texts of the series count only when it could matter.
        bytes > BODY_RAW_BYTES_MAX / 2
            && bytes + self.symbols.texts_len(series) as u64 > BODY_RAW_BYTES_MAX
    }

    /// Where the places of a run are; they are encoded when the open request has it for the first time.
    #[inline]
    fn run_place(&mut self, run: Run) -> RunPlace {
        match self.run_places.get(run.at as usize) {
            Some(place) if place.request == self.request => *place,
            _ => self.append_run(run),
        }
    }

    #[cold]
    fn append_run(&mut self, run: Run) -> RunPlace {
        let begin = self.refs.len() as u32;
        let symbols = self.symbols;
        for &number in symbols.texts_of(run) {
            let at = self.place(number);
            put_ref(&mut self.refs, at);
        }
        let new = RunPlace { request: self.request, begin, end: self.refs.len() as u32 };
        if let Some(place) = self.run_places.get_mut(run.at as usize) {
            *place = new;
        }
        new
    }

    /// Where the text stands in the open request; it is appended when it is not there yet.
    #[inline]
    fn place(&mut self, number: u32) -> u32 {
        match self.places.get(number as usize) {
            Some(place) if place.request == self.request => place.at,
            _ => self.append_text(number),
        }
    }

    #[cold]
    fn append_text(&mut self, number: u32) -> u32 {
        let Some(place) = self.places.get_mut(number as usize) else { return 0 };
        *place = Place { request: self.request, at: self.texts_count };
        self.texts_count += 1;
        put_symbol(&mut self.texts, self.symbols.text(number));
        place.at
    }

    fn begin(&mut self) {
        self.request += 1;
        self.texts.clear();
        self.texts_count = 0;
        self.series.clear();
        self.refs.clear();
        self.expanded_bytes = 0;
        let empty = self.place(0);
        debug_assert_eq!(empty, 0, "the first text is empty");
    }

    /// Compresses and stages the open request, if there is anything in it, and begins another.
    pub(super) fn cut(&mut self) {
        if self.open.samples == 0 {
            return;
        }
        self.texts.extend_from_slice(&self.series);
        self.open.raw_bytes = self.texts.len() as u64;
        let bound = snap::raw::max_compress_len(self.texts.len());
        if self.scratch.len() < bound {
            self.scratch.resize(bound, 0);
        }
        let written = self
            .snappy
            .compress(&self.texts, &mut self.scratch)
            .expect("the output has max_compress_len bytes, and a request is far below 4 GiB");
        // A copy, because fragments wait for long and should not hold the room they did not need.
        let body = Bytes::copy_from_slice(self.scratch.get(..written).unwrap_or_default());
        self.staged.push((body, std::mem::take(&mut self.open)));
        self.begin();
    }
}

/// Bytes of a series' metadata and of the longer half of its places, generously: with it, what a
/// request would be in 1.0 is an upper bound of what it is in 2.0.
const METADATA_LEN: usize = 24;
