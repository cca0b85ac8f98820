//! The log of one spool: does on a [`Disk`] what the spool orders, and says what came of it.
//!
//! ```text
//!  directory = segment*  "cursor"  ("cursor.tmp" while it is replaced)
//!  segment   = 0000000000000000.seg, named by the sequence number of its first record in hexadecimal
//! ```
//!
//! The log knows files, the spool knows what is in them: what to write, what to remove, when to sync. A
//! segment is written by one run only; after a restart a new one is begun, so a place that a crash took back
//! is never used for something else.
//!
//! After a failed sync nothing is known of what was written before it: the kernel may have thrown it away,
//! and a second sync that succeeds would not say so. Nor is anything known when the directory itself has
//! gone. The log is poisoned then. It still reads and removes, and writes nothing more.

use std::sync::Arc;

use super::{
    disk::{Disk, DiskError},
    frame::{self, Frame, HEAD_BYTES, HEADER_BYTES},
};
use crate::remote_write::Fragment;

/// The cursor's file.
pub(super) const CURSOR: &str = "cursor";
pub(super) const CURSOR_NEW: &str = "cursor.tmp";
const SUFFIX: &str = ".seg";

/// When what was written is brought to stable storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before it is sent.
    Always,
    /// At intervals.
    #[default]
    Interval,
    /// When the operating system does it.
    Never,
}

/// What to do, in the order of the fields.
#[derive(Debug, Default)]
pub struct Orders {
    /// Frames to read back, by the batch that wants them.
    pub(super) loads: Vec<Load>,
    /// Segments to remove, by their base.
    pub(super) removals: Vec<u64>,
    /// Records to write, in order.
    pub(super) writes: Vec<Write>,
    /// Whether to sync what was written.
    pub(super) sync: bool,
    /// The cursor's new content.
    pub(super) cursor: Option<Vec<u8>>,
}

/// A record to write.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) sequence: u64,
    pub(super) lane_key: u64,
    pub(super) created_ms: i64,
    pub(super) first: bool,
    pub(super) fragment: Arc<Fragment>,
}

/// The frames of a batch to read back.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) lane: u16,
    pub(super) batch: u64,
    /// Sequence number, base of the segment, offset and length of each frame.
    pub(super) frames: Vec<(u64, u64, u32, usize)>,
}

/// What came of the orders.
#[derive(Debug, Default)]
pub struct Report {
    pub(super) loaded: Vec<Loaded>,
    pub(super) written: Vec<Written>,
    /// Why the rest of the writes is not written.
    pub(super) unwritten: Option<DiskError>,
    /// Whether everything that was written is on stable storage.
    pub(super) synced: bool,
    /// Whether the cursor was replaced.
    pub(super) cursor_written: bool,
    /// Why the log writes nothing any more.
    pub(super) poisoned: Option<String>,
    /// What else failed; nothing is lost by it.
    pub(super) errors: Vec<DiskError>,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) sequence: u64,
    pub(super) lane_key: u64,
    pub(super) base: u64,
    pub(super) offset: u32,
    pub(super) ordinal: u32,
    pub(super) frame_bytes: u64,
}

/// What was read for a batch.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) lane: u16,
    pub(super) batch: u64,
    /// The body of each frame by its sequence number, or why there is none.
    pub(super) bodies: Vec<(u64, Read)>,
}

/// A frame with its body, or why it was not read.
pub(super) type Read = Result<(Frame, Vec<u8>), Unread>;

/// Why a frame was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not what was written.
    Corrupt,
    /// The disk did not give it.
    Disk(DiskError),
}

/// How a log is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Bytes of a segment, unless a single frame is longer.
    pub(super) segment_bytes: u64,
    pub(super) fsync: Fsync,
    /// Tells this run's frames from those of all others.
    pub(super) run: u64,
}

/// The segment that is written.
#[derive(Clone, Copy, Debug)]
struct Active {
    base: u64,
    bytes: u64,
    frames: u32,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Log<D> {
    disk: D,
    cut: Cut,
    active: Option<Active>,
    /// Whether something written is not synced.
    dirty: bool,
    poisoned: Option<String>,
    /// Frames on their way into one write.
    buffer: Vec<u8>,
}

/// The file of a segment.
pub(super) fn segment_name(base: u64) -> String {
    format!("{base:016x}{SUFFIX}")
}

/// The base of a segment, if a file of this name is one.
pub(super) fn segment_base(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 16)?;
    let base = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(base) == name).then_some(base)
}

