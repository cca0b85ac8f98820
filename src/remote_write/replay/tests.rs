//! Pages that are encoded with what is kept of the one before, against pages that are encoded anew.

use std::time::Instant;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{
    super::{Encoder, v1::Block},
    *,
};

const NOW_MS: i64 = 1_795_335_749_038;

/// The label blocks of a world of so many series.
fn world(series: usize) -> Vec<Vec<u8>> {
    let label = |name: &str, value: &str| {
        let pair =
            [&[0x0a, name.len() as u8], name.as_bytes(), &[0x12, value.len() as u8]].concat();
        [&[0x0a, (pair.len() + value.len()) as u8], &pair[..], value.as_bytes()].concat()
    };
    let block = |at: usize| {
        let (metric, subtask) =
            (format!("flink_taskmanager_metric_{}", at / 5), format!("{}", at % 5));
        [label("__name__", &metric), label("subtask_index", &subtask), label("tm_id", "tm-1")]
            .concat()
    };
    (0..series).map(block).collect()
}

struct Target {
    replay: Replay,
    /// Whether labels may be looked at.
    may_look: bool,
}

impl Target {
    fn new() -> Self {
        Self { replay: Replay::default(), may_look: true }
    }

    fn within(most: usize) -> Self {
        Self { replay: Replay::within(most), may_look: true }
    }

    /// The elements of a page of these series, and of a marker behind them.
    fn encode(&mut self, blocks: &[Vec<u8>], page: &[(u32, f64)], now_ms: i64) -> Vec<Bytes> {
        let mut encoder = Encoder::new(7);
        let samples = page.iter().map(|&(series, value)| (series, value.to_bits()));
        let block = |series: u32| {
            assert!(self.may_look, "labels are looked at");
            Block::from(&blocks[series as usize])
        };
        let pushed = encoder.push_page(samples, now_ms, block, &mut self.replay);
        assert_eq!(pushed, page.len() as u64);
        encoder.push_stale(&blocks[0], now_ms);
        let fragments = encoder.finish(Instant::now());
        let samples: u32 = fragments.iter().map(crate::remote_write::Fragment::samples).sum();
        assert_eq!(samples as usize, page.len() + 1);
        fragments.iter().map(|fragment| fragment.elements().clone()).collect()
    }
}

fn page(series: std::ops::Range<u32>, value: f64) -> Vec<(u32, f64)> {
    series.map(|at| (at, value * f64::from(at % 3))).collect()
}

proptest! {
    #[test]
    fn what_is_replayed_is_what_is_encoded_anew(
        pages in vec((vec(0..25_u32, 0..4), -1..2_i8, 0..3_i64), 1..8),
    ) {
        let blocks = world(30);
        let mut target = Target::new();
        let mut series: Vec<u32> = (0..20).collect();
        for (edits, kind, later) in pages {
            for at in edits {
                let at_page = at as usize % (series.len() + 1);
                match kind {
                    0 => {}
                    1 => series.insert(at_page, at),
                    _ => drop(series.splice(at_page..(at_page + 1).min(series.len()), [])),
                }
            }
            let values = |&at: &u32| (at, f64::from(at) * later as f64);
            let page: Vec<_> = series.iter().map(values).collect();
            let now_ms = NOW_MS + later;
            prop_assert_eq!(
                target.encode(&blocks, &page, now_ms),
                Target::new().encode(&blocks, &page, now_ms)
            );
        }
    }
}

#[test]
fn labels_of_a_page_that_repeats_are_not_looked_at() {
    let blocks = world(30);
    let mut target = Target::new();
    target.encode(&blocks, &page(0..30, 1.0), NOW_MS);
    target.may_look = false;
    target.encode(&blocks, &page(0..30, 7.5), NOW_MS + 15_000);
    // One fragment has another series, those ahead of it are as they were.
    let mut other = page(0..30, 2.0);
    other[29] = (1, 3.0);
    let looked = std::panic::AssertUnwindSafe(|| target.encode(&blocks, &other, NOW_MS));
    assert!(std::panic::catch_unwind(looked).is_err(), "the last fragment is not the same");
}

#[test]
fn a_time_that_takes_more_bytes_is_encoded_anew() {
    let blocks = world(10);
    let mut target = Target::new();
    for now_ms in [127, 128, 129, -1, 0, NOW_MS] {
        let page = page(0..10, 1.0);
        let anew = Target::new().encode(&blocks, &page, now_ms);
        assert_eq!(target.encode(&blocks, &page, now_ms), anew, "{now_ms}");
    }
}

#[test]
fn what_is_kept_is_counted_and_let_go_of() {
    let blocks = world(30);
    let mut target = Target::within(1 << 20);
    let kept = |target: &Target| target.replay.allowance.kept.load(Relaxed);
    target.encode(&blocks, &page(0..30, 1.0), NOW_MS);
    let all = kept(&target);
    assert!(all > 0 && all == target.replay.bytes);
    target.encode(&blocks, &page(0..30, 2.0), NOW_MS);
    assert_eq!(kept(&target), all, "the same again");
    target.encode(&blocks, &page(0..8, 2.0), NOW_MS);
    let fewer = kept(&target);
    assert!(0 < fewer && fewer < all);
    target.encode(&blocks, &page(3..6, 2.0), NOW_MS);
    target.replay.clear();
    assert_eq!((kept(&target), target.replay.bytes), (0, 0));
    target.encode(&blocks, &page(0..30, 1.0), NOW_MS);
    let allowance = target.replay.allowance;
    drop(target);
    assert_eq!(allowance.kept.load(Relaxed), 0);
}

#[test]
fn no_more_is_kept_than_may_be() {
    let blocks = world(30);
    let mut target = Target::within(1 << 20);
    target.encode(&blocks, &page(0..30, 1.0), NOW_MS);
    let all = target.replay.bytes;
    for most in [0, all / 2, all - 1, all] {
        let mut target = Target::within(most);
        for value in [1.0, 2.0] {
            let page = page(0..30, value);
            let anew = Target::new().encode(&blocks, &page, NOW_MS);
            assert_eq!(target.encode(&blocks, &page, NOW_MS), anew);
            assert!(target.replay.bytes <= most, "{} of {most}", target.replay.bytes);
            assert_eq!(target.replay.bytes == all, most == all);
        }
    }
}
