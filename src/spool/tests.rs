//! What the spool does in single situations; `model` plays random histories.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message;

use super::{
    Amount, Batch, BatchId, Drain, Epoch, Next, NotInFlight, Reason, Settings, Settled, Spool,
};
use crate::{
    labels::{Labels, METRIC_NAME},
    limits::BODY_RAW_BYTES_MAX,
    remote_write::{
        Encoder, Fragment,
        proto::{WriteRequest, metric_metadata::MetricType},
        v1::{self, Metadata},
    },
};

pub(super) const SETTINGS: Settings = Settings {
    lanes: 2,
    max_samples_per_send: 10,
    batch_send_deadline: Duration::from_secs(5),
    max_bytes: 1 << 20,
    capacity_samples: 0,
    sample_age_limit: Duration::ZERO,
    drain: Drain::OldestFirst,
    backlog_samples_per_second: 0,
};

/// A spool in memory that begins now.
pub(super) fn spool(settings: Settings) -> Spool {
    let epoch = Epoch { instant: Instant::now(), unix_ms: 1_700_000_000_000 };
    Spool::new(settings, epoch).unwrap()
}

/// A fragment of `samples` samples that can be told from others by `id`, which is its series' name
/// and its timestamp.
pub(super) fn fragment(id: u64, samples: u32, created: Instant) -> Arc<Fragment> {
    let name = id.to_string();
    let block = v1::labels_block(&[(METRIC_NAME, name.as_str())].into_iter().collect());
    let mut encoder = Encoder::new(u32::MAX);
    for sample in 0..samples {
        encoder.push(&block, f64::from(sample), i64::try_from(id).unwrap());
    }
    only(encoder.finish(created))
}

fn only(mut fragments: Vec<Fragment>) -> Arc<Fragment> {
    assert_eq!(fragments.len(), 1);
    Arc::new(fragments.remove(0))
}

/// The fragments of a batch, as (id, samples) in order.
pub(super) fn contents(batch: &Batch) -> Vec<(u64, u32)> {
    let raw = snap::raw::Decoder::new().decompress_vec(&batch.body).unwrap();
    assert_eq!(raw.len() as u64, batch.raw_bytes);
    let request = WriteRequest::decode(&raw[..]).unwrap();
    let mut found: Vec<(u64, u32)> = Vec::new();
    for series in &request.timeseries {
        let id = series.labels[0].value.parse().unwrap();
        match found.last_mut() {
            Some((last, samples)) if *last == id => *samples += 1,
            _ => found.push((id, 1)),
        }
    }
    assert_eq!(found.iter().map(|(_, samples)| u64::from(*samples)).sum::<u64>(), batch.samples);
    found
}

struct Case {
    spool: Spool,
    start: Instant,
}

