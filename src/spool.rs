//! The spool: what waits for one receiver, and the account of it.
//!
//! ```text
//!             append(lane key, fragments)                next(lane)          settle(lane, id)
//!  scrape ----------------------------> lane 0: open | sealed … | in flight -----------------> delivered
//!                                       lane 1: open | sealed … | in flight --+                dropped{reason}
//!                                       …                    ^----- retry ----+
//! ```
//!
//! A target always lands in the same lane, and a lane has one batch in flight, so the samples of a
//! series leave in the order in which they came. Fragments collect in the lane's open batch; it is
//! sealed when it is full or when its deadline has come. When the receiver does not keep up, the
//! oldest sealed batch goes first, because the newest data is what a person needs at that moment.
//!
//! This spool keeps its batches in memory. Callers see bodies and numbers only, never where a
//! batch lives.
//!
//! Invariants, checked after every call:
//! - `appended = delivered + dropped + queued`, in samples, metadata entries, fragments and bytes;
//!   a batch in flight counts as queued until it is settled.
//! - What is queued, in flight included, is at most `max_bytes` and `capacity_samples`.
//!
//! It reads no clock and never waits; the caller brings the time and does the sending.

mod counts;
mod lane;
#[cfg(test)]
mod model;
mod settings;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bytes::Bytes;

pub use self::counts::{Amount, Counts, Reason};
use self::lane::{Lane, Pending};
pub use self::settings::{Settings, SettingsError};
use crate::{
    limits::BODY_RAW_BYTES_MAX,
    remote_write::{Fragment, Message},
};

/// Names one batch of a spool; later batches of a lane have greater ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u64);

/// A batch to send.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What [`Spool::settle`] wants back.
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
    /// When its oldest samples were scraped.
    pub created: Instant,
    /// The latest time of a sample, in milliseconds since the epoch.
    pub highest_timestamp_ms: Option<i64>,
    /// How often it has been sent already.
    pub tries: u32,
}

/// What a lane's sender does next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Send this batch, then call [`Spool::settle`].
    Send(Batch),
    /// Ask again at that time, or after the next append to this lane.
    WaitUntil(Instant),
    /// Ask again after the next append to this lane; or its batch in flight is not settled yet.
    Idle,
}

/// What became of a batch in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The receiver has it.
    Delivered,
    /// It will not be sent again.
    Dropped(Reason),
    /// It goes back to the front of its lane. Until it is sent again it may have to make room.
    Retry,
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

/// The queue of one receiver, see the module's documentation.
#[derive(Debug)]
pub struct Spool {
    settings: Settings,
    lanes: Vec<Lane>,
    /// The lane of every sealed batch; the first is the next to make room.
    sealed: BTreeMap<BatchId, u16>,
    next_id: u64,
    /// Set by `close`: what is appended later is dropped for that reason.
    closed: Option<Reason>,
    counts: Counts,
}

