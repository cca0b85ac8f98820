//! One record of the log on disk, and the head of the files that hold them.
//!
//! ```text
//!  segment = head frame*                    all numbers are little-endian
//!  head    = "flinkspl" | version u32 | crc32c u32 over the 12 bytes before
//!
//!  frame   0  magic      F5 'f' 'r' 01      the last byte is the version of the frame
//!          4  crc        u32                crc32c over everything behind it, header and body
//!          8  body_bytes u32                refused above FRAME_BODY_BYTES_MAX before anything is allocated
//!         12  message    u8                 1 remote write 1.0, 2 remote write 2.0
//!         13  flags      u8                 1: first record of its scrape, 2: has timestamps
//!         14  zero       u16
//!         16  ordinal    u32                place among the frames of the segment, from 0
//!         20  samples    u32
//!         24  metadata   u32
//!         28  raw_bytes  u32                before compression
//!         32  run        u64                drawn at each start of the relay
//!         40  sequence   u64                grows with each record of the spool
//!         48  lane_key   u64                hash of the target
//!         56  created_ms i64                wall clock at the scrape, since the epoch
//!         64  lowest_ms  i64                times of its samples
//!         72  highest_ms i64
//!         80  body                          the fragment's compressed elements
//! ```
//!
//! A frame says everything that is to be known of its record, so that it can be found and used
//! whatever became of its neighbours. Zeros, which file systems leave where a write was cut, are no frame.

use crate::{limits::FRAME_BODY_BYTES_MAX, remote_write::Message};

/// Bytes of a frame before its body.
pub(super) const HEADER_BYTES: usize = 80;

/// Bytes of a segment's head.
pub(super) const HEAD_BYTES: usize = 16;

const HEAD_MAGIC: &[u8; 8] = b"flinkspl";
const HEAD_VERSION: u32 = 1;
/// What a frame begins with.
pub(super) const MAGIC: [u8; 4] = [0xf5, b'f', b'r', 1];
const CHECKED_FROM: usize = 8;

const FIRST: u8 = 1;
const TIMES: u8 = 2;

/// What a frame says of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) message: Message,
    /// Whether it is the first record of its scrape.
    pub(super) first: bool,
    pub(super) ordinal: u32,
    pub(super) samples: u32,
    pub(super) metadata: u32,
    pub(super) raw_bytes: u32,
    pub(super) run: u64,
    pub(super) sequence: u64,
    pub(super) lane_key: u64,
    pub(super) created_ms: i64,
    /// Lowest and highest time of a sample.
    pub(super) timestamps_ms: Option<(i64, i64)>,
}

/// What stands at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// A frame may begin here; it ends after so many bytes.
    Frame { bytes: usize },
    /// The beginning of a header, and then the file ends.
    Cut,
    /// Something else.
    Nothing,
}

/// What a segment's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Ours.
    Good,
    /// Of another version of the program: nothing in it is understood, nothing may be changed.
    Foreign(u32),
    /// Damaged, or cut.
    Bad,
}

/// The head of a segment.
pub(super) fn head() -> [u8; HEAD_BYTES] {
    head_of(HEAD_VERSION)
}

fn head_of(version: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (text, crc) = head.split_at_mut(12);
    let (magic, number) = text.split_at_mut(8);
    magic.copy_from_slice(HEAD_MAGIC);
    number.copy_from_slice(&version.to_le_bytes());
    crc.copy_from_slice(&crc32c::crc32c(text).to_le_bytes());
    head
}

/// Reads the head of a segment.
pub(super) fn read_head(bytes: &[u8]) -> Head {
    let Some(version) = u32_at(bytes, 8) else { return Head::Bad };
    match bytes.get(..HEAD_BYTES) {
        Some(found) if *found == head_of(version) && version == HEAD_VERSION => Head::Good,
        Some(found) if *found == head_of(version) => Head::Foreign(version),
        _ => Head::Bad,
    }
}

