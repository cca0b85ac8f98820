//! What was told of series one after the other, so that it can be told again with other values.
//!
//! Where labels come from does not depend on values: when the same series come again in the same order,
//! the same runs of bytes repeat. So the places of those runs are written down, and of each sample from which
//! other samples its first and its last bytes may come.
//!
//! ```text
//!  series = ahead u16 | source u16 | run …  | offset of the source u32, if it is not that of the last run
//!  run    = begin u16 | end u16 | offset u16 | its high half u16, if it is far; the bytes, if it is a literal
//! ```
//!
//! All numbers are little-endian. Places count from where the series begins, samples by how many series ago they
//! were. No offset is 0, so that is a literal.
//!
//! Invariants: the runs of a series leave no gap, and the last of them ends with the labels; what does not fit is
//! not written down, and there is no tape then.

use super::elements::Elements;

/// Elements, of which those of labels may be written down.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// To tell what is not written down.
    pub(super) elements: Elements,
    tape: Option<Writer>,
}

/// Series as they were told.
#[derive(Debug)]
pub(in super::super) struct Tape(Box<[u8]>);

/// A tape that goes on.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Where the series begins in the fragment, and in `bytes`.
    at: u32,
    head: usize,
    /// The last run of the series, and where in `bytes`.
    run: Option<(Run, usize)>,
    /// Something did not fit.
    is_unfit: bool,
}

/// Bytes of labels that come from one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// From where on they may come from there; [`AHEAD`] is in the sample ahead of the series, as far as it is told
    /// otherwise.
    pub(super) begin: u32,
    pub(super) end: u32,
    /// How far back that is; 0 of a literal.
    pub(super) offset: u32,
}

/// Where the bytes of samples come from, beside the runs of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Samples {
    /// How many series ago a sample was that has the last bytes of the sample ahead; 0 is none.
    pub(super) ahead: u32,
    /// How many series ago a sample was that has the first bytes of this one's; 0 is none.
    pub(super) source: u32,
    /// How many bytes ago.
    pub(super) offset: u32,
}

/// Reads a tape.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// What stands ahead of the runs of a series.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// See [`Samples::ahead`].
    pub(super) ahead: u32,
    source: u16,
}

/// See [`Run::begin`]. Other places are below it.
pub(super) const AHEAD: u32 = 0x7fff;
/// Of an end: no run of the series is behind it. Of a begin: the offset has a high half. Of a source: its offset is
/// behind the runs.
const FLAG: u16 = 1 << 15;
const HEAD_LEN: usize = 4;
const RUN_LEN: usize = 6;
/// So many bytes are behind all others, since short literals are read so many at a time.
const PAD: usize = 16;

impl Teller {
    /// As [`Elements::copy`], of labels.
    #[inline]
    pub(super) fn copy(&mut self, offset: u32, begin: u32, end: u32) {
        if end > self.elements.told()
            && let Some(tape) = &mut self.tape
        {
            tape.copy(offset, begin, end);
        }
        self.elements.copy(offset, begin, end);
    }

    /// As [`Elements::literal`], of labels.
    #[inline]
    pub(super) fn literal(&mut self, begin: u32, end: u32, bytes: &[u8]) {
        if end > self.elements.told()
            && let Some(tape) = &mut self.tape
        {
            tape.literal(begin, end, bytes);
        }
        self.elements.literal(begin, end, bytes);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.elements.clear();
        self.tape = None;
    }

    /// Writes down what is told from now on. Until [`Teller::recorded`], that is series.
    pub(super) fn record(&mut self) {
        self.tape = Some(Writer::default());
    }

    /// A series begins.
    #[inline]
    pub(super) fn begin_series(&mut self, at: u32) {
        if let Some(tape) = &mut self.tape {
            tape.begin_series(at);
        }
    }

    /// The labels of the series end.
    #[inline]
    pub(super) fn end_series(&mut self, samples: Samples) {
        if let Some(tape) = &mut self.tape {
            tape.end_series(samples);
        }
    }

    /// What was written down; nothing when some of it did not fit.
    pub(super) fn recorded(&mut self) -> Option<Tape> {
        self.tape.take()?.finish()
    }
}

impl Writer {
    /// A series begins.
    pub(super) fn begin_series(&mut self, at: u32) {
        (self.at, self.head, self.run) = (at, self.bytes.len(), None);
        self.bytes.extend_from_slice(&[0; HEAD_LEN]);
    }

    /// The tape; nothing when some of it did not fit.
    pub(super) fn finish(self) -> Option<Tape> {
        let Self { mut bytes, is_unfit, .. } = self;
        bytes.extend_from_slice(&[0; PAD]);
        (!is_unfit).then(|| Tape(bytes.into()))
    }

