//! Cuts a page that arrives in chunks into lines.
//!
//! A line inside one chunk is borrowed from it; only a line that spans chunks is copied, into one
//! buffer that is reused. A line above the limit is reported once, at its end, and what lies
//! beyond the limit is never buffered.
//!
//! Invariants: the sequence of lines depends on the bytes alone, not on how they are cut into
//! chunks; `carry.len() <= line_bytes_max + 1`; `bytes <= page_bytes_max`.

use memchr::memchr;

use super::{Entry, Fault, Reason, SyntaxError, parse};
use crate::limits;

/// How much of a page is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line in bytes, its line break not counted; a longer one is a fault.
    pub line_bytes_max: usize,
    /// Most labels of a sample; a sample with more is a fault.
    pub labels_max: usize,
    /// Most bytes of a page, line breaks included; a larger page is an error.
    pub page_bytes_max: u64,
}

/// A line of a page, without its line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'page> {
    /// The text, without `\n` or `\r\n`.
    pub bytes: &'page [u8],
    /// Its number, from 1.
    pub number: u64,
    /// Offset of its first byte in the page, from 0.
    pub offset: u64,
}

/// Who reads the lines of a page and knows some of them.
pub trait Reader {
    /// `text` begins with a line. A reader that knows how the line goes, without looking for its end, may
    /// take it: it returns its length, the line break included. `None`, and the line is found and
    /// handed to [`Reader::read`].
    fn read_known(&mut self, text: &[u8]) -> Option<usize>;

    /// Takes a line, or what is wrong with it.
    fn read(&mut self, line: Result<Line<'_>, Fault>);
}

/// A reader that knows no line.
struct Each<F>(F);

impl<F: FnMut(Result<Line<'_>, Fault>)> Reader for Each<F> {
    #[inline]
    fn read_known(&mut self, _: &[u8]) -> Option<usize> {
        None
    }

    fn read(&mut self, line: Result<Line<'_>, Fault>) {
        (self.0)(line);
    }
}

/// The page has more bytes than [`Limits::page_bytes_max`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the page is larger than the limit of {limit} bytes")]
pub struct PageTooLarge {
    /// The limit.
    pub limit: u64,
}

/// The incremental line splitter, one for each page that is being read.
#[derive(Debug)]
pub struct Lines {
    limits: Limits,
    /// The line that has begun but not ended, as far as the limit allows.
    carry: Vec<u8>,
    /// Whether that line is known to be too long, so that `carry` does not hold all of it.
    too_long: bool,
    too_large: bool,
    lines: u64,
    bytes: u64,
    /// Offset of the first byte of the line that has begun, or will begin next.
    line_offset: u64,
}

/// Capacity that a splitter keeps for the next page: several times a usual line, and little
/// enough for a thousand targets.
const CARRY_KEPT_BYTES: usize = 8 << 10;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes_max: limits::LINE_BYTES_MAX,
            labels_max: limits::LABELS_MAX,
            page_bytes_max: limits::PAGE_BYTES_MAX,
        }
    }
}

// === impl Line ===

impl<'page> Line<'page> {
    /// Parses the line; an error carries the line's place in the page.
    pub fn parse(&self, limits: &Limits) -> Result<Entry<'page>, Fault> {
        parse(self.bytes, limits).map_err(|error| self.fault(error))
    }

    /// The fault of this line that `error` describes.
    pub const fn fault(&self, error: SyntaxError) -> Fault {
        let SyntaxError { reason, column, found } = error;
        Fault { offset: self.offset + column as u64 - 1, line: self.number, column, reason, found }
    }
}

// === impl Lines ===

