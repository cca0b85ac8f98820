//! What can be wrong with a line, and where.
//!
//! Faults are small `Copy` values, so that a page of nothing but bad lines costs no allocation;
//! their text is made only when somebody reads it.
//!
//! Invariant: `column` counts bytes from 1 and points at the first byte that cannot be right, or
//! one past the end of the line when something is missing there.

use std::fmt;

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No name where a sample, HELP or TYPE needs one.
    MetricName,
    /// The metric's name is followed by a byte that can neither belong to it nor end it.
    MetricNameEnd,
    /// No label name and no `}` inside the braces.
    LabelName,
    /// No `=` after a label name.
    LabelEquals,
    /// No `"` after `=`.
    LabelQuote,
    /// The closing `"` of a label value is missing.
    LabelUnterminated,
    /// A label name stands twice in one sample (`__name__` counts as a second name).
    LabelDuplicate,
    /// More labels than [`Limits::labels_max`](super::Limits::labels_max).
    LabelsTooMany,
    /// The sample has no value.
    ValueMissing,
    /// The value is no number.
    ValueNumber,
    /// The value is a number beyond the range of a 64-bit float.
    ValueRange,
    /// The timestamp is no integer of 64 bits.
    Timestamp,
    /// Something follows the timestamp.
    TrailingText,
    /// The type is none of the five of the format.
    Kind,
    /// The sample or HELP text is not UTF-8.
    Utf8,
    /// The line is longer than [`Limits::line_bytes_max`](super::Limits::line_bytes_max).
    LineTooLong,
}

/// Why [`parse`](fn@super::parse) or [`value`](super::value) refused a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub reason: Reason,
    /// Where, in bytes from 1.
    pub column: usize,
    /// The byte that stands there; `None` at the end of the line.
    pub found: Option<u8>,
}

/// A bad line of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Offset in the page of the byte at `column`, from 0.
    pub offset: u64,
    /// Number of the line, from 1.
    pub line: u64,
    /// Place in the line, in bytes from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: Reason,
    /// The byte that stands there; `None` at the end of the line and when it is not known.
    pub found: Option<u8>,
}

// === impl Reason ===

impl Reason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 16] = [
        Self::MetricName,
        Self::MetricNameEnd,
        Self::LabelName,
        Self::LabelEquals,
        Self::LabelQuote,
        Self::LabelUnterminated,
        Self::LabelDuplicate,
        Self::LabelsTooMany,
        Self::ValueMissing,
        Self::ValueNumber,
        Self::ValueRange,
        Self::Timestamp,
        Self::TrailingText,
        Self::Kind,
        Self::Utf8,
        Self::LineTooLong,
    ];

    /// A stable name for counters and JSON, `snake_case`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MetricName => "metric_name",
            Self::MetricNameEnd => "metric_name_end",
            Self::LabelName => "label_name",
            Self::LabelEquals => "label_equals",
            Self::LabelQuote => "label_quote",
            Self::LabelUnterminated => "label_unterminated",
            Self::LabelDuplicate => "label_duplicate",
            Self::LabelsTooMany => "labels_too_many",
            Self::ValueMissing => "value_missing",
            Self::ValueNumber => "value_number",
            Self::ValueRange => "value_range",
            Self::Timestamp => "timestamp",
            Self::TrailingText => "trailing_text",
            Self::Kind => "kind",
            Self::Utf8 => "utf8",
            Self::LineTooLong => "line_too_long",
        }
    }

    /// The reason in words, and whether the byte found there helps to understand it.
    const fn text(self) -> (&'static str, bool) {
        match self {
            Self::MetricName => ("expected a metric name", true),
            Self::MetricNameEnd => ("expected a blank after the metric name", true),
            Self::LabelName => ("expected a label name or `}`", true),
            Self::LabelEquals => ("expected `=` after the label name", true),
            Self::LabelQuote => ("expected `\"` before the label value", true),
            Self::LabelUnterminated => ("label value without a closing `\"`", false),
            Self::LabelDuplicate => ("label name stands twice in one sample", false),
            Self::LabelsTooMany => ("more labels than the limit allows", false),
            Self::ValueMissing => ("expected a value", true),
            Self::ValueNumber => ("the value is not a number", false),
            Self::ValueRange => ("the value is beyond the range of a 64-bit float", false),
            Self::Timestamp => ("the timestamp is not a 64-bit integer", false),
            Self::TrailingText => ("expected nothing after the timestamp", true),
            Self::Kind => ("expected counter, gauge, histogram, summary or untyped", false),
            Self::Utf8 => ("not UTF-8", true),
            Self::LineTooLong => ("the line is longer than the limit allows", false),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().0)
    }
}

// === impl SyntaxError ===

impl SyntaxError {
    /// The fault at index `at` of `line`.
    #[cold]
    pub(super) fn at(reason: Reason, line: &[u8], at: usize) -> Self {
        Self { reason, column: at + 1, found: line.get(at).copied() }
    }

    /// The same error, seen from a line in which `bytes` more bytes stand before it.
    #[cold]
    pub(super) const fn after(self, bytes: usize) -> Self {
        Self { column: self.column + bytes, ..self }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: ", self.column)?;
        write_reason(f, self.reason, self.found)
    }
}

impl std::error::Error for SyntaxError {}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        write_reason(f, self.reason, self.found)
    }
}

impl std::error::Error for Fault {}

fn write_reason(f: &mut fmt::Formatter<'_>, reason: Reason, found: Option<u8>) -> fmt::Result {
    let (text, found_helps) = reason.text();
    f.write_str(text)?;
    match found {
        _ if !found_helps => Ok(()),
        None => f.write_str(", found the end of the line"),
        Some(byte @ (b'!'..=b'_' | b'a'..=b'~')) => write!(f, ", found `{}`", char::from(byte)),
        Some(byte) => write!(f, ", found byte 0x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_each_reason_once() {
        let mut names = Reason::ALL.map(Reason::as_str);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(
            names.iter().all(|name| name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()))
        );
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?} is out of order in ALL");
        }
    }

    #[test]
    fn messages_say_where_what_and_what_was_found() {
        let fault = |reason, found| Fault { offset: 99, line: 12, column: 40, reason, found };
        let check = |fault: Fault, expect: &str| assert_eq!(fault.to_string(), expect);
        check(
            fault(Reason::LabelEquals, Some(b'}')),
            "line 12, column 40: expected `=` after the label name, found `}`",
        );
        check(
            fault(Reason::ValueMissing, None),
            "line 12, column 40: expected a value, found the end of the line",
        );
        check(fault(Reason::Utf8, Some(0xff)), "line 12, column 40: not UTF-8, found byte 0xff");
        check(
            fault(Reason::LabelDuplicate, Some(b'a')),
            "line 12, column 40: label name stands twice in one sample",
        );
        let error = SyntaxError { reason: Reason::MetricName, column: 1, found: Some(b'<') };
        assert_eq!(error.to_string(), "column 1: expected a metric name, found `<`");
    }

    #[test]
    fn faults_are_small() {
        assert!(size_of::<Fault>() <= 32);
        assert!(size_of::<SyntaxError>() <= 16);
    }
}
