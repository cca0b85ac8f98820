//! The grammar of one line. The productions stand above the functions that read them; each takes
//! the line and an index and returns the index after what it read.
//!
//! Invariant, the contract between the two ways to read a line. For each line that [`parse`]
//! accepts as a sample, [`split`] finds the same series text, and [`value`] of what follows gives
//! the same value and timestamp. Conversely a line is a good sample if its series text was
//! accepted before and [`value`] accepts the rest, because `parse` reads the series without
//! looking at what follows it, and `value` refuses everything that could have made the series
//! longer. (Both hold for lines within `line_bytes_max`.)

use memchr::{memchr2, memrchr};

use super::{
    Entry, Kind, Limits, Reason, Sample, SyntaxError,
    entry::{Escapes, Pair, Spans, unescape},
    value,
};
use crate::labels::METRIC_NAME;

/// The two halves of a sample's line, see [`split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'line> {
    /// The text that [`Sample::series`] holds, if the line is a sample.
    pub series: &'line [u8],
    /// What follows it, for [`value`].
    pub rest: &'line [u8],
}

/// Reads a line, which must not contain its line break.
pub fn parse<'line>(line: &'line [u8], limits: &Limits) -> Result<Entry<'line>, SyntaxError> {
    // Places in a line are kept in 32 bits.
    let bytes_max = limits.line_bytes_max.min(u32::MAX as usize);
    if line.len() > bytes_max {
        return Err(SyntaxError::at(Reason::LineTooLong, line, bytes_max));
    }
    let start = skip_blanks(line, 0);
    match line.get(start) {
        None => Ok(Entry::Blank),
        Some(b'#') => comment(line, start),
        Some(_) => sample(line, start, limits),
    }
}

/// Finds where the series ends without looking at its labels: at the last `}` or, without one, at
/// the first blank after the name. `None` when there is neither, so that the line has no value.
///
/// This is the fast way for a line whose series text [`parse`] has accepted before. On its own it
/// says nothing of whether the line is a sample.
#[inline]
pub fn split(line: &[u8]) -> Option<Split<'_>> {
    let start = skip_blanks(line, 0);
    let line = line.get(start..)?;
    let end = match memrchr(b'}', line) {
        Some(brace) => brace + 1,
        None => memchr2(b' ', b'\t', line)?,
    };
    let (series, rest) = line.split_at_checked(end)?;
    Some(Split { series, rest })
}

/// What a HELP or a TYPE is about, see [`skim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skimmed<'line> {
    /// Name of the metric family.
    pub family: &'line [u8],
    /// What TYPE says, `None` of a HELP.
    pub kind: Option<Kind>,
}

impl Skimmed<'_> {
    /// Where in the line the family's name begins.
    pub const FAMILY_AT: usize = "# HELP ".len();
}

/// Finds what a comment is about that [`parse`] has accepted as a HELP or a TYPE before. On its own it says nothing
/// of whether the line is one. `None` when blanks stand otherwise than reporters put them.
#[inline]
pub fn skim(line: &[u8]) -> Option<Skimmed<'_>> {
    let (head, rest) = line.split_at_checked(Skimmed::FAMILY_AT)?;
    let is_type = match head {
        b"# HELP " => false,
        b"# TYPE " => true,
        _ => return None,
    };
    let end = memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
    let (family, rest) = rest.split_at_checked(end).filter(|(family, _)| !family.is_empty())?;
    if !is_type {
        return Some(Skimmed { family, kind: None });
    }
    // No two types begin with the same letter.
    let kind = match rest.get(1)? {
        b'c' => Kind::Counter,
        b'g' => Kind::Gauge,
        b'h' => Kind::Histogram,
        b's' => Kind::Summary,
        b'u' => Kind::Untyped,
        _ => return None,
    };
    Some(Skimmed { family, kind: Some(kind) })
}

/// `blank*`
#[inline]
pub(super) fn skip_blanks(line: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(b' ' | b'\t') = line.get(at) {
        at += 1;
    }
    at
}

/// Index of the first blank from `start` on, or the end of the line.
#[inline]
pub(super) fn token_end(line: &[u8], start: usize) -> usize {
    let tail = line.get(start..).unwrap_or_default();
    start + tail.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(tail.len())
}

