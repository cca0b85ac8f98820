//! How fast a backlog may be sent beside live data: a bucket of samples that fills at a rate.
//!
//! A batch takes what it holds, and may take more than there is, so that a batch larger than the bucket
//! passes too; the next one waits until the debt is paid.

use std::time::{Duration, Instant};

/// The bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Samples that may be sent; below zero when more were.
    samples: f64,
    /// When that was so.
    at: Option<Instant>,
}

impl Pace {
    /// When a batch may be sent, at a rate in samples per second; 0 is unlimited.
    pub(super) fn ready_at(&mut self, per_second: u64, now: Instant) -> Instant {
        if per_second == 0 {
            return now;
        }
        let rate = per_second as f64;
        // A second's worth at most, so that a long pause makes no burst.
        let gained = match self.at {
            None => rate,
            Some(at) => now.saturating_duration_since(at).as_secs_f64() * rate,
        };
        self.samples = (self.samples + gained).min(rate);
        self.at = Some(now);
        if self.samples >= 0.0 {
            return now;
        }
        let wait = Duration::try_from_secs_f64(-self.samples / rate).unwrap_or(Duration::MAX);
        // Rounded up, so that whoever waits until then finds it ready.
        now.checked_add(wait.saturating_add(Duration::from_millis(1))).unwrap_or(now)
    }

    /// A batch was taken.
    pub(super) fn take(&mut self, samples: u64) {
        self.samples -= samples as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_paid_at_the_rate_and_a_pause_saves_one_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert_eq!(pace.ready_at(1000, at(0.0)), at(0.0));
        pace.take(3000);
        let ready = pace.ready_at(1000, at(0.0));
        assert!(ready >= at(2.0) && ready < at(2.01));
        assert_eq!(pace.ready_at(1000, ready), ready);
        assert_eq!(pace.ready_at(1000, at(100.0)), at(100.0));
        pace.take(1001);
        assert!(pace.ready_at(1000, at(100.0)) > at(100.0), "100 seconds saved 1000 samples");
        assert_eq!(pace.ready_at(0, at(100.0)), at(100.0), "unlimited");
    }
}
