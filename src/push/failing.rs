//! What is worth a log line about a receiver in trouble: the beginning and the end of an outage, and
//! each refusal once an hour per distinct message, however many batches it costs. Messages that differ
//! in digits only are one: receivers put timestamps and counts into them.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3Default;

/// Distinct messages that are remembered; a receiver that words each answer differently is logged
/// that often an hour and else only counted.
const MESSAGES_MAX: usize = 16;

/// After this time messages are news again, so that the log of today tells what is refused today.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// The trouble of one receiver.
#[derive(Debug, Default)]
pub(super) struct Failing {
    since: Option<Instant>,
    overflowed: bool,
    messages: HashSet<u64>,
    /// When the first of the messages came.
    remembered_since: Option<Instant>,
}

impl Failing {
    /// A request failed and will be sent again. Returns whether to log it: at the beginning of an
    /// outage, and when the reason is one that was not logged before.
    pub(super) fn began(&mut self, words: &str, now: Instant) -> bool {
        let first = self.since.is_none();
        self.since.get_or_insert(now);
        self.is_news(words, now) || first
    }

    /// Samples were dropped because the queue is full. Returns whether to log it: once an outage.
    pub(super) fn overflowed(&mut self) -> bool {
        !std::mem::replace(&mut self.overflowed, true)
    }

    /// A request succeeded. Returns how long the outage was that this ends, if there was one.
    pub(super) fn recovered(&mut self, now: Instant) -> Option<Duration> {
        self.overflowed = false;
        self.since.take().map(|since| now.saturating_duration_since(since))
    }

    /// Whether these words are new.
    pub(super) fn is_news(&mut self, words: &str, now: Instant) -> bool {
        let since = *self.remembered_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= REMEMBERED {
            self.messages.clear();
            self.remembered_since = Some(now);
        }
        let mut hash = Xxh3Default::new();
        words.split(|c: char| c.is_ascii_digit()).filter(|word| !word.is_empty()).for_each(
            |word| {
                hash.update(word.as_bytes());
                hash.update(b"0");
            },
        );
        self.messages.len() < MESSAGES_MAX && self.messages.insert(hash.digest())
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
    fn messages_are_bounded_and_forgotten_after_an_hour() {
        let mut failing = Failing::default();
        let now = Instant::now();
        let letters = |i: usize| "x".repeat(i);
        let news = (0..1000).filter(|&i| failing.is_news(&letters(i), now)).count();
        assert_eq!(news, MESSAGES_MAX);
        assert!(!failing.is_news("another", now + REMEMBERED - Duration::from_secs(1)));
        assert!(failing.is_news("another", now + REMEMBERED));
        assert!(!failing.is_news("another", now + REMEMBERED));
    }

    #[test]
    fn a_full_queue_is_logged_once_an_outage() {
        let mut failing = Failing::default();
        assert!(failing.overflowed());
        assert!(!failing.overflowed());
        failing.recovered(Instant::now());
        assert!(failing.overflowed());
    }

    #[test]
    fn digits_make_no_news() {
        let mut failing = Failing::default();
        let now = Instant::now();
        assert!(failing.is_news("sample at 1795335749.038 is 12 s too old", now));
        assert!(!failing.is_news("sample at 1795335764.1 is 7 s too old", now));
        assert!(failing.is_news("sample at 1795335764.1 is 7 s too new", now));
    }
}
