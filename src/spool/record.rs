//! What a spool knows of one fragment that waits: enough to cut batches, to count, and to find it.
//!
//! It costs 136 bytes, wherever the fragment itself is.

use std::{sync::Arc, time::Instant};

use super::Amount;
use crate::remote_write::{Fragment, Message};

/// One moment on both clocks, so that times can be stored and read by another run.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// On the clock that measures.
    pub instant: Instant,
    /// On the wall, in milliseconds since 1970.
    pub unix_ms: i64,
}

impl Epoch {
    /// A time as milliseconds since 1970.
    pub(super) fn ms(&self, at: Instant) -> i64 {
        let ms = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        match at.checked_duration_since(self.instant) {
            Some(after) => self.unix_ms.saturating_add(ms(after)),
            None => self.unix_ms.saturating_sub(ms(self.instant.duration_since(at))),
        }
    }

    /// Milliseconds since 1970 as a time; what the clock cannot show is the epoch itself.
    pub(super) fn instant(&self, ms: i64) -> Instant {
        let span = std::time::Duration::from_millis(self.unix_ms.abs_diff(ms));
        let at = match ms >= self.unix_ms {
            true => self.instant.checked_add(span),
            false => self.instant.checked_sub(span),
        };
        at.unwrap_or(self.instant)
    }
}

/// Where the frame of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment.
    pub(super) base: u64,
    pub(super) offset: u32,
    pub(super) ordinal: u32,
}

/// Where a record is, besides the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Nowhere: the spool has no disk.
    No,
    /// It waits to be written.
    NotYet,
    /// There.
    At(Place),
    /// It was written; its segment was dropped while it was being sent.
    Gone,
}

/// A fragment that waits.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) sequence: u64,
    pub(super) lane_key: u64,
    /// When it was scraped.
    pub(super) created_ms: i64,
    /// When it came here.
    pub(super) queued_ms: i64,
    pub(super) highest_ms: Option<i64>,
    pub(super) samples: u64,
    pub(super) metadata: u32,
    /// Whether a scrape begins with it.
    pub(super) first: bool,
    pub(super) message: Message,
    pub(super) bytes: u64,
    pub(super) raw_bytes: u64,
    pub(super) stored: Stored,
    /// `None` while it is on disk only.
    pub(super) fragment: Option<Arc<Fragment>>,
}

impl Record {
    pub(super) fn new(
        sequence: u64,
        lane_key: u64,
        first: bool,
        fragment: Arc<Fragment>,
        epoch: &Epoch,
        now: Instant,
    ) -> Self {
        Self {
            sequence,
            lane_key,
            created_ms: epoch.ms(fragment.created()),
            queued_ms: epoch.ms(now),
            highest_ms: fragment.highest_timestamp_ms(),
            samples: fragment.samples().into(),
            metadata: fragment.metadata(),
            first,
            message: fragment.message(),
            bytes: fragment.bytes(),
            raw_bytes: fragment.raw_bytes(),
            stored: Stored::No,
            fragment: Some(fragment),
        }
    }

    pub(super) fn amount(&self) -> Amount {
        Amount {
            samples: self.samples,
            metadata: self.metadata.into(),
            fragments: 1,
            bytes: self.bytes,
        }
    }

    /// Bytes that it takes of the memory beside the record itself.
    pub(super) const fn resident_bytes(&self) -> u64 {
        match self.fragment {
            Some(_) => self.bytes,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A spool on disk of many small scrapes holds a million of them; documents say 200 bytes each, which
    /// leaves room for what the line has in reserve.
    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 136, "{}", size_of::<Record>());
    }

    #[test]
    fn times_come_back_to_the_millisecond() {
        let epoch = Epoch { instant: Instant::now(), unix_ms: 1_700_000_000_000 };
        for ms in [-3000, -1, 0, 1, 86_400_000] {
            let at = epoch.instant(epoch.unix_ms + ms);
            assert_eq!(epoch.ms(at), epoch.unix_ms + ms);
        }
        assert_eq!(epoch.ms(epoch.instant + Duration::from_micros(1999)), epoch.unix_ms + 1);
    }
}