/// Bytes that a record of so many compressed bytes takes in a segment.
pub(super) const fn frame_bytes(body_bytes: u64) -> u64 {
    HEADER_BYTES as u64 + body_bytes
}

impl<D: Disk> Log<D> {
    /// The log that goes on in a directory whose last segment is `last`. What a killed run has written may
    /// not be on stable storage yet, and this run answers for it.
    pub(super) fn new(disk: D, cut: Cut, last: Option<u64>) -> Self {
        let buffer = Vec::new();
        let mut log = Self { disk, cut, active: None, dirty: false, poisoned: None, buffer };
        if let Some(last) = last.filter(|_| cut.fsync != Fsync::Never) {
            if let Err(error) = log.disk.sync(&segment_name(last)) {
                log.poisoned = Some(error.to_string());
            }
            log.sync_directory();
        }
        log
    }

    /// Does what is ordered.
    pub fn perform(&mut self, orders: Orders) -> Report {
        let mut report = Report::default();
        for load in orders.loads {
            report.loaded.push(self.load(&load));
        }
        self.remove(&orders.removals, &mut report);
        if self.poisoned.is_none() {
            self.write(&orders.writes, &mut report);
            let wanted = match self.cut.fsync {
                Fsync::Always => true,
                Fsync::Interval => orders.sync,
                Fsync::Never => false,
            };
            if wanted {
                self.sync_active(&mut report);
            }
        }
        if let (None, Some(cursor)) = (&self.poisoned, &orders.cursor) {
            self.replace_cursor(cursor, &mut report);
        }
        if self.poisoned.is_some() {
            if self.cut.fsync == Fsync::Always {
                // They may be there and may not; they go on from memory.
                report.written.clear();
            }
            report.poisoned.clone_from(&self.poisoned);
        }
        let is_synced = !self.dirty && self.poisoned.is_none();
        report.synced = is_synced && self.cut.fsync != Fsync::Never;
        report
    }

    fn load(&mut self, load: &Load) -> Loaded {
        let frames = load.frames.iter().map(|&(sequence, base, offset, bytes)| {
            (sequence, self.load_frame(sequence, base, offset, bytes))
        });
        Loaded { lane: load.lane, batch: load.batch, bodies: frames.collect() }
    }

    fn load_frame(&mut self, sequence: u64, base: u64, offset: u32, bytes: usize) -> Read {
        let read = self.disk.read(&segment_name(base), offset.into(), bytes);
        let mut read = read.map_err(Unread::Disk)?;
        let (frame, _) = frame::decode(&read).ok_or(Unread::Corrupt)?;
        if read.len() != bytes || frame.sequence != sequence {
            return Err(Unread::Corrupt);
        }
        read.drain(..HEADER_BYTES);
        Ok((frame, read))
    }

    fn remove(&mut self, removals: &[u64], report: &mut Report) {
        for base in removals {
            if self.active.is_some_and(|active| active.base == *base) {
                self.active = None;
                self.dirty = false;
            }
            match self.disk.remove(&segment_name(*base)) {
                Ok(()) | Err(DiskError::Gone(_)) => {}
                Err(error) => report.errors.push(error),
            }
        }
        if !removals.is_empty() && self.poisoned.is_none() {
            self.sync_directory();
        }
    }

    fn write(&mut self, writes: &[Write], report: &mut Report) {
        let mut pending: Vec<Written> = Vec::new();
        for write in writes {
            let bytes = frame_bytes(write.fragment.bytes());
            let is_full = |a: Active| a.frames > 0 && a.bytes + bytes > self.cut.segment_bytes;
            if self.active.is_some_and(is_full) {
                if let Err(error) = self.append(&mut pending, report) {
                    report.unwritten = Some(error);
                    return;
                }
                // What is rolled is written no more, so one sync now is its last.
                if self.cut.fsync != Fsync::Never {
                    self.sync_active(report);
                }
                self.active = None;
            }
            if self.active.is_none()
                && self.poisoned.is_none()
                && let Err(error) = self.begin(write.sequence)
            {
                report.unwritten = Some(error);
                return;
            }
            if self.poisoned.is_some() {
                return;
            }
            let Some(active) = &mut self.active else { return };
            let ordinal = active.frames;
            let offset = u32::try_from(active.bytes).expect("one frame beyond SEGMENT_BYTES_MAX");
            let Write { sequence, lane_key, created_ms, first, ref fragment } = *write;
            let frame = Frame {
                message: fragment.message(),
                first,
                ordinal,
                samples: fragment.samples(),
                metadata: fragment.metadata(),
                raw_bytes: u32::try_from(fragment.raw_bytes()).unwrap_or(u32::MAX),
                run: self.cut.run,
                sequence,
                lane_key,
                created_ms,
                timestamps_ms: fragment.lowest_timestamp_ms().zip(fragment.highest_timestamp_ms()),
            };
            frame::encode(&frame, fragment.elements(), &mut self.buffer);
            active.bytes += bytes;
            active.frames += 1;
            let base = active.base;
            let written = Written { sequence, lane_key, base, offset, ordinal, frame_bytes: bytes };
            pending.push(written);
        }
        if let Err(error) = self.append(&mut pending, report) {
            report.unwritten = Some(error);
        }
    }

