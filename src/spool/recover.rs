//! Reading a log that another run has left: every record that can be read, whatever lies between.
//!
//! A segment is read frame by frame. Where none begins, the next frame is searched for by its first bytes and
//! believed by its checksum, so damage costs the records that it touched and no other. What stands behind
//! the last frame of the last segment is a write that a crash has cut; it is cut off. Nothing here fails on
//! what it reads: only a directory that cannot be listed is an error.

use super::{
    cursor::{self, Cursor},
    disk::{Disk, DiskError},
    frame::{self, Frame, HEAD_BYTES, HEADER_BYTES, Head, MAGIC, Start},
    log::{CURSOR, CURSOR_NEW, Cut, Log, segment_base, segment_name},
};
use crate::limits::{CURSOR_BYTES_MAX, FRAME_BODY_BYTES_MAX};

/// Bytes that are read at a time.
const WINDOW_BYTES: usize = 256 << 10;

/// A record that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) base: u64,
    pub(super) frame: Frame,
    pub(super) offset: u32,
    pub(super) frame_bytes: u64,
    /// Whether the cursor says that it needs not be sent.
    pub(super) settled: bool,
}

/// What was found of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments that are kept.
    pub segments: u64,
    /// Records that were damaged.
    pub corrupt_records: u64,
    /// Bytes that belong to no record that can be read.
    pub corrupt_bytes: u64,
    /// Bytes of writes that a crash has cut.
    pub torn_bytes: u64,
    /// Whether there was a cursor that could not be read, so that more is sent again than needed.
    pub cursor_lost: bool,
    /// Segments that are left alone, with the reason: of another version, or unreadable.
    pub left_alone: Vec<(String, String)>,
    /// Files that could not be cut or removed.
    pub errors: Vec<DiskError>,
    /// The first sequence number that no segment uses.
    pub(super) next_sequence: u64,
}

/// Reads what is there, hands each record to `found` in the order in which they were written, and makes
/// the log that goes on from there.
pub(super) fn open<D: Disk>(
    mut disk: D,
    cut: Cut,
    mut found: impl FnMut(Found),
) -> Result<(Log<D>, Recovered), DiskError> {
    let mut recovered = Recovered::default();
    let files = disk.list()?;
    let mut segments: Vec<(u64, u64)> =
        files.iter().filter_map(|(name, bytes)| Some((segment_base(name)?, *bytes))).collect();
    segments.sort_unstable();
    let cursor = if files.iter().any(|(name, _)| name == CURSOR) {
        read_cursor(&mut disk).unwrap_or_else(|| {
            recovered.cursor_lost = true;
            Cursor::new()
        })
    } else {
        Cursor::new()
    };
    if files.iter().any(|(name, _)| name == CURSOR_NEW) {
        disk.remove(CURSOR_NEW).unwrap_or_else(|error| recovered.errors.push(error));
    }
    let mut last = None;
    for (place, (base, bytes)) in segments.iter().copied().enumerate() {
        recovered.next_sequence = recovered.next_sequence.max(base.saturating_add(1));
        let next_base = segments.get(place + 1).map(|(next, _)| *next);
        let mut segment = Segment { base, bytes, next_base, live: 0, end: 0 };
        let read = segment.read(&mut disk, &mut recovered, |frame, offset, frame_bytes| {
            let bits = cursor.get(&(frame.run, base));
            let settled = bits.is_some_and(|bits| bits.has(frame.ordinal));
            found(Found { base, frame, offset, frame_bytes, settled });
            settled
        });
        match read {
            Ok(true) => {
                segment.tidy(&mut disk, &mut recovered);
                last = Some(base).filter(|_| segment.live > 0);
            }
            Ok(false) => {}
            Err(error) => {
                recovered.corrupt_records += 1;
                recovered.corrupt_bytes += bytes.saturating_sub(segment.end);
                recovered.segments += u64::from(segment.live > 0);
                recovered.errors.push(error);
            }
        }
    }
    Ok((Log::new(disk, cut, last), recovered))
}

fn read_cursor<D: Disk>(disk: &mut D) -> Option<Cursor> {
    cursor::decode(&disk.read(CURSOR, 0, CURSOR_BYTES_MAX).ok()?)
}

struct Segment {
    base: u64,
    bytes: u64,
    /// Where the next segment begins; the last one has none.
    next_base: Option<u64>,
    /// Frames that are not settled.
    live: u64,
    /// Where the last good frame ends.
    end: u64,
}

impl Segment {
    /// Reads all frames; `settled` is told each and says whether it is done with. Returns whether the segment
    /// is one of ours.
    fn read<D: Disk>(
        &mut self,
        disk: &mut D,
        recovered: &mut Recovered,
        mut settled: impl FnMut(Frame, u32, u64) -> bool,
    ) -> Result<bool, DiskError> {
        let mut window =
            Window { disk, name: segment_name(self.base), start: 0, bytes: Vec::new() };
        match frame::read_head(window.at(0, HEAD_BYTES)?) {
            Head::Good => self.end = HEAD_BYTES as u64,
            Head::Bad => {}
            Head::Foreign(version) => {
                let why = format!("written by another version of flinkrelay (format {version})");
                recovered.left_alone.push((window.name, why));
                return Ok(false);
            }
        }
        let (mut ordinal, mut sequence, mut run) = (0_u32, self.base, None);
        while self.end < self.bytes {
            // A frame of an older use of the place, or inside some page's text, is none.
            let follows = |frame: &Frame| {
                frame.ordinal >= ordinal
                    && frame.sequence >= sequence
                    && self.next_base.is_none_or(|next| frame.sequence < next)
                    && run.is_none_or(|run| run == frame.run)
            };
            let Some((at, frame, bytes)) = window.next_frame(self.end, follows)? else { break };
            recovered.corrupt_bytes += at - self.end;
            recovered.corrupt_records += u64::from(frame.ordinal - ordinal);
            recovered.next_sequence = recovered.next_sequence.max(frame.sequence.saturating_add(1));
            ordinal = frame.ordinal.saturating_add(1);
            sequence = frame.sequence.saturating_add(1);
            run = Some(frame.run);
            self.end = at + bytes;
            // Nobody makes such a file; a place behind 4 GiB could not be named.
            let Ok(offset) = u32::try_from(at) else { break };
            if !settled(frame, offset, bytes) {
                self.live += 1;
            }
        }
        self.judge_end(&mut window, recovered)?;
        Ok(true)
    }

