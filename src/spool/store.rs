//! The half of a spool that knows of a disk: what waits to be written, what to remove, when to sync.
//!
//! ```text
//!  orders(now) -> Orders --log.perform--> Report -> done(report, now) -> lanes to wake
//! ```
//!
//! One set of orders is under way at a time; between the two calls the spool goes on as ever, so nobody
//! waits for a disk. A record may be sent when it is written (with `Fsync::Always`, when it is synced). It stays
//! in memory beside that while there is room, so a receiver that keeps up costs no read.
//!
//! When the disk does not take it, the newest data stays in memory, up to a limit, and is sent from there:
//! - full: memory, and the disk again after a while; when half of the memory is used, the oldest segment makes room;
//! - failing: memory, and the disk again after a while;
//! - a sync failed: memory, for good (see `spool/log`);
//! - not answering: memory once it has been silent for [`PATIENCE`].

use std::time::{Duration, Instant};

use super::{
    BatchId, Record, Settings, SettingsError, cursor,
    disk::DiskError,
    frame::HEAD_BYTES,
    log::{Fsync, Load, frame_bytes},
    record::Stored,
    segments::Segments,
};
use crate::limits::{
    CURSOR_BYTES_MAX, FRAME_BODY_BYTES_MAX, SEGMENT_BYTES_LEAST, SEGMENT_BYTES_MAX,
    SPOOL_MEMORY_BYTES_MAX, SPOOL_WRITE_BYTES_MAX,
};

/// After that time without an answer of the disk, what waits to be written is sent nevertheless.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Pause before a disk that did not take something is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// Time between two cursors: what is sent again after a kill is what was delivered in this time.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// Pause before a disk that did not give something is asked again.
pub(super) const READ_PAUSE: Duration = Duration::from_secs(5);

/// So long a disk, or one place of it, may fail to give records before they count as unreadable. Samples
/// that can be read wait behind them meanwhile.
pub(super) const READ_PATIENCE: Duration = Duration::from_secs(60);

/// How a spool uses its disk.
#[derive(Clone, Copy, Debug)]
pub struct Durability {
    /// When to sync.
    pub fsync: Fsync,
    /// With [`Fsync::Interval`]: how often.
    pub fsync_interval: Duration,
    /// A random number that tells this run's files from all others.
    pub run: u64,
}

/// Sizes that are limits in production and small in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) segment_bytes: u64,
    pub(super) memory_bytes_max: u64,
    pub(super) write_bytes_max: u64,
    pub(super) cursor_bytes_max: usize,
}

impl Sizes {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            segment_bytes: (settings.max_bytes / 16).clamp(SEGMENT_BYTES_LEAST, SEGMENT_BYTES_MAX),
            memory_bytes_max: SPOOL_MEMORY_BYTES_MAX,
            write_bytes_max: SPOOL_WRITE_BYTES_MAX,
            cursor_bytes_max: CURSOR_BYTES_MAX,
        }
    }
}

/// A spool that cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Its settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The directory cannot be listed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What is to be known of a spool's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// Bytes of all segments.
    pub disk_bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// Compressed bytes that are in memory, on disk or not.
    pub memory_bytes: u64,
    /// Compressed bytes that are in memory only.
    pub unwritten_bytes: u64,
    /// Calls that failed, to write, read, sync or remove.
    pub errors: u64,
    /// Records that were damaged, when they were found or when they were read back.
    pub corrupt_records: u64,
    /// Bytes that belonged to no record when the spool was opened.
    pub corrupt_bytes: u64,
    /// Whether nothing is written any more, because a sync failed.
    pub is_poisoned: bool,
    /// Why new data is not being written now; empty when it is.
    pub trouble: String,
}

#[derive(Clone, Debug)]
pub(super) enum Health {
    Good,
    Paused {
        until: Instant,
        /// The disk is full, and a segment can make room once memory is short.
        can_make_room: bool,
        words: String,
    },
    Poisoned {
        words: String,
    },
}

/// The disk's side of a spool.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) segments: Segments,
    pub(super) durability: Durability,
    pub(super) sizes: Sizes,
    /// Bytes that the segments may have.
    pub(super) budget: u64,
    pub(super) health: Health,
    /// Since when orders are under way.
    pub(super) busy_since: Option<Instant>,
    pub(super) loads: Vec<Load>,
    /// When batches that could not be read are tried again.
    pub(super) reload_at: Option<Instant>,
    /// Since when nothing could be read.
    pub(super) unread_since: Option<Instant>,
    pub(super) removals: Vec<u64>,
    /// Since when something written is not synced.
    pub(super) unsynced_since: Option<Instant>,
    pub(super) cursor_changed: bool,
    pub(super) cursor_due: Option<Instant>,
    pub(super) cursor_ordered: bool,
    /// Whether the last answer was that the disk is full, and a segment went for it.
    pub(super) made_room: bool,
    pub(super) is_stopping: bool,
    /// Whether something was left for the disk since it was asked last.
    pub(super) calls: bool,
    pub(super) resident_bytes: u64,
    pub(super) unwritten_bytes: u64,
    pub(super) errors: u64,
    pub(super) corrupt_records: u64,
    pub(super) corrupt_bytes: u64,
}

