//! One lane: a line of records in the order in which they came, and the batch that was taken from it.
//!
//! Invariants: sequence numbers grow from the front to the back, and what is stored stands before what is
//! not yet. In a lane that sends in order, the batch stands before the line.

use std::{collections::VecDeque, ops::Range, time::Instant};

use super::{
    Amount, Batch, BatchId, Epoch,
    record::{Record, Stored},
};
use crate::{
    limits::BODY_RAW_BYTES_MAX,
    remote_write::{Fragment, Message, body},
};

/// What a batch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its records are being read back.
    Loading,
    /// The disk did not give them; it is asked again.
    Unread,
    /// To be sent (again).
    Ready,
    /// What becomes of it at the receiver.
    Sent,
}

/// A batch that was taken from the line.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) id: BatchId,
    pub(super) stage: Stage,
    pub(super) records: Vec<Record>,
    pub(super) tries: u32,
    /// Since when the disk does not give its records.
    pub(super) unread_since: Option<Instant>,
}

/// What a lane's line has to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// So many records from the beginning are a batch.
    Batch(usize),
    /// There will be one at that time, in milliseconds since 1970.
    At(i64),
    /// The first record is not written yet.
    Unwritten,
    /// Nothing.
    Nothing,
}

/// What makes a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) samples_max: u64,
    /// Records that came before that time wait no longer.
    pub(super) due_before_ms: i64,
    pub(super) deadline_ms: i64,
    /// Nor do those before this sequence number.
    pub(super) flushed: u64,
    /// Whether what is not written yet may be sent.
    pub(super) unwritten: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) line: VecDeque<Record>,
    pub(super) taken: Option<Taken>,
    /// No record of the line before this sequence number is in memory.
    pub(super) cold_before: u64,
}

impl Taken {
    pub(super) fn amount(&self) -> Amount {
        self.records.iter().map(Record::amount).sum()
    }

    pub(super) fn highest_ms(&self) -> Option<i64> {
        self.records.iter().filter_map(|record| record.highest_ms).max()
    }

    pub(super) fn to_send(&self, epoch: &Epoch) -> Batch {
        let fragments = || self.records.iter().filter_map(|record| record.fragment.as_deref());
        debug_assert_eq!(fragments().count(), self.records.len(), "all are loaded");
        let Amount { samples, metadata, .. } = self.amount();
        let created_ms = self.records.iter().map(|record| record.created_ms).max();
        Batch {
            id: self.id,
            message: self.records.first().map(|record| record.message).unwrap_or_default(),
            body: body(fragments().collect::<Vec<&Fragment>>().into_iter()),
            samples,
            metadata,
            raw_bytes: self.records.iter().map(|record| record.raw_bytes).sum(),
            created: created_ms.map_or(epoch.instant, |ms| epoch.instant(ms)),
            highest_timestamp_ms: self.highest_ms(),
            tries: self.tries,
        }
    }
}

impl Lane {
    /// What the records in `range` of the line make.
    pub(super) fn offer(&self, range: Range<usize>, rules: &Rules) -> Offer {
        let start = range.start;
        let Some(first) = self.line.get(start).filter(|_| !range.is_empty()) else {
            return Offer::Nothing;
        };
        let (mut samples, mut raw_bytes, mut count, mut is_full) = (0, 0, 0, false);
        for record in self.line.range(range) {
            if record.stored == Stored::NotYet && !rules.unwritten {
                break;
            }
            samples += record.samples;
            raw_bytes += record.raw_bytes;
            let fits = samples <= rules.samples_max
                && raw_bytes <= BODY_RAW_BYTES_MAX
                && record.message == first.message;
            if count > 0 && !fits {
                is_full = true;
                break;
            }
            count += 1;
            // A request of remote write 2.0 has one table of symbols, so two do not join.
            if samples >= rules.samples_max
                || raw_bytes >= BODY_RAW_BYTES_MAX
                || record.message == Message::V2
            {
                is_full = true;
                break;
            }
        }
        let is_due = first.queued_ms <= rules.due_before_ms || first.sequence < rules.flushed;
        match (count, is_full || is_due) {
            (0, _) => Offer::Unwritten,
            (_, false) => Offer::At(first.queued_ms.saturating_add(rules.deadline_ms)),
            (_, true) if is_full => Offer::Batch(self.without_torn_scrape(start, count, rules)),
            (_, true) => Offer::Batch(count),
        }
    }

    /// Leaves the scrape that the end of a batch would tear to the next one, if that can hold all of it.
    fn without_torn_scrape(&self, start: usize, count: usize, rules: &Rules) -> usize {
        let end = start + count;
        if !self.continues(end) {
            return count;
        }
        let Some(begins) = (start + 1..end).rev().find(|at| !self.continues(*at)) else {
            return count;
        };
        let rest = (end + 1..).find(|at| !self.continues(*at)).unwrap_or(end);
        let (samples, raw_bytes) = self
            .line
            .range(begins..rest)
            .fold((0, 0), |sum, record| (sum.0 + record.samples, sum.1 + record.raw_bytes));
        let fits = samples <= rules.samples_max && raw_bytes <= BODY_RAW_BYTES_MAX;
        if fits { begins - start } else { count }
    }

    /// Whether the record there is of the same scrape as the one before it.
    fn continues(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.line.get(before));
        before.zip(self.line.get(at)).is_some_and(|(before, record)| {
            !record.first
                && record.lane_key == before.lane_key
                && record.sequence == before.sequence + 1
        })
    }

    /// The record of this number, in the batch or in the line.
    pub(super) fn find(&mut self, sequence: u64) -> Option<&mut Record> {
        let taken = self
            .taken
            .as_mut()
            .and_then(|taken| taken.records.iter_mut().find(|record| record.sequence == sequence));
        if taken.is_some() {
            return taken;
        }
        let at = self.line.binary_search_by_key(&sequence, |record| record.sequence).ok()?;
        self.line.get_mut(at)
    }

    /// The oldest record that is not being sent.
    pub(super) fn oldest(&self) -> Option<&Record> {
        let taken = self.taken.as_ref().filter(|taken| taken.stage != Stage::Sent);
        let taken = taken.and_then(|taken| taken.records.first());
        let in_order =
            |taken: &&Record| self.line.front().is_none_or(|front| taken.sequence < front.sequence);
        taken.filter(in_order).or_else(|| self.line.front()).or(taken)
    }

    /// Takes out what [`Lane::oldest`] shows; the flag tells whether it stood in the line.
    pub(super) fn pop_oldest(&mut self) -> Option<(Record, bool)> {
        let sequence = self.oldest()?.sequence;
        if self.line.front().is_some_and(|front| front.sequence == sequence) {
            return self.line.pop_front().map(|record| (record, true));
        }
        let taken = self.taken.as_mut()?;
        let record = taken.records.remove(0);
        if taken.records.is_empty() {
            self.taken = None;
        }
        Some((record, false))
    }

    /// The records that wait to be written, in order.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = &Record> {
        let written = self.line.partition_point(|record| record.stored != Stored::NotYet);
        let taken = self.taken.iter().flat_map(|taken| &taken.records);
        taken.filter(|record| record.stored == Stored::NotYet).chain(self.line.range(written..))
    }

    /// Every record.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.taken.iter().flat_map(|taken| &taken.records).chain(&self.line)
    }
}
