//! The spool and its disk: opening, orders, and what comes of them. See `spool/store`.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::{
    Amount, Durability, Epoch, Lane, OpenError, Reason, Record, Settings, Spool, Stage, StoreState,
    disk::{Disk, DiskError},
    frame::{Frame, HEAD_BYTES, HEADER_BYTES},
    lane::Taken,
    log::{Cut, Fsync, Loaded, Log, Orders, Report, Unread, Write, Written, frame_bytes},
    record::{Place, Stored},
    recover::{self, Found, Recovered},
    store::{Health, PATIENCE, READ_PATIENCE, READ_PAUSE, Sizes, Store},
};
use crate::remote_write::Fragment;

impl Spool {
    /// The spool whose directory is `disk`, with what an earlier run has left there.
    ///
    /// # Errors
    /// The directory cannot be listed, or nothing could ever be sent with these settings. What is wrong
    /// with files in it is no error, but in [`Recovered`].
    pub fn open<D: Disk>(
        settings: Settings,
        epoch: Epoch,
        durability: Durability,
        disk: D,
    ) -> Result<(Self, Log<D>, Recovered), OpenError> {
        Self::open_sized(settings, epoch, durability, Sizes::of(&settings), disk)
    }

    pub(super) fn open_sized<D: Disk>(
        settings: Settings,
        epoch: Epoch,
        durability: Durability,
        sizes: Sizes,
        disk: D,
    ) -> Result<(Self, Log<D>, Recovered), OpenError> {
        let mut spool = Self::new(settings, epoch)?;
        let mut store = Store::new(durability, sizes, &settings);
        let segment_bytes = sizes.segment_bytes;
        let cut = Cut { segment_bytes, fsync: durability.fsync, run: durability.run };
        let found = |found: Found| spool.restore(&mut store, &found);
        let (log, recovered) = recover::open(disk, cut, found)?;
        // Those without a record that waits are removed already, or cannot be.
        for base in store.segments.idle() {
            store.segments.remove(base);
        }
        store.errors = recovered.errors.len() as u64;
        store.corrupt_records = recovered.corrupt_records;
        store.corrupt_bytes = recovered.corrupt_bytes;
        spool.next_sequence = recovered.next_sequence;
        spool.flushed = recovered.next_sequence;
        for lane in &mut spool.lanes {
            lane.cold_before = recovered.next_sequence;
        }
        spool.store = Some(store);
        spool.make_room_on_disk(0);
        spool.make_room();
        spool.check();
        Ok((spool, log, recovered))
    }

    /// What to do on the disk now, if anything, in the order in which it has to be done; answer it with
    /// [`Spool::done`].
    pub fn orders(&mut self, now: Instant) -> Option<Orders> {
        self.store.as_ref().filter(|store| store.busy_since.is_none())?;
        self.reload(now);
        let store = self.store.as_ref()?;
        let mut orders = Orders::default();
        if store.may_write(now) && store.unwritten_bytes > 0 {
            orders.writes = self.gather(store.sizes.write_bytes_max);
            let bytes = |write: &Write| frame_bytes(write.fragment.bytes()) + HEAD_BYTES as u64;
            self.make_room_on_disk(orders.writes.iter().map(bytes).sum());
        }
        let store = self.store.as_mut()?;
        if store.is_stopping && orders.writes.is_empty() {
            for base in store.segments.idle() {
                store.discard(base);
            }
        }
        orders.loads = std::mem::take(&mut store.loads);
        orders.removals = std::mem::take(&mut store.removals);
        let interval = store.durability.fsync_interval;
        orders.sync = store.unsynced_since.is_some_and(|since| {
            store.is_stopping || now.saturating_duration_since(since) >= interval
        });
        orders.cursor = store.order_cursor(now);
        let is_idle = orders.loads.is_empty()
            && orders.removals.is_empty()
            && orders.writes.is_empty()
            && orders.cursor.is_none()
            && !orders.sync;
        if is_idle {
            return None;
        }
        store.busy_since = Some(now);
        Some(orders)
    }

    /// Whether, since it was asked last, something was left for [`Spool::orders`], which must be called soon
    /// then.
    pub fn calls_for_disk(&mut self) -> bool {
        self.store.as_mut().is_some_and(|store| std::mem::take(&mut store.calls))
    }

