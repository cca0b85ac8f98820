//! Pages read by expectation and line by line come to the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{
    exposition::{Fault, Limits, Line, Lines, Reader},
    flink::GroupFilter,
    labels::Labels,
    series::{Shaper, Tally, View},
};

const NOW: i64 = 1_000;

/// What a page came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    tally: Tally,
    /// Labels, timestamp, bits of the value; in the order of the page.
    samples: Vec<(Vec<u8>, i64, u64)>,
    stale: BTreeSet<Vec<u8>>,
    /// Lines that could not be taken: where, and why.
    errors: Vec<(u64, String)>,
    lines: u64,
}

/// A target whose pages are read in one of the two ways.
struct Target {
    tracker: Tracker,
    lines: Lines,
    by_expectation: bool,
    /// Lines that were read by expectation.
    known: u32,
    errors: Vec<(u64, String)>,
}

impl Reader for Target {
    fn read_known(&mut self, text: &[u8]) -> Option<usize> {
        if !self.by_expectation {
            return None;
        }
        let known = self.tracker.observe_known(text, NOW)?;
        self.known += 1;
        Some(known.len)
    }

    fn read(&mut self, line: Result<Line<'_>, Fault>) {
        let (offset, error) = match line {
            Ok(line) => match self.tracker.observe(line.bytes, NOW) {
                Ok(_) => return,
                Err(error) => (line.offset, error.to_string()),
            },
            Err(fault) => {
                self.tracker.observe_unreadable();
                (fault.offset, fault.to_string())
            }
        };
        self.errors.push((offset, error));
    }
}

impl Target {
    /// Without the groups `excluded`.
    fn new(by_expectation: bool, excluded: &[&str]) -> Self {
        let limits = Limits { line_bytes_max: 60, ..Limits::default() };
        let excluded: Vec<String> = excluded.iter().map(|&group| group.to_owned()).collect();
        let groups = GroupFilter::try_new(&[], &excluded).unwrap();
        let view = View {
            max_samples_per_send: 1000,
            metadata_interval: None,
            external_labels: BTreeMap::new(),
            write_relabel_configs: Vec::new(),
            limits: crate::series::Limits::default(),
        };
        let shaper = Shaper { groups, views: Arc::from([view]), ..Shaper::plain() };
        let tracker = Tracker::new(shaper.into(), Labels::new());
        let errors = Vec::new();
        Self { tracker, lines: Lines::new(limits), by_expectation, known: 0, errors }
    }

    fn scrape(&mut self, page: &[u8], cut: usize, good: bool) -> Outcome {
        self.tracker.begin();
        let mut lines = std::mem::replace(&mut self.lines, Lines::new(Limits::default()));
        lines.reset();
        for chunk in page.chunks(cut) {
            lines.read(chunk, self).unwrap();
        }
        let (mut last, mut read) = (Vec::new(), lines.lines());
        lines.finish(|line| last.push(line.map(|line| (line.bytes.to_vec(), line.offset))));
        for line in last {
            read += 1;
            self.read(line.as_ref().map_err(|fault| *fault).map(|(bytes, offset)| Line {
                bytes,
                number: read,
                offset: *offset,
            }));
        }
        self.lines = lines;
        let tracker = &mut self.tracker;
        let (tally, samples) = if good {
            let tally = tracker.close(NOW);
            let samples = tracker.samples(0).map(|(b, ms, v)| (b.to_vec(), ms, v.to_bits()));
            (tally, samples.collect())
        } else {
            tracker.abort();
            (Tally::default(), Vec::new())
        };
        let stale = if good {
            tracker.stale(0).map(|block| block.to_vec()).collect()
        } else {
            tracker.live(0).map(|block| block.to_vec()).collect()
        };
        if good {
            tracker.forget_stale();
        } else {
            tracker.forget_live();
        }
        Outcome { tally, samples, stale, errors: std::mem::take(&mut self.errors), lines: read }
    }
}

/// Series of all forms, some of which begin as others do or differ in blanks alone.
const SERIES: [&str; 12] = [
    "up",
    "up_",
    "up{}",
    "up{a=\"1\"}",
    "up{a=\"2\"}",
    "up{a=\"2\"} ",
    "up {a=\"2\"}",
    "  up{b=\"x} 1\\n\"}",
    "flink_taskmanager_job_task_operator_broken{host=\"a\",tm_id=\"a b\"}",
    "flink_taskmanager_Status_JVM_CPU_Load{host=\"a\"}",
    "1",
    "# up",
];

/// What may stand behind a series, good and bad.
const REST: [&str; 16] = [
    " 1.0",
    " -0",
    " 1.5E7",
    "\t7",
    "  3",
    " NaN",
    " 0.1 77",
    " 5 ",
    " 9.2233720368547758E18",
    "",
    " ",
    " x",
    " 1.0x",
    " 1 2 3",
    "} 1",
    " 1e999",
];

fn any_line() -> impl Strategy<Value = String> {
    let good =
        (any::<Index>(), 0..7_usize).prop_map(|(series, rest)| (series.index(SERIES.len()), rest));
    let any = (0..SERIES.len(), 0..REST.len());
    (
        prop_oneof![6 => good, 1 => any],
        prop_oneof![8 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\n\n")],
    )
        .prop_map(|((series, rest), end)| format!("{}{}{end}", SERIES[series], REST[rest]))
}

/// A page; the next one is the same with other values, or with some lines cut out, moved or new.
#[derive(Clone, Debug)]
enum Change {
    Values(Vec<usize>),
    Remove(Index),
    Move(Index, Index),
    Insert(Index, String),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => proptest::collection::vec(0..REST.len(), 1..4).prop_map(Change::Values),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Move(from, to)),
        1 => (any::<Index>(), any_line()).prop_map(|(at, line)| Change::Insert(at, line)),
    ]
}

