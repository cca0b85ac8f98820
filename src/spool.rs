//! The spool: what waits for one receiver, and the account of it.
//!
//! ```text
//!             append(lane key, fragments)          next(lane)           settle(lane, id)
//!  scrape ----------------------------> lane 0: line ------> batch sent -----------------> delivered
//!                                       lane 1: line ------> batch sent --+                dropped{reason}
//!                                       …           ^------- retry -------+
//!                                         |  ^
//!                                orders() |  | done()          only with a data directory
//!                                         v  |
//!                                         log: segments, cursor
//! ```
//!
//! A target always lands in the same lane, and a lane has one batch in flight, so the samples of a
//! series leave in the order in which they came. Batches are cut from the front of a line when they are
//! asked for: when one is full, or when its first record has waited for the deadline. When the receiver
//! does not keep up, the oldest goes first, because the newest data is what a person needs at
//! that moment.
//!
//! With a data directory each fragment is written before it is sent, right after the scrape that made it;
//! `spool/store` is that half. Without one the spool lives in memory, with the same limits.
//!
//! Invariants, checked after every call:
//! - `appended = delivered + dropped + queued`, in samples, metadata entries, fragments and bytes;
//!   a batch in flight counts as queued until it is settled.
//! - What is queued, in flight included, is at most `max_bytes` and `capacity_samples`; on a disk
//!   `max_bytes` bounds the files.
//!
//! It reads no clock and never waits; the caller brings the time and does the sending and writing.

mod batch;
mod counts;
mod cursor;
mod disk;
mod frame;
#[cfg(test)]
mod histories;
mod lane;
mod log;
#[cfg(test)]
mod mishaps;
#[cfg(test)]
mod model;
mod orders;
mod pace;
mod reconfigure;
mod record;
mod recover;
mod segments;
mod settings;
#[cfg(test)]
mod sim;
mod store;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::{
    batch::{Batch, BatchId, Next, NotInFlight, Part, Settled},
    counts::{Amount, Counts, Reason},
    disk::{Disk, DiskError},
    log::{Fsync, Log, Orders, Report},
    record::Epoch,
    recover::Recovered,
    settings::{Drain, Settings, SettingsError},
    store::{Durability, OpenError, StoreState},
};
use self::{
    lane::{Lane, Offer, Rules, Stage, Taken},
    pace::Pace,
    record::{Record, Stored},
    store::Store,
};
use crate::remote_write::Fragment;

/// The queue of one receiver, see the module's documentation.
#[derive(Debug)]
pub struct Spool {
    settings: Settings,
    epoch: Epoch,
    lanes: Vec<Lane>,
    next_sequence: u64,
    next_batch: u64,
    /// Records before this one wait for no deadline.
    flushed: u64,
    /// Set by `close`: what is appended later is dropped for that reason.
    closed: Option<Reason>,
    counts: Counts,
    pace: Pace,
    store: Option<Store>,
}

/// Beside `batch_send_deadline`: how long a record is live, before it counts as backlog. Longer than any
/// pause of a healthy receiver, shorter than what a person watches.
const LIVE: Duration = Duration::from_secs(10);

impl Spool {
    /// An empty spool in memory.
    ///
    /// # Errors
    /// When nothing could ever be sent with these settings.
    pub fn new(settings: Settings, epoch: Epoch) -> Result<Self, SettingsError> {
        settings.check()?;
        let lanes = (0..settings.lanes).map(|_| Lane::default()).collect();
        Ok(Self {
            settings,
            epoch,
            lanes,
            next_sequence: 0,
            next_batch: 0,
            flushed: 0,
            closed: None,
            counts: Counts::default(),
            pace: Pace::default(),
            store: None,
        })
    }

