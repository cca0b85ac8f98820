//! Byte sizes as Prometheus writes them: `16MB`, `64MiB`, `0`.
//!
//! ```text
//! size = "0" | { digits [ "." digits ] unit }
//! unit = "B" | ("K" | "M" | "G" | "T" | "P" | "E") ("iB" | "B")
//! ```
//!
//! `KB` and `KiB` both are 1024 bytes, and so on: Prometheus reads `body_size_limit` as
//! `units.Base2Bytes`, and a file has to mean the same here.

use std::{fmt, str::FromStr};

/// A number of bytes, below 2^63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Why a text is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not of the syntax.
    #[error("not a size: expected a number with a unit, such as 64MiB, 16MB or 512KB")]
    Syntax,
    /// A number without a unit.
    #[error("a size needs a unit: B, KiB, MiB, GiB or TiB, as in 64MiB")]
    NoUnit,
    /// 2^63 bytes or more.
    #[error("larger than the 8 EiB that a size can hold")]
    TooLarge,
}

const PREFIXES: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
const FRACTION_DIGITS_MAX: usize = 18;

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        if text == "0" {
            return Ok(Self(0));
        }
        let mut rest = text;
        let mut bytes = 0_u128;
        while !rest.is_empty() {
            let (whole, tail) = digits(rest);
            let (fraction, tail) = match tail.strip_prefix('.') {
                Some(tail) => digits(tail),
                None => ("", tail),
            };
            if whole.is_empty() && fraction.is_empty() || fraction.len() > FRACTION_DIGITS_MAX {
                return Err(SizeError::Syntax);
            }
            let end = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let factor = factor(unit)?;
            // A number too long for 64 bits is too large with any unit.
            let number = |digits: &str| match digits {
                "" => Ok(0_u64),
                digits => digits.parse().map_err(|_| SizeError::TooLarge),
            };
            let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
            bytes += u128::from(number(whole)?) * factor
                + u128::from(number(fraction)?) * factor / scale;
            if bytes >= 1 << 63 {
                return Err(SizeError::TooLarge);
            }
            rest = tail;
        }
        if text.is_empty() {
            return Err(SizeError::Syntax);
        }
        u64::try_from(bytes).map(Self).map_err(|_| SizeError::TooLarge)
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn factor(unit: &str) -> Result<u128, SizeError> {
    if unit.is_empty() {
        return Err(SizeError::NoUnit);
    }
    let prefix = unit.strip_suffix("iB").filter(|prefix| !prefix.is_empty());
    let prefix = prefix.or_else(|| unit.strip_suffix('B')).ok_or(SizeError::Syntax)?;
    let power = PREFIXES.iter().position(|p| *p == prefix).ok_or(SizeError::Syntax)?;
    Ok(1 << (10 * power))
}

/// In the largest unit that leaves no remainder.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut count = self.0;
        let mut power = 0;
        while count != 0 && count.is_multiple_of(1024) && power + 1 < PREFIXES.len() {
            count /= 1024;
            power += 1;
        }
        match PREFIXES.get(power) {
            Some(prefix) if !prefix.is_empty() => write!(f, "{count}{prefix}iB"),
            _ => write!(f, "{count}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_as_prometheus_does() {
        let check = |text: &str, bytes: u64, printed: &str| {
            let size: ByteSize = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), printed, "{text}");
        };
        check("0", 0, "0B");
        check("0B", 0, "0B");
        check("100B", 100, "100B");
        check("1KB", 1024, "1KiB");
        check("1KiB", 1024, "1KiB");
        check("16MB", 16 << 20, "16MiB");
        check("64MiB", 64 << 20, "64MiB");
        check("1GB", 1 << 30, "1GiB");
        check("1.5MB", 1536 << 10, "1536KiB");
        check(".5KB", 512, "512B");
        check("1MB512KB", 1536 << 10, "1536KiB");
        check("1025B", 1025, "1025B");
        check("2TiB", 2 << 40, "2TiB");
        check("7EiB", 7 << 60, "7EiB");
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        let check = |text: &str, error: SizeError| {
            assert_eq!(text.parse::<ByteSize>(), Err(error), "{text}");
        };
        check("64", SizeError::NoUnit);
        for text in ["", "MB", "64 MB", "64mb", "64kB", "64M", "-1MB", "1iB", ".MB", "1MB x"] {
            check(text, SizeError::Syntax);
        }
        check("8EiB", SizeError::TooLarge);
        check("99999999999999999999B", SizeError::TooLarge);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes in 0..1_u64 << 63) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9.KMiB]{0,12}") {
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }
}
