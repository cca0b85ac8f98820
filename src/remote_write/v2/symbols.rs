//! The texts of one target, each with a number, and series made of these numbers.
//!
//! Numbers are given once and stay, so that a series that is known costs no hashing. Texts of series
//! that are gone stay too, until they are more than those in use: then all numbers are given anew
//! ([`Symbols::settle`]), which a [`Series`] notices by the generation it is of.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::{About, symbol_len};
use crate::{
    labels::Labels,
    remote_write::{proto::metric_metadata::MetricType, v1},
};

/// Texts with their numbers; the empty text has number 0.
#[derive(Debug)]
pub struct Symbols {
    texts: Vec<Box<str>>,
    numbers: HashTable<u32>,
    generation: u32,
    /// Texts after the first scrape of this generation.
    texts_at_first: usize,
}

/// One series as numbers of a target's [`Symbols`].
#[derive(Clone, Debug)]
pub struct Series {
    generation: u32,
    /// Name, value, name, value …, sorted by name.
    pub(super) labels: Box<[u32]>,
    pub(super) kind: MetricType,
    pub(super) help: u32,
    pub(super) unit: u32,
    /// Bytes of its labels in remote write 1.0.
    pub(super) block_len: usize,
}

impl Default for Symbols {
    fn default() -> Self {
        Self::of_generation(1)
    }
}

impl Symbols {
    fn of_generation(generation: u32) -> Self {
        let mut symbols =
            Self { texts: Vec::new(), numbers: HashTable::new(), generation, texts_at_first: 0 };
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

    /// Ends a scrape. Numbers all texts anew from the next one on when most of them may be of series
    /// that are gone, so that the texts of a job that restarts for weeks do not pile up.
    pub fn settle(&mut self) {
        if self.texts_at_first == 0 {
            self.texts_at_first = self.texts.len();
        } else if self.texts.len() > 2 * self.texts_at_first + TEXTS_SPARE {
            // A generation that comes again after 2^32 others finds no series that old.
            *self = Self::of_generation(self.generation.wrapping_add(1));
        }
    }
}

/// More texts than twice those of the first scrape that may stay: small targets are left alone.
const TEXTS_SPARE: usize = 1024;

fn text_of(texts: &[Box<str>], number: u32) -> &str {
    texts.get(number as usize).map_or("", |text| text)
}

impl Series {
    /// A series with these labels, which must be sorted ([`Labels::sort`]).
    pub fn new(symbols: &mut Symbols, labels: &Labels<'_>, about: &About) -> Self {
        debug_assert!(labels.iter().is_sorted_by(|a, b| a.0 < b.0), "{labels}");
        let mut numbers = Vec::with_capacity(2 * labels.len());
        for (name, value) in labels.iter() {
            numbers.extend([symbols.number(name), symbols.number(value)]);
        }
        Self {
            generation: symbols.generation,
            labels: numbers.into(),
            kind: about.kind,
            help: symbols.number(&about.help),
            unit: symbols.number(&about.unit),
            block_len: v1::labels_block_len(labels),
        }
    }

    /// Whether its numbers are those of `symbols` as they are now.
    pub const fn is_of(&self, symbols: &Symbols) -> bool {
        self.generation == symbols.generation
    }

    /// The texts it is made of, as numbers.
    pub(super) fn texts(&self) -> impl Iterator<Item = u32> + '_ {
        self.labels.iter().copied().chain([self.help, self.unit])
    }

    /// Bytes of its texts in a request that has none of them yet.
    pub(super) fn texts_len(&self, symbols: &Symbols) -> usize {
        self.texts().map(|number| symbol_len(symbols.text(number))).sum()
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
        let limit = 2 * symbols.len() + TEXTS_SPARE;
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
}
