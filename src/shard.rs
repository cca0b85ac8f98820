//! Sharding: which of several relays with one configuration scrapes a target.
//!
//! ```text
//!   key   = hash of job and address, as configured      the same in every relay
//!   score = hash of (key, i)  for each relay i of N      owner = the relay with the highest score
//! ```
//!
//! This is rendezvous hashing (highest random weight): the relays need not talk to each other, each
//! target has exactly one owner, and when N changes only those targets move whose owner has gone or
//! whose highest score is a new relay's, about one in N. The hash is fixed, xxh3-64 over little-endian
//! bytes, so relays of different builds and machines agree; the tests hold it by vectors.
//!
//! N is written down, or is that of a StatefulSet: then the relay is a [`Member`], whose [`count`] follows what
//! Kubernetes says.

pub mod count;

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::limits::SHARD_COUNT_MAX;

/// One relay's part of the targets: it is number `index` (from zero) of `count`.
///
/// The part is empty while the count is not known (zero), and for a relay whose number is not below it: a pod that is
/// about to be scaled away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// How a relay's part is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharding {
    /// `I/N`.
    Fixed(Shard),
    /// `NAME-I/statefulset`.
    Of(Member),
}

/// A pod of a StatefulSet: how many relays there are is the StatefulSet's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of the StatefulSet, which is in the pod's own namespace.
    pub statefulset: String,
    /// The pod's number.
    pub index: u32,
}

/// Which target it is, for the choice of its owner. Made by [`key`].
pub type Key = u64;

/// A shard that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Not `I/N`.
    #[error("`{0}`: expected I/N such as 0/3, auto/3, or auto/statefulset")]
    Malformed(String),
    /// `I/statefulset`, where I is no name of a pod.
    #[error(
        "`{text}`: `{name}` is no name of a StatefulSet's pod, by which the StatefulSet would be found; \
         expected NAME-NUMBER, such as relay-0/{STATEFULSET}"
    )]
    NoPod {
        /// As written.
        text: String,
        /// I.
        name: String,
    },
    /// N is out of range.
    #[error("`{text}`: {count} relays; expected 1 to {SHARD_COUNT_MAX}")]
    Count {
        /// As written.
        text: String,
        /// N.
        count: u32,
    },
    /// I is not below N.
    #[error("`{text}`: relay {index} of {count}; they are numbered from 0 to {last}", last = count - 1)]
    Index {
        /// As written.
        text: String,
        /// I.
        index: u32,
        /// N.
        count: u32,
    },
    /// The name of a pod that does not end in a number.
    #[error(
        "`{text}`: `{name}` does not end in -NUMBER as the pods of a StatefulSet do; write the \
         number itself, such as 0/{count}"
    )]
    NoOrdinal {
        /// As written.
        text: String,
        /// The name.
        name: String,
        /// N.
        count: u32,
    },
    /// `auto`, and nobody knows the host's name.
    #[error("`{0}`: the host's name is not known; set HOSTNAME, or write the number itself")]
    NoHostname(String),
}

/// The key of a target: `job` and `address` as configured, before any relabelling, so that neither
/// a rule nor what a relay has learnt about the target can make two relays disagree.
pub fn key(job: &str, address: &str) -> Key {
    // No job or address holds the separator, which is no character of UTF-8.
    xxh3_64(&[job.as_bytes(), &[0xff], address.as_bytes()].concat())
}

/// The owner of a target among `count` relays, at least one.
pub fn owner(key: Key, count: u32) -> u32 {
    let score = |index: u32| {
        let mut bytes = [0; 12];
        let (of_key, of_index) = bytes.split_at_mut(8);
        of_key.copy_from_slice(&key.to_le_bytes());
        of_index.copy_from_slice(&index.to_le_bytes());
        xxh3_64(&bytes)
    };
    // Of equal scores, which 64 bits make unlikely, the last wins, in every relay alike.
    (0..count).max_by_key(|&index| score(index)).unwrap_or(0)
}

impl Shard {
    /// Relay `index` of `count`.
    ///
    /// # Errors
    /// No relays, more than [`SHARD_COUNT_MAX`], or an index that is not below their number.
    pub fn try_new(index: u32, count: u32) -> Result<Self, ShardError> {
        let text = format!("{index}/{count}");
        if !(1..=SHARD_COUNT_MAX).contains(&count) {
            return Err(ShardError::Count { text, count });
        }
        if index >= count {
            return Err(ShardError::Index { text, index, count });
        }
        Ok(Self { index, count })
    }

