//! Durations as Prometheus writes them: `1h30m`, `500ms`, `0`.
//!
//! ```text
//! duration = "0" | [n "y"] [n "w"] [n "d"] [n "h"] [n "m"] [n "s"] [n "ms"]     at least one
//! ```
//!
//! A year is 365 days, a week 7 days, a day 24 hours (`model.ParseDuration`).

use std::{fmt, str::FromStr, time::Duration};

/// Units from the longest to the shortest, in milliseconds. Years and weeks are only printed when
/// nothing remains, because `90d` reads better than `12w6d`.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 60 * 60 * 1000),
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration that Prometheus can hold (2^63 ns), in whole milliseconds.
const MILLIS_MAX: u64 = 9_223_372_036_854;

/// A duration that reads and prints in Prometheus' syntax, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PromDuration(pub Duration);

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the syntax.
    #[error(
        "not a duration: expected numbers with units, the longest unit first, such as 15s, 1h30m or 500ms"
    )]
    Syntax,
    /// A number without a unit.
    #[error("a duration needs a unit: ms, s, m, h, d, w or y, as in 15s")]
    NoUnit,
    /// More than 292 years.
    #[error("longer than the 292 years that a duration can hold")]
    TooLong,
}

impl FromStr for PromDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(DurationError::NoUnit);
        }
        let mut rest = text;
        let mut units = UNITS.iter();
        let mut millis = 0_u64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, tail) = tail.split_at(letters);
            if number.is_empty() {
                return Err(DurationError::Syntax);
            }
            // `units` is not rewound: a unit can only follow a longer one.
            let (_, factor) = units.find(|(name, _)| *name == unit).ok_or(DurationError::Syntax)?;
            millis = number
                .parse::<u64>()
                .ok()
                .and_then(|n| n.checked_mul(*factor))
                .and_then(|ms| ms.checked_add(millis))
                .filter(|ms| *ms <= MILLIS_MAX)
                .ok_or(DurationError::TooLong)?;
            rest = tail;
        }
        if text.is_empty() {
            Err(DurationError::Syntax)
        } else {
            Ok(Self(Duration::from_millis(millis)))
        }
    }
}

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS {
            let factor = u128::from(factor);
            if matches!(unit, "y" | "w") && !millis.is_multiple_of(factor) {
                continue;
            }
            let count = millis / factor;
            if count > 0 {
                write!(f, "{count}{unit}")?;
                millis %= factor;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_prints_as_prometheus_does() {
        let check = |text: &str, millis: u64, printed: &str| {
            let duration: PromDuration = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(duration.0, Duration::from_millis(millis), "{text}");
            assert_eq!(duration.to_string(), printed, "{text}");
        };
        check("0", 0, "0s");
        check("0s", 0, "0s");
        check("0w", 0, "0s");
        check("324ms", 324, "324ms");
        check("3s", 3000, "3s");
        check("5m", 300_000, "5m");
        check("1h", 3_600_000, "1h");
        check("4d", 345_600_000, "4d");
        check("4d1h", 349_200_000, "4d1h");
        check("14d", 1_209_600_000, "2w");
        check("3w", 1_814_400_000, "3w");
        check("3w2d1h", 1_990_800_000, "23d1h");
        check("10y", 315_360_000_000, "10y");
        check("90m", 5_400_000, "1h30m");
        check("1h30m", 5_400_000, "1h30m");
        check("1m1s1ms", 61_001, "1m1s1ms");
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        let check = |text: &str, error: DurationError| {
            assert_eq!(text.parse::<PromDuration>(), Err(error), "{text}");
        };
        check("1", DurationError::NoUnit);
        check("15", DurationError::NoUnit);
        for text in [
            "", "-1w", "1.5d", "d", "1S", "15 s", "15sec", "1m1h", "1s1s", "abc", "1s ", "s1",
            "1µs",
        ] {
            check(text, DurationError::Syntax);
        }
        check("294y", DurationError::TooLong);
        check("99999999999999999999s", DurationError::TooLong);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(millis in 0..=MILLIS_MAX) {
            let duration = PromDuration(Duration::from_millis(millis));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-z]{0,12}") {
            if let Ok(duration) = text.parse::<PromDuration>() {
                prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            }
        }
    }
}
