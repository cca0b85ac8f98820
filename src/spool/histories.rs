//! Random histories of a spool on a disk: what it holds is compared with a plain list after each step, and
//! after each kill or crash it is opened again and must have everything that it had promised to keep.
//!
//! What a spool promises of a record that waits:
//!
//! | the process is killed | the machine crashes | when |
//! |---|---|---|
//! | kept | kept | it was synced: at once with `always`, within the interval with `interval` |
//! | kept | perhaps | it was written |
//! | lost | lost | it is not written, because the disk does not take it |
//!
//! A record that was settled may come back (it is sent again), never one of another content, and never in
//! another order within its target.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{
    Batch, Drain, Durability, Epoch, Fsync, Log, Next, Reason, Settings, Settled, Spool,
    lane::Lane,
    record::Stored,
    sim::{Faults, SimDisk},
    store::Sizes,
    tests::{contents, fragment},
};

const SEEDS: u64 = 2000;
const STEPS: usize = 120;

/// What became of a record in the model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    key: u64,
    samples: u64,
    /// Whether the spool holds it.
    waits: bool,
    written: bool,
    synced: bool,
    delivered: bool,
}

struct History {
    rng: Rng,
    disk: SimDisk,
    spool: Spool,
    log: Log<SimDisk>,
    settings: Settings,
    fsync: Fsync,
    sizes: Sizes,
    now: Instant,
    start: Epoch,
    /// By id; the list that the spool is compared with.
    known: BTreeMap<u64, Known>,
    /// Batches in flight, by lane.
    sent: BTreeMap<u16, Batch>,
    /// The last record delivered of each key in this run.
    last: BTreeMap<u64, u64>,
    /// Samples dropped for reasons that the spool chooses by itself, in this run.
    dropped: u64,
    /// Whether a fault was set in this run; with faults an order to the disk may be lost.
    had_faults: bool,
    met: Met,
}