    /// Whether this relay scrapes the target.
    pub fn owns(self, key: Key) -> bool {
        self.index < self.count && (self.count == 1 || owner(key, self.count) == self.index)
    }

    /// Number of this relay.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Number of relays.
    pub const fn count(self) -> u32 {
        self.count
    }
}

impl Sharding {
    /// Reads `I/N`. In place of I may stand a name that ends in `-NUMBER`, as those of a StatefulSet's
    /// pods do, or `auto` for the host's name, which `hostname` looks up. In place of N may stand
    /// `statefulset`, when I is such a name.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str, hostname: impl Fn() -> Option<String>) -> Result<Self, ShardError> {
        let malformed = || ShardError::Malformed(text.to_owned());
        let (index, count) = text.split_once('/').ok_or_else(malformed)?;
        let (index, count) = (index.trim(), count.trim());
        let of_set = count == STATEFULSET;
        let count = if of_set { 0 } else { number(count).ok_or_else(malformed)? };
        if let (Some(index), false) = (number(index), of_set) {
            return Shard::try_new(index, count).map(Self::Fixed);
        }
        if index.is_empty() || index.starts_with(['-', '+']) {
            return Err(malformed());
        }
        let name = if index == "auto" {
            let known = hostname().filter(|name| !name.is_empty());
            known.ok_or_else(|| ShardError::NoHostname(text.to_owned()))?
        } else {
            index.to_owned()
        };
        match (ordinal(&name), of_set) {
            (Some((statefulset, index)), true) if !statefulset.is_empty() => {
                Ok(Self::Of(Member { statefulset: statefulset.to_owned(), index }))
            }
            (_, true) => Err(ShardError::NoPod { text: text.to_owned(), name }),
            (Some((_, index)), false) => Shard::try_new(index, count).map(Self::Fixed),
            (None, false) => Err(ShardError::NoOrdinal { text: text.to_owned(), name, count }),
        }
    }
}

impl Member {
    /// Its part when there are `count` relays, `None` when nobody has said yet.
    pub fn part(&self, count: Option<u32>) -> Shard {
        Shard { index: self.index, count: count.unwrap_or(0).min(SHARD_COUNT_MAX) }
    }
}

/// `I/N`; `I/?` while N is not known.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => write!(f, "{}/?", self.index),
            count => write!(f, "{}/{count}", self.index),
        }
    }
}

/// Digits only: what `parse` of a number takes besides, a sign, is a typing error here.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What stands before the number at the end of a pod's name, and the number; a host's name may be followed by
/// its domain.
fn ordinal(name: &str) -> Option<(&str, u32)> {
    let (of, ordinal) = name.split('.').next()?.rsplit_once('-')?;
    Some((of, number(ordinal)?))
}