    /// Whether [`Spool::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_stopping)
    }

    /// When [`Spool::orders`] has something although nothing happens until then.
    pub fn orders_due(&self) -> Option<Instant> {
        self.store.as_ref()?.due()
    }

    /// Takes in what came of the orders. Returns the lanes whose `next` may have something else to say.
    pub fn done(&mut self, report: Report, now: Instant) -> Vec<u16> {
        let mut lanes: Vec<u16> = Vec::new();
        for loaded in report.loaded {
            lanes.push(loaded.lane);
            self.loaded(loaded, now);
        }
        let written_any = !report.written.is_empty();
        for written in &report.written {
            lanes.extend(self.written(written));
        }
        let Some(store) = &mut self.store else { return lanes };
        store.busy_since = None;
        store.errors += report.errors.len() as u64 + u64::from(report.unwritten.is_some());
        store.unsynced_since = match (report.synced, store.durability.fsync) {
            (true, _) | (_, Fsync::Never) => None,
            (false, _) => store.unsynced_since.or_else(|| written_any.then_some(now)),
        };
        store.made_room &= !written_any;
        if std::mem::take(&mut store.cursor_ordered) && !report.cursor_written {
            store.cursor_changed |= !store.is_stopping;
        }
        if let Some(words) = report.poisoned {
            store.unsynced_since = None;
            store.health = Health::Poisoned { words };
        } else if let Some(error) = report.unwritten {
            self.not_written(&error, now);
        } else if written_any {
            store.health = Health::Good;
        }
        self.evict();
        self.make_room_in_memory();
        self.check();
        if !matches!(self.store.as_ref().map(|store| &store.health), Some(Health::Good)) {
            lanes = (0..self.settings.lanes).collect();
        }
        lanes.sort_unstable();
        lanes.dedup();
        lanes
    }

    /// The relay stops: everything is written and synced as soon as it can be.
    pub fn stop(&mut self) {
        if let Some(store) = &mut self.store {
            (store.is_stopping, store.calls) = (true, true);
            if let Health::Paused { until, .. } = &mut store.health {
                // One more try.
                *until = self.epoch.instant;
            }
        }
    }

    /// What is to be known of the disk; `None` for a spool in memory.
    pub fn store(&self, now: Instant) -> Option<StoreState> {
        let store = self.store.as_ref()?;
        let trouble = match &store.health {
            Health::Good if store.lets_unwritten_pass(now) => {
                format!("the disk has not answered for {} s", PATIENCE.as_secs())
            }
            Health::Good => String::new(),
            Health::Paused { words, .. } => words.clone(),
            Health::Poisoned { words } => {
                format!("the spool's disk failed, nothing more is written until a restart: {words}")
            }
        };
        Some(StoreState {
            disk_bytes: store.segments.bytes(),
            segments: store.segments.len() as u64,
            memory_bytes: store.resident_bytes,
            unwritten_bytes: store.unwritten_bytes,
            errors: store.errors,
            corrupt_records: store.corrupt_records,
            corrupt_bytes: store.corrupt_bytes,
            is_poisoned: matches!(store.health, Health::Poisoned { .. }),
            trouble,
        })
    }

    /// Takes in a record that an earlier run has left.
    fn restore(&mut self, store: &mut Store, found: &Found) {
        let Found { base, frame, offset, frame_bytes, settled } = *found;
        let Frame { sequence, lane_key, ordinal, .. } = frame;
        let written = Written { sequence, lane_key, base, offset, ordinal, frame_bytes };
        store.segments.add(&written, frame.run, !settled);
        if settled {
            return;
        }
        // A clock that was set back must not make it wait.
        let created_ms = frame.created_ms.min(self.epoch.unix_ms);
        let record = Record {
            sequence: frame.sequence,
            lane_key: frame.lane_key,
            created_ms,
            queued_ms: created_ms,
            highest_ms: frame.timestamps_ms.map(|(_, highest)| highest),
            samples: frame.samples.into(),
            metadata: frame.metadata,
            first: frame.first,
            message: frame.message,
            bytes: frame_bytes - HEADER_BYTES as u64,
            raw_bytes: frame.raw_bytes.into(),
            stored: Stored::At(Place { base, offset, ordinal: frame.ordinal }),
            fragment: None,
        };
        self.counts.recover(record.amount(), record.highest_ms);
        let lane = usize::from(self.lane_of(record.lane_key));
        self.lanes.get_mut(lane).expect("lanes come from lane_of").line.push_back(record);
    }

    /// The next records to write, in order.
    fn gather(&self, bytes_max: u64) -> Vec<Write> {
        let mut waiting: Vec<&Record> = self.lanes.iter().flat_map(Lane::unwritten).collect();
        waiting.sort_unstable_by_key(|record| record.sequence);
        let (mut writes, mut bytes) = (Vec::new(), 0);
        for record in waiting {
            bytes += frame_bytes(record.bytes) + HEAD_BYTES as u64;
            let Some(fragment) = record.fragment.clone() else { break };
            if !writes.is_empty() && bytes > bytes_max {
                break;
            }
            let &Record { sequence, lane_key, created_ms, first, .. } = record;
            writes.push(Write { sequence, lane_key, created_ms, first, fragment });
        }
        writes
    }

    /// Takes in where a record was written. Returns its lane, unless the record is gone.
    fn written(&mut self, written: &Written) -> Option<u16> {
        let lane = self.lane_of(written.lane_key);
        let store = self.store.as_mut()?;
        let found = self.lanes.get_mut(usize::from(lane)).and_then(|l| l.find(written.sequence));
        let ended = store.segments.add(written, store.durability.run, found.is_some());
        if let Some(base) = ended {
            store.discard(base);
        }
        let Some(record) = found else {
            store.cursor_changed = true;
            return None;
        };
        let &Written { base, offset, ordinal, .. } = written;
        record.stored = Stored::At(Place { base, offset, ordinal });
        store.unwritten_bytes -= record.bytes;
        Some(lane)
    }

    /// The disk took nothing more.
    fn not_written(&mut self, error: &DiskError, now: Instant) {
        let Some(store) = &mut self.store else { return };
        let can_make_room =
            matches!(error, DiskError::Full(_)) && !store.made_room && store.segments.len() > 0;
        if can_make_room && (store.is_stopping || store.memory_is_short()) {
            store.made_room = true;
            self.drop_oldest_segment();
        } else {
            store.pause(error.to_string(), can_make_room, now);
        }
    }

    fn make_room_on_disk(&mut self, need: u64) {
        while let Some(store) = &self.store
            && store.segments.bytes() + need > store.budget
            && store.segments.len() > 0
        {
            self.drop_oldest_segment();
        }
    }

    /// Drops the oldest segment, and what of it still waits. What is being sent is sent, and goes when it
    /// would have to be sent again.
    fn drop_oldest_segment(&mut self) {
        let Some(store) = &mut self.store else { return };
        let Some(base) = store.segments.oldest() else { return };
        let Some(segment) = store.segments.remove(base) else { return };
        store.removals.push(base);
        store.cursor_changed = true;
        let is_in = |record: &Record| matches!(record.stored, Stored::At(at) if at.base == base);
        let mut dropped = Amount::default();
        for lane in &mut self.lanes {
            while lane.line.front().is_some_and(|record| record.sequence < segment.end)
                && let Some(record) = lane.line.pop_front()
            {
                debug_assert!(is_in(&record), "{record:?} is older than the oldest segment");
                store.resident_bytes -= record.resident_bytes();
                dropped += record.amount();
            }
            let Some(taken) = &mut lane.taken else { continue };
            if taken.stage == Stage::Sent {
                taken.records.iter_mut().filter(|r| is_in(r)).for_each(|r| r.stored = Stored::Gone);
            } else {
                dropped += taken.records.extract_if(.., |r| is_in(r)).map(|r| r.amount()).sum();
            }
            lane.taken.take_if(|taken| taken.records.is_empty());
        }
        self.counts.drop_queued(dropped, Reason::QueueFull);
    }

    /// Drops the oldest of what is in memory only until its limit holds.
    pub(super) fn make_room_in_memory(&mut self) {
        while let Some(store) = &self.store
            && store.unwritten_bytes > store.sizes.memory_bytes_max
        {
            let oldest = |lane: &&mut Lane| {
                let written = lane.line.partition_point(|r| r.stored != Stored::NotYet);
                lane.line.get(written).map_or(u64::MAX, |record| record.sequence)
            };
            let Some(lane) = self.lanes.iter_mut().min_by_key(oldest) else { break };
            let written = lane.line.partition_point(|record| record.stored != Stored::NotYet);
            let Some(record) = lane.line.remove(written) else { break };
            self.counts.drop_queued(record.amount(), Reason::QueueFull);
            self.left(&record, true);
        }
    }

    /// Forgets the oldest fragments that are on disk until the rest fits into the memory they may have.
    fn evict(&mut self) {
        while let Some(store) = &mut self.store
            && store.resident_bytes > store.sizes.memory_bytes_max
        {
            let first = |lane: &Lane| {
                let at = lane.line.partition_point(|r| r.sequence < lane.cold_before);
                let record = lane.line.get(at).filter(|r| matches!(r.stored, Stored::At(_)))?;
                Some((record.sequence, at))
            };
            let lanes = self.lanes.iter_mut();
            let Some(((sequence, at), lane)) =
                lanes.filter_map(|lane| Some((first(lane)?, lane))).min_by_key(|(at, _)| *at)
            else {
                break;
            };
            lane.cold_before = sequence + 1;
            if let Some(record) = lane.line.get_mut(at) {
                store.resident_bytes -= record.resident_bytes();
                record.fragment = None;
            }
        }
    }

    /// Takes in what was read for a batch. What the log has lost is dropped; a disk that does not give it is
    /// asked again for a while.
    fn loaded(&mut self, loaded: Loaded, now: Instant) {
        let (Some(lane), Some(store)) =
            (self.lanes.get_mut(usize::from(loaded.lane)), &mut self.store)
        else {
            return;
        };
        let is_it = |t: &&mut Taken| t.id.0 == loaded.batch && t.stage == Stage::Loading;
        let Some(taken) = lane.taken.as_mut().filter(is_it) else { return };
        let (mut lost, mut unread) = (Vec::new(), Vec::new());
        for (sequence, body) in loaded.bodies {
            let at = taken.records.iter().position(|record| record.sequence == sequence);
            let Some(record) = at.and_then(|at| taken.records.get_mut(at)) else { continue };
            match body {
                Ok((frame, body)) => {
                    let created = self.epoch.instant(record.created_ms);
                    record.fragment = Some(Arc::new(restored(record, &frame, body, created)));
                }
                Err(Unread::Disk(DiskError::Failed(_) | DiskError::Full(_))) => {
                    unread.push(sequence)
                }
                Err(Unread::Corrupt | Unread::Disk(DiskError::Gone(_))) => lost.push(sequence),
            }
        }
        taken.stage = Stage::Ready;
        if unread.is_empty() {
            store.unread_since = None;
        } else {
            store.errors += 1;
            let since = *store.unread_since.get_or_insert(now);
            let since = since.min(*taken.unread_since.get_or_insert(now));
            if now.saturating_duration_since(since) < READ_PATIENCE {
                taken.stage = Stage::Unread;
                store.reload_at = Some(now.checked_add(READ_PAUSE).unwrap_or(now));
            } else {
                lost.append(&mut unread);
            }
        }
        store.corrupt_records += lost.len() as u64;
        let gone: Vec<Record> =
            taken.records.extract_if(.., |record| lost.contains(&record.sequence)).collect();
        lane.taken.take_if(|taken| taken.records.is_empty());
        for record in gone {
            self.drop_record(&record, false, Reason::Unreadable);
        }
    }

    /// Orders again what the disk did not give.
    fn reload(&mut self, now: Instant) {
        let Some(store) = &mut self.store else { return };
        if store.reload_at.is_none_or(|at| at > now) {
            return;
        }
        store.reload_at = None;
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let unread = lane.taken.as_mut().filter(|taken| taken.stage == Stage::Unread);
            if let Some(taken) = unread {
                taken.stage = Stage::Loading;
                store.order_load(at, taken.id, &taken.records);
            }
        }
    }
}

/// A fragment as it was before it was written.
fn restored(record: &Record, frame: &Frame, body: Vec<u8>, created: Instant) -> Fragment {
    let Frame { samples, metadata, timestamps_ms, .. } = *frame;
    let body = Bytes::from(body);
    Fragment::restore(
        record.message,
        body,
        record.raw_bytes,
        samples,
        metadata,
        timestamps_ms,
        created,
    )
}