    /// Writes what is in the buffer behind the active segment.
    fn append(&mut self, pending: &mut Vec<Written>, report: &mut Report) -> Result<(), DiskError> {
        let Some(first) = pending.first().copied() else { return Ok(()) };
        let name = segment_name(first.base);
        let appended = self.disk.append(&name, &self.buffer);
        self.buffer.clear();
        match appended {
            Ok(()) => {
                self.dirty = true;
                report.written.append(pending);
                Ok(())
            }
            Err(error) => {
                pending.clear();
                self.take_back(&name, first, report);
                Err(error)
            }
        }
    }

    /// Cuts off what a failed write may have left. A segment that cannot be cut is written no more: what
    /// stands behind its last good frame is skipped when it is read.
    fn take_back(&mut self, name: &str, first: Written, report: &mut Report) {
        if first.ordinal == 0 {
            // Nothing in it counts; the spool does not know of it yet.
            self.active = None;
            self.disk.remove(name).unwrap_or_else(|error| report.errors.push(error));
            return;
        }
        match self.disk.truncate(name, first.offset.into()) {
            Ok(()) => {
                if let Some(active) = &mut self.active {
                    active.bytes = first.offset.into();
                    active.frames = first.ordinal;
                }
            }
            Err(error) => {
                report.errors.push(error);
                // Whole frames among it are found by the next run, which takes them for stored.
                self.dirty = true;
                if self.cut.fsync != Fsync::Never {
                    self.sync_active(report);
                }
                self.active = None;
            }
        }
    }

    fn begin(&mut self, base: u64) -> Result<(), DiskError> {
        let name = segment_name(base);
        self.disk.create(&name).inspect_err(|error| self.suspect(error))?;
        if let Err(error) = self.disk.append(&name, &frame::head()) {
            // It holds nothing; the next try makes it anew.
            let _left = self.disk.remove(&name);
            return Err(error);
        }
        self.active = Some(Active { base, bytes: HEAD_BYTES as u64, frames: 0 });
        self.dirty = true;
        self.sync_directory();
        Ok(())
    }

    fn sync_active(&mut self, report: &mut Report) {
        let Some(active) = self.active.filter(|_| self.dirty) else {
            self.dirty = false;
            return;
        };
        match self.disk.sync(&segment_name(active.base)) {
            Ok(()) => self.dirty = false,
            Err(error) => {
                self.poisoned.get_or_insert_with(|| error.to_string());
                report.errors.push(error);
            }
        }
    }

    fn sync_directory(&mut self) {
        if self.cut.fsync == Fsync::Never {
            return;
        }
        if let Err(error) = self.disk.sync_directory() {
            self.poisoned.get_or_insert_with(|| error.to_string());
        }
    }

    /// A file that cannot be made because there is no directory: what is written goes to files that nobody
    /// will find.
    fn suspect(&mut self, error: &DiskError) {
        if let DiskError::Gone(words) = error {
            self.poisoned.get_or_insert_with(|| words.clone());
        }
    }

    /// Writes the new cursor beside the old one and puts it in its place.
    fn replace_cursor(&mut self, cursor: &[u8], report: &mut Report) {
        let sync = self.cut.fsync != Fsync::Never;
        let written =
            self.disk.create(CURSOR_NEW).and_then(|()| self.disk.append(CURSOR_NEW, cursor));
        if let Err(error) = written {
            let _left = self.disk.remove(CURSOR_NEW);
            self.suspect(&error);
            report.errors.push(error);
            return;
        }
        if sync && let Err(error) = self.disk.sync(CURSOR_NEW) {
            self.poisoned.get_or_insert_with(|| error.to_string());
            report.errors.push(error);
            return;
        }
        match self.disk.rename(CURSOR_NEW, CURSOR) {
            Ok(()) => report.cursor_written = true,
            Err(error) => report.errors.push(error),
        }
        self.sync_directory();
    }
}
