//! What is told directly, decoded by `snap`, against what is written plainly.

use proptest::{collection::vec, prelude::*};

use super::{
    super::v1::{self, Block, PARTS, STALE_NAN},
    texts::{common_prefix, common_suffix},
    *,
};

/// What may come.
#[derive(Clone, Debug)]
enum Step {
    Series { parts: [usize; PARTS], is_own: bool, value: u64, timestamp_ms: i64 },
    Message(Vec<u8>),
    Take,
    Clear,
}

/// A fragment as it should be, beside the one that is told.
#[derive(Default)]
struct Both {
    direct: Direct,
    plain: Vec<u8>,
}

impl Both {
    fn series(&mut self, parts: [&[u8]; PARTS], numbers: [u32; PARTS], value: u64, time: i64) {
        self.direct.series(parts, numbers, value, time);
        v1::put_series(&mut self.plain, Block { parts, numbers: None }, value, time);
    }

    fn message(&mut self, bytes: &[u8]) {
        self.direct.message(bytes);
        self.plain.extend_from_slice(bytes);
    }

    /// Ends the fragment; returns its elements.
    #[track_caller]
    fn take(&mut self) -> Vec<u8> {
        assert_eq!(self.direct.raw_len() as usize, self.plain.len());
        let elements = self.direct.take();
        let mut body = Vec::new();
        prost::encoding::encode_varint(self.plain.len() as u64, &mut body);
        body.extend_from_slice(&elements);
        let told = snap::raw::Decoder::new().decompress_vec(&body).expect("elements of snappy");
        let differ = told.iter().zip(&self.plain).position(|(a, b)| a != b);
        assert_eq!(differ, None, "of {} bytes", told.len());
        assert_eq!(told.len(), self.plain.len());
        self.plain.clear();
        assert_eq!(self.direct.raw_len(), 0);
        elements
    }

    fn step(&mut self, step: &Step, pool: &[Vec<u8>]) {
        match step {
            Step::Series { parts, is_own, value, timestamp_ms } => {
                let at = parts.map(|part| part % pool.len());
                let own = if *is_own { OWN } else { 0 };
                let numbers = at.map(|at| at as u32 | own);
                self.series(at.map(|at| &*pool[at]), numbers, *value, *timestamp_ms);
            }
            Step::Message(bytes) => self.message(bytes),
            Step::Take => {
                self.take();
            }
            Step::Clear => {
                self.direct.clear();
                self.plain.clear();
            }
        }
    }
}

/// Values that share their first bytes, their last ones, all or none.
fn values() -> impl Strategy<Value = u64> {
    let some = [0.0, -0.0, 1.0, 2.0, 3.0, 1e9, 0.1, f64::NAN, f64::INFINITY];
    prop_oneof![
        4 => prop::sample::select(some.map(f64::to_bits).to_vec()),
        1 => Just(STALE_NAN),
        2 => (0..4_u64, 0..8_u32).prop_map(|(byte, at)| byte << (8 * at)),
        1 => any::<u64>(),
    ]
}

fn timestamps() -> impl Strategy<Value = i64> {
    let now = 1_795_335_749_038;
    prop_oneof![8 => Just(now), 1 => now..now + 3, 1 => prop_oneof![Just(0), Just(-1), any::<i64>()]]
}

/// Bytes that have much in common, as labels have.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let long = prop_oneof![60..70_usize, 250..260_usize, 0..3_000_usize];
    prop_oneof![
        1 => Just(Vec::new()),
        6 => "(flink_(task|job)manager_)?(job_)?(task|operator)_num(Records|Bytes)(In|Out)[0-3]?"
            .prop_map(String::into_bytes),
        2 => "[ab]{0,80}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..12),
        1 => (any::<u64>(), long).prop_map(|(seed, len)| noise(seed, len)),
    ]
}

