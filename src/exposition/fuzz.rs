//! What must hold for any bytes: the body of the fuzz target `fuzz/fuzz_targets/page.rs`, which
//! the tests run on the committed corpus and on random pages.

use std::collections::HashSet;

use super::{Entry, Fault, Limits, Line, Lines, Sample, Skimmed, page, parse, skim, split, value};

/// A line that a splitter reported, owning its text.
type Seen = Result<(u64, u64, Vec<u8>), Fault>;

/// Lines that are put together here may exceed the usual limit.
const LONG_LINES: Limits =
    Limits { line_bytes_max: usize::MAX, labels_max: 128, page_bytes_max: u64::MAX };

/// Reads `data` as a page in several ways and panics when they disagree or an invariant of this
/// module does not hold.
pub fn fuzz_page(data: &[u8]) {
    let tight = Limits { line_bytes_max: 24, labels_max: 2, page_bytes_max: 200 };
    for limits in [Limits::default(), tight] {
        chunks_change_nothing(data, limits);
        lines_are_the_page(data, limits);
    }
    each_line_is_one_entry_or_fault(data);
    split_agrees_with_parse(data);
    data.split(|byte| *byte == b'\n').for_each(skim_agrees_with_parse);
}

fn chunks_change_nothing(data: &[u8], limits: Limits) {
    let whole = seen(data.chunks(data.len().max(1)), limits);
    assert_eq!(whole, seen(data.chunks(1), limits), "byte by byte");
    // Sizes that the data itself decides, so that a fuzzer can steer the cuts.
    let mut rest = data;
    let cut = std::iter::from_fn(|| {
        let size = usize::from(*rest.first()? % 64).min(rest.len());
        let (chunk, tail) = rest.split_at(size.max(1));
        rest = tail;
        Some(chunk)
    });
    assert_eq!(whole, seen(cut, limits), "in chunks");
}

/// What a splitter reports, whether the page was too large, and its counts.
fn seen<'page>(
    chunks: impl Iterator<Item = &'page [u8]>,
    limits: Limits,
) -> (Vec<Seen>, bool, u64, u64) {
    let mut seen = Vec::new();
    let mut take = |line: Result<Line<'_>, Fault>| {
        seen.push(line.map(|line| (line.number, line.offset, line.bytes.to_vec())));
    };
    let mut lines = Lines::new(limits);
    // An empty chunk between any two must not matter either.
    let mut chunks = chunks.flat_map(|chunk| [chunk, &[]]);
    let fed = chunks.try_for_each(|chunk| lines.feed(chunk, &mut take));
    lines.finish(&mut take);
    (seen, fed.is_err(), lines.bytes(), lines.lines())
}

fn lines_are_the_page(data: &[u8], limits: Limits) {
    let (seen, too_large, bytes, lines) = seen(std::iter::once(data), limits);
    let size = data.len() as u64;
    assert_eq!(too_large, size > limits.page_bytes_max);
    assert_eq!(bytes, size.min(limits.page_bytes_max));
    assert_eq!(lines, seen.len() as u64);

    // The same lines, cut by the standard library.
    let mut expected = data.split(|byte| *byte == b'\n').collect::<Vec<_>>();
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    assert!(if too_large { seen.len() <= expected.len() } else { seen.len() == expected.len() });
    let mut offset = 0;
    for (number, (seen, text)) in (1..).zip(seen.iter().zip(expected)) {
        let bytes = text.strip_suffix(b"\r").unwrap_or(text);
        match seen {
            Ok(line) => assert_eq!(*line, (number, offset, bytes.to_vec())),
            Err(fault) => {
                assert!(bytes.len() > limits.line_bytes_max);
                assert_eq!(fault.line, number);
                assert_eq!(fault.offset, offset + limits.line_bytes_max as u64);
            }
        }
        offset += text.len() as u64 + 1;
    }
}

