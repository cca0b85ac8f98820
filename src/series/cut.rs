//! Label values that are longer than a receiver takes: cut, with a hash of the whole behind.
//!
//! ```text
//!   value   Source: clicks -> Filter -> Map -> …                       (9,000 bytes)
//!   cut     Source: clicks -> Filter -> Ma…6c2f9a0d41b75e38            (at most the limit)
//!
//!   cut value = the longest prefix of whole characters with at most LIMIT - 19 bytes
//!             + `…` (U+2026, 3 bytes) + xxh3-64 (seed 0) of the whole value's bytes in UTF-8,
//!               as 16 lower-case hexadecimal digits, the highest first
//! ```
//!
//! Nothing else goes in: each relay of each version cuts a value for a limit in the same way, so series go
//! on over restarts and upgrades. Two values with one beginning differ by their hash; for a million such
//! values, the chance that any two are equal is one in 10^7.
//!
//! The info series get the whole value beside the cut one, in labels of their own: `task_name` is
//! `task_name_1`, `task_name_2`, … put together. They are joined by the cut value, which is the same everywhere.
//! Only there, since each further label costs memory in the receiver, and one series for a task is enough.
//!
//! Names are never cut: a metric's name says what it is, and a label's name is its key.

use xxhash_rust::xxh3::xxh3_64;

use super::Limits;
use crate::{
    flink::rest::info,
    labels::{Labels, METRIC_NAME},
};

/// What a cut value ends with, in bytes; a smaller limit leaves nothing to cut to.
pub const SUFFIX_BYTES: u64 = 19;

/// Labels that one whole value may take: 16 KiB under the limit of Mimir. Receivers take some 30 labels.
const PARTS_MAX: usize = 8;

