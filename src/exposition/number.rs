//! Values and timestamps: what stands on a line after the series.
//!
//! ```text
//! rest      ::= blank* number (blank+ timestamp)? blank*
//! ```
//!
//! Numbers are those of Go's `strconv.ParseFloat` as Prometheus calls it (`parseFloat` in
//! model/textparse/promparse.go, which refuses `p`, `P` and `_`, and with them all hexadecimal
//! numbers). Timestamps are those of Go's `strconv.ParseInt` in base ten.
//!
//! Invariant: every NaN has the bits of [`NAN`], so no page can write a staleness marker.

use memchr::memchr;

use super::{
    Reason, SyntaxError,
    parse::{skip_blanks, token_end},
};

/// The NaN of every sample that has no number: the bits that Prometheus stores for it
/// (`value.NormalNaN`), and never those of the staleness marker, `0x7ff0000000000002`.
pub const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Reads value and timestamp (milliseconds since 1970) from what follows a series on its line.
pub fn value(rest: &[u8]) -> Result<(f64, Option<i64>), SyntaxError> {
    let start = skip_blanks(rest, 0);
    let end = token_end(rest, start);
    let token = rest.get(start..end).unwrap_or_default();
    if token.is_empty() {
        return Err(SyntaxError::at(Reason::ValueMissing, rest, start));
    }
    let number = float(token).map_err(|reason| SyntaxError::at(reason, rest, start))?;
    if end == rest.len() {
        return Ok((number, None));
    }
    let timestamp_ms = timestamp(rest, end)?;
    Ok((number, timestamp_ms))
}

/// Reads what follows a series on its line, to the end of the line: as [`value`], and the bytes up to there, the
/// line break included. `None` when the line does not end in `rest`, or is broken.
///
/// The forms that Flink writes (`short_decimal` after one blank, no timestamp) are read in one go, without
/// looking for the end of the line first.
#[inline]
pub fn value_to_end(rest: &[u8]) -> Option<(f64, Option<i64>, usize)> {
    if let [b' ', text @ ..] = rest
        && let Some((number, after)) = short_decimal(text)
        && let [b'\n', after @ ..] = after
    {
        return Some((number, None, rest.len() - after.len()));
    }
    let end = memchr(b'\n', rest)?;
    let text = rest.get(..end)?;
    let (number, timestamp_ms) = value(text.strip_suffix(b"\r").unwrap_or(text)).ok()?;
    Some((number, timestamp_ms, end + 1))
}

fn timestamp(rest: &[u8], after_value: usize) -> Result<Option<i64>, SyntaxError> {
    let start = skip_blanks(rest, after_value);
    let end = token_end(rest, start);
    let token = rest.get(start..end).unwrap_or_default();
    if token.is_empty() {
        return Ok(None);
    }
    let timestamp_ms = std::str::from_utf8(token)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| SyntaxError::at(Reason::Timestamp, rest, start))?;
    let trailing = skip_blanks(rest, end);
    if trailing < rest.len() {
        return Err(SyntaxError::at(Reason::TrailingText, rest, trailing));
    }
    Ok(Some(timestamp_ms))
}

fn float(token: &[u8]) -> Result<f64, Reason> {
    if let Some((number, [])) = short_decimal(token) {
        return Ok(number);
    }
    let unsigned = match token {
        [b'+' | b'-', unsigned @ ..] => unsigned,
        _ => token,
    };
    if unsigned.first().is_some_and(|b| b.is_ascii_digit() || *b == b'.') {
        // From a digit or a dot on, Rust and Go accept the same texts and round alike. They differ
        // in what is too large: Rust makes it infinite, Go and therefore Prometheus refuse it.
        let number = std::str::from_utf8(token).ok().and_then(|text| text.parse::<f64>().ok());
        let number = number.ok_or(Reason::ValueNumber)?;
        return if number.is_finite() { Ok(number) } else { Err(Reason::ValueRange) };
    }
    let infinite =
        |text: &[u8]| text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity");
    match token {
        [b'-', unsigned @ ..] if infinite(unsigned) => Ok(f64::NEG_INFINITY),
        _ if infinite(unsigned) => Ok(f64::INFINITY),
        // Without a sign, as in Go.
        _ if token.eq_ignore_ascii_case(b"nan") => Ok(NAN),
        _ => Err(Reason::ValueNumber),
    }
}

