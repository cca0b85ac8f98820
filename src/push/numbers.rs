//! What is counted of a receiver's requests, beside the account that its spool keeps.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::metrics::histogram::Histogram;

use super::request::Answer;

/// Numbers of a receiver that the spool does not keep.
#[derive(Debug)]
pub struct Numbers {
    /// Bytes of request bodies sent, tries included.
    pub bytes: AtomicU64,
    /// Samples in requests that were sent again.
    pub samples_retried: AtomicU64,
    /// Samples of series with a label value that was cut to the receiver's limit.
    pub samples_cut: AtomicU64,
    /// Requests by class of answer: 2xx, 3xx, 4xx, 5xx, other, none.
    pub answers: [AtomicU64; ANSWERS.len()],
    /// Seconds that requests took.
    pub seconds: Histogram,
    /// Seconds that syncs of the spool's disk took.
    pub sync_seconds: Histogram,
    /// Batches that were sent in parts, because of `split` or `bisect`.
    pub batches_parted: AtomicU64,
    errors: Mutex<BTreeMap<ErrorKey, u64>>,
}

/// What tells one kind of failed answers from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorKey {
    /// The HTTP status, `none` without an answer; `other` for the kinds beyond those that are told
    /// apart.
    pub status: String,
    /// The id that the receiver gives its error, such as `err-mimir-max-series-per-user`; empty
    /// when it gives none.
    pub id: String,
}

/// Names of the classes in [`Numbers::answers`].
pub const ANSWERS: [&str; 6] = ["2xx", "3xx", "4xx", "5xx", "other", "none"];

/// Kinds of errors that are counted apart for one receiver; each is a series. Mimir has some 60 ids, of
/// which one tenant meets a handful.
const ERRORS_MAX: usize = 64;
/// Bounds of the histogram of syncs, in seconds.
const SYNC_BUCKETS_S: [f64; 8] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0];

/// Bounds of the histogram of request durations, in seconds.
const BUCKETS_S: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// How Mimir's error ids begin (pkg/util/globalerror of its source). Cortex, Thanos, Prometheus and
/// VictoriaMetrics have none.
const ID_PREFIX: &str = "err-mimir-";

/// The longest id of Mimir's has 56 bytes; what goes on much longer is none.
const ID_BYTES_MAX: usize = 80;

impl Default for Numbers {
    fn default() -> Self {
        Self {
            bytes: AtomicU64::default(),
            samples_retried: AtomicU64::default(),
            samples_cut: AtomicU64::default(),
            answers: Default::default(),
            seconds: Histogram::new(BUCKETS_S),
            batches_parted: AtomicU64::default(),
            errors: Mutex::default(),
            sync_seconds: Histogram::new(SYNC_BUCKETS_S),
        }
    }
}

impl Numbers {
    /// Failed answers so far, by kind.
    pub fn errors(&self) -> BTreeMap<ErrorKey, u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One request of so many bytes was answered, or not.
    pub(super) fn record(&self, answer: &Answer, body_bytes: usize, took: Duration) {
        self.bytes.fetch_add(body_bytes as u64, Relaxed);
        let class = class(answer.status);
        if let Some((_, count)) = ANSWERS.iter().zip(&self.answers).find(|(of, _)| **of == class) {
            count.fetch_add(1, Relaxed);
        }
        self.seconds.observe(took.as_secs_f64());
        if class != "2xx" {
            let status = answer.status.map_or_else(|| "none".to_owned(), |s| s.to_string());
            let id = error_id(&answer.words).unwrap_or_default().to_owned();
            self.count_error(ErrorKey { status, id });
        }
    }

    fn count_error(&self, key: ErrorKey) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let other = || ErrorKey { status: "other".to_owned(), id: String::new() };
        let room = errors.len() + 1 < ERRORS_MAX || errors.contains_key(&key);
        *errors.entry(if room { key } else { other() }).or_default() += 1;
    }
}

const fn class(status: Option<u16>) -> &'static str {
    match status {
        None => "none",
        Some(200..=299) => "2xx",
        Some(300..=399) => "3xx",
        Some(400..=499) => "4xx",
        Some(500..=599) => "5xx",
        Some(_) => "other",
    }
}

/// The id in a receiver's words, if there is one.
fn error_id(words: &str) -> Option<&str> {
    let begin = words.find(ID_PREFIX)?;
    let id = words.get(begin..)?;
    let is_id = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let end = id.find(|c| !is_id(c)).unwrap_or(id.len());
    let id = id.get(..end)?.trim_end_matches('-');
    (id.len() > ID_PREFIX.len() && id.len() <= ID_BYTES_MAX).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_the_receivers_words() {
        let check = |words: &str, expect: Option<&str>| assert_eq!(error_id(words), expect);
        check(
            "HTTP 400 Bad Request: failed pushing to ingester: user=a: the sample has been rejected \
             because another sample with a more recent timestamp has already been ingested and \
             out-of-order samples are not allowed (err-mimir-sample-out-of-order). The affected \
             sample has timestamp 2024-01-01T00:00:00Z and is from series up",
            Some("err-mimir-sample-out-of-order"),
        );
        check(
            "per-user series limit of 150000 exceeded (err-mimir-max-series-per-user).",
            Some("err-mimir-max-series-per-user"),
        );
        check("err-mimir-label-value-too-long", Some("err-mimir-label-value-too-long"));
        check("err-mimir-", None);
        check("see err-mimir-x-: no", Some("err-mimir-x"));
        check(&format!("err-mimir-{}", "a".repeat(100)), None);
        check("HTTP 400: out of order sample", None);
        check("", None);
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let numbers = Numbers::default();
        for n in 0..1000 {
            let key = ErrorKey { status: "400".to_owned(), id: format!("err-mimir-{n}") };
            numbers.count_error(key.clone());
            numbers.count_error(key);
        }
        let errors = numbers.errors();
        assert_eq!(errors.len(), ERRORS_MAX);
        assert_eq!(errors.values().sum::<u64>(), 2000, "every one is counted");
        let other = ErrorKey { status: "other".to_owned(), id: String::new() };
        assert_eq!(errors[&other], 2000 - 2 * (ERRORS_MAX as u64 - 1));
    }
}
