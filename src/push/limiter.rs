//! How many requests may be in flight to one receiver: as many as it takes without slowing down.
//!
//! The limit begins at `floor` and moves between it and `ceiling`, as TCP's window does:
//!
//! - up, while lanes wait for their turn and answers come as fast as ever: by one with each accepted
//!   request until the first trouble, and from then on by one with each round of requests;
//! - down to half when a request fails (429, 5xx, time-out, no connection), once for all requests that
//!   were in flight when it happened, because they tell of one and the same moment.
//!
//! Slower answers alone do not lower it: a receiver that is slow but takes everything is best served by
//! what is in flight already. The number of lanes never changes, so neither does the order of a series.

use std::time::Duration;

use tokio::time::Instant;

/// The limit of requests in flight of one receiver. Reads no clock.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    floor: f64,
    ceiling: f64,
    /// `floor <= limit <= ceiling`.
    limit: f64,
    /// Whether no request has failed yet.
    untroubled: bool,
    /// Seconds that a request takes when the receiver has nothing else to do, about.
    base_s: Option<f64>,
    cut_at: Option<Instant>,
}

/// With each answer the base rises by this share towards what is usual now, so that a receiver that
/// has become slower for good is not held back for ever: it doubles within some 45 answers.
const BASE_RISE: f64 = 1.0 / 64.0;

/// Answers are slow when they take more than this many times the base …
const SLOW_FACTOR: f64 = 2.0;

/// … and this much more: below it is the noise of schedulers and networks.
const SLOW_AT_LEAST_S: f64 = 0.02;

impl Limiter {
    /// A limit between `floor` and `ceiling`, each at least 1; a floor above the ceiling counts as it.
    pub(super) fn new(floor: u16, ceiling: u16) -> Self {
        let ceiling = f64::from(ceiling.max(1));
        let floor = f64::from(floor.max(1)).min(ceiling);
        Self { floor, ceiling, limit: floor, untroubled: true, base_s: None, cut_at: None }
    }

    /// Requests that may be in flight now.
    pub(super) const fn limit(&self) -> u16 {
        self.limit as u16
    }

    /// A request was accepted after that time. `backlog` is whether other lanes wait for their turn.
    pub(super) fn accepted(&mut self, took: Duration, backlog: bool) {
        let took_s = took.as_secs_f64();
        let base_s = self.base_s.map_or(took_s, |base| took_s.min(base * (1.0 + BASE_RISE)));
        self.base_s = Some(base_s);
        let slow = took_s > base_s * SLOW_FACTOR && took_s > base_s + SLOW_AT_LEAST_S;
        if backlog && !slow {
            let more = if self.untroubled { 1.0 } else { self.limit.recip() };
            self.limit = (self.limit + more).min(self.ceiling);
        }
    }

    /// A request failed that was sent at `began`.
    pub(super) fn failed(&mut self, began: Instant, now: Instant) {
        if self.cut_at.is_some_and(|cut_at| began <= cut_at) {
            return;
        }
        self.untroubled = false;
        self.cut_at = Some(now);
        self.limit = (self.limit / 2.0).max(self.floor);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Plays a word: `a` accepted in 10 ms with a backlog, `i` accepted without one, `s` accepted but
    /// slow, `f` failed. Returns the limit after each letter.
    fn play(limiter: &mut Limiter, word: &str) -> Vec<u16> {
        let mut now = Instant::now();
        let mut limits = Vec::new();
        for letter in word.chars() {
            let began = now;
            now += ms(10);
            match letter {
                'a' => limiter.accepted(ms(10), true),
                'i' => limiter.accepted(ms(10), false),
                's' => limiter.accepted(ms(100), true),
                _ => limiter.failed(began + ms(1), now),
            }
            limits.push(limiter.limit());
        }
        limits
    }

    #[test]
    fn it_grows_with_a_backlog_and_is_halved_by_failures() {
        let check = |floor, ceiling, word: &str, expect: &[u16]| {
            assert_eq!(play(&mut Limiter::new(floor, ceiling), word), expect, "{word}");
        };
        check(1, 4, "aaaaa", &[2, 3, 4, 4, 4]);
        check(1, 4, "iiaii", &[1, 1, 2, 2, 2]);
        check(1, 4, "asssa", &[2, 2, 2, 2, 3]);
        check(1, 16, "aaaaaaaffff", &[2, 3, 4, 5, 6, 7, 8, 4, 2, 1, 1]);
        check(3, 16, "aaaff", &[4, 5, 6, 3, 3]);
        // After trouble a round of requests, not each of them, earns one more.
        check(1, 8, "aaafaaaa", &[2, 3, 4, 2, 2, 2, 3, 3]);
        check(0, 0, "aaf", &[1, 1, 1]);
        check(9, 2, "aaf", &[2, 2, 2]);
    }

    #[test]
    fn requests_that_fail_together_cut_once() {
        let mut limiter = Limiter::new(1, 16);
        play(&mut limiter, "aaaaaaaaaaaaaaa");
        let began = Instant::now();
        for request in 0..16 {
            limiter.failed(began, began + ms(30 + request));
        }
        assert_eq!(limiter.limit(), 8);
        limiter.failed(began + ms(31), began + ms(60));
        assert_eq!(limiter.limit(), 4);
    }

    #[test]
    fn a_receiver_that_is_slower_for_good_is_given_more_again() {
        let mut limiter = Limiter::new(1, 100);
        play(&mut limiter, "aa");
        assert_eq!(limiter.limit(), 3);
        let mut held_back = 0;
        while limiter.limit() == 3 {
            limiter.accepted(ms(50), true);
            held_back += 1;
        }
        assert!((20..80).contains(&held_back), "{held_back}");
    }

    proptest! {
        #[test]
        fn it_stays_in_its_bounds(floor in 0..20_u16, ceiling in 0..20_u16, word in "[aisf]{0,60}") {
            let mut limiter = Limiter::new(floor, ceiling);
            let highest = ceiling.max(1);
            let lowest = floor.clamp(1, highest);
            for limit in play(&mut limiter, &word) {
                prop_assert!((lowest..=highest).contains(&limit), "{limit}");
            }
        }
    }
}
