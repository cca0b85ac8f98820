//! What a disk does to a spool that is open on it, one mishap a test: bits that flip, records that cannot be
//! read back, no space. Histories of all of them together are in [`super::histories`].

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    Epoch, Fsync, Log, Next, Reason, Settings, Settled, Spool,
    histories::{durability, ids_of},
    sim::{Faults, SimDisk},
    store::Sizes,
    tests::{SETTINGS, contents, fragment},
};

/// No limit is met.
const ROOMY: Sizes = Sizes {
    segment_bytes: 1 << 20,
    memory_bytes_max: 1 << 20,
    write_bytes_max: 1 << 20,
    cursor_bytes_max: 100,
};

/// Every bit of a segment, one by one: the others' records are all found, and what is lost is counted.
#[test]
fn a_flipped_bit_costs_at_most_the_record_that_it_is_in() {
    let settings = Settings { max_bytes: 1 << 20, ..SETTINGS };
    let epoch = Epoch { instant: Instant::now(), unix_ms: 0 };
    let open = |disk: SimDisk| {
        Spool::open_sized(settings, epoch, durability(Fsync::Interval, 7), ROOMY, disk).unwrap()
    };
    let disk = SimDisk::default();
    let (mut spool, mut log, _) = open(disk.clone());
    spool.append(3, (0..5).map(|id| fragment(id, 2, epoch.instant)), epoch.instant);
    let orders = spool.orders(epoch.instant).unwrap();
    let places: Vec<_> = log.perform(orders).written;
    let name = disk.names().remove(0);
    let good = disk.file(&name);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let disk = SimDisk::default();
        disk.put(&name, &bad);
        let (spool, _, recovered) = open(disk.clone());
        let hit = places.iter().position(|place| {
            let start = u64::from(place.offset);
            (start..start + place.frame_bytes).contains(&(bit as u64 / 8))
        });
        let expect: BTreeSet<u64> = (0..5).filter(|id| hit != Some(*id as usize)).collect();
        assert_eq!(ids_of(&spool), expect, "bit {bit}");
        assert!(recovered.corrupt_bytes + recovered.torn_bytes > 0, "bit {bit}");
        if hit.is_some_and(|hit| hit < 4) {
            assert_eq!(recovered.corrupt_records, 1, "bit {bit}");
        }
        // What is left is read back and delivered as it was.
        drop(spool);
        let mut again = open(disk);
        assert_eq!(deliver_all(&mut again.0, &mut again.1, epoch.instant), expect, "bit {bit}");
    }
}

/// The same while the spool is open: the damage is found when the record is read back.
#[test]
fn what_cannot_be_read_back_is_dropped_and_counted() {
    let settings = Settings { max_bytes: 1 << 20, ..SETTINGS };
    let epoch = Epoch { instant: Instant::now(), unix_ms: 0 };
    let disk = SimDisk::default();
    let (mut spool, mut log, _) =
        Spool::open_sized(settings, epoch, durability(Fsync::Interval, 7), ROOMY, disk.clone())
            .unwrap();
    spool.append(0, (0..5).map(|id| fragment(id, 2, epoch.instant)), epoch.instant);
    let orders = spool.orders(epoch.instant).unwrap();
    let report = log.perform(orders);
    let place = report.written[2];
    spool.store.as_mut().unwrap().sizes.memory_bytes_max = 0;
    spool.done(report, epoch.instant);
    let name = disk.names().remove(0);
    let mut bad = disk.file(&name);
    bad[place.offset as usize + 90] ^= 1;
    disk.put(&name, &bad);
    let delivered = deliver_all(&mut spool, &mut log, epoch.instant);
    assert_eq!(delivered, [0, 1, 3, 4].into());
    assert_eq!(spool.counts().dropped(Reason::Unreadable).samples, 2);
    assert_eq!(spool.store(epoch.instant).unwrap().corrupt_records, 1);
    // A disk that does not read at all is asked again for a while.
    let at = |seconds| epoch.instant + Duration::from_secs(seconds);
    spool.store.as_mut().unwrap().sizes.memory_bytes_max = 1 << 20;
    spool.append(0, [fragment(7, 1, epoch.instant)], at(0));
    let report = log.perform(spool.orders(at(0)).unwrap());
    spool.store.as_mut().unwrap().sizes.memory_bytes_max = 0;
    spool.done(report, at(0));
    disk.set(Faults { read: true, ..Faults::default() });
    spool.flush();
    for second in (0..60).step_by(4) {
        assert!(matches!(spool.next(0, at(second)), Next::WaitUntil(_)), "{second}");
        while let Some(orders) = spool.orders(at(second)) {
            let report = log.perform(orders);
            spool.done(report, at(second));
        }
    }
    assert!((5..=13).contains(&disk.failed()), "one try each five seconds: {}", disk.failed());
    disk.set(Faults::default());
    assert_eq!(deliver_all(&mut spool, &mut log, at(60)), [7].into(), "an outage of a minute");
    // One that lasts longer costs what cannot be read, and holds up nothing else.
    spool.store.as_mut().unwrap().sizes.memory_bytes_max = 1 << 20;
    spool.append(0, [fragment(8, 1, epoch.instant)], at(100));
    let report = log.perform(spool.orders(at(100)).unwrap());
    spool.store.as_mut().unwrap().sizes.memory_bytes_max = 0;
    spool.done(report, at(100));
    disk.set(Faults { read: true, ..Faults::default() });
    assert_eq!(deliver_all(&mut spool, &mut log, at(101)), BTreeSet::new());
    assert_eq!(spool.counts().dropped(Reason::Unreadable).samples, 3);
}