/// In place of N: as many as the StatefulSet has.
const STATEFULSET: &str = "statefulset";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Iterator<Item = Key> {
        (0..10_000).map(|n| key("flink", &format!("10.0.{}.{}:9249", n / 250, n % 250)))
    }

    /// What other builds and machines must find too: whoever changes one of these numbers moves the
    /// targets of every cluster at its next rolling update, and scrapes some twice meanwhile.
    #[test]
    fn the_hash_is_fixed() {
        let check = |job, address, expected_key: Key, owners: [u32; 4]| {
            let key = key(job, address);
            assert_eq!(key, expected_key, "{job} {address}");
            assert_eq!([2, 3, 5, 100].map(|count| owner(key, count)), owners, "{job} {address}");
        };
        check("flink", "10.0.0.1:9249", 17_704_605_708_659_961_860, [1, 2, 2, 46]);
        check("flink", "10.0.0.2:9249", 12_085_709_968_462_826_139, [0, 2, 2, 86]);
        check("任务", "[::1]:9250", 7_184_667_536_865_692_476, [0, 0, 0, 98]);
    }

    #[test]
    fn job_and_address_are_told_apart() {
        assert_ne!(key("a", "bc:1"), key("ab", "c:1"));
    }

    #[test]
    fn the_load_is_balanced() {
        for count in [2, 3, 5, 16] {
            let mut load = vec![0_usize; count as usize];
            keys().for_each(|key| load[owner(key, count) as usize] += 1);
            let fair: usize = 10_000 / count as usize;
            // Four standard deviations of a fair draw.
            let slack = 4 * fair.isqrt();
            assert!(load.iter().all(|&n| n.abs_diff(fair) < slack), "{count}: {load:?}");
        }
    }

    #[test]
    fn only_the_targets_that_must_move_do() {
        for (before, after) in [(2, 3), (3, 5), (5, 2), (7, 8), (8, 7)] {
            let moved = keys().filter(|&key| owner(key, before) != owner(key, after)).count();
            let (few, many) = (before.min(after), before.max(after));
            let fair = 10_000 * (many - few) as usize / many as usize;
            assert!(moved.abs_diff(fair) < 200, "{before} -> {after}: {moved}, expected {fair}");
        }
    }

    /// A pod that is about to go, and one that knows nothing yet, leave everything to the others.
    #[test]
    fn who_is_not_among_the_relays_has_no_target() {
        let part = |index, count| Member { statefulset: "relay".to_owned(), index }.part(count);
        for shard in
            [part(0, None), part(3, None), part(3, Some(3)), part(1, Some(1)), part(0, Some(0))]
        {
            assert_eq!(keys().filter(|&key| shard.owns(key)).count(), 0, "{shard}");
        }
        assert_eq!(keys().filter(|&key| part(0, Some(1)).owns(key)).count(), 10_000);
        assert_eq!(part(2, Some(5)), Shard::try_new(2, 5).unwrap());
        assert_eq!(
            [part(2, None), part(2, Some(5))].map(|shard| shard.to_string()),
            ["2/?", "2/5"]
        );
    }

    proptest! {
        #[test]
        fn each_target_has_one_owner_that_stays_while_it_can(key: Key, count in 1_u32..64) {
            let owners = (0..count).filter(|&i| Shard::try_new(i, count).unwrap().owns(key));
            prop_assert_eq!(owners.count(), 1);
            let (before, after) = (owner(key, count), owner(key, count + 1));
            prop_assert!(after == before || after == count, "{} -> {}", before, after);
        }

        #[test]
        fn what_is_shown_is_read_again(count in 1..=SHARD_COUNT_MAX, index: u32) {
            let shard = Shard::try_new(index % count, count).unwrap();
            prop_assert_eq!(Sharding::parse(&shard.to_string(), || None), Ok(Sharding::Fixed(shard)));
        }
    }

    #[test]
    fn a_shard_is_read_in_each_of_its_spellings() {
        let hostname = || Some("flinkrelay-3.relay.monitoring.svc".to_owned());
        let check = |text: &str, expected: &str| {
            let read = match Sharding::parse(text, hostname) {
                Ok(Sharding::Fixed(shard)) => shard.to_string(),
                Ok(Sharding::Of(Member { statefulset, index })) => {
                    format!("{index} of {statefulset}")
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(read, expected, "{text}");
        };
        check("0/1", "0/1");
        check("2/5", "2/5");
        check(" 2 / 5 ", "2/5");
        check("auto/5", "3/5");
        check("relay-eu-12/20", "12/20");
        check("auto/statefulset", "3 of flinkrelay");
        check(" relay-eu-12 / statefulset", "12 of relay-eu");
        for (name, text) in [("2", "2/statefulset"), ("relay", "relay/statefulset")] {
            let error = format!(
                "`{text}`: `{name}` is no name of a StatefulSet's pod, by which the StatefulSet would be \
                 found; expected NAME-NUMBER, such as relay-0/statefulset"
            );
            check(text, &error);
        }
        check("5/5", "`5/5`: relay 5 of 5; they are numbered from 0 to 4");
        check("auto/2", "`3/2`: relay 3 of 2; they are numbered from 0 to 1");
        check("0/0", "`0/0`: 0 relays; expected 1 to 1024");
        check("0/1025", "`0/1025`: 1025 relays; expected 1 to 1024");
        let malformed =
            ["", "2", "/5", "2/", "-1/5", "+1/5", "1/-5", "1/2/3", "1/x", "/statefulset"];
        for text in malformed {
            let error = format!("`{text}`: expected I/N such as 0/3, auto/3, or auto/statefulset");
            check(text, &error);
        }
        let no_ordinal = |text: &str, name: &str| {
            check(
                text,
                &format!(
                    "`{text}`: `{name}` does not end in -NUMBER as the pods of a StatefulSet do; \
                     write the number itself, such as 0/5"
                ),
            );
        };
        no_ordinal("relay/5", "relay");
        no_ordinal("relay-6f7c-x/5", "relay-6f7c-x");
        no_ordinal("relay-/5", "relay-");
        let unknown = Sharding::parse("auto/5", || None).unwrap_err().to_string();
        assert_eq!(
            unknown,
            "`auto/5`: the host's name is not known; set HOSTNAME, or write the number itself"
        );
    }
}
