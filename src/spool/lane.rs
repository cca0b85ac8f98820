//! One lane: a line of batches, of which the first may be in flight and the last may be open.
//!
//! Invariant: ids grow from the batch in flight over the sealed ones to the open one, because a
//! lane begins a batch only when it has none open and puts one back only where it came from.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use super::{Amount, Batch, BatchId};
use crate::remote_write::{Fragment, Message, body};

/// A batch that is queued.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: BatchId,
    pub(super) amount: Amount,
    pub(super) raw_bytes: u64,
    pub(super) highest_timestamp_ms: Option<i64>,
    /// When its oldest fragment was.
    pub(super) created: Instant,
    /// When it is sealed at the latest.
    pub(super) due: Instant,
    pub(super) tries: u32,
    message: Message,
    /// Each with its lane key, for lanes whose number changes.
    fragments: Vec<(u64, Arc<Fragment>)>,
}

impl Pending {
    pub(super) fn new(id: BatchId, created: Instant, due: Instant) -> Self {
        Self {
            id,
            amount: Amount::default(),
            raw_bytes: 0,
            highest_timestamp_ms: None,
            created,
            due,
            tries: 0,
            message: Message::V1,
            fragments: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, lane_key: u64, fragment: Arc<Fragment>) {
        self.amount += Amount::of(&fragment);
        self.raw_bytes += fragment.raw_bytes();
        self.highest_timestamp_ms = self.highest_timestamp_ms.max(fragment.highest_timestamp_ms());
        self.created = self.created.min(fragment.created());
        self.message = fragment.message();
        self.fragments.push((lane_key, fragment));
    }

    /// The fragments in their order, each with its lane key.
    pub(super) fn into_fragments(self) -> impl Iterator<Item = (u64, Arc<Fragment>)> {
        self.fragments.into_iter()
    }

    pub(super) fn to_send(&self) -> Batch {
        Batch {
            id: self.id,
            message: self.message,
            body: body(self.fragments.iter().map(|(_, fragment)| &**fragment)),
            samples: self.amount.samples,
            metadata: self.amount.metadata,
            raw_bytes: self.raw_bytes,
            created: self.created,
            highest_timestamp_ms: self.highest_timestamp_ms,
            tries: self.tries,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Lane {
    in_flight: Option<Pending>,
    sealed: VecDeque<Pending>,
    open: Option<Pending>,
}

impl Lane {
    pub(super) const fn open(&self) -> Option<&Pending> {
        self.open.as_ref()
    }

    pub(super) const fn open_mut(&mut self) -> Option<&mut Pending> {
        self.open.as_mut()
    }

    pub(super) const fn take_open(&mut self) -> Option<Pending> {
        self.open.take()
    }

    pub(super) fn begin(&mut self, batch: Pending) {
        debug_assert!(self.open.is_none(), "{:?} begun while another is open", batch.id);
        self.open = Some(batch);
    }

    /// Seals the open batch and says which that was.
    pub(super) fn seal(&mut self) -> Option<BatchId> {
        let batch = self.open.take()?;
        let id = batch.id;
        debug_assert!(self.sealed.back().is_none_or(|last| last.id < id));
        self.sealed.push_back(batch);
        Some(id)
    }

    /// Takes the oldest sealed batch.
    pub(super) fn pop_sealed(&mut self) -> Option<Pending> {
        self.sealed.pop_front()
    }

    pub(super) const fn has_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    pub(super) fn send(&mut self, batch: Pending) {
        debug_assert!(self.in_flight.is_none(), "two batches in flight");
        self.in_flight = Some(batch);
    }

    /// Takes the batch in flight if it is that one.
    pub(super) fn take_in_flight(&mut self, id: BatchId) -> Option<Pending> {
        self.in_flight.take_if(|batch| batch.id == id)
    }

    /// Puts a batch back that was in flight: it is the next again.
    pub(super) fn put_back(&mut self, batch: Pending) {
        debug_assert!(self.sealed.front().is_none_or(|first| batch.id < first.id));
        self.sealed.push_front(batch);
    }

    /// When its oldest batch was scraped.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let first = self.in_flight.as_ref().or_else(|| self.sealed.front());
        first.or(self.open.as_ref()).map(|batch| batch.created)
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Pending> {
        self.in_flight.take().into_iter().chain(self.sealed.drain(..)).chain(self.open.take())
    }
}
