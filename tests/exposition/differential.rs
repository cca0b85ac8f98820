//! The same samples as the crate prometheus-parse 0.2.5 on real pages, where that crate is right.
//!
//! Left out, because the crate cuts labels at each `,`, `=` and `}` and undoes no escapes: samples
//! with `,`, `=`, `}`, `"` or `\` in a label value. Left out as well: names with `:` (it knows
//! `\w+`) and empty braces. It regroups summaries and histograms, so their TYPE lines are kept from
//! it and their samples compared one by one.

use std::collections::HashMap;

use flinkrelay::exposition::{Entry, Kind, Limits, Sample, page};
use prometheus_parse::{Scrape, Value};

use crate::pages::pages;

fn within_its_competence(sample: &Sample<'_>) -> bool {
    !sample.name.contains(':')
        && !sample.series.ends_with(b"{}")
        && sample.labels().all(|(_, value)| !value.contains([',', '=', '}', '"', '\\', '\n']))
}

/// The page as prometheus-parse gets it, and the samples that it should find, with their type.
fn prepare<'page>(
    bytes: &'page [u8],
    entries: &'page [(u64, Entry<'page>)],
) -> (Vec<String>, Vec<(&'page Sample<'page>, Kind)>) {
    let text = std::str::from_utf8(bytes).expect("real pages are UTF-8");
    let by_number =
        entries.iter().map(|(number, entry)| (*number, entry)).collect::<HashMap<_, _>>();
    let (mut lines, mut samples, mut kinds) = (Vec::new(), Vec::new(), HashMap::new());
    for (number, line) in (1..).zip(text.lines()) {
        // A line that is a fault here, such as a sample with a label name twice, is left out.
        match by_number.get(&number) {
            Some(Entry::Type { kind: Kind::Summary | Kind::Histogram, .. }) | None => continue,
            Some(Entry::Type { name, kind }) => drop(kinds.insert(*name, *kind)),
            Some(Entry::Sample(sample)) if within_its_competence(sample) => {
                samples.push((sample, kinds.get(sample.name).copied().unwrap_or(Kind::Untyped)));
            }
            Some(Entry::Sample(_)) => continue,
            Some(_) => {}
        }
        lines.push(line.to_owned());
    }
    (lines, samples)
}

#[test]
fn the_same_samples_as_prometheus_parse() {
    let (mut compared, mut left_out, mut helps) = (0, 0, 0);
    for (name, bytes) in pages() {
        let page = page(&bytes, &Limits::default()).expect("a page within the limit");
        let (lines, samples) = prepare(&bytes, &page.entries);
        let scrape = Scrape::parse(lines.into_iter().map(Ok)).expect("lines in memory");
        assert_eq!(scrape.samples.len(), samples.len(), "{name}");
        for ((ours, kind), theirs) in samples.iter().zip(&scrape.samples) {
            assert_eq!(ours.name, theirs.metric, "{name}");
            let labels = ours.labels().map(|(name, value)| (name.to_owned(), value.into_owned()));
            assert_eq!(labels.collect::<HashMap<_, _>>(), *theirs.labels, "{name}: {ours:?}");
            let (value, same_kind) = match theirs.value {
                Value::Counter(value) => (value, *kind == Kind::Counter),
                Value::Gauge(value) => (value, *kind == Kind::Gauge),
                Value::Untyped(value) => (value, *kind == Kind::Untyped),
                Value::Histogram(_) | Value::Summary(_) => panic!("{name}: regrouped {theirs:?}"),
            };
            assert!(same_kind, "{name}: {ours:?} is {kind}, there {:?}", theirs.value);
            let same_value = value.to_bits() == ours.value.to_bits();
            assert!(same_value || value.is_nan() && ours.value.is_nan(), "{name}: {ours:?}");
            assert_eq!(ours.timestamp_ms, None, "no page of Flink has timestamps");
        }
        for (_, entry) in &page.entries {
            if let Entry::Help { name: family, text } = entry {
                assert_eq!(scrape.docs.get(*family).map(|doc| &**doc), Some(&**text), "{name}");
                helps += 1;
            }
        }
        compared += samples.len();
        left_out += page.samples().count() - samples.len();
    }
    println!("{compared} samples compared, {left_out} left out, {helps} HELP texts compared");
    assert!(compared >= 6000, "only {compared} samples were compared");
    assert!(helps >= 1500, "only {helps} HELP texts were compared");
    assert!(left_out <= compared / 5, "{left_out} samples were left out");
}