impl Limits {
    /// The labels with long values cut, `None` when there is nothing to cut, or too little room for it.
    pub(super) fn shorten(&self, labels: &Labels<'_>) -> Option<Labels<'static>> {
        let limit = usize::try_from(self.value_bytes).unwrap_or(usize::MAX);
        let cuts = self.cut_values && self.value_bytes >= SUFFIX_BYTES;
        let is_long = |name: &str, value: &str| name != METRIC_NAME && value.len() > limit;
        if !cuts || !labels.iter().any(|(name, value)| is_long(name, value)) {
            return None;
        }
        let shorter = |name: &str, value: &str| {
            if is_long(name, value) { cut(value, limit) } else { value.to_owned() }
        };
        let short = labels.iter().map(|(name, value)| (name.to_owned(), shorter(name, value)));
        let mut short: Labels<'static> = short.collect();
        if info::is_info(labels.metric_name()) {
            for (name, value) in labels.iter().filter(|(name, value)| is_long(name, value)) {
                self.add_whole(&mut short, name, value, limit);
            }
        }
        short.sort();
        Some(short)
    }

    /// Adds the whole value in parts, as far as the receiver takes so many labels.
    fn add_whole(&self, labels: &mut Labels<'static>, name: &str, value: &str, limit: usize) {
        let room = match self.labels {
            0 => PARTS_MAX,
            most => usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(labels.len()),
        };
        let parts = parts(value, limit);
        if parts.len() > room.min(PARTS_MAX) {
            return;
        }
        for (number, part) in (1..).zip(parts) {
            labels.set(format!("{name}_{number}"), part.to_owned());
        }
    }
}

/// The value in at most `limit` bytes, which are [`SUFFIX_BYTES`] at least.
fn cut(value: &str, limit: usize) -> String {
    let hash = xxh3_64(value.as_bytes());
    let kept = value.floor_char_boundary(limit.saturating_sub(19));
    format!("{}…{hash:016x}", value.get(..kept).unwrap_or_default())
}

/// The value in pieces of whole characters, of at most `limit` bytes each.
fn parts(mut value: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    while !value.is_empty() {
        let (part, rest) = value.split_at(value.floor_char_boundary(limit));
        parts.push(part);
        value = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(labels: u64, value_bytes: u64) -> Limits {
        Limits { labels, value_bytes, cut_values: true, ..Limits::default() }
    }

    /// Such values are in databases: another algorithm would end every series with one. The hashes were
    /// checked against another implementation of XXH3.
    #[test]
    fn a_value_is_cut_the_same_way_for_ever() {
        let check = |value: &str, limit: usize, expect: &str| assert_eq!(cut(value, limit), expect);
        check("0123456789012345678901234567890", 30, "01234567890…0dff783d121b4c10");
        check("0123456789012345678901234567891", 30, "01234567890…ac1b84d10a57045c");
        check("日志清洗日志清洗日志清洗", 30, "日志清…3ce03c81ee90eb7f");
        check("0123456789012345678901234567890", 19, "…0dff783d121b4c10");
    }

    #[test]
    fn only_values_that_are_too_long_are_cut() {
        let labels: Labels<'_> =
            [("__name__", "a_name_that_is_longer_than_all"), ("x", "short")].into_iter().collect();
        assert_eq!(limits(0, 20).shorten(&labels), None);
        let long = "123456789012345678901";
        let labels: Labels<'_> = [("a", "b"), (long, long)].into_iter().collect();
        let short = limits(0, 20).shorten(&labels).unwrap();
        assert_eq!(short.get("a"), Some("b"));
        assert!(short.get(long).unwrap().starts_with("1…"));
        assert_eq!(short.len(), 2);
        assert_eq!(limits(0, 18).shorten(&labels), None, "there is no room for the hash");
        assert_eq!(limits(0, 0).shorten(&labels), None);
        let off = Limits { cut_values: false, ..limits(0, 20) };
        assert_eq!(off.shorten(&labels), None);
    }

    #[test]
    fn info_series_hold_the_whole_value_where_there_is_room() {
        let name = "日志 -> ".repeat(10);
        let labels: Labels<'_> =
            [("__name__", "flink_task_info"), ("task_id", "t"), ("task_name", &name)]
                .into_iter()
                .collect();
        let short = limits(0, 40).shorten(&labels).unwrap();
        let whole = |short: &Labels<'_>| -> String {
            (1..).map_while(|n| Some(short.get(&format!("task_name_{n}"))?.to_owned())).collect()
        };
        assert_eq!(whole(&short), name);
        let other: Labels<'_> = [("task_name", name.as_str())].into_iter().collect();
        let other = limits(0, 40).shorten(&other).unwrap();
        assert_eq!(short.get("task_name"), other.get("task_name"), "they can be joined");
        assert_eq!(other.len(), 1, "other series do not have the whole");
        assert_eq!(limits(short.len() as u64, 40).shorten(&labels).unwrap().len(), short.len());
        assert_eq!(limits(short.len() as u64 - 1, 40).shorten(&labels).unwrap().len(), 3);
        let parts = name.len().div_ceil(30);
        assert_eq!(limits(0, 30).shorten(&labels).unwrap().len(), 3 + parts);
        let name = name.repeat(3);
        let labels: Labels<'_> =
            [("__name__", "flink_task_info"), ("task_name", &name)].into_iter().collect();
        assert_eq!(limits(0, 20).shorten(&labels).unwrap().len(), 2, "too many parts");
    }

    proptest! {
        #[test]
        fn a_cut_value_fits_begins_alike_and_is_its_own(
            value in "\\PC{30,200}", other in "\\PC{30,200}", limit in 19..100_usize,
        ) {
            prop_assume!(value.len() > limit && other.len() > limit);
            let short = cut(&value, limit);
            prop_assert!(short.len() <= limit);
            // At most three bytes of a character that does not fit are left free.
            prop_assert!(short.len() + 4 > limit);
            let (begin, _) = short.rsplit_once('…').unwrap();
            prop_assert!(value.starts_with(begin));
            prop_assert_eq!(short == cut(&other, limit), value == other);
            prop_assert_eq!(parts(&value, limit).concat(), value.as_str());
            prop_assert!(parts(&value, limit).iter().all(|part| part.len() <= limit));
        }
    }
}