/// ```text
/// comment ::= '#' blank+ 'HELP' blank+ name (blank+ text)?
///           | '#' blank+ 'TYPE' blank+ name blank+ kind blank*
///           | '#' any*
/// ```
fn comment(line: &[u8], hash: usize) -> Result<Entry<'_>, SyntaxError> {
    let word = skip_blanks(line, hash + 1);
    let after_word = word + "HELP".len();
    let name_start = skip_blanks(line, after_word);
    let help = match line.get(word..after_word) {
        // `#HELP` and `# HELPFUL` are other comments, as Prometheus has it.
        _ if word == hash + 1 || name_start == after_word => return Ok(Entry::Comment),
        Some(b"HELP") => true,
        Some(b"TYPE") => false,
        _ => return Ok(Entry::Comment),
    };
    let name_end = metric_name_end(line, name_start);
    if name_end == name_start {
        return Err(SyntaxError::at(Reason::MetricName, line, name_start));
    }
    let text_start = skip_blanks(line, name_end);
    if text_start == name_end && text_start < line.len() {
        return Err(SyntaxError::at(Reason::MetricNameEnd, line, name_end));
    }
    let name = utf8(line, name_start, name_end)?;
    if help {
        let text = utf8(line, text_start, line.len())?;
        return Ok(Entry::Help { name, text: unescape(text, Escapes::Help) });
    }
    let kind_end = token_end(line, text_start);
    let kind = line.get(text_start..kind_end).and_then(Kind::from_word);
    match kind {
        Some(kind) if skip_blanks(line, kind_end) == line.len() => Ok(Entry::Type { name, kind }),
        _ => Err(SyntaxError::at(Reason::Kind, line, text_start)),
    }
}

/// `sample ::= series blank* number (blank+ timestamp)? blank*`
fn sample<'line>(
    line: &'line [u8],
    start: usize,
    limits: &Limits,
) -> Result<Entry<'line>, SyntaxError> {
    let text = utf8(line, 0, line.len())?;
    let name_end = metric_name_end(line, start);
    if name_end == start {
        return Err(SyntaxError::at(Reason::MetricName, line, start));
    }
    let mut spans = Spans::default();
    let after_name = skip_blanks(line, name_end);
    let series_end = match line.get(after_name) {
        Some(b'{') => labels(line, after_name + 1, limits, &mut spans)?,
        Some(_) if after_name == name_end => {
            return Err(SyntaxError::at(Reason::MetricNameEnd, line, name_end));
        }
        _ => name_end,
    };
    let rest = line.get(series_end..).unwrap_or_default();
    let (value, timestamp_ms) = value(rest).map_err(|error| error.after(series_end))?;
    Ok(Entry::Sample(Sample {
        series: line.get(start..series_end).unwrap_or_default(),
        name: text.get(start..name_end).unwrap_or_default(),
        value,
        timestamp_ms,
        text,
        spans,
    }))
}

/// `blank* (pair (blank* ','? blank* pair)* blank* (',' blank*)?)? '}'`, from after the `{`.
fn labels(
    line: &[u8],
    start: usize,
    limits: &Limits,
    spans: &mut Spans,
) -> Result<usize, SyntaxError> {
    let mut at = skip_blanks(line, start);
    while line.get(at) != Some(&b'}') {
        let (pair, end, escaped) = pair(line, at)?;
        if spans.pairs.len() >= limits.labels_max {
            return Err(SyntaxError::at(Reason::LabelsTooMany, line, at));
        }
        if stands_already(line, &pair, &spans.pairs) {
            return Err(SyntaxError::at(Reason::LabelDuplicate, line, at));
        }
        spans.pairs.push(pair);
        spans.escaped |= escaped;
        at = skip_blanks(line, end);
        if line.get(at) == Some(&b',') {
            at = skip_blanks(line, at + 1);
        }
    }
    Ok(at + 1)
}

