//! What is counted of a receiver's requests, beside the account that its spool keeps.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
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
    /// Requests by class of answer: 2xx, 3xx, 4xx, 5xx, other, none.
    pub answers: [AtomicU64; ANSWERS.len()],
    /// Seconds that requests took.
    pub seconds: Histogram,
    /// Seconds that syncs of the spool's disk took.
    pub sync_seconds: Histogram,
}

/// Names of the classes in [`Numbers::answers`].
pub const ANSWERS: [&str; 6] = ["2xx", "3xx", "4xx", "5xx", "other", "none"];

/// Bounds of the histogram of syncs, in seconds.
const SYNC_BUCKETS_S: [f64; 8] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0];

/// Bounds of the histogram of request durations, in seconds.
const BUCKETS_S: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

impl Default for Numbers {
    fn default() -> Self {
        Self {
            bytes: AtomicU64::default(),
            samples_retried: AtomicU64::default(),
            answers: Default::default(),
            seconds: Histogram::new(BUCKETS_S),
            sync_seconds: Histogram::new(SYNC_BUCKETS_S),
        }
    }
}

impl Numbers {
    /// One request of so many bytes was answered, or not.
    pub(super) fn record(&self, answer: &Answer, body_bytes: usize, took: Duration) {
        self.bytes.fetch_add(body_bytes as u64, Relaxed);
        let class = class(answer.status);
        if let Some((_, count)) = ANSWERS.iter().zip(&self.answers).find(|(of, _)| **of == class) {
            count.fetch_add(1, Relaxed);
        }
        self.seconds.observe(took.as_secs_f64());
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
