//! Each page under `tests/pages`, real answers of Flink's reporter, summed up for a person to read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use flinkrelay::exposition::{Entry, Limits, fuzz_page, page};

/// Each page with its path below `tests/pages`, in order.
pub(crate) fn pages() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages");
    let below = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).expect("a directory of pages");
        entries.map(|entry| entry.expect("a directory entry").path()).collect()
    };
    let files = below(&root).into_iter().filter(|path| path.is_dir()).flat_map(|path| below(&path));
    let mut pages = files
        .filter(|path| path.extension().is_some_and(|extension| extension != "json"))
        .map(|path| {
            let name = path.strip_prefix(&root).expect("it lies below").display().to_string();
            (name, fs::read(&path).expect("a page"))
        })
        .collect::<Vec<_>>();
    pages.sort();
    pages
}

#[derive(Default)]
struct Summary {
    samples: usize,
    bare_samples: usize,
    timestamps: usize,
    escaped_values: usize,
    names: BTreeSet<String>,
    helps: BTreeSet<String>,
    kinds: BTreeMap<&'static str, usize>,
    labels: BTreeMap<String, (usize, BTreeSet<String>)>,
    labels_most: usize,
    values: BTreeMap<&'static str, usize>,
    sum: f64,
    others: usize,
}

impl Summary {
    fn add(&mut self, entry: &Entry<'_>) {
        let sample = match entry {
            Entry::Blank | Entry::Comment => return self.others += 1,
            Entry::Help { name, .. } => {
                self.helps.insert((*name).to_owned());
                return;
            }
            Entry::Type { kind, .. } => return *self.kinds.entry(kind.as_str()).or_default() += 1,
            Entry::Sample(sample) => sample,
        };
        self.samples += 1;
        self.bare_samples += usize::from(sample.labels().len() == 0);
        self.timestamps += usize::from(sample.timestamp_ms.is_some());
        self.names.insert(sample.name.to_owned());
        self.labels_most = self.labels_most.max(sample.labels().len());
        for (name, value) in sample.labels() {
            self.escaped_values += usize::from(matches!(value, std::borrow::Cow::Owned(_)));
            let (count, values) = self.labels.entry(name.to_owned()).or_default();
            *count += 1;
            values.insert(value.into_owned());
        }
        let class = match sample.value {
            value if value.is_nan() => "NaN",
            f64::INFINITY => "+Inf",
            f64::NEG_INFINITY => "-Inf",
            0.0 => "zero",
            value if value < 0.0 => "negative",
            _ => "positive",
        };
        *self.values.entry(class).or_default() += 1;
        if sample.value.is_finite() {
            self.sum += sample.value;
        }
    }

    fn show(&self, bytes: usize, lines: usize) -> String {
        let mut text = String::new();
        let mut line = |fact: std::fmt::Arguments<'_>| writeln!(text, "{fact}").expect("a String");
        line(format_args!("{bytes} bytes, {lines} lines, {} blank or comment", self.others));
        line(format_args!("{} samples of {} names", self.samples, self.names.len()));
        line(format_args!(
            "{} without labels, {} with timestamp",
            self.bare_samples, self.timestamps
        ));
        line(format_args!("values {:?}, sum of the finite {:e}", self.values, self.sum));
        line(format_args!("{} HELP, TYPE {:?}", self.helps.len(), self.kinds));
        line(format_args!(
            "at most {} labels, {} values escaped",
            self.labels_most, self.escaped_values
        ));
        for (name, (count, values)) in &self.labels {
            let longest = values.iter().max_by_key(|value| value.len()).map_or("", |value| value);
            let shown = longest.chars().take(60).collect::<String>();
            line(format_args!(
                "  {name}: {count} times, {} values, longest {shown:?}",
                values.len()
            ));
        }
        text
    }
}

#[test]
fn every_page_has_its_summary() {
    let pages = pages();
    assert!(pages.len() >= 16, "only {} pages found", pages.len());
    for (name, bytes) in pages {
        let page = page(&bytes, &Limits::default()).expect("a page within the limit");
        let mut summary = Summary::default();
        page.entries.iter().for_each(|(_, entry)| summary.add(entry));
        let lines = page.entries.len() + page.faults.len();
        let mut text = summary.show(bytes.len(), lines);
        writeln!(text, "{} faults", page.faults.len()).expect("a String");
        for fault in &page.faults {
            writeln!(text, "  {fault}").expect("a String");
        }
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(name.replace('/', "__"), text);
        });
    }
}

#[test]
fn the_laws_hold_on_every_page() {
    for (_, bytes) in pages() {
        // The head of each page: the laws are checked byte by byte.
        fuzz_page(&bytes[..bytes.len().min(40_000)]);
    }
}
