//! What is worth a log line about a receiver in trouble.
//!
//! | what happens | the log says |
//! | --- | --- |
//! | a request fails and will be sent again | at the beginning of the outage, when the reason is a new one, and every five minutes that it lasts |
//! | a batch or a part of it is refused | at once per distinct message, and every five minutes how many there were |
//! | the receiver is parked | once |
//! | it asks by `Retry-After` for a pause of minutes | once a pause, with when it ends |
//! | the queue is full | once an outage |
//! | a request is accepted after an outage | how long it was |
//!
//! A message is distinct for an hour, so that the log of today tells what is refused today. Messages
//! that differ in digits only are one: receivers put timestamps and counts into them.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3Default;

/// Distinct messages that are remembered; a receiver that words each answer differently is logged
/// that often an hour and else only summed up.
const MESSAGES_MAX: usize = 16;

/// After this time messages are news again.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// Time between two lines about trouble that lasts. An on-call person who opens the log sees within
/// the last screen that it does.
const SUMMED_UP: Duration = Duration::from_secs(5 * 60);

/// From this length on a pause that the receiver asks for is a line of its own: nothing else is logged
/// while it lasts, since nothing is sent.
const PAUSE_TOLD: Duration = Duration::from_secs(60);

/// The trouble of one receiver.
#[derive(Debug, Default)]
pub(super) struct Failing {
    since: Option<Instant>,
    parked: bool,
    overflowed: bool,
    /// When the pause ends that was told.
    pause_until: Option<Instant>,
    failures: Sums,
    refusals: Sums,
    messages: HashSet<u64>,
    /// When the first of the messages came.
    remembered_since: Option<Instant>,
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// What happened now, with the receiver's words.
    News,
    /// That it goes on.
    Still(Sum),
}

/// What has come together since the last such line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// Requests.
    pub(super) requests: u64,
    /// Samples in them.
    pub(super) samples: u64,
    /// Within this time.
    pub(super) within: Duration,
}

#[derive(Debug, Default)]
struct Sums {
    since: Option<Instant>,
    sum: Sum,
}

impl Sums {
    fn add(&mut self, news: bool, samples: u64, now: Instant) -> Option<Tell> {
        let since = *self.since.get_or_insert(now);
        self.sum.requests += 1;
        self.sum.samples += samples;
        let within = now.saturating_duration_since(since);
        if within >= SUMMED_UP {
            let sum = Sum { within, ..self.sum };
            *self = Self { since: Some(now), sum: Sum::default() };
            return Some(if news { Tell::News } else { Tell::Still(sum) });
        }
        news.then_some(Tell::News)
    }
}

impl Failing {
    /// A request with so many samples failed and will be sent again.
    pub(super) fn failed(&mut self, words: &str, samples: u64, now: Instant) -> Option<Tell> {
        let first = self.since.is_none();
        self.since.get_or_insert(now);
        let news = self.is_news(words, now) || first;
        self.failures.add(news, samples, now)
    }

    /// So many samples were refused.
    pub(super) fn refused(&mut self, words: &str, samples: u64, now: Instant) -> Option<Tell> {
        let news = self.is_news(words, now);
        self.refusals.add(news, samples, now)
    }

    /// The receiver is parked. Returns whether to log it: when it was not before.
    pub(super) fn parked(&mut self, now: Instant) -> bool {
        self.since.get_or_insert(now);
        !std::mem::replace(&mut self.parked, true)
    }

    /// The receiver asked for such a pause. Returns whether to log it: when it is long, and none that was
    /// told goes on.
    pub(super) fn paused(&mut self, pause: Duration, now: Instant) -> bool {
        let news = pause >= PAUSE_TOLD && self.pause_until.is_none_or(|until| until <= now);
        if news {
            self.pause_until = now.checked_add(pause);
        }
        news
    }

    /// The receiver is asked before the pause is over.
    pub(super) const fn pause_cut_short(&mut self) {
        self.pause_until = None;
    }

    /// Samples were dropped because the queue is full. Returns whether to log it: once an outage.
    pub(super) fn overflowed(&mut self) -> bool {
        !std::mem::replace(&mut self.overflowed, true)
    }

    /// A request succeeded. Returns how long the outage was that this ends, if there was one.
    pub(super) fn recovered(&mut self, now: Instant) -> Option<Duration> {
        (self.overflowed, self.parked) = (false, false);
        self.pause_until = None;
        self.failures = Sums::default();
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

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_outage_is_logged_at_its_beginning_and_end() {
        let mut failing = Failing::default();
        let now = Instant::now();
        assert_eq!(failing.failed("HTTP 503", 1, now), Some(Tell::News));
        assert_eq!(failing.failed("HTTP 503", 1, now), None);
        assert_eq!(failing.failed("refused", 1, now), Some(Tell::News), "another reason is news");
        let outage = seconds(7);
        assert_eq!(failing.recovered(now + outage), Some(outage));
        assert_eq!(failing.recovered(now + outage), None);
        let again = failing.failed("HTTP 503", 1, now);
        assert_eq!(again, Some(Tell::News), "a second outage is logged again");
    }

    #[test]
    fn trouble_that_lasts_is_summed_up_every_five_minutes() {
        let mut failing = Failing::default();
        let start = Instant::now();
        let mut told = Vec::new();
        for second in 0..=900 {
            if let Some(tell) = failing.refused("HTTP 400", 3, start + seconds(second)) {
                told.push((second, tell));
            }
        }
        let sum =
            |requests| Tell::Still(Sum { requests, samples: requests * 3, within: SUMMED_UP });
        assert_eq!(told, [(0, Tell::News), (300, sum(301)), (600, sum(300)), (900, sum(300))]);
        // Nothing is said of what does not happen: one that comes late tells of the whole time.
        let late = failing.refused("HTTP 400", 3, start + seconds(2000));
        let within = seconds(1100);
        assert_eq!(late, Some(Tell::Still(Sum { requests: 1, samples: 3, within })));
        // An outage that ends begins anew.
        assert_eq!(failing.failed("HTTP 503", 1, start), Some(Tell::News));
        failing.recovered(start);
        assert_eq!(failing.failed("HTTP 503", 1, start + seconds(400)), Some(Tell::News));
        assert_eq!(failing.failed("HTTP 503", 1, start + seconds(699)), None);
        assert!(failing.failed("HTTP 503", 1, start + seconds(700)).is_some());
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
    fn a_full_queue_and_a_parked_receiver_are_logged_once_an_outage() {
        let mut failing = Failing::default();
        let now = Instant::now();
        for _ in 0..2 {
            assert!(failing.overflowed());
            assert!(!failing.overflowed());
            assert!(failing.parked(now));
            assert!(!failing.parked(now));
            assert_eq!(failing.recovered(now), Some(Duration::ZERO), "parked is an outage, too");
        }
    }

    #[test]
    fn a_long_pause_is_told_once() {
        let mut failing = Failing::default();
        let now = Instant::now();
        let hour = seconds(60 * 60);
        assert!(!failing.paused(seconds(59), now), "the lines of the outage say enough");
        assert!(failing.paused(hour, now));
        assert!(!failing.paused(hour, now + seconds(1)), "another lane was told the same");
        assert!(failing.paused(hour, now + hour), "the next one");
        failing.pause_cut_short();
        assert!(failing.paused(hour, now + hour), "it insists");
        failing.recovered(now);
        assert!(failing.paused(hour, now + hour), "another outage");
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