impl Case {
    fn new(settings: Settings) -> Self {
        let spool = spool(settings);
        let start = spool.epoch.instant;
        Self { spool, start }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// Appends fragments of (id, samples), all of one scrape of the target `key`.
    fn append(&mut self, key: u64, fragments: &[(u64, u32)], seconds: u64) -> &mut Self {
        let now = self.at(seconds);
        self.spool.append(key, fragments.iter().map(|(id, n)| fragment(*id, *n, now)), now);
        self
    }

    fn send(&mut self, lane: u16, seconds: u64) -> Batch {
        match self.spool.next(lane, self.at(seconds)) {
            Next::Send(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    fn deliver(&mut self, lane: u16, seconds: u64) -> Vec<(u64, u32)> {
        let batch = self.send(lane, seconds);
        self.spool.settle(lane, batch.id, Settled::Delivered).unwrap();
        contents(&batch)
    }

    /// Flushes and delivers everything in the lane.
    fn deliver_all(&mut self, lane: u16, seconds: u64) -> Vec<Vec<(u64, u32)>> {
        self.spool.flush();
        let mut batches = Vec::new();
        while let Next::Send(batch) = self.spool.next(lane, self.at(seconds)) {
            self.spool.settle(lane, batch.id, Settled::Delivered).unwrap();
            batches.push(contents(&batch));
        }
        batches
    }

    fn dropped(&self, reason: Reason) -> u64 {
        self.spool.counts().dropped(reason).samples
    }
}

#[test]
fn scrapes_share_a_batch_until_it_is_full_or_its_deadline_comes() {
    let mut case = Case::new(SETTINGS);
    case.append(0, &[(1, 4)], 0).append(0, &[(2, 5)], 1);
    let Next::WaitUntil(due) = case.spool.next(0, case.at(1)) else { panic!("nothing is due") };
    assert_eq!(due, case.at(5), "counted from the first append");
    case.append(0, &[(3, 1)], 2); // the tenth sample
    assert_eq!(case.deliver(0, 2), [(1, 4), (2, 5), (3, 1)]);
    case.append(0, &[(4, 1)], 3);
    assert!(matches!(case.spool.next(0, case.at(7)), Next::WaitUntil(_)));
    assert_eq!(case.deliver(0, 8), [(4, 1)]);
    assert!(matches!(case.spool.next(0, case.at(8)), Next::Idle));
    assert!(case.spool.is_empty());
}

#[test]
fn a_scrape_that_fits_into_a_batch_is_not_torn() {
    let mut case = Case::new(SETTINGS);
    case.append(0, &[(1, 6)], 0).append(0, &[(2, 3), (3, 3)], 0).append(0, &[(4, 4)], 0);
    assert_eq!(case.deliver_all(0, 0), [vec![(1, 6)], vec![(2, 3), (3, 3), (4, 4)]]);
}

#[test]
fn a_scrape_larger_than_a_batch_is_cut_between_fragments() {
    let mut case = Case::new(SETTINGS);
    case.append(0, &[(1, 1)], 0).append(0, &[(2, 10), (3, 10), (4, 3)], 0);
    case.append(0, &[(5, 7)], 0);
    let expect = [vec![(1, 1)], vec![(2, 10)], vec![(3, 10)], vec![(4, 3), (5, 7)]];
    assert_eq!(case.deliver_all(0, 0), expect);
}

/// After an outage small scrapes leave in full requests, however long they have waited.
#[test]
fn what_has_waited_is_joined_into_full_batches() {
    let mut case = Case::new(SETTINGS);
    for second in 0..25 {
        case.append(0, &[(second, 1)], second);
    }
    let sizes: Vec<usize> = case.deliver_all(0, 99).iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 10, 5]);
}

#[test]
fn a_fragment_larger_than_a_batch_is_a_batch() {
    let mut case = Case::new(SETTINGS);
    case.append(0, &[(1, 1), (2, 25), (3, 1)], 0);
    assert_eq!(case.deliver_all(0, 0), [vec![(1, 1)], vec![(2, 25)], vec![(3, 1)]]);
}

#[test]
fn a_body_stays_below_its_limit() {
    let now = Instant::now();
    let mut spool = spool(SETTINGS);
    let long = "x".repeat(usize::try_from(BODY_RAW_BYTES_MAX).unwrap() / 2 - 100);
    let labels: Labels<'_> = [(METRIC_NAME, "f"), ("sql", &long)].into_iter().collect();
    for timestamp_ms in 0..3 {
        let mut encoder = Encoder::new(10);
        encoder.push(&v1::labels_block(&labels), 1.0, timestamp_ms);
        spool.append(0, [only(encoder.finish(now))], now);
    }
    spool.flush();
    let mut samples = Vec::new();
    while let Next::Send(batch) = spool.next(0, now) {
        assert!(batch.raw_bytes <= BODY_RAW_BYTES_MAX);
        samples.push(batch.samples);
        spool.settle(0, batch.id, Settled::Delivered).unwrap();
    }
    assert_eq!(samples, [2, 1]);
}

#[test]
fn a_target_keeps_its_lane_and_a_lane_has_one_batch_in_flight() {
    let mut case = Case::new(SETTINGS);
    assert_eq!((case.spool.lane_of(7), case.spool.lane_of(u64::MAX - 1)), (1, 0));
    case.append(7, &[(1, 10), (2, 10)], 0).append(8, &[(3, 10)], 0);
    let first = case.send(1, 0);
    assert!(matches!(case.spool.next(1, case.at(0)), Next::Idle), "one at a time");
    assert_eq!(contents(&case.send(0, 0)), [(3, 10)], "lanes do not wait for each other");
    case.spool.settle(1, first.id, Settled::Delivered).unwrap();
    assert_eq!(case.deliver(1, 0), [(2, 10)]);
}

#[test]
fn a_retried_batch_is_the_next_again_and_counts_its_tries() {
    let mut case = Case::new(SETTINGS);
    case.append(0, &[(1, 10), (2, 10)], 0);
    for tries in 0..3 {
        let batch = case.send(0, tries);
        assert_eq!((contents(&batch), u64::from(batch.tries)), (vec![(1, 10)], tries));
        case.spool.settle(0, batch.id, Settled::Retry).unwrap();
    }
    let counts = *case.spool.counts();
    assert_eq!(
        (counts.retried.samples, counts.queued.samples, counts.queued.fragments),
        (30, 20, 2)
    );
    assert_eq!(case.deliver_all(0, 9), [[(1, 10)], [(2, 10)]]);
    assert_eq!(case.spool.counts().delivered, counts.appended);
}

#[test]
fn the_oldest_batch_of_all_lanes_makes_room() {
    let mut case = Case::new(Settings { capacity_samples: 30, ..SETTINGS });
    case.append(1, &[(1, 10)], 0).append(0, &[(2, 10)], 0).append(1, &[(3, 10)], 0);
    let in_flight = case.send(0, 0);
    case.append(0, &[(4, 10)], 0); // 1 goes
    case.append(0, &[(5, 5)], 0); // 3 goes, since 2 is in flight
    assert_eq!(case.dropped(Reason::QueueFull), 20);
    case.spool.settle(0, in_flight.id, Settled::Retry).unwrap();
    case.append(1, &[(6, 6)], 0); // 2 goes, it is no longer in flight
    assert_eq!(case.dropped(Reason::QueueFull), 30);
    assert_eq!(case.deliver_all(0, 0), [[(4, 10)], [(5, 5)]]);
    assert_eq!(case.deliver_all(1, 0), [[(6, 6)]]);
}

#[test]
fn room_is_made_fragment_by_fragment() {
    let mut case = Case::new(Settings { capacity_samples: 10, ..SETTINGS });
    case.append(1, &[(1, 4)], 0).append(0, &[(2, 4)], 0).append(1, &[(3, 4)], 0);
    assert_eq!(case.dropped(Reason::QueueFull), 4);
    assert_eq!(case.deliver_all(0, 0), [[(2, 4)]]);
    assert_eq!(case.deliver_all(1, 0), [[(3, 4)]]);
}

#[test]
fn what_can_never_be_held_pushes_nothing_out() {
    let mut case = Case::new(Settings { capacity_samples: 20, ..SETTINGS });
    case.append(0, &[(1, 10)], 0).append(1, &[(2, 21), (3, 1)], 0);
    assert_eq!(case.dropped(Reason::QueueFull), 21);
    assert_eq!(case.deliver_all(0, 0), [[(1, 10)]]);
    assert_eq!(case.deliver_all(1, 0), [[(3, 1)]]);
    let bytes = fragment(1, 10, Instant::now()).bytes();
    let mut case = Case::new(Settings { max_bytes: bytes - 1, ..SETTINGS });
    case.append(0, &[(1, 10)], 0);
    assert_eq!((case.dropped(Reason::QueueFull), case.spool.is_empty()), (10, true));
}

#[test]
fn batches_above_the_age_limit_are_dropped_when_their_turn_comes() {
    let mut case = Case::new(Settings { sample_age_limit: Duration::from_secs(60), ..SETTINGS });
    case.append(0, &[(1, 10)], 0).append(0, &[(2, 10)], 10).append(0, &[(3, 1)], 20);
    let batch = case.send(0, 60); // not above it yet
    case.spool.settle(0, batch.id, Settled::Retry).unwrap();
    assert_eq!(case.dropped(Reason::TooOld), 0);
    assert_eq!(case.deliver(0, 61), [(2, 10)]);
    assert_eq!(case.dropped(Reason::TooOld), 10);
    assert!(matches!(case.spool.next(0, case.at(81)), Next::Idle));
    assert_eq!(case.dropped(Reason::TooOld), 11);
}

#[test]
fn settling_what_is_not_in_flight_changes_nothing() {
    let mut case = Case::new(SETTINGS);
    case.append(0, &[(1, 10), (2, 10)], 0);
    let batch = case.send(0, 0);
    let before = *case.spool.counts();
    for (lane, id) in [(1, batch.id), (2, batch.id), (0, BatchId(batch.id.0 + 1))] {
        let settled = case.spool.settle(lane, id, Settled::Delivered);
        assert_eq!(settled, Err(NotInFlight { lane, id }));
    }
    assert_eq!(*case.spool.counts(), before);
    case.spool.settle(0, batch.id, Settled::Dropped(Reason::Rejected)).unwrap();
    assert!(case.spool.settle(0, batch.id, Settled::Delivered).is_err(), "settled twice");
    assert_eq!(case.dropped(Reason::Rejected), 10);
}

#[test]
fn closing_drops_all_that_is_left_and_what_comes_later() {
    let mut case = Case::new(SETTINGS);
    case.append(0, &[(1, 10), (2, 10), (3, 1)], 0).append(1, &[(4, 2)], 0);
    let batch = case.send(0, 0);
    let left = case.spool.close(Reason::Shutdown);
    assert_eq!((left.samples, left.fragments), (23, 4));
    assert!(case.spool.settle(0, batch.id, Settled::Delivered).is_err());
    case.append(0, &[(5, 3)], 1);
    assert_eq!(case.dropped(Reason::Shutdown), 26);
    assert!(matches!(case.spool.next(0, case.at(9)), Next::Idle));
    assert_eq!(case.spool.close(Reason::Shutdown), Amount::default());
}

#[test]
fn metadata_is_counted_and_needs_no_samples() {
    let now = Instant::now();
    let mut spool = spool(SETTINGS);
    let mut encoder = Encoder::new(10);
    let kind = MetricType::Gauge;
    encoder.push_metadata(&Metadata { kind, family: "up", help: "", unit: "" });
    spool.append(0, [only(encoder.finish(now))], now);
    spool.flush();
    let Next::Send(batch) = spool.next(0, now) else { panic!("metadata is sent, too") };
    assert_eq!((batch.samples, batch.metadata, batch.highest_timestamp_ms), (0, 1, None));
    spool.settle(0, batch.id, Settled::Delivered).unwrap();
    let counts = spool.counts();
    assert_eq!((counts.delivered.metadata, counts.highest_delivered_ms), (1, None));
}

#[test]
fn highest_timestamps_tell_how_far_the_receiver_is_behind() {
    let mut case = Case::new(SETTINGS);
    case.append(0, &[(70, 10), (50, 10)], 0);
    let highest = |case: &Case| {
        (case.spool.counts().highest_appended_ms, case.spool.counts().highest_delivered_ms)
    };
    assert_eq!(highest(&case), (Some(70), None));
    let batch = case.send(0, 0);
    case.spool.settle(0, batch.id, Settled::Dropped(Reason::Rejected)).unwrap();
    assert_eq!(highest(&case), (Some(70), None), "only what was delivered counts");
    case.deliver(0, 0);
    assert_eq!(highest(&case), (Some(70), Some(50)));
}
