//! How long to wait before a request is sent again.
//!
//! The pause is drawn at random between `min` and a ceiling that doubles with each failure in a
//! row, from twice `min` up to `max`. Drawing from the whole range, not around its end, spreads the
//! relays of a cluster that all lost the same receiver. What the receiver asked for by
//! `Retry-After` comes on top, so that no relay is back too early nor all of them at once.

use std::time::Duration;

/// The pauses between the tries of one request. Reads no clock and draws no random numbers.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// `min <= ceiling <= max`; `min` after a success.
    ceiling: Duration,
}

/// Settings that make no backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// Tries without a pause would be a busy loop against a receiver in trouble.
    #[error("min_backoff is zero; set it to 1ms or more")]
    ZeroMin,
    /// The range is empty.
    #[error("min_backoff {min:?} is above max_backoff {max:?}; set max_backoff to at least it")]
    MinAboveMax {
        /// As given.
        min: Duration,
        /// As given.
        max: Duration,
    },
}

impl Backoff {
    /// Pauses between `min` and `max`, not counting what a receiver asks for.
    ///
    /// # Errors
    /// When `min` is zero or above `max`.
    pub const fn new(min: Duration, max: Duration) -> Result<Self, BackoffError> {
        if min.is_zero() {
            return Err(BackoffError::ZeroMin);
        }
        if min.as_nanos() > max.as_nanos() {
            return Err(BackoffError::MinAboveMax { min, max });
        }
        Ok(Self { min, max, ceiling: min })
    }

    /// The pause after one more failure. `random` is uniform in [0, 1); a number outside counts as
    /// the nearest inside, and NaN as 0. `retry_after` is what the receiver asked for.
    pub fn next_delay(&mut self, random: f64, retry_after: Option<Duration>) -> Duration {
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        let random = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
        // Only a range of more than 10^19 seconds is no duration any more after the rounding.
        let range = (self.ceiling - self.min).as_secs_f64();
        let drawn = Duration::try_from_secs_f64(range * random).unwrap_or(self.max);
        let own = self.min.saturating_add(drawn).min(self.ceiling);
        retry_after.unwrap_or_default().saturating_add(own)
    }

    /// The receiver answered as it should: the next failure is the first again.
    pub const fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum_and_falls_back_on_reset() {
        let mut backoff = Backoff::new(ms(30), ms(400)).unwrap();
        let highest = 1.0;
        let ceilings: Vec<_> = (0..6).map(|_| backoff.next_delay(highest, None)).collect();
        assert_eq!(ceilings, [ms(60), ms(120), ms(240), ms(400), ms(400), ms(400)]);
        assert_eq!(backoff.next_delay(0.0, None), ms(30));
        assert_eq!(backoff.next_delay(0.5, None), ms(215));
        backoff.reset();
        assert_eq!(backoff.next_delay(highest, None), ms(60));
    }

    #[test]
    fn what_the_receiver_asks_for_comes_on_top() {
        let mut backoff = Backoff::new(ms(30), ms(400)).unwrap();
        assert_eq!(backoff.next_delay(0.0, Some(ms(7000))), ms(7030));
        assert_eq!(backoff.next_delay(1.0, Some(ms(7000))), ms(7120));
        assert_eq!(backoff.next_delay(0.0, Some(Duration::MAX)), Duration::MAX);
    }

    #[test]
    fn settings_without_a_range_are_refused() {
        assert_eq!(Backoff::new(ms(0), ms(5)).unwrap_err(), BackoffError::ZeroMin);
        let error = Backoff::new(ms(6), ms(5)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "min_backoff 6ms is above max_backoff 5ms; set max_backoff to at least it"
        );
        let mut constant = Backoff::new(ms(5), ms(5)).unwrap();
        assert_eq!(constant.next_delay(0.9, None), ms(5));
    }

    proptest! {
        #[test]
        fn a_pause_stays_in_its_range(
            min in 1..10_000_u64,
            more in 0..u64::MAX / 4,
            randoms in prop::collection::vec(prop_oneof![0.0..1.0, prop::num::f64::ANY], 1..80),
        ) {
            let (min, max) = (ms(min), ms(min.saturating_add(more)));
            let mut backoff = Backoff::new(min, max).unwrap();
            for random in randoms {
                let delay = backoff.next_delay(random, None);
                prop_assert!(min <= delay && delay <= max, "{delay:?}");
            }
        }
    }
}
