//! Pages that are told again from what the page before became, against pages that are encoded plainly.

use std::time::Instant;

use proptest::{collection::vec, prelude::*};

use super::{
    super::{About, Symbols},
    *,
};
use crate::{
    labels::Labels,
    remote_write::{Fragment, proto::metric_metadata::MetricType},
};

const NOW_MS: i64 = 1_795_335_749_038;

/// Series of a target with their families, and when their counters began.
struct World {
    symbols: Symbols,
    series: Vec<(Series, i64)>,
}

impl World {
    fn new(series: usize) -> Self {
        let mut symbols = Symbols::default();
        let series = (0..series).map(|at| {
            let (metric, subtask) = (at / 5, (at % 5).to_string());
            let name = format!("flink_taskmanager_metric_{metric}");
            let kind = [MetricType::Gauge, MetricType::Counter, MetricType::Unknown][metric % 3];
            let help = if metric % 2 == 0 { "Tells something." } else { "" };
            let about = About { kind, help: help.into(), unit: "".into() };
            let labels = [("__name__", &*name), ("subtask_index", &*subtask), ("tm_id", "tm-1")];
            let labels: Labels<'_> = labels.into_iter().collect();
            let start_ms = if metric % 3 == 1 { NOW_MS - 1_000_000 - at as i64 } else { 0 };
            (Series::new(&mut symbols, &labels, &about), start_ms)
        });
        let series = series.collect();
        Self { symbols, series }
    }

    /// The requests of a page of these series, told again where `replay` knows them.
    fn encode(&self, page: &[(u32, u64)], now_ms: i64, replay: &mut Replay) -> Vec<Fragment> {
        let mut encoder = Encoder::new(&self.symbols, 7);
        let samples = page.iter().map(|&(at, value)| Paged { series: at, at, value });
        let series = |at: u32| self.series.get(at as usize).copied();
        encoder.push_page(samples, now_ms, 3, series, replay);
        encoder.finish(Instant::now())
    }

    fn encode_plainly(&self, page: &[(u32, u64)], now_ms: i64) -> Vec<Fragment> {
        let mut encoder = Encoder::new(&self.symbols, 7);
        for &(at, value) in page {
            let (series, start_ms) = &self.series[at as usize];
            let sample = Sample { value, timestamp_ms: now_ms, start_ms: *start_ms };
            encoder.push_sample(series, sample);
        }
        encoder.finish(Instant::now())
    }

    #[track_caller]
    fn check(&self, page: &[(u32, u64)], now_ms: i64, replay: &mut Replay) {
        let requests = |fragments: Vec<Fragment>| {
            let told = |fragment: &Fragment| {
                let body = crate::remote_write::body(std::iter::once(fragment));
                let raw = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy body");
                let times = (fragment.lowest_timestamp_ms(), fragment.highest_timestamp_ms());
                assert_eq!(fragment.raw_bytes(), raw.len() as u64);
                (raw, fragment.samples(), fragment.message(), times)
            };
            fragments.iter().map(told).collect::<Vec<_>>()
        };
        let plain = requests(self.encode_plainly(page, now_ms));
        assert_eq!(requests(self.encode(page, now_ms, replay)), plain, "{page:?} at {now_ms}");
    }
}

fn page(series: impl IntoIterator<Item = u32>, value: f64) -> Vec<(u32, u64)> {
    series.into_iter().map(|at| (at, (value * f64::from(at % 3)).to_bits())).collect()
}

#[test]
fn a_page_that_comes_for_the_third_time_is_told_again() {
    let mut world = World::new(30);
    let mut replay = Replay::default();
    for (value, now_ms) in [(1.0, NOW_MS), (2.5, NOW_MS + 15_000), (3.0, NOW_MS + 30_000)] {
        world.check(&page(0..30, value), now_ms, &mut replay);
    }
    // Its series are not looked at any more.
    let known = std::mem::take(&mut world.series);
    let told = world.encode(&page(0..30, 4.0), NOW_MS + 45_000, &mut replay);
    world.series = known;
    let plain = world.encode_plainly(&page(0..30, 4.0), NOW_MS + 45_000);
    let raw = |fragments: &[Fragment]| fragments.iter().map(Fragment::raw_bytes).sum::<u64>();
    assert_eq!((told.len(), raw(&told)), (5, raw(&plain)));
}