/// Bytes of which no four are likely to come again.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Few parts of a pool come often, as they do in a family.
fn part_numbers() -> impl Strategy<Value = [usize; PARTS]> {
    let part = || prop_oneof![3 => 0..3_usize, 1 => 0..1_000_usize];
    [part(), part(), part(), part()]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let series = (part_numbers(), prop::bool::weighted(0.1), values(), timestamps());
    let series = series.prop_map(|(parts, is_own, value, timestamp_ms)| Step::Series {
        parts,
        is_own,
        value,
        timestamp_ms,
    });
    let step = prop_oneof![
        40 => series,
        2 => text().prop_map(Step::Message),
        1 => Just(Step::Take),
        1 => Just(Step::Clear),
    ];
    vec(step, 0..120)
}

proptest! {
    #[test]
    fn what_is_told_is_what_is_written(
        pool in vec(text(), 1..24), steps in steps(),
    ) {
        let mut both = Both::default();
        steps.iter().for_each(|step| both.step(step, &pool));
        both.take();
    }

    #[test]
    fn what_is_told_again_is_what_is_told_anew(
        pool in vec(text(), 1..24),
        series in vec((part_numbers(), values(), values()), 0..80),
        metadata in text(),
        (before, after) in (timestamps(), timestamps()),
    ) {
        let add = |both: &mut Both, value: fn(&(_, u64, u64)) -> u64, time: i64| {
            for series in &series {
                let parts = series.0;
                let step = Step::Series { parts, is_own: false, value: value(series), timestamp_ms: time };
                both.step(&step, &pool);
            }
        };
        let (mut first, mut anew, mut again) = (Both::default(), Both::default(), Both::default());
        first.direct.record();
        add(&mut first, |(_, value, _)| *value, before);
        let tape = first.direct.recorded();
        first.take();
        // A tape may be kept from one length of a time to the same.
        let after = if v1::sample_field_len(after) == v1::sample_field_len(before) { after } else { before };
        for both in [&mut anew, &mut again] {
            both.message(&metadata);
        }
        anew.direct.record();
        add(&mut anew, |(.., value)| *value, after);
        prop_assert_eq!(anew.direct.recorded().is_some(), tape.is_some());
        let is_long = series.iter().any(|(parts, ..)| {
            parts.iter().map(|part| pool[part % pool.len()].len()).sum::<usize>() > 30_000
        });
        prop_assert!(tape.is_some() || is_long, "labels of usual length fit");
        if let Some(tape) = tape {
            let values: Vec<_> = series.iter().map(|(.., value)| *value).collect();
            again.direct.replay(&tape, &values, after);
            again.plain.clone_from(&anew.plain);
            // And something behind it.
            for both in [&mut anew, &mut again] {
                both.step(&Step::Series { parts: [0; PARTS], is_own: true, value: 0, timestamp_ms: 1 }, &pool);
            }
            prop_assert_eq!(again.take(), anew.take());
        }
    }

    #[test]
    fn equal_bytes_are_found_from_both_ends(a in text(), b in text(), c in text()) {
        let (one, other) = ([&a[..], &b, &c].concat(), [&a[..], &c].concat());
        let prefix = one.iter().zip(&other).take_while(|(x, y)| x == y).count();
        prop_assert_eq!(common_prefix(&one, &other), prefix);
        let suffix = one.iter().rev().zip(other.iter().rev()).take_while(|(x, y)| x == y).count();
        prop_assert_eq!(common_suffix(&one, &other), suffix);
    }
}

/// Four parts as Flink's are, with a subtask and a metric.
fn parts(metric: usize, subtask: usize) -> [Vec<u8>; PARTS] {
    let name = format!("__name__ flink_taskmanager_job_task_metric{metric}");
    let task = format!(
        "subtask_index {subtask} task_name GlobalWindowAggregate_6_Calc_7_Writer tm_id {TM}"
    );
    [name, format!("cluster bench host 10.42.7.113 job flink {TM}"), format!("operator {TM}"), task]
        .map(String::into_bytes)
}