/// The exact powers of ten among the 64-bit floats.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The forms that Java prints for most values of a page (`7.0`, `1.2345E7`) at the head of a text, and what
/// follows; `None` leaves the text to the standard library.
///
/// When the digits make an integer of at most 2^53 and the power of ten is at most 10^22, both are
/// exact as floats, so that one multiplication or division rounds once, hence correctly (Clinger,
/// "How to read floating point numbers accurately", 1990). The standard library does the same after
/// more preparation; on a page of Flink going this way takes a sixth off the time of `split` and
/// `value` together.
#[inline]
fn short_decimal(token: &[u8]) -> Option<(f64, &[u8])> {
    /// 19 digits always fit 64 bits.
    const DIGITS_MAX: usize = 19;
    let (negative, token) = match token {
        [b'-', unsigned @ ..] => (true, unsigned),
        _ => (false, token),
    };
    let (mantissa, whole_digits, token) = digits(token, 0);
    let (mantissa, fraction_digits, token) = match token {
        [b'.', fraction @ ..] => digits(fraction, mantissa),
        _ => (mantissa, 0, token),
    };
    let digits_total = whole_digits + fraction_digits;
    if digits_total == 0 || digits_total > DIGITS_MAX || mantissa > 1 << f64::MANTISSA_DIGITS {
        return None;
    }
    let (exponent, token) = match token {
        [b'e' | b'E', exponent @ ..] => small_exponent(exponent)?,
        _ => (0, token),
    };
    let power = exponent - i32::try_from(fraction_digits).ok()?;
    let scale = *POWERS_OF_TEN.get(power.unsigned_abs() as usize)?;
    let magnitude = if power < 0 { mantissa as f64 / scale } else { mantissa as f64 * scale };
    Some((if negative { -magnitude } else { magnitude }, token))
}

/// Reads digits: the number so far continued by them (modulo 2^64), how many, and what follows.
#[inline]
fn digits(mut text: &[u8], mut number: u64) -> (u64, usize, &[u8]) {
    let mut count = 0;
    while let [digit @ b'0'..=b'9', rest @ ..] = text {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        count += 1;
        text = rest;
    }
    (number, count, text)
}

