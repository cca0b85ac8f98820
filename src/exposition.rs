//! The Prometheus text format 0.0.4, read as a stream and without copying.
//!
//! ```text
//! chunks of a page -> Lines -> Line -> parse -> Entry       a line that is seen for the first time
//!                                   -> split, value         a line whose series text was parsed before
//!                                   -> skim                 a HELP or TYPE that was parsed before
//!
//! page    ::= (line '\r'? '\n')* (line '\r'?)?
//! line    ::= blank* (comment | sample)?
//! comment ::= '#' blank+ 'HELP' blank+ name (blank+ text)?
//!           | '#' blank+ 'TYPE' blank+ name blank+ kind blank*
//!           | '#' any*                                    (what is neither of the above)
//! sample  ::= series blank* number (blank+ timestamp)? blank*
//! series  ::= name                                        (then a blank must follow)
//!           | name blank* '{' blank* (pair (blank* ','? blank* pair)* blank* (',' blank*)?)? '}'
//! pair    ::= label blank* '=' blank* '"' ( '\' any | any except '\' and '"' )* '"'
//! name    ::= [a-zA-Z_:][a-zA-Z0-9_:]*      label     ::= [a-zA-Z_][a-zA-Z0-9_]*
//! blank   ::= ' ' | '\t'                    timestamp ::= [+-]?[0-9]+       (milliseconds, 64 bits)
//! kind    ::= 'counter' | 'gauge' | 'histogram' | 'summary' | 'untyped'
//! number  ::= 'nan' | [+-]? ('inf' | 'infinity')                            (in any case)
//!           | [+-]? ([0-9]+ '.'? [0-9]* | '.' [0-9]+) ([eE] [+-]? [0-9]+)?  (finite as an f64)
//! ```
//!
//! The grammar follows Prometheus' own scraper (`model/textparse` in prometheus/prometheus), which
//! is laxer than the format's description: commas between labels may be missing, and a backslash
//! before a character that needs no escape stands for itself. Where the description and
//! `expfmt/text_parse.go` in prometheus/common are laxer still, they win: leading blanks, several
//! blanks between tokens, blanks after a type, a sign before a timestamp. Hexadecimal numbers,
//! underscores in numbers and numbers too large for an `f64` are refused, as Prometheus does.
//! Deliberately different: `foo+1` is not the sample `foo` of value 1, a line break ends a label
//! value that has no closing quote, `# HELP a-b` is a bad name, not a HELP for `a`, and `\r\n`
//! ends a line.
//!
//! Invariants: this module knows nothing of Flink, configuration or time. A bad line is data, a
//! [`Fault`] with its place and reason, and costs no other line. How a page is cut into chunks
//! changes nothing. Memory is bounded by [`Limits`]. A value is never the staleness marker.

mod entry;
mod fault;
mod fuzz;
mod lines;
mod number;
mod parse;

pub use entry::{Entry, Kind, LabelPairs, Sample};
pub use fault::{Fault, Reason, SyntaxError};
#[doc(hidden)]
pub use fuzz::fuzz_page;
pub use lines::{Limits, Line, Lines, PageTooLarge, Reader};
pub use number::{NAN, value, value_to_end};
pub use parse::{Skimmed, Split, parse, skim, split};

/// What stands on a whole page, see [`page`].
#[derive(Clone, Debug, Default)]
pub struct Page<'page> {
    /// The good lines with their numbers, in the page's order, blank lines and comments included.
    pub entries: Vec<(u64, Entry<'page>)>,
    /// The bad lines, in the page's order.
    pub faults: Vec<Fault>,
}

impl<'page> Page<'page> {
    /// The samples of the page, in its order.
    pub fn samples(&self) -> impl Iterator<Item = &Sample<'page>> {
        self.entries.iter().filter_map(|(_, entry)| match entry {
            Entry::Sample(sample) => Some(sample),
            _ => None,
        })
    }
}

/// Reads a page that is in memory as a whole: for tools and tests, a scrape feeds [`Lines`].
pub fn page<'page>(bytes: &'page [u8], limits: &Limits) -> Result<Page<'page>, PageTooLarge> {
    let mut page = Page::default();
    let mut take = |line: Result<Line<'_>, Fault>| {
        let parsed = line.and_then(|line| {
            // The same bytes, borrowed from the page instead of from the splitter.
            let text = usize::try_from(line.offset)
                .ok()
                .and_then(|start| bytes.get(start..)?.get(..line.bytes.len()))
                .expect("the whole page was fed, so every line lies inside it");
            let entry = parse(text, limits).map_err(|error| line.fault(error))?;
            Ok((line.number, entry))
        });
        match parsed {
            Ok(entry) => page.entries.push(entry),
            Err(fault) => page.faults.push(fault),
        }
    };
    let mut lines = Lines::new(*limits);
    lines.feed(bytes, &mut take)?;
    lines.finish(&mut take);
    Ok(page)
}