/// When a lane that waits for the disk asks again, if nobody wakes it.
pub(super) fn ask_again(now: Instant) -> Instant {
    now.checked_add(PATIENCE).unwrap_or(now)
}

impl Store {
    pub(super) fn new(durability: Durability, sizes: Sizes, settings: &Settings) -> Self {
        let mut store = Self {
            segments: Segments::default(),
            durability,
            sizes,
            budget: 0,
            health: Health::Good,
            busy_since: None,
            loads: Vec::new(),
            reload_at: None,
            unread_since: None,
            removals: Vec::new(),
            unsynced_since: None,
            cursor_changed: false,
            cursor_due: None,
            cursor_ordered: false,
            made_room: false,
            is_stopping: false,
            calls: false,
            resident_bytes: 0,
            unwritten_bytes: 0,
            errors: 0,
            corrupt_records: 0,
            corrupt_bytes: 0,
        };
        store.set_limits(settings);
        store
    }

    pub(super) const fn set_limits(&mut self, settings: &Settings) {
        // The cursor and its successor stand beside the segments.
        self.budget = settings.max_bytes.saturating_sub(2 * self.sizes.cursor_bytes_max as u64);
    }

    /// Whether a record of so many bytes could ever be on the disk.
    pub(super) const fn could_hold(&self, bytes: u64) -> bool {
        frame_bytes(bytes) + HEAD_BYTES as u64 <= self.budget
            && bytes <= FRAME_BODY_BYTES_MAX as u64
    }

    pub(super) const fn take_in(&mut self, record: &mut Record) {
        record.stored = Stored::NotYet;
        self.calls = true;
        self.unwritten_bytes += record.bytes;
        self.resident_bytes += record.bytes;
    }

    /// A record is settled or dropped.
    pub(super) fn left(&mut self, record: &Record, in_line: bool) {
        if in_line {
            self.resident_bytes -= record.resident_bytes();
        }
        match record.stored {
            Stored::NotYet => self.unwritten_bytes -= record.bytes,
            Stored::At(place) => {
                // While it is due at the end of an interval, nothing is to be done for what else is settled.
                self.calls |= self.cursor_due.is_none();
                self.cursor_changed = true;
                if self.segments.settle(place.base, place.ordinal) {
                    self.discard(place.base);
                }
            }
            Stored::No | Stored::Gone => {}
        }
    }

    pub(super) fn discard(&mut self, base: u64) {
        self.segments.remove(base);
        self.removals.push(base);
        self.calls = true;
    }

    /// Whether records may be sent that are not written.
    pub(super) fn lets_unwritten_pass(&self, now: Instant) -> bool {
        let silent = |since: Instant| now.saturating_duration_since(since) >= PATIENCE;
        !matches!(self.health, Health::Good) || self.busy_since.is_some_and(silent)
    }

    pub(super) fn order_load(&mut self, lane: usize, batch: BatchId, records: &[Record]) {
        let frames = records.iter().filter(|record| record.fragment.is_none());
        let frames = frames.filter_map(|record| match record.stored {
            Stored::At(place) => {
                let bytes = usize::try_from(frame_bytes(record.bytes)).ok()?;
                Some((record.sequence, place.base, place.offset, bytes))
            }
            Stored::No | Stored::NotYet | Stored::Gone => None,
        });
        let lane = u16::try_from(lane).expect("lanes are numbered by u16");
        self.calls = true;
        self.loads.push(Load { lane, batch: batch.0, frames: frames.collect() });
    }

    pub(super) fn may_write(&self, now: Instant) -> bool {
        match &self.health {
            Health::Good => true,
            Health::Paused { until, can_make_room, .. } => {
                *until <= now || *can_make_room && self.memory_is_short()
            }
            Health::Poisoned { .. } => false,
        }
    }

    /// When there is something to order although nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let retry = match &self.health {
            Health::Paused { until, .. } if self.unwritten_bytes > 0 => Some(*until),
            _ => None,
        };
        let sync = match self.durability.fsync {
            Fsync::Interval => {
                self.unsynced_since.and_then(|at| at.checked_add(self.durability.fsync_interval))
            }
            Fsync::Always | Fsync::Never => None,
        };
        [retry, sync, self.cursor_due, self.reload_at].into_iter().flatten().min()
    }

    pub(super) fn order_cursor(&mut self, now: Instant) -> Option<Vec<u8>> {
        if matches!(self.health, Health::Poisoned { .. }) || !self.cursor_changed {
            self.cursor_due = None;
            return None;
        }
        let due =
            *self.cursor_due.get_or_insert_with(|| now.checked_add(CURSOR_INTERVAL).unwrap_or(now));
        if due > now && !self.is_stopping {
            return None;
        }
        (self.cursor_changed, self.cursor_due, self.cursor_ordered) = (false, None, true);
        Some(cursor::encode(self.segments.settled(), self.sizes.cursor_bytes_max))
    }

    /// Whether half of what may wait for the disk in memory does. The other half is for what comes while room
    /// is made.
    pub(super) const fn memory_is_short(&self) -> bool {
        self.unwritten_bytes >= self.sizes.memory_bytes_max / 2
    }

    pub(super) fn pause(&mut self, words: String, can_make_room: bool, now: Instant) {
        let until = now.checked_add(PAUSE).unwrap_or(now);
        self.health = Health::Paused { until, can_make_room, words };
        self.made_room = false;
    }
}