/// What the histories came across, so that they cannot all be harmless.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    kills: u64,
    crashes: u64,
    stops: u64,
    recovered: u64,
    loads: u64,
    full: u64,
    too_old: u64,
    poisoned: u64,
    torn: u64,
    failed: u64,
    retried: u64,
    evicted: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let drain = if rng.u8(0..3) == 0 { Drain::NewestFirst } else { Drain::OldestFirst };
        let age = if rng.u8(0..4) == 0 { Duration::from_secs(60) } else { Duration::ZERO };
        let settings = Settings {
            lanes: rng.u16(1..4),
            max_samples_per_send: rng.u32(1..20),
            batch_send_deadline: Duration::from_secs(rng.u64(0..4)),
            max_bytes: rng.u64(8000..24_000),
            capacity_samples: if rng.u8(0..4) == 0 { 100 } else { 0 },
            sample_age_limit: age,
            drain,
            backlog_samples_per_second: rng.u64(0..3) * 10,
        };
        let sizes = Sizes {
            segment_bytes: rng.u64(500..2000),
            memory_bytes_max: rng.u64(50..1000),
            write_bytes_max: rng.u64(100..1000),
            cursor_bytes_max: if rng.bool() { 200 } else { 2000 },
        };
        let fsync = [Fsync::Always, Fsync::Interval, Fsync::Never][rng.usize(..3)];
        let start = Epoch { instant: Instant::now(), unix_ms: 1_700_000_000_000 };
        let disk = SimDisk::default();
        let durability = durability(fsync, rng.u64(..));
        let (spool, log, _) =
            Spool::open_sized(settings, start, durability, sizes, disk.clone()).unwrap();
        Self {
            rng,
            disk,
            spool,
            log,
            settings,
            fsync,
            sizes,
            now: start.instant,
            start,
            known: BTreeMap::new(),
            sent: BTreeMap::new(),
            last: BTreeMap::new(),
            dropped: 0,
            had_faults: false,
            met: Met::default(),
        }
    }

    fn step(&mut self) {
        match self.rng.u8(0..40) {
            0..10 => self.append(),
            10..18 => self.pump(),
            18..24 => self.next(),
            24..30 => self.settle(),
            30..34 => self.now += Duration::from_millis(self.rng.u64(0..5000)),
            34 => self.spool.flush(),
            35 => self.fault(),
            36 => {
                self.disk.set(Faults::default());
                self.now += Duration::from_secs(11);
            }
            37 => self.die(false),
            38 => self.die(true),
            _ => self.stop_or_reconfigure(),
        }
        self.compare();
    }

    fn append(&mut self) {
        let key = self.rng.u64(0..6);
        let count = self.rng.u64(1..4);
        let first = self.known.len() as u64;
        let fragments: Vec<_> = (first..first + count)
            .map(|id| {
                let samples = self.rng.u32(1..14);
                let known = Known { key, samples: samples.into(), waits: true, ..Known::default() };
                self.known.insert(id, known);
                fragment(id, samples, self.now)
            })
            .collect();
        self.spool.append(key, fragments, self.now);
    }

    /// The disk's thread runs, sometimes only up to the point where it dies.
    fn pump(&mut self) {
        let mut times = self.rng.u8(1..6);
        while times > 0
            && let Some(orders) = self.spool.orders(self.now)
        {
            times -= 1;
            self.met.loads += orders.loads.len() as u64;
            let report = self.log.perform(orders);
            if self.rng.u8(0..60) == 0 {
                // What was done is done, and nobody was told.
                let crash = self.rng.bool();
                self.die(crash);
                return;
            }
            self.had_faults |= !report.errors.is_empty() || report.unwritten.is_some();
            self.met.poisoned += u64::from(report.poisoned.is_some());
            let (written, synced) = (report.written.clone(), report.synced);
            let ids = self.ids();
            for written in written {
                if let Some(id) = ids.get(&written.sequence) {
                    self.known.get_mut(id).unwrap().written = true;
                }
            }
            if synced {
                self.known.values_mut().for_each(|known| known.synced |= known.written);
            }
            self.spool.done(report, self.now);
            let total = self.disk.bytes() as u64;
            assert!(self.had_faults || total <= self.settings.max_bytes, "{total} bytes");
        }
    }

    fn next(&mut self) {
        let lane = self.rng.u16(0..self.settings.lanes);
        let Next::Send(batch) = self.spool.next(lane, self.now) else { return };
        for (id, samples) in contents(&batch) {
            let known = &self.known[&id];
            assert!(known.waits, "{id} is sent and does not wait");
            assert_eq!(known.samples, u64::from(samples), "{id}");
            if batch.tries > 0 {
                continue;
            }
            let healthy = self.spool.store(self.now).unwrap().trouble.is_empty();
            assert!(known.written || !healthy, "{id} is sent before it is written");
            if self.fsync == Fsync::Always && healthy && !self.had_faults {
                assert!(known.synced, "{id} is sent before it is synced");
            }
        }
        assert!(self.sent.insert(lane, batch).is_none(), "two batches in flight");
    }

    fn settle(&mut self) {
        let lane = self.rng.u16(0..self.settings.lanes);
        let Some(batch) = self.sent.remove(&lane) else { return };
        let settled = match self.rng.u8(0..8) {
            0..4 => Settled::Delivered,
            4..7 => Settled::Retry,
            _ => Settled::Dropped(Reason::Rejected),
        };
        self.spool.settle(lane, batch.id, settled).unwrap();
        self.met.retried += u64::from(settled == Settled::Retry);
        if settled == Settled::Retry {
            return;
        }
        for (id, _) in contents(&batch) {
            let known = self.known.get_mut(&id).unwrap();
            known.waits = false;
            if settled == Settled::Delivered {
                known.delivered = true;
                let last = self.last.insert(known.key, id);
                let in_order = last < Some(id) || self.settings.drain == Drain::NewestFirst;
                assert!(in_order, "{id} after {last:?}");
            }
        }
    }

    fn fault(&mut self) {
        self.had_faults = true;
        let mut faults = Faults { seed: self.rng.u64(..), ..Faults::default() };
        match self.rng.u8(0..8) {
            0 => faults.sync = true,
            1 => faults.sync_directory = true,
            2 => faults.rename = true,
            3 => faults.create = true,
            4 => faults.read = true,
            5 => faults.append = true,
            6 => (faults.append, faults.truncate) = (true, true),
            _ => faults.capacity = Some(self.disk.bytes() + self.rng.usize(0..600)),
        }
        self.disk.set(faults);
    }

    /// The process dies, with the machine or without, and a new one opens the directory.
    fn die(&mut self, with_machine: bool) {
        self.met.failed += self.disk.failed();
        if with_machine {
            self.met.crashes += 1;
            self.disk.crash(&mut self.rng);
        } else {
            self.met.kills += 1;
            self.disk.kill();
        }
        // What is under way and had to make room is not there any more.
        let records = self.spool.lanes.iter().flat_map(Lane::records);
        let there: BTreeSet<u64> = records
            .filter(|record| record.stored != Stored::Gone)
            .map(|record| id_of(record.highest_ms))
            .collect();
        let is_owed = |id: &&u64| {
            let known = &self.known[id];
            known.written && (known.synced || !with_machine)
        };
        let owed: BTreeSet<u64> = there.iter().filter(is_owed).copied().collect();
        self.open(&owed);
    }

    fn stop_or_reconfigure(&mut self) {
        if self.rng.bool() {
            self.sent.clear();
            let settings = Settings { lanes: self.rng.u16(1..5), ..self.settings };
            self.spool.reconfigure(settings).unwrap();
            self.settings = settings;
            return;
        }
        self.met.stops += 1;
        self.disk.set(Faults::default());
        self.spool.stop();
        for rounds in 0.. {
            assert!(rounds < 1000, "a stop comes to an end");
            let Some(orders) = self.spool.orders(self.now) else { break };
            let report = self.log.perform(orders);
            self.spool.done(report, self.now);
        }
        self.compare();
        let held = self.held();
        // What is under way and had to make room is lost with the process.
        let records = self.spool.lanes.iter().flat_map(Lane::records);
        let gone = records.filter(|record| record.stored == Stored::Gone);
        let condemned: u64 = gone.map(|record| record.samples).sum();
        let lost = self.spool.close(Reason::Shutdown);
        let kept = self.held();
        let gone: u64 = held.difference(&kept).map(|id| self.known[id].samples).sum();
        assert_eq!(lost.samples, gone);
        if !self.had_faults {
            assert_eq!(lost.samples, condemned, "a healthy disk takes everything");
        }
        let had_faults = self.had_faults;
        self.open(&kept);
        if !had_faults && self.sizes.cursor_bytes_max == 2000 {
            assert_eq!(self.held(), kept, "nothing comes back after a clean stop");
        }
    }

    fn open(&mut self, owed: &BTreeSet<u64>) {
        self.now += Duration::from_millis(self.rng.u64(0..3000));
        // Another run has other clocks.
        let elapsed = self.now.duration_since(self.start.instant).as_millis();
        let unix_ms = self.start.unix_ms + i64::try_from(elapsed).unwrap();
        let epoch = Epoch { instant: self.now, unix_ms };
        self.settings.lanes = self.rng.u16(1..4);
        let before = self.disk.copy();
        let run = self.rng.u64(..);
        let (spool, log, recovered) = Spool::open_sized(
            self.settings,
            epoch,
            durability(self.fsync, run),
            self.sizes,
            self.disk.clone(),
        )
        .unwrap();
        (self.spool, self.log) = (spool, log);
        self.met.torn += u64::from(recovered.torn_bytes > 0);
        self.met.recovered += self.spool.counts().recovered.fragments;
        (self.dropped, self.had_faults) = (0, false);
        self.sent.clear();
        self.last.clear();
        let mut held = self.held();
        // Limits hold at once; what had to go for them is counted.
        let dropped = self.spool.counts().dropped(Reason::QueueFull).samples;
        if dropped > 0 {
            let wide = Settings { max_bytes: 1 << 30, capacity_samples: 0, ..self.settings };
            let durability = durability(self.fsync, 1);
            let (all, ..) = Spool::open_sized(wide, epoch, durability, self.sizes, before).unwrap();
            let all = ids_of(&all);
            let gone: u64 = all.difference(&held).map(|id| self.known[id].samples).sum();
            assert_eq!(dropped, gone);
            self.dropped = dropped;
            held = all;
        }
        let missing: Vec<_> = owed.difference(&held).collect();
        assert!(missing.is_empty(), "{missing:?} were to be kept, {recovered:?}");
        let samples: u64 = held.iter().map(|id| self.known[id].samples).sum();
        assert_eq!(self.spool.counts().recovered.samples, samples);
        let held = self.held();
        for (id, known) in &mut self.known {
            known.waits = held.contains(id);
            known.written = known.waits;
            known.synced = known.waits && self.fsync != Fsync::Never;
        }
        self.compare();
    }

    fn ids(&self) -> BTreeMap<u64, u64> {
        let records = self.spool.lanes.iter().flat_map(Lane::records);
        records.map(|record| (record.sequence, id_of(record.highest_ms))).collect()
    }

    fn held(&self) -> BTreeSet<u64> {
        ids_of(&self.spool)
    }

    /// The spool holds what the list says, less what it dropped by itself, which it has counted.
    fn compare(&mut self) {
        let held = self.held();
        for (id, known) in &mut self.known {
            match (known.waits, held.contains(id)) {
                (true, false) => {
                    known.waits = false;
                    self.dropped += known.samples;
                }
                (false, true) => panic!("{id} is held and does not wait: {known:?}"),
                (true, true) | (false, false) => {}
            }
        }
        let counts = self.spool.counts();
        let of = |reason| counts.dropped(reason).samples;
        let dropped = of(Reason::QueueFull) + of(Reason::TooOld) + of(Reason::Unreadable);
        assert_eq!(dropped, self.dropped, "{counts:?}");
        assert_eq!(self.spool.unaccounted(), 0);
        let queued: u64 = self.known.values().filter(|k| k.waits).map(|k| k.samples).sum();
        assert_eq!(counts.queued.samples, queued);
        let store = self.spool.store.as_ref().unwrap();
        let lines = || self.spool.lanes.iter().flat_map(|lane| &lane.line);
        let resident: u64 = lines().map(super::Record::resident_bytes).sum();
        assert_eq!(store.resident_bytes, resident);
        let unwritten: u64 =
            self.spool.lanes.iter().flat_map(Lane::unwritten).map(|r| r.bytes).sum();
        assert_eq!(store.unwritten_bytes, unwritten);
        for lane in &self.spool.lanes {
            assert!(lane.line.iter().is_sorted_by(|a, b| a.sequence < b.sequence));
        }
        self.met.evicted += lines().filter(|record| record.fragment.is_none()).count() as u64;
    }

    /// With a good disk and a good receiver, everything that waits arrives.
    fn end(mut self) -> Met {
        self.disk.set(Faults::default());
        for lane in std::mem::take(&mut self.sent).into_iter() {
            self.spool.settle(lane.0, lane.1.id, Settled::Retry).unwrap();
        }
        self.settings.sample_age_limit = Duration::ZERO;
        self.spool.reconfigure(self.settings).unwrap();
        for rounds in 0.. {
            assert!(rounds < 10_000, "it comes to an end: {:?}", self.spool);
            if self.spool.is_empty() {
                break;
            }
            self.now += Duration::from_secs(11);
            self.pump_all();
            for lane in 0..self.settings.lanes {
                if let Next::Send(batch) = self.spool.next(lane, self.now) {
                    self.spool.settle(lane, batch.id, Settled::Delivered).unwrap();
                    for (id, _) in contents(&batch) {
                        self.known.get_mut(&id).unwrap().waits = false;
                    }
                }
            }
            self.compare();
        }
        assert!(self.known.values().all(|known| !known.waits));
        let counts = self.spool.counts();
        self.met.full += counts.dropped(Reason::QueueFull).fragments;
        self.met.too_old += counts.dropped(Reason::TooOld).fragments;
        self.met
    }

    fn pump_all(&mut self) {
        while let Some(orders) = self.spool.orders(self.now) {
            let report = self.log.perform(orders);
            self.spool.done(report, self.now);
        }
    }
}