const TM: &str = "clicks-taskmanager-1-2";

/// Labels that are too long for a tape, and a run that begins beyond what copies of three bytes reach.
#[test]
fn what_does_not_fit_onto_a_tape_is_not_kept() {
    let check = |len: usize, is_kept: bool| {
        let mut both = Both::default();
        both.direct.record();
        let text = noise(len as u64, len);
        for name in [&b"one"[..], b"two"] {
            both.series([name, b"job", &text, b"task"], [u32::from(name[0]), 1, 2, 3], 0, 5);
        }
        assert_eq!(both.direct.recorded().is_some(), is_kept, "{len}");
        both.take();
    };
    check(1_000, true);
    check(32_000, true);
    check(33_000, false);
    check(70_000, false);
}

#[test]
fn a_tape_holds_offsets_of_any_length() {
    let (mut both, mut again) = (Both::default(), Both::default());
    both.direct.record();
    page(&mut both, 4, 1_500);
    let tape = both.direct.recorded().unwrap();
    let values: Vec<_> =
        (0..4 * 1_500_u64).map(|at| ((at / 1_500 * (at % 1_500)) as f64).to_bits()).collect();
    again.direct.replay(&tape, &values, 1_795_335_749_038);
    again.plain.clone_from(&both.plain);
    assert_eq!(again.take(), both.take());
}

/// Series of so many metrics of so many subtasks, metric by metric, as on a page.
fn page(both: &mut Both, metrics: usize, subtasks: usize) {
    for metric in 0..metrics {
        for subtask in 0..subtasks {
            let parts = parts(metric, subtask);
            let numbers = [10 + metric, 1, 2, 1_000 + subtask].map(|number| number as u32);
            let value = (metric * subtask) as f64;
            both.series(
                parts.each_ref().map(Vec::as_slice),
                numbers,
                value.to_bits(),
                1_795_335_749_038,
            );
        }
    }
}

#[test]
fn a_page_costs_little() {
    let mut both = Both::default();
    page(&mut both, 40, 40);
    let raw = both.plain.len();
    let plain = snap::raw::Encoder::new().compress_vec(&both.plain).unwrap().len();
    let told = both.take().len();
    assert!(told * 10 < plain * 9, "{told} bytes of {raw}, {plain} by snap");
    // The next fragment knows nothing of this one, and costs the same.
    page(&mut both, 40, 40);
    assert_eq!(both.take().len(), told);
}

/// A subtask stands farther back in the family before than copies of three bytes reach, and than series
/// are remembered.
#[test]
fn families_may_be_long() {
    let mut both = Both::default();
    page(&mut both, 4, 1_500);
    let samples = 4 * 1_500;
    let told = both.take().len();
    assert!(told < samples * 25, "{told} bytes for {samples} samples");
}

#[test]
fn texts_may_be_longer_than_what_is_kept_of_them() {
    let mut both = Both::default();
    for len in [1, 59, 60, 61, 62, 256, 257, 65_535, 65_536, 65_537, 70_000, 1 << 24 | 2] {
        let text = noise(len as u64, len);
        for _ in 0..2 {
            both.series([&text, b"job", b"", b"task"], [len as u32, 1, 2, 3], 0, 5);
        }
        both.message(&text);
        both.series([b"", b"", b"", &text], [2, 2, 2, len as u32], 0, 5);
    }
    both.take();
}

/// Numbers run out after four billion series; what was known by the old ones is forgotten.
#[test]
fn series_are_counted_anew_before_their_numbers_end() {
    let mut both = Both::default();
    both.direct.ring = Ring::starting_at(u32::MAX / 2 - 5);
    for _ in 0..4 {
        page(&mut both, 2, 4);
        both.take();
    }
    assert!(both.direct.ring.last().is_none() && both.direct.ring.next() < 100);
}