/// An exponent of one or two digits.
fn small_exponent(text: &[u8]) -> Option<(i32, &[u8])> {
    let (negative, text) = match text {
        [b'-', unsigned @ ..] => (true, unsigned),
        [b'+', unsigned @ ..] => (false, unsigned),
        _ => (false, text),
    };
    let (exponent, 1..=2, rest) = digits(text, 0) else { return None };
    let exponent = i32::try_from(exponent).ok()?;
    Some((if negative { -exponent } else { exponent }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_as_prometheus_reads_them() {
        let check = |text: &str, expect: f64| match value(text.as_bytes()) {
            Ok((number, None)) => {
                assert_eq!(number.to_bits(), expect.to_bits(), "{text}: {number}")
            }
            other => panic!("{text}: {other:?}"),
        };
        check("0", 0.0);
        check("-0", -0.0);
        check("-0.0E0", -0.0);
        check("7.0", 7.0);
        check("+7", 7.0);
        check("007", 7.0);
        check("7.", 7.0);
        check(".5", 0.5);
        check("-.5e1", -5.0);
        check("1.0187192E7", 10_187_192.0);
        check("1.795335820998E12", 1_795_335_820_998.0);
        check("-9.223372036854776E18", -9.223372036854776E18);
        check("9.007199254740992E15", 9_007_199_254_740_992.0);
        check("9007199254740993", 9_007_199_254_740_992.0);
        check("3.5833333333333335", 3.583_333_333_333_333_5);
        check("1e22", 1e22);
        check("1e23", 1e23);
        check("1e-22", 1e-22);
        check("5e-324", 5e-324);
        check("1e-400", 0.0);
        check("0e999999999999999999999", 0.0);
        check("1.7976931348623157e308", f64::MAX);
        check("12345678901234567890123", 12_345_678_901_234_567_890_123.0);
        check("0.00000000000000000000000000000000000001", 1e-38);
        for text in ["NaN", "nan", "NAN", "nAn"] {
            check(text, NAN);
        }
        for text in ["Inf", "+Inf", "inf", "+INF", "Infinity", "+infinity"] {
            check(text, f64::INFINITY);
        }
        for text in ["-Inf", "-inf", "-Infinity"] {
            check(text, f64::NEG_INFINITY);
        }
    }

    #[test]
    fn nan_is_quiet_and_not_the_staleness_marker() {
        assert_eq!(NAN.to_bits(), 0x7ff8_0000_0000_0001);
        assert!(NAN.is_nan());
    }

    #[test]
    fn timestamps_and_blanks() {
        let check = |text: &str, expect: (f64, Option<i64>)| {
            assert_eq!(value(text.as_bytes()), Ok(expect), "{text}");
        };
        check(" 1", (1.0, None));
        check("\t 1 \t", (1.0, None));
        check("1 2", (1.0, Some(2)));
        check(" 1\t \t1395066363000 ", (1.0, Some(1_395_066_363_000)));
        check("1 -5", (1.0, Some(-5)));
        check("1 +5", (1.0, Some(5)));
        check("1 9223372036854775807", (1.0, Some(i64::MAX)));
        check("1 -9223372036854775808", (1.0, Some(i64::MIN)));
    }

    #[test]
    fn refusals_say_why_and_where() {
        let check = |text: &str, reason, column| {
            let found = text.as_bytes().get(column - 1).copied();
            let expect = Err(SyntaxError { reason, column, found });
            assert_eq!(value(text.as_bytes()), expect, "{text}");
        };
        check("", Reason::ValueMissing, 1);
        check("  ", Reason::ValueMissing, 3);
        for text in [
            "true", "1_2", "0x1p-3", "0x1P-3", "0x10", "+nan", "-NaN", "nana", "infi", "++1", "+",
            "-", ".", "e5", "1e", "1e+", "1.2.3", "1,5", "1\r", "1a", "--1", "\u{661}", "+-inf",
            "1e5.0", "0xinf", "{", "1\u{a0}", "1\u{0}",
        ] {
            check(text, Reason::ValueNumber, 1);
        }
        for text in ["1e309", "-1e309", "1.8e308", "1e99999999999999999999"] {
            check(text, Reason::ValueRange, 1);
        }
        for text in
            ["1 x", "1 1.5", "1 1e3", "1 1_2", "1 9223372036854775808", "1 +", "1 -", "1 0x1"]
        {
            check(text, Reason::Timestamp, 3);
        }
        check("1 2 3", Reason::TrailingText, 5);
        check("1 2 # {id=\"x\"} 1", Reason::TrailingText, 5);
    }

    /// The accepted texts, written down a second time as Go documents them.
    fn go_accepts(text: &str) -> bool {
        let go = r"(?i)^(nan|[+-]?(inf|infinity)|[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)$";
        regex::Regex::new(go).unwrap().is_match(text)
    }

    proptest! {
        #[test]
        fn the_short_way_is_bit_exact(mantissa in any::<u64>(), shift in 0..64u32, dot in 0..20usize,
                                      exponent in -30..30i32, sign in "[+-]?", e in "[eE]") {
            let mut digits = (mantissa >> shift).to_string();
            digits.insert(dot.min(digits.len()), '.');
            for text in [digits.clone(), format!("{digits}{e}{exponent}"), format!("{sign}{digits}{e}{exponent}")] {
                let expect: f64 = text.parse().unwrap();
                if let Some((short, [])) = short_decimal(text.as_bytes()) {
                    prop_assert_eq!(short.to_bits(), expect.to_bits(), "{}", text);
                }
                prop_assert_eq!(float(text.as_bytes()).map(f64::to_bits), Ok(expect.to_bits()));
            }
        }

        #[test]
        fn the_end_of_a_line_is_found_on_the_way(
            rest in "[ \t]{0,2}[-+]?[0-9]{0,20}\\.?[0-9]{0,3}([eE][+-]?[0-9]{0,3})?[ \t]{0,2}[0-9]{0,3}[ x]?|[ \tNaIinf0-9.x}]{0,6}",
            end in "\r?\n",
            next in "[ a1\n]{0,3}",
        ) {
            let text = format!("{rest}{end}{next}");
            let found = value_to_end(text.as_bytes()).map(|(number, ms, len)| (number.to_bits(), ms, len));
            let expect = value(rest.as_bytes()).ok().map(|(number, ms)| (number.to_bits(), ms, rest.len() + end.len()));
            prop_assert_eq!(found, expect, "{:?}", text);
            prop_assert_eq!(value_to_end(rest.as_bytes()), None, "the line has not ended");
        }

        #[test]
        fn what_rust_and_java_print_is_read_back(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            for text in [format!("{number}"), format!("{number:e}"), format!("{number:?}"), format!("{number:E}")] {
                prop_assert_eq!(float(text.as_bytes()).map(f64::to_bits), Ok(bits), "{}", text);
            }
        }

        #[test]
        fn accepted_is_what_go_accepts(text in "[0-9.eE+-]{0,8}|[+-]?[nNaAiIfFtTyY]{2,8}|[+-]?[0-9]{1,25}\\.?[0-9]{0,25}([eE][+-]?[0-9]{0,3})?|\\PC{0,6}") {
            let blank = text.contains([' ', '\t']);
            prop_assume!(!blank);
            let accepted = !matches!(float(text.as_bytes()), Err(Reason::ValueNumber));
            prop_assert_eq!(accepted, go_accepts(&text), "{}", text);
        }
    }
}