fn change(page: &mut Vec<String>, change: &Change) {
    match change {
        Change::Values(rests) => {
            for (line, rest) in page.iter_mut().zip(rests.iter().cycle()) {
                if let Some(series) = SERIES.iter().rev().find(|s| line.starts_with(**s)) {
                    *line = format!("{series}{}\n", REST[*rest]);
                }
            }
        }
        Change::Remove(at) if !page.is_empty() => drop(page.remove(at.index(page.len()))),
        Change::Move(from, to) if !page.is_empty() => {
            let line = page.remove(from.index(page.len()));
            page.insert(to.index(page.len() + 1), line);
        }
        Change::Insert(at, line) => page.insert(at.index(page.len() + 1), line.clone()),
        Change::Remove(_) | Change::Move(..) => {}
    }
}

proptest! {
    #[test]
    fn both_ways_to_read_a_page_come_to_the_same(
        first in proptest::collection::vec(any_line(), 0..10),
        changes in proptest::collection::vec((any_change(), 1..200_usize, proptest::bool::weighted(0.9)), 1..12),
        ends in any::<bool>(),
        filtered in any::<bool>(),
    ) {
        let excluded: &[&str] = if filtered { &["custom"] } else { &[] };
        let [mut plain, mut quick] = [false, true].map(|quick| Target::new(quick, excluded));
        let mut page = first;
        for (next, cut, good) in changes {
            let text = page.concat();
            let text = if ends { text.as_str() } else { text.trim_end_matches('\n') };
            let expected = plain.scrape(text.as_bytes(), cut, good);
            prop_assert_eq!(quick.scrape(text.as_bytes(), cut, good), expected, "{:?}", text);
            change(&mut page, &next);
        }
        prop_assert_eq!(plain.known, 0);
    }
}

#[test]
fn the_order_is_learnt_and_kept_to() {
    let mut target = Target::new(true, &[]);
    let mut check = |page: &str, known: u32| {
        target.known = 0;
        target.scrape(page.as_bytes(), 1 << 10, true);
        assert_eq!(target.known, known, "{page}");
    };
    check("a 1\nb 2\nc 3\n", 0);
    check("a 4\nb 5.5E3\nc NaN\n", 3);
    // `b` is found by its text; then the new order is known.
    check("a 1\nc 2\nb 3\n", 1);
    check("a 1\nc 2\nb 3\n", 3);
    check("a 1\nn 1\nc 2\nb 3\n", 2);
    check("a 1\nn 1\nc 2\nb 3 77\r\n", 4);
    // A value that is bad is for `observe`, which tells it.
    check("a 1\nn x\nc 2\nb 3\n", 3);
    // It had no sample, so it is new again.
    check("a 1\nn 1\nc 2\nb 3\n", 2);
}

#[test]
fn the_value_of_a_line_that_is_left_out_is_not_looked_at() {
    const LOAD: &str = "flink_taskmanager_Status_JVM_CPU_Load";
    for by_expectation in [false, true] {
        let mut target = Target::new(by_expectation, &["custom"]);
        let mut check = |rest: &str, dropped: Dropped, errors: usize| {
            target.known = 0;
            let page = format!("{LOAD} 1\nup{rest}\n{LOAD}{{a=\"1\"}} 2\n");
            let outcome = target.scrape(page.as_bytes(), 1 << 10, true);
            assert_eq!(outcome.tally.dropped.of(dropped), 1, "{page}");
            assert_eq!(outcome.tally.dropped.total(), 1, "{page}");
            let scraped: u64 = outcome.tally.groups.iter().map(|(_, group)| group.scraped).sum();
            assert_eq!(scraped, 3 - errors as u64, "{page}");
            assert_eq!((outcome.samples.len(), outcome.errors.len()), (2, errors), "{page}");
            target.known
        };
        // It is a line like any other when it is new.
        check(" x", Dropped::Syntax, 1);
        check(" 1", Dropped::Group, 0);
        for rest in [" 2", " x", "\t", " 1 2 3", " 1e999\r", " \r"] {
            let known = check(rest, Dropped::Group, 0);
            assert_eq!(known, if by_expectation { 3 } else { 0 }, "{rest:?}");
        }
        // Where its series ends is.
        check(" 1 }", Dropped::Syntax, 1);
        check(" 1", Dropped::Group, 0);
        check("", Dropped::Syntax, 1);
    }
}

#[test]
fn the_end_of_a_line_that_is_left_out_keeps_to_the_limit() {
    for by_expectation in [false, true] {
        let mut target = Target::new(by_expectation, &["custom"]);
        target.scrape(b"up 1\nup_ 1\n", 1 << 10, true);
        let mut check = |len: usize, end: &str, dropped: Dropped| {
            let page = format!("up {}{end}up_ 2\n", "7".repeat(len - 3));
            let tally = target.scrape(page.as_bytes(), 1 << 10, true).tally;
            assert_eq!((tally.scraped, tally.dropped.of(dropped)), (2, 1 + u64::from(len <= 60)));
        };
        check(60, "\n", Dropped::Group);
        check(60, "\r\n", Dropped::Group);
        check(61, "\n", Dropped::Syntax);
    }
}
