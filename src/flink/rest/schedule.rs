//! When an endpoint may be asked again: rarely.
//!
//! ```text
//!   need      endpoint answers                                   endpoint fails
//!   None      never                                              never
//!   Regular   poll_interval after the last poll, ±20 %           after a pause that doubles: 10 s … poll_interval
//!   Early     a second after the last poll, while the allowance  likewise
//!             lasts
//! ```
//!
//! The allowance is [`EARLY_POLLS`] early polls; one comes back every [`EARLY_POLL_EVERY`]: a start, where
//! each target brings new ids, is not held up, and a page that makes up ids cannot make a load. The
//! jitter keeps many relays that started together from asking together. Time and randomness are
//! arguments.

use std::time::{Duration, Instant};

use crate::limits::{EARLY_POLL_EVERY, EARLY_POLLS};

/// How badly an endpoint is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// All that is on the pages is known.
    None,
    /// Something may have changed, or was asked for in vain.
    Regular,
    /// A page shows an id that it has not been asked about.
    Early,
}

/// When one endpoint was asked, and may be asked again.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    /// When the last poll ended, and how long to wait from there for the next regular one.
    last: Option<(Instant, Duration)>,
    failures: u32,
    /// Early polls that may be made now, and since when the next one is coming back.
    early: (u32, Option<Instant>),
}

/// Early polls are this far apart.
const EARLY_GAP: Duration = Duration::from_secs(1);

/// The first pause after a failure.
const PAUSE_MIN: Duration = Duration::from_secs(10);

impl Schedule {
    /// An endpoint that was never asked.
    pub const fn new(interval: Duration) -> Self {
        Self { interval, last: None, failures: 0, early: (EARLY_POLLS, None) }
    }

    /// When to poll; `None` is not at all. A time that is not after `now` is at once.
    pub fn due(&self, need: Need, now: Instant) -> Option<Instant> {
        if need == Need::None {
            return None;
        }
        let Some((last, pause)) = self.last else { return Some(now) };
        if self.failures > 0 || need == Need::Regular {
            return Some(last + pause);
        }
        let (left, since) = self.refilled(now);
        let next = since.map_or(now, |since| since + EARLY_POLL_EVERY);
        // What is wanted within a second is asked for together; what waits for the allowance is not
        // later than what waits for its turn.
        Some(if left > 0 { last + EARLY_GAP } else { next.min(last + pause) })
    }

    /// Whether the last poll failed, so that nobody should wait for the next one.
    pub const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// A poll begins, for this need.
    pub fn begin(&mut self, need: Need, now: Instant) {
        if need == Need::Early && self.last.is_some() && self.failures == 0 {
            let (left, since) = self.refilled(now);
            self.early = (left.saturating_sub(1), Some(since.unwrap_or(now)));
        }
    }

    /// A poll has ended. `random` is evenly drawn from 0 to 1.
    pub fn end(&mut self, is_good: bool, now: Instant, random: f64) {
        self.failures = if is_good { 0 } else { self.failures.saturating_add(1) };
        let pause = match self.failures {
            0 => self.interval,
            n => PAUSE_MIN.saturating_mul(1 << (n - 1).min(16)).min(self.interval),
        };
        self.last = Some((now, pause.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0))));
    }

    fn refilled(&self, now: Instant) -> (u32, Option<Instant>) {
        let (left, Some(since)) = self.early else { return (self.early.0, None) };
        let back = now.saturating_duration_since(since).as_nanos() / EARLY_POLL_EVERY.as_nanos();
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        match left.saturating_add(back) {
            full if full >= EARLY_POLLS => (EARLY_POLLS, None),
            left => (left, Some(since + EARLY_POLL_EVERY.saturating_mul(back))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Number of polls in `hours` when the need is always this.
    fn polls(need: Need, is_good: bool, hours: u64) -> usize {
        let (start, mut schedule) = (Instant::now(), Schedule::new(5 * MINUTE));
        let (mut now, end, mut count) = (start, start + 60 * MINUTE * hours as u32, 0);
        while let Some(due) = schedule.due(need, now) {
            now = now.max(due);
            if now >= end {
                break;
            }
            schedule.begin(need, now);
            now += Duration::from_millis(10);
            schedule.end(is_good, now, 0.5);
            count += 1;
        }
        count
    }

    #[test]
    fn polls_are_rare() {
        assert_eq!(polls(Need::None, true, 10), 0, "nothing is unknown");
        assert_eq!(polls(Need::Regular, true, 10), 120, "each five minutes");
        // Pages that show new ids all the time: the allowance at once, then what comes back.
        let early = polls(Need::Early, true, 1);
        assert!((380..=400).contains(&early), "{early}");
        // An endpoint that is down: 10 s, 20 s, 40 s, … then each five minutes.
        assert!(
            (14..=18).contains(&polls(Need::Early, false, 1)),
            "{}",
            polls(Need::Early, false, 1)
        );
    }

    #[test]
    fn the_first_poll_and_a_new_id_do_not_wait() {
        let (now, mut schedule) = (Instant::now(), Schedule::new(5 * MINUTE));
        assert_eq!(schedule.due(Need::Early, now), Some(now));
        schedule.begin(Need::Early, now);
        schedule.end(true, now, 0.5);
        for _ in 0..EARLY_POLLS {
            assert_eq!(schedule.due(Need::Early, now), Some(now + EARLY_GAP));
            schedule.begin(Need::Early, now);
            schedule.end(true, now, 0.5);
        }
        assert_eq!(schedule.due(Need::Early, now), Some(now + EARLY_POLL_EVERY));
        let later = now + EARLY_POLL_EVERY * (EARLY_POLLS + 3);
        assert_eq!(schedule.refilled(later), (EARLY_POLLS, None), "it does not grow beyond");
    }

    #[test]
    fn a_failing_endpoint_is_left_alone_for_longer_and_longer() {
        let (start, mut schedule) = (Instant::now(), Schedule::new(5 * MINUTE));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            schedule.begin(Need::Early, start);
            schedule.end(false, start, 0.5);
            pauses.push((schedule.due(Need::Early, start).unwrap() - start).as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        assert!(schedule.is_failing());
        schedule.end(true, start, 0.5);
        assert!(!schedule.is_failing());
        assert_eq!(schedule.due(Need::Early, start), Some(start + EARLY_GAP));
    }

    #[test]
    fn relays_that_started_together_drift_apart() {
        let (now, mut schedule) = (Instant::now(), Schedule::new(5 * MINUTE));
        let mut after = |random| {
            schedule.end(true, now, random);
            (schedule.due(Need::Regular, now).unwrap() - now).as_secs()
        };
        assert_eq!((after(0.0), after(0.5), after(1.0)), (240, 300, 360));
    }
}