    /// As [`Elements::copy`], of bytes behind what is written down.
    pub(super) fn copy(&mut self, offset: u32, begin: u32, end: u32) {
        let begin = if begin < self.at { AHEAD } else { self.place(begin) };
        let end = self.place(end);
        match &mut self.run {
            Some((run, _)) if run.offset == offset => run.end = end,
            _ => {
                self.write_run();
                self.run = Some((Run { begin, end, offset }, self.bytes.len()));
                let len = RUN_LEN + if is_far(offset) { 2 } else { 0 };
                self.bytes.resize(self.bytes.len() + len, 0);
            }
        }
    }

    /// As [`Elements::literal`], likewise.
    pub(super) fn literal(&mut self, begin: u32, end: u32, bytes: &[u8]) {
        debug_assert!(begin >= self.at, "{begin} ahead of {}", self.at);
        self.write_run();
        let run = Run { begin: self.place(begin), end: self.place(end), offset: 0 };
        self.run = Some((run, self.bytes.len()));
        self.bytes.extend_from_slice(&[0; RUN_LEN]);
        let bytes = bytes.get(..(end - begin) as usize);
        self.is_unfit |= bytes.is_none();
        self.bytes.extend_from_slice(bytes.unwrap_or_default());
    }

    /// The labels of the series end.
    pub(super) fn end_series(&mut self, Samples { ahead, source, offset }: Samples) {
        let Some((last, at)) = self.run else {
            self.is_unfit = true;
            return;
        };
        self.write_run();
        if let Some([_, high]) = self.bytes.get_mut(at + 2..).and_then(<[u8]>::first_chunk_mut) {
            *high |= (FLAG >> u8::BITS) as u8;
        }
        let has_own = source > 0 && last.offset != offset;
        if has_own {
            self.bytes.extend_from_slice(&offset.to_le_bytes());
        }
        let (ahead, source) = (self.fit(ahead), self.fit(source));
        let source = source | if has_own { FLAG } else { 0 };
        self.put(self.head, ahead);
        self.put(self.head + 2, source);
    }

    /// Writes the last run where it belongs.
    fn write_run(&mut self) {
        let Some((Run { begin, end, offset }, at)) = self.run else { return };
        let far = if is_far(offset) { FLAG } else { 0 };
        let (begin, end) = (begin as u16 | far, end as u16);
        self.put(at, begin);
        self.put(at + 2, end);
        self.put(at + 4, offset as u16);
        if far > 0 {
            self.put(at + RUN_LEN, (offset >> u16::BITS) as u16);
        }
    }

    fn put(&mut self, at: usize, number: u16) {
        if let Some(place) = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = number.to_le_bytes();
        }
    }

    /// A place of the series, from where it begins.
    fn place(&mut self, at: u32) -> u32 {
        let place = at - self.at;
        self.is_unfit |= place >= AHEAD;
        place
    }

    fn fit(&mut self, number: u32) -> u16 {
        self.is_unfit |= number >= FLAG.into();
        number as u16
    }
}

const fn is_far(offset: u32) -> bool {
    offset > u16::MAX as u32
}

impl Tape {
    /// Bytes that it takes.
    pub(in super::super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn read(&self) -> Reader<'_> {
        Reader { rest: &self.0 }
    }
}

impl<'a> Reader<'a> {
    /// The head of the next series.
    #[inline]
    pub(super) fn head(&mut self) -> Option<Head> {
        let (&[a, b, c, d], rest) = self.rest.split_first_chunk::<HEAD_LEN>()?;
        self.rest = rest;
        let (ahead, source) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        Some(Head { ahead: ahead.into(), source })
    }

    /// Its next run, for a literal with the bytes and others behind them, and whether it is the last one.
    #[inline]
    pub(super) fn run(&mut self) -> Option<(Run, &'a [u8], bool)> {
        let (&[a, b, c, d, e, f], mut rest) = self.rest.split_first_chunk::<RUN_LEN>()?;
        let (begin, end) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        let mut offset = u32::from(u16::from_le_bytes([e, f]));
        let is_last = end & FLAG != 0;
        if begin & FLAG != 0 {
            let (&[low, high], behind) = rest.split_first_chunk()?;
            offset |= u32::from(u16::from_le_bytes([low, high])) << u16::BITS;
            rest = behind;
        }
        let (begin, end) = (u32::from(begin & !FLAG), u32::from(end & !FLAG));
        let bytes = rest;
        if offset == 0 {
            rest = rest.get((end - begin) as usize..)?;
        }
        self.rest = rest;
        Some((Run { begin, end, offset }, bytes, is_last))
    }

    /// Of which samples bytes come, behind the last run.
    #[inline]
    pub(super) fn samples(&mut self, Head { ahead, source }: Head, last: Run) -> Option<Samples> {
        let mut offset = last.offset;
        if source & FLAG != 0 {
            let (own, rest) = self.rest.split_first_chunk()?;
            (offset, self.rest) = (u32::from_le_bytes(*own), rest);
        }
        Some(Samples { ahead, source: u32::from(source & !FLAG), offset })
    }
}