/// A disk that somebody else has filled costs nothing before memory is short, and then a segment.
#[test]
fn a_full_disk_waits_in_memory_before_it_costs_anything() {
    let settings = Settings { max_bytes: 1 << 20, ..SETTINGS };
    let epoch = Epoch { instant: Instant::now(), unix_ms: 0 };
    let one = fragment(0, 2, epoch.instant).bytes();
    let sizes = Sizes {
        segment_bytes: 4 * one,
        memory_bytes_max: 10 * one,
        write_bytes_max: 1 << 20,
        cursor_bytes_max: 100,
    };
    let disk = SimDisk::default();
    let durability = durability(Fsync::Interval, 7);
    let (mut spool, mut log, _) =
        Spool::open_sized(settings, epoch, durability, sizes, disk.clone()).unwrap();
    let at = |seconds| epoch.instant + Duration::from_secs(seconds);
    let mut append = |spool: &mut Spool, ids: std::ops::Range<u64>, now| {
        for id in ids {
            spool.append(0, [fragment(id, 2, epoch.instant)], now);
        }
        while let Some(orders) = spool.orders(now) {
            let report = log.perform(orders);
            spool.done(report, now);
        }
    };
    append(&mut spool, 0..8, at(0));
    disk.set(Faults { capacity: Some(disk.bytes()), ..Faults::default() });
    append(&mut spool, 10..14, at(1));
    append(&mut spool, 14..14, at(20));
    assert_eq!(spool.counts().dropped_in_all().samples, 0, "it waits");
    assert_eq!(spool.store(at(20)).unwrap().unwritten_bytes, 4 * one + 4);
    append(&mut spool, 14..16, at(21));
    let dropped = spool.counts().dropped(Reason::QueueFull).fragments;
    assert!((1..=4).contains(&dropped), "{dropped} fragments: no more than a segment");
    let left = ids_of(&spool);
    assert!((10..16).all(|id| left.contains(&id)), "the newest is there: {left:?}");
    // Whoever filled the disk has gone.
    disk.set(Faults::default());
    append(&mut spool, 16..17, at(40));
    assert_eq!(spool.store(at(40)).unwrap().unwritten_bytes, 0);
    assert_eq!(spool.counts().dropped(Reason::QueueFull).fragments, dropped);
}

/// What is settled is written once an interval, so the thread need not hear of each of them.
#[test]
fn the_disk_is_called_for_once_an_interval_by_what_is_settled() {
    let settings = Settings { max_bytes: 1 << 20, ..SETTINGS };
    let epoch = Epoch { instant: Instant::now(), unix_ms: 0 };
    let durability = durability(Fsync::Never, 7);
    let disk = SimDisk::default();
    let (mut spool, mut log, _) =
        Spool::open_sized(settings, epoch, durability, ROOMY, disk).unwrap();
    let at = |ms| epoch.instant + Duration::from_millis(ms);
    let perform = |spool: &mut Spool, log: &mut Log<SimDisk>, now| {
        spool.orders(now).map(|orders| {
            let wrote_cursor = orders.cursor.is_some();
            spool.done(log.perform(orders), now);
            wrote_cursor
        })
    };
    spool.append(0, (0..20).map(|id| fragment(id, 2, epoch.instant)), at(0));
    spool.flush();
    assert!(spool.calls_for_disk(), "there is something to write");
    assert_eq!(perform(&mut spool, &mut log, at(0)), Some(false));
    for (ms, calls) in [(10, true), (20, false), (30, false), (2_000, true)] {
        let Next::Send(batch) = spool.next(0, at(ms)) else { panic!("nothing to send at {ms}") };
        spool.settle(0, batch.id, Settled::Delivered).unwrap();
        assert_eq!(spool.calls_for_disk(), calls, "{ms}");
        // It was told when to come, and comes then without a call.
        assert_eq!(perform(&mut spool, &mut log, at(ms)), None, "{ms}");
        let due = spool.orders_due().expect("a cursor is due");
        if ms == 30 {
            assert!(due > at(1_000) && due <= at(1_010));
            assert_eq!(perform(&mut spool, &mut log, due), Some(true));
            assert_eq!(spool.orders_due(), None);
        }
    }
}

fn deliver_all(spool: &mut Spool, log: &mut Log<SimDisk>, start: Instant) -> BTreeSet<u64> {
    let mut delivered = BTreeSet::new();
    spool.flush();
    for second in 0..100 {
        let now = start + Duration::from_secs(second);
        while let Some(orders) = spool.orders(now) {
            let report = log.perform(orders);
            spool.done(report, now);
        }
        for lane in 0..spool.lanes() {
            while let Next::Send(batch) = spool.next(lane, now) {
                spool.settle(lane, batch.id, Settled::Delivered).unwrap();
                delivered.extend(contents(&batch).into_iter().map(|(id, _)| id));
            }
        }
    }
    assert!(spool.is_empty());
    delivered
}
