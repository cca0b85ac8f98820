//! Tapes of what was searched, played with other values and decoded by `snap`, against the message itself.

use proptest::{collection::vec, prelude::*};

use super::{super::Direct, *};

/// A message of these regions, each with its value and the time behind it, and where the values are.
fn message(regions: &[Vec<u8>], values: &[u64], time: &[u8]) -> (Vec<u8>, Vec<u32>) {
    let (mut raw, mut places) = (Vec::new(), Vec::new());
    for (region, value) in regions.iter().zip(values) {
        raw.extend_from_slice(region);
        places.push(raw.len() as u32);
        raw.extend_from_slice(&value.to_le_bytes());
        raw.extend_from_slice(time);
    }
    (raw, places)
}

/// The tag of a time and the time.
fn time(timestamp_ms: i64) -> Vec<u8> {
    let mut time = vec![0x10];
    prost::encoding::encode_varint(timestamp_ms.cast_unsigned(), &mut time);
    time
}

/// Plays a tape of `regions`; returns its elements, which decode to the message with these values.
#[track_caller]
fn check(
    regions: &[Vec<u8>],
    before: &[u64],
    now: &[u64],
    timestamps_ms: [i64; 2],
    end: &[u8],
) -> usize {
    let [then, later] = timestamps_ms.map(time);
    let (raw, places) = message(regions, before, &then);
    let tape = search(&raw, &places, then.len() as u32).expect("all of it fits");
    let (mut expected, _) = message(regions, now, &later);
    expected.extend_from_slice(end);
    let mut direct = Direct::bare();
    direct.replay(&tape, now, timestamps_ms[1]);
    direct.literal(end);
    assert_eq!(direct.raw_len() as usize, expected.len());
    let mut body = Vec::new();
    prost::encoding::encode_varint(expected.len() as u64, &mut body);
    body.extend_from_slice(&direct.take());
    let told = snap::raw::Decoder::new().decompress_vec(&body).expect("elements of snappy");
    let differ = told.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!((differ, told.len()), (None, expected.len()));
    body.len()
}

const NOW_MS: i64 = 1_795_335_749_038;

/// Some sixty metrics of the subtasks of a few operators, as remote write 2.0 writes them.
fn page(metrics: u8, operators: u8, subtasks: u8) -> Vec<Vec<u8>> {
    let mut regions = Vec::new();
    for metric in 0..metrics {
        for operator in 0..operators {
            for subtask in 0..subtasks {
                let about = [0x2a, 0x06, 0x08, 1 + metric % 2, 0x18, 0x80 | metric, 0x01];
                let head = [0x2a, 0x30, 0x0a, 0x14, 1, metric, 2, 3, 4, 5, 6, 7, 8, 9];
                let labels =
                    [10, 0x80 | operator, 1, 11, 0x80 | subtask, 2, 12, 0x80 | operator, 3];
                regions.push([&about[..], &head, &labels, &[0x12, 0x10, 0x09]].concat());
            }
        }
    }
    regions
}

#[test]
fn a_page_that_repeats_takes_no_more_than_a_compressor_needs() {
    let regions = page(60, 4, 16);
    let values: Vec<u64> = (0..regions.len()).map(|at| ((at * at) as f64).to_bits()).collect();
    let bytes = check(&regions, &vec![0; values.len()], &values, [NOW_MS, NOW_MS + 15_000], b"");
    let (raw, _) = message(&regions, &values, &time(NOW_MS));
    let compressed = snap::raw::Encoder::new().compress_vec(&raw).expect("far below 4 GiB").len();
    assert!(10 * bytes < 11 * compressed, "{bytes} bytes, by a compressor {compressed}");
}

#[test]
fn what_is_odd_is_told_too() {
    let page = page(2, 2, 2);
    for regions in [&page[..0], &page[..1], &page[..2], &page[..3], &page[..]] {
        for value in [0, 1, u64::MAX, 1 << 63, 0x0102_0304_0506_0708] {
            let (zeros, values) = (vec![0; regions.len()], vec![value; regions.len()]);
            check(regions, &zeros, &values, [NOW_MS, NOW_MS + 1], &[7; 40]);
            check(regions, &values, &zeros, [0, 127], b"end");
            check(regions, &values, &zeros, [-1, -2], b"");
        }
    }
    // One byte only, or the same region again and again.
    check(&vec![vec![9]; 5], &[1, 2, 3, 4, 5], &[5, 5, 5, 1, 0], [NOW_MS, NOW_MS], b"");
    check(&vec![vec![8; 300]; 300], &[1; 300], &[2; 300], [NOW_MS, NOW_MS], b"");
}

#[test]
fn a_region_that_fits_on_no_tape_makes_none() {
    let (raw, places) = message(&[vec![1; 40_000]], &[0], &time(0));
    assert!(search(&raw, &places, 2).is_none());
}

proptest! {
    #[test]
    fn what_is_played_is_the_message(
        pool in vec(vec(0..4_u8, 1..40), 1..6),
        picks in vec((0..6_usize, 0..6_usize, any::<bool>()), 0..60),
        before in vec(any::<u64>(), 60),
        now in vec(prop_oneof![Just(0), Just(1.0_f64.to_bits()), any::<u64>(), 0..4_u64], 60),
        end in vec(any::<u8>(), 0..30),
    ) {
        let regions: Vec<Vec<u8>> = picks
            .iter()
            .map(|&(a, b, both)| {
                let (a, b) = (&pool[a % pool.len()], &pool[b % pool.len()]);
                if both { [&a[..], &b[..]].concat() } else { a.clone() }
            })
            .collect();
        let len = regions.len();
        check(&regions, &before[..len], &now[..len], [NOW_MS, NOW_MS + 5_000], &end);
    }
}