pub(super) fn durability(fsync: Fsync, run: u64) -> Durability {
    Durability { fsync, fsync_interval: Duration::from_secs(1), run }
}

/// Fragments have their id for a timestamp.
fn id_of(highest_ms: Option<i64>) -> u64 {
    u64::try_from(highest_ms.unwrap()).unwrap()
}

pub(super) fn ids_of(spool: &Spool) -> BTreeSet<u64> {
    spool.lanes.iter().flat_map(Lane::records).map(|record| id_of(record.highest_ms)).collect()
}

#[test]
fn any_history_on_any_disk_keeps_its_promises() {
    let mut met = Met::default();
    for seed in 0..SEEDS {
        let play = || {
            let mut history = History::new(seed);
            (0..STEPS).for_each(|_| history.step());
            history.end()
        };
        let one = std::panic::catch_unwind(play).unwrap_or_else(|_| panic!("seed {seed}"));
        for (sum, more) in [
            (&mut met.kills, one.kills),
            (&mut met.crashes, one.crashes),
            (&mut met.stops, one.stops),
            (&mut met.recovered, one.recovered),
            (&mut met.loads, one.loads),
            (&mut met.full, one.full),
            (&mut met.too_old, one.too_old),
            (&mut met.poisoned, one.poisoned),
            (&mut met.torn, one.torn),
            (&mut met.failed, one.failed),
            (&mut met.retried, one.retried),
            (&mut met.evicted, one.evicted),
        ] {
            *sum += more;
        }
    }
    let Met {
        kills,
        crashes,
        stops,
        recovered,
        loads,
        full,
        too_old,
        poisoned,
        torn,
        failed,
        retried,
        evicted,
    } = met;
    for count in [
        kills, crashes, stops, recovered, loads, full, too_old, poisoned, torn, failed, retried,
        evicted,
    ] {
        assert!(count > 500, "{met:?}");
    }
}