impl Lines {
    /// A splitter at the beginning of a page.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            carry: Vec::new(),
            too_long: false,
            too_large: false,
            lines: 0,
            bytes: 0,
            line_offset: 0,
        }
    }

    /// Takes the next chunk and calls `on_line` for each line that ends in it.
    ///
    /// # Errors
    /// As [`Lines::read`].
    pub fn feed(
        &mut self,
        chunk: &[u8],
        on_line: impl FnMut(Result<Line<'_>, Fault>),
    ) -> Result<(), PageTooLarge> {
        self.read(chunk, &mut Each(on_line))
    }

    /// Takes the next chunk and has each line read that ends in it.
    ///
    /// # Errors
    /// An error says that the page is too large. The lines that end within the limit have been
    /// reported by then, and no other will be.
    pub fn read(&mut self, chunk: &[u8], reader: &mut impl Reader) -> Result<(), PageTooLarge> {
        let room = self.limits.page_bytes_max - self.bytes;
        let within = usize::try_from(room).map_or(chunk.len(), |room| room.min(chunk.len()));
        let (within, beyond) = chunk.split_at(within);
        self.bytes += within.len() as u64;

        let mut rest = within;
        loop {
            while !self.line_has_begun()
                && let Some(taken) = self.skip_known(rest, reader)
            {
                rest = taken;
            }
            let Some(end) = memchr(b'\n', rest) else { break };
            let (piece, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            self.end_line(piece, self.bytes - rest.len() as u64, reader);
        }
        self.keep(rest);

        self.too_large |= !beyond.is_empty();
        if self.too_large {
            return Err(PageTooLarge { limit: self.limits.page_bytes_max });
        }
        Ok(())
    }

    /// Ends the page: reports a last line that no line break ends.
    pub fn finish(&mut self, on_line: impl FnMut(Result<Line<'_>, Fault>)) {
        // A page that was cut at the limit has no last line, only a piece of one.
        if self.line_has_begun() && !self.too_large {
            self.end_line(&[], self.bytes, &mut Each(on_line));
        }
    }

    /// Begins a new page with the same limits.
    pub fn reset(&mut self) {
        let mut carry = std::mem::take(&mut self.carry);
        carry.clear();
        carry.shrink_to(CARRY_KEPT_BYTES);
        *self = Self { carry, ..Self::new(self.limits) };
    }

    /// Bytes taken so far, never above the limit.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lines reported so far, bad ones included.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    const fn line_has_begun(&self) -> bool {
        !self.carry.is_empty() || self.too_long
    }

    /// Has the reader take the line at the head of `text` if it knows it; returns what follows it.
    #[inline]
    fn skip_known<'text>(
        &mut self,
        text: &'text [u8],
        reader: &mut impl Reader,
    ) -> Option<&'text [u8]> {
        // No line above the limit is known, whatever stands behind its series.
        let longest = self.limits.line_bytes_max.saturating_add(1);
        let len = reader.read_known(text.get(..longest).unwrap_or(text))?;
        let (line, rest) = text.split_at_checked(len)?;
        debug_assert_eq!(memchr(b'\n', line), Some(len - 1), "one line, to its end");
        self.lines += 1;
        self.line_offset += len as u64;
        Some(rest)
    }

    /// Reports the line that ends with `piece`; the next one begins at `next_offset`.
    fn end_line(&mut self, piece: &[u8], next_offset: u64, reader: &mut impl Reader) {
        let begun = self.line_has_begun();
        if begun {
            self.keep(piece);
        }
        let text = if begun { &*self.carry } else { piece };
        let bytes = text.strip_suffix(b"\r").unwrap_or(text);
        self.lines += 1;
        let line = Line { bytes, number: self.lines, offset: self.line_offset };
        let max = self.limits.line_bytes_max;
        if self.too_long || bytes.len() > max {
            let (reason, column) = (Reason::LineTooLong, max + 1);
            reader.read(Err(line.fault(SyntaxError { reason, column, found: None })));
        } else {
            reader.read(Ok(line));
        }
        self.line_offset = next_offset;
        self.carry.clear();
        self.too_long = false;
    }

    /// Appends to the line that has begun, unless that makes it too long whatever follows.
    fn keep(&mut self, piece: &[u8]) {
        // One byte more than the limit, because it may be the `\r` of a line break.
        let room = self.limits.line_bytes_max.saturating_add(1) - self.carry.len();
        self.too_long |= piece.len() > room;
        self.carry.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { line_bytes_max: 5, labels_max: 2, page_bytes_max: 30 };

    /// One line of the result a line: `number@offset text`, or the fault.
    fn read(lines: &mut Lines, chunks: &[&str]) -> (Vec<String>, Result<(), PageTooLarge>) {
        let mut seen = Vec::new();
        let mut take = |line: Result<Line<'_>, Fault>| {
            seen.push(match line {
                Ok(line) => {
                    format!("{}@{} {}", line.number, line.offset, line.bytes.escape_ascii())
                }
                Err(fault) => format!("@{} {fault}", fault.offset),
            });
        };
        let fed = chunks.iter().try_for_each(|chunk| lines.feed(chunk.as_bytes(), &mut take));
        lines.finish(&mut take);
        (seen, fed)
    }

    fn check(chunks: &[&str], expect: &[&str]) {
        let (seen, fed) = read(&mut Lines::new(SMALL), chunks);
        assert_eq!(seen, expect, "{chunks:?}");
        assert_eq!(fed, Ok(()), "{chunks:?}");
    }

    #[test]
    fn lines_end_at_newlines_wherever_chunks_end() {
        check(&[], &[]);
        check(&["", ""], &[]);
        check(&["\n"], &["1@0 "]);
        check(&["a"], &["1@0 a"]);
        check(&["a\n"], &["1@0 a"]);
        check(&["a", "\n"], &["1@0 a"]);
        check(&["a\nb", "c", "\n\nd"], &["1@0 a", "2@2 bc", "3@5 ", "4@6 d"]);
        check(&["a\r\nb\r", "\nc\r"], &["1@0 a", "2@3 b", "3@6 c"]);
        check(&["a\rb\r\r\n"], &["1@0 a\\rb\\r"]);
        check(&["\r\n", "\r", "\n"], &["1@0 ", "2@2 "]);
    }

    #[test]
    fn a_line_too_long_is_one_fault_and_the_next_line_is_read() {
        let fault = "@7 line 2, column 6: the line is longer than the limit allows";
        let page = "1\n2345678\n12345\n";
        let expect = ["1@0 1", fault, "3@10 12345"];
        check(&[page], &expect);
        for cut in 0..=page.len() {
            check(&[&page[..cut], &page[cut..]], &expect);
        }
        check(&["1\n23456", "7", "8", "\n12345\r\n"], &expect);
        check(&["123456"], &["@5 line 1, column 6: the line is longer than the limit allows"]);
        // The `\r` of a line break does not count; any other does.
        check(&["12345\r", "\n"], &["1@0 12345"]);
        check(&["12345\rx\n"], &["@5 line 1, column 6: the line is longer than the limit allows"]);
        check(
            &["12345\r", "x\n"],
            &["@5 line 1, column 6: the line is longer than the limit allows"],
        );
    }

    #[test]
    fn what_lies_beyond_the_line_limit_is_not_buffered() {
        let mut lines = Lines::new(Limits { page_bytes_max: u64::MAX, ..SMALL });
        for _ in 0..1000 {
            lines.feed(&[b'x'; 1000], |_| panic!("no line has ended")).unwrap();
        }
        assert_eq!(lines.carry.len(), 6);
        assert!(lines.carry.capacity() < 100);
        assert_eq!((lines.bytes(), lines.lines()), (1_000_000, 0));
        let mut faults = 0;
        lines.finish(|line| faults += usize::from(line.is_err()));
        assert_eq!((faults, lines.lines()), (1, 1));
    }

    #[test]
    fn a_page_too_large_ends_at_the_limit_and_stays_ended() {
        let too_large = Err(PageTooLarge { limit: 30 });
        let page = "1234\n".repeat(6);
        assert_eq!(read(&mut Lines::new(SMALL), &[&page]).1, Ok(()));
        let page = format!("{page}9");
        for cut in 0..page.len() {
            let mut lines = Lines::new(SMALL);
            let (seen, fed) = read(&mut lines, &[&page[..cut], &page[cut..]]);
            assert_eq!((seen.len(), fed), (6, too_large), "{seen:?}");
            assert_eq!(lines.bytes(), 30);
            assert_eq!(read(&mut lines, &["\n1\n"]), (Vec::new(), too_large));
        }
        let (seen, _) = read(&mut Lines::new(SMALL), &["1\n2\n", &"3".repeat(27)]);
        assert_eq!(seen, ["1@0 1", "2@2 2"], "the piece of a line at the limit is not a line");
    }

    #[test]
    fn reset_begins_a_new_page() {
        let mut lines = Lines::new(SMALL);
        assert!(lines.feed(&[b'x'; 31], |_| ()).is_err());
        lines.reset();
        assert_eq!((lines.bytes(), lines.lines()), (0, 0));
        assert_eq!(read(&mut lines, &["a\nb"]), (vec!["1@0 a".into(), "2@2 b".into()], Ok(())));
    }
}