    /// An empty spool in memory with the same settings.
    pub fn empty(&self) -> Self {
        Self::new(self.settings, self.epoch).expect("the settings are this spool's")
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
    /// Never refuses: what finds no room is dropped and counted, the oldest first.
    ///
    /// Returns the lane, whose `next` may have something else to say from now on.
    pub fn append(
        &mut self,
        lane_key: u64,
        fragments: impl IntoIterator<Item = Arc<Fragment>>,
        now: Instant,
    ) -> u16 {
        let lane = self.lane_of(lane_key);
        let mut first = true;
        for fragment in fragments {
            first &= !self.append_fragment(lane, lane_key, first, fragment, now);
        }
        self.check();
        lane
    }

    /// What the sender of `lane` does next. A batch that is handed out stays queued until it is
    /// settled; until then the lane is idle. Records above the age limit are dropped on the way.
    pub fn next(&mut self, lane: u16, now: Instant) -> Next {
        let next = self.next_of(usize::from(lane), now);
        self.check();
        next
    }

    /// Tells what became of the batch that `lane` had in flight.
    ///
    /// # Errors
    /// When that batch is not in flight there; nothing has changed then.
    pub fn settle(&mut self, lane: u16, id: BatchId, settled: Settled) -> Result<(), NotInFlight> {
        let at = usize::from(lane);
        let is_it = |taken: &mut Taken| taken.stage == Stage::Sent && taken.id == id;
        let taken = self.lanes.get_mut(at).and_then(|lane| lane.taken.take_if(is_it));
        let mut taken = taken.ok_or(NotInFlight { lane, id })?;
        let (amount, highest_ms) = (taken.amount(), taken.highest_ms());
        self.counts.in_flight -= amount;
        match settled {
            Settled::Delivered => self.counts.deliver(amount, highest_ms),
            Settled::Dropped(reason) => self.counts.drop_queued(amount, reason),
            Settled::Partly { rejected, too_old } => {
                let mut delivered = amount;
                for (part, reason) in [(rejected, Reason::Rejected), (too_old, Reason::TooOld)] {
                    let dropped = part.within(delivered);
                    delivered -= dropped;
                    self.counts.drop_queued(dropped, reason);
                }
                let highest_ms = highest_ms.filter(|_| delivered.samples > 0);
                self.counts.deliver(delivered, highest_ms);
            }
            Settled::Retry => {
                taken.tries = taken.tries.saturating_add(1);
                self.counts.retried += amount;
                // Their segment had to make room while they were under way.
                let gone = taken.records.extract_if(.., |record| record.stored == Stored::Gone);
                let gone = gone.map(|record| record.amount()).sum();
                self.counts.drop_queued(gone, Reason::QueueFull);
                taken.stage = Stage::Ready;
                if let Some(lane) = self.lanes.get_mut(at).filter(|_| !taken.records.is_empty()) {
                    lane.taken = Some(taken);
                }
                self.check();
                return Ok(());
            }
        }
        for record in &taken.records {
            self.left(record, false);
        }
        self.check();
        Ok(())
    }

    /// Takes samples into the account that are kept from the receiver before they are queued.
    pub fn count_withheld(&mut self, samples: u64, reason: Reason) {
        let amount = Amount { samples, ..Amount::default() };
        self.counts.append(amount, None);
        self.counts.drop_queued(amount, reason);
        self.check();
    }

    /// Lets what is queued now wait for no deadline.
    pub fn flush(&mut self) {
        self.flushed = self.next_sequence;
    }

    /// Ends the spool and says how much was lost by it: everything, or with a data directory what is not
    /// written. What is written stays queued, for the next start. Whatever is appended later is dropped for the
    /// same reason.
    pub fn close(&mut self, reason: Reason) -> Amount {
        let mut lost = Amount::default();
        for lane in &mut self.lanes {
            let is_kept = |record: &mut Record| matches!(record.stored, Stored::At(_));
            if let Some(taken) = &mut lane.taken {
                taken.stage = Stage::Ready;
                lost += taken.records.extract_if(.., |r| !is_kept(r)).map(|r| r.amount()).sum();
            }
            lane.taken.take_if(|taken| taken.records.is_empty());
            lost += lane
                .line
                .iter()
                .filter(|r| !matches!(r.stored, Stored::At(_)))
                .map(Record::amount)
                .sum();
            lane.line.retain(|record| matches!(record.stored, Stored::At(_)));
        }
        self.counts.drop_queued(lost, reason);
        self.counts.in_flight = Amount::default();
        self.closed = Some(reason);
        if let Some(store) = &mut self.store {
            store.unwritten_bytes = 0;
        }
        self.check();
        lost
    }

    /// The account so far.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether nothing is queued, in flight included.
    pub const fn is_empty(&self) -> bool {
        self.counts.queued.fragments == 0
    }

    /// Samples that the account cannot place: appended, less delivered, dropped, and those of the records
    /// that are really there, which are counted one by one. Anything but 0 is a bug.
    pub fn unaccounted(&self) -> i64 {
        let held: u64 =
            self.lanes.iter().flat_map(Lane::records).map(|record| record.samples).sum();
        let Counts { appended, delivered, .. } = &self.counts;
        let known = delivered.samples + self.counts.dropped_in_all().samples + held;
        appended.samples.wrapping_sub(known).cast_signed()
    }

    /// How long the oldest queued record has waited since its scrape.
    pub fn oldest_age(&self, now: Instant) -> Option<Duration> {
        let first = |lane: &Lane| {
            let taken = lane.taken.as_ref().and_then(|taken| taken.records.first());
            [taken, lane.line.front()].into_iter().flatten().map(|r| r.created_ms).min()
        };
        let oldest = self.lanes.iter().filter_map(first).min()?;
        let age = self.epoch.ms(now).saturating_sub(oldest);
        Some(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }

    /// Queues a fragment, unless that is impossible. Returns whether it was queued.
    fn append_fragment(
        &mut self,
        lane: u16,
        lane_key: u64,
        first: bool,
        fragment: Arc<Fragment>,
        now: Instant,
    ) -> bool {
        let mut record =
            Record::new(self.next_sequence, lane_key, first, fragment, &self.epoch, now);
        let amount = record.amount();
        self.counts.append(amount, record.highest_ms);
        // What alone exceeds the limits must not push out everything else first.
        let is_too_large = self.exceeds(amount)
            || self.store.as_ref().is_some_and(|store| !store.could_hold(record.bytes));
        if let Some(reason) = self.closed.or_else(|| is_too_large.then_some(Reason::QueueFull)) {
            self.counts.drop_queued(amount, reason);
            return false;
        }
        self.next_sequence += 1;
        if let Some(store) = &mut self.store {
            store.take_in(&mut record);
        }
        let lane = self.lanes.get_mut(usize::from(lane)).expect("lanes come from lane_of");
        lane.line.push_back(record);
        self.make_room();
        true
    }

    fn next_of(&mut self, at: usize, now: Instant) -> Next {
        self.drop_too_old(at, now);
        let Some(lane) = self.lanes.get(at) else { return Next::Idle };
        match lane.taken.as_ref().map(|taken| taken.stage) {
            Some(Stage::Sent) => return Next::Idle,
            Some(Stage::Loading | Stage::Unread) => return Next::WaitUntil(store::ask_again(now)),
            Some(Stage::Ready) => return self.send(at),
            None => {}
        }
        let rules = self.rules(now);
        let split = match self.settings.drain {
            Drain::OldestFirst => 0,
            Drain::NewestFirst => {
                let live = LIVE.saturating_add(self.settings.batch_send_deadline);
                let since = self.epoch.ms(now).saturating_sub(millis(live));
                lane.line.partition_point(|record| record.queued_ms < since)
            }
        };
        let wait = match lane.offer(split..lane.line.len(), &rules) {
            Offer::Batch(count) => return self.take(at, split, count, now),
            Offer::At(ms) => Some(self.epoch.instant(ms)),
            Offer::Unwritten => Some(store::ask_again(now)),
            Offer::Nothing => None,
        };
        let backlog = match lane.offer(0..split, &rules) {
            Offer::Batch(count) => {
                let ready = self.pace.ready_at(self.settings.backlog_samples_per_second, now);
                if ready <= now {
                    let next = self.take(at, 0, count, now);
                    let taken = self.lanes.get(at).and_then(|lane| lane.taken.as_ref());
                    self.pace.take(taken.map_or(0, |taken| taken.amount().samples));
                    return next;
                }
                Some(ready)
            }
            Offer::At(ms) => Some(self.epoch.instant(ms)),
            Offer::Unwritten => Some(store::ask_again(now)),
            Offer::Nothing => None,
        };
        let wait = [wait, backlog].into_iter().flatten().min();
        wait.map_or(Next::Idle, Next::WaitUntil)
    }

    fn rules(&self, now: Instant) -> Rules {
        let deadline_ms = millis(self.settings.batch_send_deadline);
        Rules {
            samples_max: self.settings.max_samples_per_send.into(),
            due_before_ms: self.epoch.ms(now).saturating_sub(deadline_ms),
            deadline_ms,
            flushed: self.flushed,
            unwritten: self.store.as_ref().is_none_or(|store| store.lets_unwritten_pass(now)),
        }
    }

    /// Takes a batch from the line; what is not in memory is read first.
    fn take(&mut self, at: usize, start: usize, count: usize, now: Instant) -> Next {
        let Some(lane) = self.lanes.get_mut(at) else { return Next::Idle };
        let records: Vec<Record> = lane.line.drain(start..start + count).collect();
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        let is_resident = records.iter().all(|record| record.fragment.is_some());
        let stage = if is_resident { Stage::Ready } else { Stage::Loading };
        if let Some(store) = &mut self.store {
            store.resident_bytes -= records.iter().map(Record::resident_bytes).sum::<u64>();
            if !is_resident {
                store.order_load(at, id, &records);
            }
        }
        lane.taken = Some(Taken { id, stage, records, tries: 0, unread_since: None });
        if is_resident { self.send(at) } else { Next::WaitUntil(store::ask_again(now)) }
    }

    fn send(&mut self, at: usize) -> Next {
        let taken = self.lanes.get_mut(at).and_then(|lane| lane.taken.as_mut());
        let Some(taken) = taken else { return Next::Idle };
        taken.stage = Stage::Sent;
        self.counts.in_flight += taken.amount();
        Next::Send(taken.to_send(&self.epoch))
    }

    fn drop_too_old(&mut self, at: usize, now: Instant) {
        if self.settings.sample_age_limit.is_zero() {
            return;
        }
        let limit_ms = millis(self.settings.sample_age_limit);
        let oldest_ms = self.epoch.ms(now).saturating_sub(limit_ms);
        while let Some(lane) = self.lanes.get_mut(at)
            && lane.oldest().is_some_and(|record| record.created_ms < oldest_ms)
        {
            let Some((record, in_line)) = lane.pop_oldest() else { break };
            self.drop_record(&record, in_line, Reason::TooOld);
        }
    }

    /// Drops the oldest records until the limits hold. Batches in flight stay. They are within the limits,
    /// because they were when they were queued.
    fn make_room(&mut self) {
        while self.exceeds(self.counts.queued) {
            let oldest = |lane: &&mut Lane| lane.oldest().map(|r| r.sequence).unwrap_or(u64::MAX);
            let lane = self.lanes.iter_mut().min_by_key(oldest);
            let Some((record, in_line)) = lane.and_then(|lane| lane.pop_oldest()) else { break };
            self.drop_record(&record, in_line, Reason::QueueFull);
        }
        self.make_room_in_memory();
    }

    fn drop_record(&mut self, record: &Record, in_line: bool, reason: Reason) {
        self.counts.drop_queued(record.amount(), reason);
        self.left(record, in_line);
    }

    /// A record has left its lane for good.
    fn left(&mut self, record: &Record, in_line: bool) {
        if let Some(store) = &mut self.store {
            store.left(record, in_line);
        }
    }

    const fn exceeds(&self, amount: Amount) -> bool {
        let capacity = self.settings.capacity_samples;
        (self.store.is_none() && amount.bytes > self.settings.max_bytes)
            || (capacity > 0 && amount.samples > capacity)
    }

    fn check(&self) {
        debug_assert!(self.counts.is_balanced(), "{:?}", self.counts);
        debug_assert!(!self.exceeds(self.counts.queued), "{:?}", self.counts);
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