/// Whether the label's name is that of an earlier label, or the one that the metric's name has.
#[inline]
fn stands_already(line: &[u8], pair: &Pair, earlier: &[Pair]) -> bool {
    let length = |pair: &Pair| pair.name.1 - pair.name.0;
    let name = |pair: &Pair| line.get(pair.name.0 as usize..pair.name.1 as usize);
    // Names of one length are rare enough that comparing lengths decides nearly always.
    earlier.iter().any(|earlier| length(earlier) == length(pair) && name(earlier) == name(pair))
        || name(pair) == Some(METRIC_NAME.as_bytes())
}

/// `pair ::= label blank* '=' blank* '"' ( '\' any | any except '\' and '"' )* '"'`
///
/// With it comes whether a backslash stands in its value.
fn pair(line: &[u8], name_start: usize) -> Result<(Pair, usize, bool), SyntaxError> {
    let name_end = label_name_end(line, name_start);
    if name_end == name_start {
        return Err(SyntaxError::at(Reason::LabelName, line, name_start));
    }
    let equals = skip_blanks(line, name_end);
    if line.get(equals) != Some(&b'=') {
        return Err(SyntaxError::at(Reason::LabelEquals, line, equals));
    }
    let quote = skip_blanks(line, equals + 1);
    if line.get(quote) != Some(&b'"') {
        return Err(SyntaxError::at(Reason::LabelQuote, line, quote));
    }
    let value_start = quote + 1;
    let (value_end, escaped) = value_end(line, value_start)
        .ok_or_else(|| SyntaxError::at(Reason::LabelUnterminated, line, quote))?;
    let name = span(name_start, name_end);
    let value = span(value_start, value_end);
    Ok((Pair { name, value }, value_end + 1, escaped))
}

/// Index of the `"` that ends a label value, and whether a backslash stands before it.
#[inline]
fn value_end(line: &[u8], start: usize) -> Option<(usize, bool)> {
    let (mut at, mut escaped) = (start, false);
    loop {
        at += memchr2(b'"', b'\\', line.get(at..)?)?;
        if line.get(at) == Some(&b'"') {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// Index after the longest metric name that begins at `start`; `start` when none does.
fn metric_name_end(line: &[u8], start: usize) -> usize {
    let tail = line.get(start..).unwrap_or_default();
    if tail.first().is_none_or(u8::is_ascii_digit) {
        return start;
    }
    // Flink's names are long, and the compiler checks a whole block with a few vector instructions.
    let blocks = tail.as_chunks::<16>().0;
    let is_name =
        |block: &&[u8; 16]| block.iter().fold(true, |all, byte| all & in_metric_name(*byte));
    let in_blocks = blocks.iter().take_while(is_name).count() * 16;
    let tail = tail.get(in_blocks..).unwrap_or_default();
    let in_tail = tail.iter().position(|byte| !in_metric_name(*byte));
    start + in_blocks + in_tail.unwrap_or(tail.len())
}

/// Index after the longest label name that begins at `start`; `start` when none does.
#[inline]
fn label_name_end(line: &[u8], start: usize) -> usize {
    let tail = line.get(start..).unwrap_or_default();
    if tail.first().is_none_or(u8::is_ascii_digit) {
        return start;
    }
    // A table, because comparisons would branch differently at each letter, digit and underscore.
    let in_name = |byte: &u8| IN_LABEL_NAME.get(usize::from(*byte)) == Some(&true);
    let length = tail.iter().position(|byte| !in_name(byte));
    start + length.unwrap_or(tail.len())
}

const fn in_metric_name(byte: u8) -> bool {
    in_label_name(byte) || byte == b':'
}

const fn in_label_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it and would refuse")]
const IN_LABEL_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = in_label_name(byte as u8);
        byte += 1;
    }
    table
};

fn utf8(line: &[u8], start: usize, end: usize) -> Result<&str, SyntaxError> {
    let bytes = line.get(start..end).unwrap_or_default();
    std::str::from_utf8(bytes)
        .map_err(|error| SyntaxError::at(Reason::Utf8, line, start + error.valid_up_to()))
}

fn span(start: usize, end: usize) -> (u32, u32) {
    let narrow = |at| u32::try_from(at).expect("`parse` refuses lines beyond 32 bits");
    (narrow(start), narrow(end))
}