    /// Says what stands behind the last good frame: zeros, a write that was cut, or damage.
    fn judge_end<D: Disk>(
        &self,
        window: &mut Window<'_, D>,
        recovered: &mut Recovered,
    ) -> Result<(), DiskError> {
        let left = self.bytes.saturating_sub(self.end);
        if left == 0 {
            return Ok(());
        }
        let is_cut = match frame::look(window.at(self.end, HEADER_BYTES)?) {
            Start::Cut => true,
            Start::Frame { bytes } => bytes as u64 > left,
            Start::Nothing => false,
        };
        if is_cut && self.next_base.is_none() || window.is_zero_from(self.end, self.bytes)? {
            recovered.torn_bytes += left;
        } else {
            recovered.corrupt_bytes += left;
            recovered.corrupt_records += 1;
        }
        Ok(())
    }

    /// Removes a segment that nobody needs, and cuts off what a crash has left at the end of the last.
    fn tidy<D: Disk>(&self, disk: &mut D, recovered: &mut Recovered) {
        let name = segment_name(self.base);
        let tidied = if self.live == 0 {
            disk.remove(&name)
        } else {
            recovered.segments += 1;
            match self.next_base.is_none() && self.end < self.bytes {
                true => disk.truncate(&name, self.end),
                false => Ok(()),
            }
        };
        tidied.unwrap_or_else(|error| recovered.errors.push(error));
    }
}

/// A segment's bytes, read in large pieces.
struct Window<'d, D> {
    disk: &'d mut D,
    name: String,
    start: u64,
    bytes: Vec<u8>,
}

impl<D: Disk> Window<'_, D> {
    /// `len` bytes from `offset` on; fewer at the end of the file.
    fn at(&mut self, offset: u64, len: usize) -> Result<&[u8], DiskError> {
        let begin = offset.checked_sub(self.start).and_then(|begin| usize::try_from(begin).ok());
        let held = begin.is_some_and(|begin| begin + len <= self.bytes.len());
        if !held {
            self.bytes = self.disk.read(&self.name, offset, len.max(WINDOW_BYTES))?;
            self.start = offset;
            return Ok(self.bytes.get(..len).unwrap_or(&self.bytes));
        }
        let begin = begin.unwrap_or_default();
        Ok(self.bytes.get(begin..begin + len).unwrap_or_default())
    }

    /// The bytes from `offset` on that are at hand, at least as many as a frame begins with; fewer at the
    /// end of the file.
    fn from(&mut self, offset: u64) -> Result<&[u8], DiskError> {
        let begin = offset.checked_sub(self.start).and_then(|begin| usize::try_from(begin).ok());
        match begin.filter(|begin| begin + MAGIC.len() <= self.bytes.len()) {
            Some(begin) => Ok(self.bytes.get(begin..).unwrap_or_default()),
            None => self.at(offset, WINDOW_BYTES),
        }
    }

    /// The first frame at or behind `from` that `follows`, with its place and length.
    fn next_frame(
        &mut self,
        from: u64,
        follows: impl Fn(&Frame) -> bool,
    ) -> Result<Option<(u64, Frame, u64)>, DiskError> {
        let mut at = from;
        loop {
            if let Some((frame, bytes)) = self.frame_at(at)?
                && follows(&frame)
            {
                return Ok(Some((at, frame, bytes)));
            }
            let Some(next) = self.find_magic(at + 1)? else { return Ok(None) };
            at = next;
        }
    }

    fn frame_at(&mut self, at: u64) -> Result<Option<(Frame, u64)>, DiskError> {
        let Start::Frame { bytes } = frame::look(self.at(at, HEADER_BYTES)?) else {
            return Ok(None);
        };
        debug_assert!(bytes <= HEADER_BYTES + FRAME_BODY_BYTES_MAX);
        let found = frame::decode(self.at(at, bytes)?);
        Ok(found.map(|(frame, _)| (frame, bytes as u64)))
    }

    /// The first place from `from` on where a frame might begin.
    fn find_magic(&mut self, mut from: u64) -> Result<Option<u64>, DiskError> {
        loop {
            let bytes = self.from(from)?;
            if bytes.len() < MAGIC.len() {
                return Ok(None);
            }
            if let Some(found) = memchr::memmem::find(bytes, &MAGIC) {
                return Ok(Some(from + found as u64));
            }
            from += (bytes.len() - (MAGIC.len() - 1)) as u64;
        }
    }

    fn is_zero_from(&mut self, from: u64, to: u64) -> Result<bool, DiskError> {
        let mut at = from;
        while at < to {
            let bytes = self.from(at)?;
            if bytes.is_empty() {
                break;
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }
}