#[test]
fn a_start_that_is_not_before_its_sample_is_not_kept_out_for_ever() {
    let mut world = World::new(10);
    let mut replay = Replay::default();
    world.series[7].1 = NOW_MS + 20_000;
    for now_ms in [0, 10_000, 20_000, 30_000, 40_000, 50_000, 5_000, 60_000] {
        world.check(&page(0..10, 1.0), NOW_MS + now_ms, &mut replay);
    }
}

#[test]
fn what_shows_a_series_says_when_its_counter_began() {
    let mut world = World::new(1);
    let (series, _) = world.series[0];
    world.series = vec![(series, NOW_MS - 1_000_000), (series, NOW_MS - 5)];
    let mut replay = Replay::default();
    // The series has one number, whichever of the two shows it.
    let encode = |at: u32, now_ms: i64, replay: &mut Replay| {
        let mut encoder = Encoder::new(&world.symbols, 7);
        let shown = |at: u32| world.series.get(at as usize).copied();
        let page = std::iter::once(Paged { series: 0, at, value: 0 });
        encoder.push_page(page, now_ms, 3, shown, replay);
        let fragments = encoder.finish(Instant::now());
        let body = crate::remote_write::body(fragments.iter());
        super::super::read(&body).expect("a request")[0].sample.start_ms
    };
    for (round, at) in [0, 0, 0, 1, 1, 1, 0, 1].into_iter().enumerate() {
        let (_, start_ms) = world.series[at as usize];
        assert_eq!(encode(at, NOW_MS + round as i64, &mut replay), start_ms, "in round {round}");
    }
}

#[test]
fn what_finds_no_room_is_not_searched_again_and_again() {
    let world = World::new(30);
    let mut replay = Replay::within(1);
    for round in 0..5 {
        world.check(&page(0..30, 1.0), NOW_MS + round, &mut replay);
        assert!((0..5).all(|at| !replay.has(at)));
    }
    // What is given up is so for these series alone.
    let numbers = [7_u32.to_le_bytes()];
    let mut replay = Replay::default();
    assert!(!replay.has_come_before(0, &numbers) && replay.has_come_before(0, &numbers));
    replay.give_up(0, &numbers);
    assert!((0..3).all(|_| !replay.has_come_before(0, &numbers)));
    let others = [8_u32.to_le_bytes()];
    assert!(!replay.has_come_before(0, &others) && replay.has_come_before(0, &others));
}

#[test]
fn another_key_is_another_page() {
    let mut world = World::new(5);
    let mut replay = Replay::default();
    for now_ms in [NOW_MS, NOW_MS + 1, NOW_MS + 2] {
        world.check(&page(0..5, 1.0), now_ms, &mut replay);
    }
    world.series[0].1 = NOW_MS - 5;
    let mut encoder = Encoder::new(&world.symbols, 7);
    let samples = (0..5).map(|at| Paged { series: at, at, value: 0 });
    let series = |at: u32| world.series.get(at as usize).copied();
    encoder.push_page(samples, NOW_MS + 3, 4, series, &mut replay);
    let told = encoder.finish(Instant::now());
    let plain = world.encode_plainly(&page(0..5, 0.0), NOW_MS + 3);
    assert_eq!(told[0].raw_bytes(), plain[0].raw_bytes());
}

proptest! {
    #[test]
    fn what_is_told_again_is_what_is_encoded_plainly(
        pages in vec((vec(0..25_u32, 0..4), 0..5_u8, prop_oneof![Just(0), -2..40_000_i64]), 1..10),
        values in vec(prop_oneof![Just(0), any::<u64>(), (0..9_u32).prop_map(|n| f64::from(n).to_bits())], 80),
    ) {
        let world = World::new(30);
        let mut replay = Replay::default();
        let mut series: Vec<u32> = (0..20).collect();
        for (round, (edits, kind, later)) in pages.into_iter().enumerate() {
            for at in edits {
                let at_page = at as usize % (series.len() + 1);
                match kind {
                    0..3 => {}
                    3 => series.insert(at_page, at),
                    _ => drop(series.splice(at_page..(at_page + 1).min(series.len()), [])),
                }
            }
            let value = |at: usize| values[(at + 13 * round) % values.len()];
            let page: Vec<_> = series.iter().enumerate().map(|(at, &of)| (of, value(at))).collect();
            world.check(&page, NOW_MS + later, &mut replay);
        }
    }
}
