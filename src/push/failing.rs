//! What is worth a log line about a receiver in trouble: the beginning and the end of an outage, and
//! each refusal once per distinct message, however many batches it costs.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// Distinct messages that are remembered; a receiver that words each answer differently is logged
/// that often and then only counted.
const MESSAGES_MAX: usize = 64;

/// The trouble of one receiver.
#[derive(Debug, Default)]
pub(super) struct Failing {
    since: Option<Instant>,
    messages: HashSet<u64>,
}

impl Failing {
    /// A request failed and will be sent again. Returns whether to log it: at the beginning of an
    /// outage, and when the reason is one that was not logged before.
    pub(super) fn began(&mut self, words: &str, now: Instant) -> bool {
        let first = self.since.is_none();
        self.since.get_or_insert(now);
        self.is_news(words) || first
    }

    /// A request succeeded. Returns how long the outage was that this ends, if there was one.
    pub(super) fn recovered(&mut self, now: Instant) -> Option<Duration> {
        self.since.take().map(|since| now.saturating_duration_since(since))
    }

    /// Whether these words are new.
    pub(super) fn is_news(&mut self, words: &str) -> bool {
        self.messages.len() < MESSAGES_MAX && self.messages.insert(xxh3_64(words.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_logged_at_its_beginning_and_end() {
        let mut failing = Failing::default();
        let now = Instant::now();
        assert!(failing.began("HTTP 503", now));
        assert!(!failing.began("HTTP 503", now));
        assert!(failing.began("connection refused", now), "another reason is news");
        let outage = Duration::from_secs(7);
        assert_eq!(failing.recovered(now + outage), Some(outage));
        assert_eq!(failing.recovered(now + outage), None);
        assert!(failing.began("HTTP 503", now), "a second outage is logged again");
    }

    #[test]
    fn messages_are_bounded() {
        let mut failing = Failing::default();
        let news = (0..1000).filter(|i| failing.is_news(&i.to_string())).count();
        assert_eq!(news, MESSAGES_MAX);
    }
}