impl Spool {
    /// An empty spool.
    ///
    /// # Errors
    /// When nothing could ever be sent with these settings.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let lanes = (0..settings.lanes).map(|_| Lane::default()).collect();
        Ok(Self {
            settings,
            lanes,
            sealed: BTreeMap::new(),
            next_id: 0,
            closed: None,
            counts: Counts::default(),
        })
    }

    /// Number of lanes; they are numbered from zero.
    pub const fn lanes(&self) -> u16 {
        self.settings.lanes
    }

    /// The lane of a key. The key is a hash of the target, so that a target keeps its lane.
    pub fn lane_of(&self, lane_key: u64) -> u16 {
        let lane = lane_key % u64::from(self.settings.lanes);
        u16::try_from(lane).expect("below the number of lanes, which is a u16")
    }

    /// Queues the fragments of one scrape. They share a batch when a batch can hold them all.
    /// Never refuses: what finds no room is dropped and counted, the oldest sealed batch first.
    ///
    /// Returns the lane, whose `next` may have something else to say from now on.
    pub fn append(
        &mut self,
        lane_key: u64,
        fragments: impl IntoIterator<Item = Arc<Fragment>>,
        now: Instant,
    ) -> u16 {
        let lane = self.lane_of(lane_key);
        let fragments: Vec<_> = fragments.into_iter().collect();
        let samples = fragments.iter().map(|f| u64::from(f.samples())).sum();
        let raw_bytes = fragments.iter().map(|f| f.raw_bytes()).sum();
        let open = self.open(lane);
        if open.is_some_and(|open| open.due <= now || !self.fits(open, samples, raw_bytes)) {
            self.seal(lane);
        }
        for fragment in fragments {
            self.append_fragment(lane, fragment, now);
        }
        self.check();
        lane
    }

    /// What the sender of `lane` does next. A batch that is handed out stays queued until it is
    /// settled; until then the lane is idle. Batches above the age limit are dropped on the way.
    pub fn next(&mut self, lane: u16, now: Instant) -> Next {
        let next = self.next_of(lane, now);
        self.check();
        next
    }

    /// Tells what became of the batch that `lane` had in flight.
    ///
    /// # Errors
    /// When that batch is not in flight there; nothing has changed then.
    pub fn settle(&mut self, lane: u16, id: BatchId, settled: Settled) -> Result<(), NotInFlight> {
        let in_flight = self.lanes.get_mut(usize::from(lane)).and_then(|l| l.take_in_flight(id));
        let mut batch = in_flight.ok_or(NotInFlight { lane, id })?;
        self.counts.in_flight -= batch.amount;
        match settled {
            Settled::Delivered => {
                self.counts.batches -= 1;
                self.counts.deliver(batch.amount, batch.highest_timestamp_ms);
            }
            Settled::Dropped(reason) => self.drop_batch(&batch, reason),
            Settled::Retry => {
                batch.tries = batch.tries.saturating_add(1);
                self.counts.retried += batch.amount;
                self.sealed.insert(id, lane);
                self.lane_mut(lane).put_back(batch);
            }
        }
        self.check();
        Ok(())
    }

    /// Takes samples into the account that the receiver's `write_relabel_configs` keep from it.
    pub fn count_filtered(&mut self, samples: u64) {
        let amount = Amount { samples, ..Amount::default() };
        self.counts.append(amount, None);
        self.counts.drop_queued(amount, Reason::WriteRelabel);
        self.check();
    }

    /// Seals every open batch, so that nothing waits for its deadline.
    pub fn flush(&mut self) {
        for lane in 0..self.settings.lanes {
            self.seal(lane);
        }
        self.check();
    }

    /// Drops everything that is left, in flight or not, and says how much that was. Whatever is
    /// appended later is dropped for the same reason.
    pub fn close(&mut self, reason: Reason) -> Amount {
        let mut left = Amount::default();
        for lane in &mut self.lanes {
            for batch in lane.drain() {
                left += batch.amount;
            }
        }
        debug_assert_eq!(left, self.counts.queued);
        self.sealed.clear();
        self.counts.drop_queued(left, reason);
        self.counts.in_flight = Amount::default();
        self.counts.batches = 0;
        self.closed = Some(reason);
        self.check();
        left
    }

    /// The account so far.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether nothing is queued, in flight included.
    pub const fn is_empty(&self) -> bool {
        self.counts.batches == 0
    }

    fn append_fragment(&mut self, lane: u16, fragment: Arc<Fragment>, now: Instant) {
        let amount = Amount::of(&fragment);
        self.counts.append(amount, fragment.highest_timestamp_ms());
        // What alone exceeds the limits must not push out everything else first.
        let refused = self.closed.or_else(|| self.exceeds(amount).then_some(Reason::QueueFull));
        if let Some(reason) = refused {
            self.counts.drop_queued(amount, reason);
            return;
        }
        // A request of remote write 2.0 cannot be continued: it is a batch of its own.
        let alone = fragment.message() == Message::V2;
        let open = self.open(lane);
        let fits = |open| !alone && self.fits(open, amount.samples, fragment.raw_bytes());
        if open.is_some_and(|open| !fits(open)) {
            self.seal(lane);
        }
        self.open_batch(lane, fragment.created(), now).push(fragment);
        let open = self.open(lane);
        if open.is_some_and(|open| alone || self.is_full(open)) {
            self.seal(lane);
        }
        self.make_room();
    }

    /// The open batch of a lane, begun when there is none.
    fn open_batch(&mut self, lane: u16, created: Instant, now: Instant) -> &mut Pending {
        if self.open(lane).is_none() {
            let id = BatchId(self.next_id);
            self.next_id += 1;
            self.counts.batches += 1;
            // A deadline beyond the range of the clock is as good as none; sending at once is safe.
            let due = now.checked_add(self.settings.batch_send_deadline).unwrap_or(now);
            self.lane_mut(lane).begin(Pending::new(id, created, due));
        }
        self.lane_mut(lane).open_mut().expect("begun above")
    }

    fn next_of(&mut self, lane: u16, now: Instant) -> Next {
        let Some(queue) = self.lanes.get(usize::from(lane)) else { return Next::Idle };
        if queue.has_in_flight() {
            return Next::Idle;
        }
        if queue.open().is_some_and(|open| open.due <= now) {
            self.seal(lane);
        }
        while let Some(batch) = self.lane_mut(lane).pop_sealed() {
            self.sealed.remove(&batch.id);
            if self.is_too_old(&batch, now) {
                self.drop_batch(&batch, Reason::TooOld);
                continue;
            }
            self.counts.in_flight += batch.amount;
            let to_send = batch.to_send();
            self.lane_mut(lane).send(batch);
            return Next::Send(to_send);
        }
        self.open(lane).map_or(Next::Idle, |open| Next::WaitUntil(open.due))
    }

    fn seal(&mut self, lane: u16) {
        if let Some(id) = self.lane_mut(lane).seal() {
            self.sealed.insert(id, lane);
        }
    }

    /// Drops the oldest sealed batches, and after them the oldest open ones, until the limits hold.
    /// Batches in flight stay. They are within the limits, because they were when they were queued.
    fn make_room(&mut self) {
        while self.exceeds(self.counts.queued) {
            let batch = match self.sealed.pop_first() {
                Some((_, lane)) => self.lane_mut(lane).pop_sealed(),
                None => self.pop_oldest_open(),
            };
            let Some(batch) = batch else { break };
            self.drop_batch(&batch, Reason::QueueFull);
        }
    }

    fn pop_oldest_open(&mut self) -> Option<Pending> {
        let open = self.lanes.iter_mut().filter(|lane| lane.open().is_some());
        open.min_by_key(|lane| lane.open().map(|open| open.id))?.take_open()
    }

    fn drop_batch(&mut self, batch: &Pending, reason: Reason) {
        self.counts.batches -= 1;
        self.counts.drop_queued(batch.amount, reason);
    }

    const fn exceeds(&self, amount: Amount) -> bool {
        let capacity = self.settings.capacity_samples;
        amount.bytes > self.settings.max_bytes || (capacity > 0 && amount.samples > capacity)
    }

    fn fits(&self, open: &Pending, samples: u64, raw_bytes: u64) -> bool {
        open.amount.samples + samples <= u64::from(self.settings.max_samples_per_send)
            && open.raw_bytes + raw_bytes <= BODY_RAW_BYTES_MAX
    }

    fn is_full(&self, open: &Pending) -> bool {
        open.amount.samples >= u64::from(self.settings.max_samples_per_send)
            || open.raw_bytes >= BODY_RAW_BYTES_MAX
    }

    fn is_too_old(&self, batch: &Pending, now: Instant) -> bool {
        let limit = self.settings.sample_age_limit;
        !limit.is_zero() && now.saturating_duration_since(batch.created) > limit
    }

    fn open(&self, lane: u16) -> Option<&Pending> {
        self.lanes.get(usize::from(lane))?.open()
    }

    fn lane_mut(&mut self, lane: u16) -> &mut Lane {
        self.lanes.get_mut(usize::from(lane)).expect("lanes come from lane_of or were looked up")
    }

    fn check(&self) {
        debug_assert!(self.counts.is_balanced(), "{:?}", self.counts);
        debug_assert!(!self.exceeds(self.counts.queued), "{:?}", self.counts);
    }
}
