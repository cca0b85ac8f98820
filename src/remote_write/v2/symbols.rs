//! The texts of one target, each with a number, and series made of these numbers.
//!
//! A series is a few *runs* of labels, most of which it shares with other series, as the parts of a
//! [`v1::Block`]. Texts and runs get their numbers once, so a series that is known
//! costs no hashing and is a few numbers long. Texts of series that are gone stay too, until they are more
//! than those in use: then all numbers are given anew ([`Symbols::settle`]), which a [`Run`] and a
//! [`Noted`] notice by the generation they are of.

use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::{About, symbol_len};
use crate::{
    labels::Labels,
    remote_write::{proto::metric_metadata::MetricType, v1},
};

/// Texts and runs with their numbers; the empty text has number 0.
#[derive(Debug)]
pub struct Symbols {
    texts: Vec<Box<str>>,
    numbers: HashTable<u32>,
    runs: Vec<RunAt>,
    /// The texts of all runs, as numbers.
    run_texts: Vec<u32>,
    run_numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    generation: u32,
    /// Texts and runs after the first scrape of this generation.
    at_first: usize,
}

/// Where a run's texts are, name, value, name, value …, sorted by name.
#[derive(Clone, Copy, Debug)]
struct RunAt {
    begin: u32,
    end: u32,
    /// Bytes of its labels in remote write 1.0.
    block_len: u32,
}

/// Some labels of a series, as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// 0 is that of no symbols.
    generation: u32,
    pub(super) at: u32,
}

/// What is known of a family, as numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noted {
    generation: u32,
    pub(super) kind: MetricType,
    pub(super) help: u32,
    pub(super) unit: u32,
}

/// One series as numbers of a target's [`Symbols`].
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// Its labels, one run after the other.
    pub(super) labels: [Run; v1::PARTS],
    pub(super) about: Noted,
}

impl Default for Symbols {
    fn default() -> Self {
        Self::of_generation(1)
    }
}

impl Symbols {
    fn of_generation(generation: u32) -> Self {
        let mut symbols = Self {
            texts: Vec::new(),
            numbers: HashTable::new(),
            runs: Vec::new(),
            run_texts: Vec::new(),
            run_numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            generation,
            at_first: 0,
        };
        let empty = symbols.number("");
        debug_assert_eq!(empty, 0, "the first text");
        symbols
    }

    /// The number of a text, given now if it has none.
    pub fn number(&mut self, text: &str) -> u32 {
        let Self { texts, numbers, .. } = self;
        let hash = |&number: &u32| xxh3_64(text_of(texts, number).as_bytes());
        let same = |&number: &u32| text_of(texts, number) == text;
        let found = numbers.entry(xxh3_64(text.as_bytes()), same, hash);
        let next = u32::try_from(texts.len()).expect("a page has less than 2^32 texts");
        let number = *found.or_insert(next).get();
        if number == next {
            texts.push(text.into());
        }
        number
    }

    /// The text with that number; empty when no text has it.
    pub fn text(&self, number: u32) -> &str {
        text_of(&self.texts, number)
    }

    /// How many texts have a number; the numbers are below that.
    pub const fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether only the empty text has a number.
    pub const fn is_empty(&self) -> bool {
        self.texts.len() <= 1
    }

    /// The number of these labels, given now if they have none; they are in the order of names.
    pub fn run(&mut self, labels: &Labels<'_>) -> Run {
        let begin = self.run_texts.len();
        for (name, value) in labels.iter() {
            let (name, value) = (self.number(name), self.number(value));
            self.run_texts.extend([name, value]);
        }
        let Self { runs, run_texts, run_numbers, hasher, generation, .. } = self;
        let new = run_texts.get(begin..).unwrap_or_default();
        let hash = |&at: &u32| hasher.hash_one(texts_of(runs, run_texts, at));
        let same = |&at: &u32| texts_of(runs, run_texts, at) == new;
        let next = u32::try_from(runs.len()).expect("a page has less than 2^32 runs of labels");
        let at = *run_numbers.entry(hasher.hash_one(new), same, hash).or_insert(next).get();
        if at == next {
            let position = |len: usize| u32::try_from(len).expect("far less than 2^32 labels");
            let (begin, end) = (position(begin), position(run_texts.len()));
            let block_len = position(v1::labels_block_len(labels));
            runs.push(RunAt { begin, end, block_len });
        } else {
            run_texts.truncate(begin);
        }
        Run { generation: *generation, at }
    }

    /// What is known of a family, its texts as numbers.
    pub fn note(&mut self, about: &About) -> Noted {
        let (help, unit) = (self.number(&about.help), self.number(&about.unit));
        Noted { generation: self.generation, kind: about.kind, help, unit }
    }

    /// How many runs have a number; the numbers are below that.
    pub(super) const fn runs_len(&self) -> usize {
        self.runs.len()
    }

    /// The texts of a run, as numbers.
    pub(super) fn texts_of(&self, run: Run) -> &[u32] {
        texts_of(&self.runs, &self.run_texts, run.at)
    }

    /// Bytes of a series' labels in remote write 1.0.
    pub(super) fn block_len(&self, series: &Series) -> usize {
        let len = |run: Run| self.runs.get(run.at as usize).map_or(0, |run| run.block_len as usize);
        series.labels.into_iter().map(len).sum()
    }

    /// Bytes of a series' texts in a request that has none of them yet.
    pub(super) fn texts_len(&self, series: &Series) -> usize {
        let labels = series.labels.iter().flat_map(|&run| self.texts_of(run)).copied();
        let texts = labels.chain([series.about.help, series.about.unit]);
        texts.map(|number| symbol_len(self.text(number))).sum()
    }

