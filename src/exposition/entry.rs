//! What a line says.
//!
//! Everything borrows from the line. A [`Sample`] remembers where its labels stand, so that they
//! are found once, while the line is checked; up to [`LABELS_INLINE`] of them cost no allocation.
//!
//! Invariants of a [`Sample`]: its label names are unique and valid, none is `__name__`; its
//! spans lie inside `text` and end on character boundaries.

use std::{borrow::Cow, fmt, slice};

use memchr::memchr;
use smallvec::SmallVec;

/// One line of a page.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a box would cost an allocation for each sample")]
pub enum Entry<'line> {
    /// Nothing but blanks.
    Blank,
    /// A comment that is neither HELP nor TYPE.
    Comment,
    /// `# HELP name text`, the escapes of the text undone.
    Help {
        /// Name of the metric family.
        name: &'line str,
        /// What it measures; may be empty.
        text: Cow<'line, str>,
    },
    /// `# TYPE name kind`.
    Type {
        /// Name of the metric family.
        name: &'line str,
        /// Its type.
        kind: Kind,
    },
    /// A sample.
    Sample(Sample<'line>),
}

/// The types of the text format 0.0.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Only rises, apart from restarts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts in buckets: `_bucket`, `_sum`, `_count`.
    Histogram,
    /// Quantiles: the bare name, `_sum`, `_count`.
    Summary,
    /// Not known.
    Untyped,
}

/// One value of one series.
#[derive(Clone, PartialEq)]
pub struct Sample<'line> {
    /// The text `name{…}` exactly as the line has it, its first byte the name's and its last byte
    /// the name's or `}`: the key under which a series is recognised on the next page.
    pub series: &'line [u8],
    /// The metric's name.
    pub name: &'line str,
    /// The value; a NaN has the bits of [`NAN`](super::NAN).
    pub value: f64,
    /// Milliseconds since 1970, when the line has a timestamp.
    pub timestamp_ms: Option<i64>,
    pub(super) text: &'line str,
    pub(super) spans: Spans,
}

/// The labels of a sample in the line's order, see [`Sample::labels`].
#[derive(Clone, Debug)]
pub struct LabelPairs<'sample, 'line> {
    text: &'line str,
    pairs: slice::Iter<'sample, Pair>,
    escaped: bool,
}

/// Labels whose places a sample holds without an allocation: Flink writes up to twelve, and its
/// users add a few.
const LABELS_INLINE: usize = 16;

/// Where the labels of a sample stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) pairs: SmallVec<[Pair; LABELS_INLINE]>,
    /// Whether any label value holds a backslash.
    pub(super) escaped: bool,
}

/// Where a label stands in its line: half-open byte ranges of the name and of the text between
/// the quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) name: (u32, u32),
    pub(super) value: (u32, u32),
}

// === impl Kind ===

impl Kind {
    /// The word that stands in a TYPE line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }

    /// The kind that a TYPE line's last word names, in lower case only, as Prometheus reads it.
    pub(super) fn from_word(word: &[u8]) -> Option<Self> {
        let kinds = [Self::Counter, Self::Gauge, Self::Histogram, Self::Summary, Self::Untyped];
        kinds.into_iter().find(|kind| kind.as_str().as_bytes() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl Sample ===

impl<'line> Sample<'line> {
    /// The labels in the line's order, without `__name__`; a value is borrowed unless an escape
    /// had to be undone. Values may be empty.
    pub fn labels(&self) -> LabelPairs<'_, 'line> {
        LabelPairs { text: self.text, pairs: self.spans.pairs.iter(), escaped: self.spans.escaped }
    }

    /// Where the value of this label stands in the line, behind its quote, in bytes from 1.
    pub fn value_column(&self, label: &str) -> Option<usize> {
        let mut pairs = self.spans.pairs.iter();
        let pair = pairs.find(|pair| slice_of(self.text, pair.name) == label)?;
        Some(pair.value.0 as usize + 1)
    }
}

impl fmt::Debug for Sample<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("name", &self.name)
            .field("labels", &self.labels().collect::<Vec<_>>())
            .field("value", &self.value)
            .field("timestamp_ms", &self.timestamp_ms)
            .finish_non_exhaustive()
    }
}

// === impl LabelPairs ===

impl<'line> Iterator for LabelPairs<'_, 'line> {
    type Item = (&'line str, Cow<'line, str>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.pairs.next()?;
        let value = slice_of(self.text, pair.value);
        let value =
            if self.escaped { unescape(value, Escapes::Label) } else { Cow::Borrowed(value) };
        Some((slice_of(self.text, pair.name), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pairs.size_hint()
    }
}

impl ExactSizeIterator for LabelPairs<'_, '_> {}

#[inline]
fn slice_of(text: &str, (start, end): (u32, u32)) -> &str {
    text.get(start as usize..end as usize).expect("spans end beside ASCII bytes of their line")
}

/// Which escapes a text knows.
#[derive(Clone, Copy)]
pub(super) enum Escapes {
    /// Those of HELP: `\\` and `\n`.
    Help,
    /// Those of label values: `\\`, `\n` and `\"`.
    Label,
}

/// Undoes the escapes; a backslash before any other character stands for itself, as in
/// Prometheus (`lvalReplacer` and `helpReplacer` in model/textparse/promparse.go).
pub(super) fn unescape(text: &str, escapes: Escapes) -> Cow<'_, str> {
    match memchr(b'\\', text.as_bytes()) {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(unescaped(text, escapes)),
    }
}

#[cold]
fn unescaped(text: &str, escapes: Escapes) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match (chars.next(), escapes) {
            (Some('\\'), _) | (None, _) => plain.push('\\'),
            (Some('n'), _) => plain.push('\n'),
            (Some('"'), Escapes::Label) => plain.push('"'),
            (Some(other), _) => plain.extend(['\\', other]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_what_is_none_is_kept() {
        let check = |text: &str, label: &str, help: &str| {
            assert_eq!(unescape(text, Escapes::Label), label, "{text}");
            assert_eq!(unescape(text, Escapes::Help), help, "{text}");
        };
        check("", "", "");
        check("plain 日志", "plain 日志", "plain 日志");
        check(r"a\\b", r"a\b", r"a\b");
        check(r"a\nb", "a\nb", "a\nb");
        check(r#"a\"b"#, "a\"b", r#"a\"b"#);
        check(r"a\\nb", r"a\nb", r"a\nb");
        check(r"C:\temp\日", r"C:\temp\日", r"C:\temp\日");
        check(r"\t\\\", r"\t\\", r"\t\\");
        check(r"\x\n", "\\x\n", "\\x\n");
    }

    #[test]
    fn only_what_has_escapes_is_copied() {
        assert!(matches!(unescape("a b", Escapes::Label), Cow::Borrowed("a b")));
        assert!(matches!(unescape(r"a\n", Escapes::Label), Cow::Owned(_)));
    }

    #[test]
    fn kinds_are_words_in_lower_case() {
        let check = |word: &str, kind| assert_eq!(Kind::from_word(word.as_bytes()), kind, "{word}");
        check("counter", Some(Kind::Counter));
        check("gauge", Some(Kind::Gauge));
        check("histogram", Some(Kind::Histogram));
        check("summary", Some(Kind::Summary));
        check("untyped", Some(Kind::Untyped));
        for word in ["", "Gauge", "GAUGE", "gaug", "gauges", "unknown", "info", "stateset"] {
            check(word, None);
        }
    }
}
