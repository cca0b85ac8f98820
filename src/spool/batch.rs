//! What a spool hands to its sender, and what it wants to hear.

use std::time::Instant;

use bytes::Bytes;

use super::{Amount, Reason};
use crate::remote_write::Message;

/// Names one batch of a spool; later batches have greater ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub(super) u64);

/// A batch to send.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What [`Spool::settle`](super::Spool::settle) wants back.
    pub id: BatchId,
    /// Which message the body holds.
    pub message: Message,
    /// The request's body, in snappy's raw format.
    pub body: Bytes,
    /// Samples in it.
    pub samples: u64,
    /// Metadata entries in it.
    pub metadata: u64,
    /// Bytes of the body before compression.
    pub raw_bytes: u64,
    /// When its newest samples were scraped.
    pub created: Instant,
    /// The latest time of a sample, in milliseconds since the epoch.
    pub highest_timestamp_ms: Option<i64>,
    /// How often it has been sent already.
    pub tries: u32,
}

/// What a lane's sender does next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Send this batch, then call [`Spool::settle`](super::Spool::settle).
    Send(Batch),
    /// Ask again at that time, or when the lane is woken by an append or by the disk.
    WaitUntil(Instant),
    /// The lane is empty, or its batch in flight is not settled yet: ask again after an append.
    Idle,
}

/// What became of a batch in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The receiver has it.
    Delivered,
    /// It will not be sent again.
    Dropped(Reason),
    /// The receiver has all of it but these parts, which it will never get.
    Partly {
        /// What it refused.
        rejected: Part,
        /// What became too old before its turn came.
        too_old: Part,
    },
    /// It goes back to the front of its lane. Until it is sent again it may have to make room.
    Retry,
}

/// A part of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its samples.
    pub samples: u64,
    /// Its metadata entries.
    pub metadata: u64,
}

impl Part {
    /// As an amount of no more than there is.
    pub(super) fn within(self, all: Amount) -> Amount {
        let (samples, metadata) = (self.samples.min(all.samples), self.metadata.min(all.metadata));
        Amount { samples, metadata, ..Amount::default() }
    }
}

/// A batch was settled that is not in flight in that lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batch {id:?} is not in flight in lane {lane}")]
pub struct NotInFlight {
    /// As given.
    pub lane: u16,
    /// As given.
    pub id: BatchId,
}