    /// Ends a scrape. Numbers everything anew from the next one on when most of it may be of series
    /// that are gone, so that the texts of a job that restarts for weeks do not pile up.
    pub fn settle(&mut self) {
        let all = self.texts.len() + self.runs.len();
        if self.at_first == 0 {
            self.at_first = all;
        } else if all > 2 * self.at_first + SPARE {
            // A generation that comes again after 2^32 others finds no series that old.
            *self = Self::of_generation(self.generation.wrapping_add(1).max(1));
        }
    }
}

/// More texts and runs than twice those of the first scrape that may stay: small targets are left alone.
const SPARE: usize = 1024;

fn text_of(texts: &[Box<str>], number: u32) -> &str {
    texts.get(number as usize).map_or("", |text| text)
}

fn texts_of<'a>(runs: &[RunAt], run_texts: &'a [u32], at: u32) -> &'a [u32] {
    let run = runs.get(at as usize);
    run.and_then(|run| run_texts.get(run.begin as usize..run.end as usize)).unwrap_or_default()
}

impl Run {
    /// Whether its number is one of `symbols` as they are now.
    pub const fn is_of(&self, symbols: &Symbols) -> bool {
        self.generation == symbols.generation
    }
}

impl Noted {
    /// Whether its numbers are those of `symbols` as they are now.
    pub const fn is_of(&self, symbols: &Symbols) -> bool {
        self.generation == symbols.generation
    }
}

impl Series {
    /// A series with these labels, which must be sorted ([`Labels::sort`]).
    pub fn new(symbols: &mut Symbols, labels: &Labels<'_>, about: &About) -> Self {
        debug_assert!(labels.iter().is_sorted_by(|a, b| a.0 < b.0), "{labels}");
        let no_labels = symbols.run(&Labels::new());
        let mut runs = [no_labels; v1::PARTS];
        if let Some(first) = runs.first_mut() {
            *first = symbols.run(labels);
        }
        Self { labels: runs, about: symbols.note(about) }
    }

    /// A series of which all parts have numbers of the same symbols.
    pub const fn of(labels: [Run; v1::PARTS], about: Noted) -> Self {
        Self { labels, about }
    }

    /// Whether its numbers are those of `symbols` as they are now.
    pub fn is_of(&self, symbols: &Symbols) -> bool {
        self.labels.iter().all(|run| run.is_of(symbols)) && self.about.is_of(symbols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_number() {
        let mut symbols = Symbols::default();
        assert!(symbols.is_empty());
        let texts = ["", "job", "日志清洗", "job", "x", ""];
        assert_eq!(texts.map(|text| symbols.number(text)), [0, 1, 2, 1, 3, 0]);
        assert_eq!(
            [0, 1, 2, 3, 4].map(|number| symbols.text(number)),
            ["", "job", "日志清洗", "x", ""]
        );
        assert_eq!((symbols.len(), symbols.is_empty()), (4, false));
    }

    #[test]
    fn texts_of_the_past_are_forgotten_and_series_notice() {
        let mut symbols = Symbols::default();
        let about = About::kind(MetricType::Gauge);
        let labels: Labels<'_> = [("job", "flink")].into_iter().collect();
        let series = Series::new(&mut symbols, &labels, &about);
        symbols.settle();
        let limit = 2 * (symbols.len() + symbols.runs_len()) + SPARE - symbols.runs_len();
        let mut job = 0;
        while symbols.len() <= limit {
            assert!(series.is_of(&symbols), "after {job} jobs");
            symbols.number(&format!("job {job}"));
            job += 1;
            if symbols.len() <= limit {
                symbols.settle();
            }
        }
        symbols.settle();
        assert!(symbols.is_empty() && !series.is_of(&symbols));
        // What is in use may be much more than at first, and is not numbered anew at each scrape.
        for text in 0..10 * limit {
            symbols.number(&text.to_string());
        }
        let all = symbols.len();
        symbols.settle();
        symbols.settle();
        assert_eq!(symbols.len(), all);
    }

    #[test]
    fn labels_keep_their_number_and_other_labels_have_another() {
        let mut symbols = Symbols::default();
        let labels = |pairs: &[(&'static str, &'static str)]| pairs.iter().copied().collect();
        let one: Labels<'_> = labels(&[("a", "b"), ("c", "d")]);
        let run = symbols.run(&one);
        assert_eq!((symbols.len(), symbols.texts_of(run)), (5, &[1, 2, 3, 4][..]));
        for other in [labels(&[("a", "b")]), labels(&[("a", "d"), ("c", "b")]), labels(&[])] {
            let other = symbols.run(&other);
            assert_ne!(other, run);
            assert_eq!(symbols.run(&one), run);
        }
        assert_eq!((symbols.runs_len(), symbols.run_texts.len()), (4, 4 + 2 + 4));
    }

    #[test]
    fn combinations_of_known_texts_pile_up_no_more_than_texts() {
        let mut symbols = Symbols::default();
        let texts: Vec<String> = (0..100).map(|text| format!("t{text}")).collect();
        for text in &texts {
            symbols.number(text);
        }
        symbols.settle();
        let mut most = 0;
        for name in &texts {
            for value in &texts {
                symbols.run(&[(name.as_str(), value.as_str())].into_iter().collect());
                symbols.settle();
                most = most.max(symbols.runs_len());
            }
        }
        assert!((SPARE..2 * SPARE).contains(&most), "{most} runs at most");
    }
}