/// Writes a frame behind what is in `out`.
pub(super) fn encode(frame: &Frame, body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let (lowest_ms, highest_ms) = frame.timestamps_ms.unwrap_or_default();
    let body_bytes = u32::try_from(body.len()).expect("a body is below FRAME_BODY_BYTES_MAX");
    let flags = u8::from(frame.first) * FIRST + u8::from(frame.timestamps_ms.is_some()) * TIMES;
    let message = match frame.message {
        Message::V1 => 1,
        Message::V2 => 2,
    };
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&body_bytes.to_le_bytes());
    out.extend_from_slice(&[message, flags, 0, 0]);
    for number in [frame.ordinal, frame.samples, frame.metadata, frame.raw_bytes] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [frame.run, frame.sequence, frame.lane_key] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [frame.created_ms, lowest_ms, highest_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(body);
    let crc = crc32c::crc32c(out.get(start + CHECKED_FROM..).unwrap_or_default());
    if let Some(place) = out.get_mut(start + 4..start + CHECKED_FROM) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// What begins with `bytes`, of which the first [`HEADER_BYTES`] are looked at; fewer are the end of
/// the file.
pub(super) fn look(bytes: &[u8]) -> Start {
    let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
    if !MAGIC.starts_with(magic) {
        return Start::Nothing;
    }
    let Some(body_bytes) = u32_at(bytes, 8).filter(|_| bytes.len() >= HEADER_BYTES) else {
        return Start::Cut;
    };
    let body_bytes = usize::try_from(body_bytes).unwrap_or(usize::MAX);
    // Cheaper than a checksum over whatever the length says.
    let is_possible = matches!(bytes.get(12..16), Some([1 | 2, 0..=3, 0, 0]));
    if body_bytes > FRAME_BODY_BYTES_MAX || !is_possible {
        return Start::Nothing;
    }
    Start::Frame { bytes: HEADER_BYTES + body_bytes }
}

/// Reads a frame that fills `bytes`, with its body. `None` when it is not what was written.
pub(super) fn decode(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    if look(bytes) != (Start::Frame { bytes: bytes.len() }) {
        return None;
    }
    if crc32c::crc32c(bytes.get(CHECKED_FROM..)?) != u32_at(bytes, 4)? {
        return None;
    }
    let flags = *bytes.get(13)?;
    let frame = Frame {
        message: match bytes.get(12)? {
            1 => Message::V1,
            2 => Message::V2,
            _ => return None,
        },
        first: flags & FIRST != 0,
        ordinal: u32_at(bytes, 16)?,
        samples: u32_at(bytes, 20)?,
        metadata: u32_at(bytes, 24)?,
        raw_bytes: u32_at(bytes, 28)?,
        run: u64_at(bytes, 32)?,
        sequence: u64_at(bytes, 40)?,
        lane_key: u64_at(bytes, 48)?,
        created_ms: i64_at(bytes, 56)?,
        timestamps_ms: match flags & TIMES {
            0 => None,
            _ => Some((i64_at(bytes, 64)?, i64_at(bytes, 72)?)),
        },
    };
    Some((frame, bytes.get(HEADER_BYTES..)?))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A little-endian number in `bytes`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

/// A little-endian number in `bytes`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    array_at(bytes, at).map(i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn frames()(
            v2: bool, first: bool, numbers in any::<[u32; 4]>(), long in any::<[u64; 3]>(),
            created_ms: i64, timestamps_ms in any::<Option<(i64, i64)>>(),
        ) -> Frame {
            let message = if v2 { Message::V2 } else { Message::V1 };
            let [ordinal, samples, metadata, raw_bytes] = numbers;
            let [run, sequence, lane_key] = long;
            Frame {
                message, first, ordinal, samples, metadata, raw_bytes, run, sequence, lane_key,
                created_ms, timestamps_ms,
            }
        }
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written(frame in frames(), body: Vec<u8>, before: Vec<u8>) {
            let mut out = before.clone();
            encode(&frame, &body, &mut out);
            let bytes = &out[before.len()..];
            prop_assert_eq!(bytes.len(), HEADER_BYTES + body.len());
            prop_assert_eq!(look(bytes), Start::Frame { bytes: bytes.len() });
            prop_assert_eq!(decode(bytes), Some((frame, &body[..])));
        }

        #[test]
        fn one_wrong_bit_anywhere_is_noticed(frame in frames(), body in prop::collection::vec(any::<u8>(), 0..40), bit: prop::sample::Index) {
            let mut bytes = Vec::new();
            encode(&frame, &body, &mut bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&bytes), None);
        }

        #[test]
        fn a_frame_that_was_cut_is_none(frame in frames(), body: Vec<u8>, cut: prop::sample::Index) {
            let mut bytes = Vec::new();
            encode(&frame, &body, &mut bytes);
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(decode(&bytes), None);
            let start = look(&bytes);
            prop_assert_ne!(start, Start::Nothing);
            prop_assert_eq!(start == Start::Cut, bytes.len() < HEADER_BYTES);
        }
    }

    #[test]
    fn zeros_are_no_frame_and_long_lengths_are_refused() {
        assert_eq!(look(&[0; HEADER_BYTES]), Start::Nothing);
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC);
        header[12] = 1;
        assert_eq!(look(&header), Start::Frame { bytes: HEADER_BYTES });
        header[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(look(&header), Start::Nothing);
    }

    #[test]
    fn heads_tell_damage_from_another_version() {
        assert_eq!(read_head(&head()), Head::Good);
        assert_eq!(read_head(&head_of(2)), Head::Foreign(2));
        assert_eq!(read_head(&head()[..15]), Head::Bad);
        for bit in 0..HEAD_BYTES * 8 {
            let mut head = head();
            head[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_head(&head), Head::Bad, "bit {bit}");
        }
    }
}