fn each_line_is_one_entry_or_fault(data: &[u8]) {
    let limits = Limits::default();
    let Ok(page) = page(data, &limits) else {
        return assert!(data.len() as u64 > limits.page_bytes_max);
    };
    let mut numbers = page.entries.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    numbers.extend(page.faults.iter().map(|fault| fault.line));
    numbers.sort_unstable();
    let (seen, ..) = seen(std::iter::once(data), limits);
    assert!(numbers.iter().copied().eq(1..=seen.len() as u64), "{numbers:?}");

    for fault in &page.faults {
        let at = usize::try_from(fault.offset).ok().and_then(|offset| data.get(offset));
        assert!(fault.found.is_none_or(|found| at == Some(&found)), "{fault:?}");
    }
    for sample in page.samples() {
        let mut names = HashSet::from(["__name__"]);
        assert!(sample.labels().all(|(name, _)| names.insert(name)), "{sample:?}");
        assert!(sample.labels().len() <= limits.labels_max);
        assert!(!sample.value.is_nan() || sample.value.to_bits() == super::NAN.to_bits());
        printed_again_reads_the_same(sample);
    }
}

fn printed_again_reads_the_same(sample: &Sample<'_>) {
    let mut line = format!("{}{{", sample.name);
    for (name, value) in sample.labels() {
        let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        line.extend([name, "=\"", &value, "\","]);
    }
    line.push_str(&format!("}} {}", sample.value));
    if let Some(timestamp_ms) = sample.timestamp_ms {
        line.push_str(&format!(" {timestamp_ms}"));
    }
    let Ok(Entry::Sample(again)) = parse(line.as_bytes(), &LONG_LINES) else {
        unreachable!("{line:?} was printed from {sample:?}");
    };
    assert_eq!(again.name, sample.name);
    assert!(again.labels().eq(sample.labels()), "{again:?} and {sample:?}");
    assert_eq!(again.value.to_bits(), sample.value.to_bits());
    assert_eq!(again.timestamp_ms, sample.timestamp_ms);
}

fn split_agrees_with_parse(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').take(64).collect::<Vec<_>>();
    let mut accepted = HashSet::new();
    for line in &lines {
        let Ok(Entry::Sample(sample)) = parse(line, &LONG_LINES) else { continue };
        accepted.insert(sample.series);
        same_by_split(line, &sample);
    }
    // Any accepted series before any rest: known series text and a good value are enough.
    for rest in lines.iter().filter_map(|line| Some(split(line)?.rest)) {
        for series in &accepted {
            agrees_on(&[series, rest].concat(), &accepted);
        }
    }
    for line in lines {
        agrees_on(line, &accepted);
    }
}

fn agrees_on(line: &[u8], accepted: &HashSet<&[u8]>) {
    let Some(found) = split(line) else { return };
    if accepted.contains(found.series) && value(found.rest).is_ok() {
        let Ok(Entry::Sample(sample)) = parse(line, &LONG_LINES) else {
            unreachable!("the fast way accepts {:?}", line.escape_ascii().to_string());
        };
        same_by_split(line, &sample);
    }
}

/// The contract between the two ways to read a comment.
fn skim_agrees_with_parse(line: &[u8]) {
    let Some(Skimmed { family, kind }) = skim(line) else { return };
    let parsed = match parse(line, &LONG_LINES) {
        Ok(Entry::Help { name, .. }) => Some((name.as_bytes(), None)),
        Ok(Entry::Type { name, kind }) => Some((name.as_bytes(), Some(kind))),
        Ok(_) => None,
        Err(_) => return,
    };
    assert_eq!(Some((family, kind)), parsed);
}

fn same_by_split(line: &[u8], sample: &Sample<'_>) {
    let found = split(line).expect("a sample has a value after its series");
    assert_eq!(found.series, sample.series);
    let (number, timestamp_ms) = value(found.rest).expect("the value of a sample");
    assert_eq!(number.to_bits(), sample.value.to_bits());
    assert_eq!(timestamp_ms, sample.timestamp_ms);
}
