//! What one receiver took in: every sample once, twice, too late or never.
//!
//! A scrape is known by its target and its timestamp, which all its samples share. For each the ledger
//! counts; for each series it keeps a bit per page. 20 targets of 5,000 samples for ten minutes are 4 MB.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::{
    targets::{Target, place},
    wire::{self, Sink},
};

/// The bits of a staleness marker, by the specification of remote write.
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// How many faults are told with their words.
const FAULTS_MAX: usize = 20;

/// All that one receiver holds.
pub(crate) struct Ledger {
    /// Index of a target by its label `instance`.
    targets: HashMap<String, usize>,
    taken: Vec<Taken>,
    sums: Sums,
    /// What breaks the protocol or was changed on the way.
    faults: Vec<String>,
    /// Type, help and unit by metric family.
    metadata: BTreeMap<String, (u64, String, String)>,
}

/// What arrived of one target.
struct Taken {
    scrapes: BTreeMap<i64, Scrape>,
    series: Vec<Series>,
    /// The relay's own series of the target, by name: their timestamps.
    own: BTreeMap<String, BTreeSet<i64>>,
}

/// What arrived of one scrape.
#[derive(Clone, Default)]
struct Scrape {
    page: Option<usize>,
    /// Samples of the page, each counted once.
    samples: u64,
    /// Samples of the relay's own series, each counted once.
    own: u64,
    /// Samples that had arrived before.
    duplicates: u64,
    /// When the first and the last new sample arrived.
    first_ms: i64,
    last_ms: i64,
    /// Whether a request that held some of it was taken and never answered.
    unanswered: bool,
}

/// Which pages have arrived, for one series.
#[derive(Clone, Default)]
struct Series {
    newest_page: usize,
    pages: Vec<u64>,
}

/// Sums over everything.
#[derive(Default)]
struct Sums {
    requests_1: u64,
    requests_2: u64,
    bytes: u64,
    samples: u64,
    own: u64,
    duplicates: u64,
    out_of_order: u64,
    markers: u64,
    faults: u64,
}

/// One request that is being taken.
struct Taking<'ledger> {
    ledger: &'ledger mut Ledger,
    now_ms: i64,
    answered: bool,
}

impl Ledger {
    pub(crate) fn new(targets: &[Target]) -> Self {
        let taken = |target: &Target| Taken {
            scrapes: BTreeMap::new(),
            series: vec![Series::default(); target.series],
            own: BTreeMap::new(),
        };
        let index = targets.iter().enumerate().map(|(i, target)| (target.instance.clone(), i));
        Self {
            targets: index.collect(),
            taken: targets.iter().map(taken).collect(),
            sums: Sums::default(),
            faults: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }

    /// Takes a decompressed body. `answered` is whether the relay will hear of it.
    ///
    /// # Errors
    /// A body that breaks off or breaks the schema; what came before counts as taken.
    pub(crate) fn take(
        &mut self,
        body: &[u8],
        is_2: bool,
        now_ms: i64,
        answered: bool,
    ) -> anyhow::Result<()> {
        let mut taking = Taking { ledger: self, now_ms, answered };
        let read =
            if is_2 { wire::read_2(body, &mut taking) } else { wire::read_1(body, &mut taking) };
        if let Err(error) = &read {
            self.fault(format!("a body that cannot be read: {error}"));
        }
        read
    }

    /// Counts a request and its compressed bytes.
    pub(crate) fn count(&mut self, is_2: bool, bytes: usize) {
        *(if is_2 { &mut self.sums.requests_2 } else { &mut self.sums.requests_1 }) += 1;
        self.sums.bytes += bytes as u64;
    }

    /// All samples so far: new ones, duplicates and markers.
    pub(crate) fn samples_seen(&self) -> u64 {
        self.sums.samples + self.sums.own + self.sums.duplicates + self.sums.markers
    }

    /// What is wrong with what the relay sent.
    pub(crate) fn fault(&mut self, words: String) {
        self.sums.faults += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(words);
        }
    }

    /// The sums alone.
    pub(crate) fn sums(&self) -> Value {
        let Sums { requests_1, requests_2, bytes, samples, own, duplicates, .. } = self.sums;
        let Sums { out_of_order, markers, faults, .. } = self.sums;
        json!({
            "requests_1": requests_1, "requests_2": requests_2, "bytes": bytes,
            "samples": samples, "own": own, "duplicates": duplicates,
            "out_of_order": out_of_order, "markers": markers, "faults": faults,
        })
    }

    /// Everything: the sums, and per target what was asked for and what arrived, scrape by scrape.
    pub(crate) fn facts(&self, targets: &[Target]) -> Value {
        let facts = targets.iter().zip(&self.taken).map(|(target, taken)| {
            let asked_ms = target.asked_ms();
            json!({
                "instance": target.instance,
                "series": target.series,
                "gaps_max": taken.series.iter().map(|s| s.gaps(asked_ms.len())).max(),
                "asked_ms": asked_ms,
                "scrapes": taken.scrapes.iter().map(scrape_facts).collect::<Vec<_>>(),
                "own": taken.own.iter().map(|(n, t)| (n, t.len())).collect::<BTreeMap<_, _>>(),
            })
        });
        json!({
            "targets": facts.collect::<Vec<_>>(),
            "sums": self.sums(),
            "faults": self.faults,
            "metadata": self.metadata,
        })
    }
}

fn scrape_facts((timestamp_ms, scrape): (&i64, &Scrape)) -> Value {
    json!({
        "timestamp_ms": timestamp_ms, "page": scrape.page,
        "samples": scrape.samples, "own": scrape.own, "duplicates": scrape.duplicates,
        "first_ms": scrape.first_ms, "last_ms": scrape.last_ms, "unanswered": scrape.unanswered,
    })
}

impl<'body> Sink<'body> for Taking<'_> {
    fn sample(&mut self, labels: &[(&'body str, &'body str)], value: f64, timestamp_ms: i64) {
        if !labels.is_sorted_by(|a, b| a.0 < b.0) {
            self.ledger.fault(format!("labels out of order or double: {labels:?}"));
        }
        if value.to_bits() == STALE_NAN {
            self.ledger.sums.markers += 1;
            return;
        }
        let label =
            |wanted| labels.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        let target = label("instance").and_then(|i| self.ledger.targets.get(i)).copied();
        let (Some(target), Some(name)) = (target, label("__name__")) else {
            self.ledger.fault(format!("a series of no target: {labels:?}"));
            return;
        };
        let taken = match label("series") {
            Some(series) => self.of_page(target, series, value, timestamp_ms),
            None => {
                self.own(target, name, timestamp_ms);
                Ok(())
            }
        };
        if let Err(words) = taken {
            self.ledger.fault(format!("{words}: {value} at {timestamp_ms} of {labels:?}"));
        }
    }

    fn metadata(&mut self, family: &'body str, kind: u64, help: &'body str, unit: &'body str) {
        let known = self.ledger.metadata.get(family);
        if known.is_none_or(|(k, h, u)| (*k, h.as_str(), u.as_str()) != (kind, help, unit)) {
            let metadata = (kind, help.to_owned(), unit.to_owned());
            self.ledger.metadata.insert(family.to_owned(), metadata);
        }
    }
}

impl Taking<'_> {
    /// A sample of a page.
    fn of_page(
        &mut self,
        target: usize,
        series: &str,
        value: f64,
        timestamp_ms: i64,
    ) -> Result<(), &'static str> {
        let (page, index) = place(value).ok_or("a value that no page has")?;
        if series.parse() != Ok(index) {
            return Err("another series' value");
        }
        let Ledger { taken, sums, .. } = &mut *self.ledger;
        let taken = taken.get_mut(target).ok_or("no such target")?;
        let of_series = taken.series.get_mut(index).ok_or("no such series")?;
        let scrape = taken.scrapes.entry(timestamp_ms).or_default();
        if scrape.page.replace(page).is_some_and(|before| before != page) {
            return Err("two pages at one time");
        }
        if of_series.insert(page) {
            scrape.samples += 1;
            sums.samples += 1;
            sums.out_of_order += u64::from(page < of_series.newest_page);
            scrape.arrived(self.now_ms);
        } else {
            scrape.duplicates += 1;
            sums.duplicates += 1;
        }
        scrape.unanswered |= !self.answered;
        of_series.newest_page = of_series.newest_page.max(page);
        Ok(())
    }

    /// A sample of a series that the relay writes about the target.
    fn own(&mut self, target: usize, name: &str, timestamp_ms: i64) {
        let Ledger { taken, sums, .. } = &mut *self.ledger;
        let Some(taken) = taken.get_mut(target) else { return };
        if !taken.own.contains_key(name) {
            taken.own.insert(name.to_owned(), BTreeSet::new());
        }
        let Some(times) = taken.own.get_mut(name) else { return };
        let scrape = taken.scrapes.entry(timestamp_ms).or_default();
        let newest_ms = times.last().copied();
        if times.insert(timestamp_ms) {
            scrape.own += 1;
            sums.own += 1;
            sums.out_of_order += u64::from(newest_ms.is_some_and(|newest| timestamp_ms < newest));
            scrape.arrived(self.now_ms);
        } else {
            scrape.duplicates += 1;
            sums.duplicates += 1;
        }
        scrape.unanswered |= !self.answered;
    }
}

impl Scrape {
    fn arrived(&mut self, now_ms: i64) {
        if self.first_ms == 0 {
            self.first_ms = now_ms;
        }
        self.last_ms = now_ms;
    }
}

impl Series {
    /// Whether it was not there before.
    fn insert(&mut self, page: usize) -> bool {
        let (word, bit) = (page / 64, 1 << (page % 64));
        if self.pages.len() <= word {
            self.pages.resize(word + 1, 0);
        }
        let Some(word) = self.pages.get_mut(word) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// How many times the series breaks off, over the pages 1 to `pages`.
    fn gaps(&self, pages: usize) -> usize {
        let has = |page: usize| {
            self.pages.get(page / 64).is_some_and(|word| word & (1 << (page % 64)) != 0)
        };
        (1..=pages).filter(|page| !has(*page) && (*page == 1 || has(page - 1))).count()
    }
}

#[cfg(test)]
mod tests {
    use flinkrelay::remote_write::{
        proto::{Label, Sample, TimeSeries, WriteRequest},
        proto_v2,
    };
    use prost::Message as _;

    use super::{Ledger, STALE_NAN};
    use crate::targets::{SERIES_MAX, Target};

    fn value(page: usize, series: usize) -> f64 {
        (page * SERIES_MAX + series) as f64
    }

    /// One sample of the target on port 1.
    fn body(labels: &[(&str, &str)], value: f64, timestamp: i64) -> Vec<u8> {
        let label =
            |(name, value): &(&str, &str)| Label { name: (*name).into(), value: (*value).into() };
        let mut labels: Vec<_> = labels.iter().map(label).collect();
        labels.push(Label { name: "instance".into(), value: "127.0.0.1:1".into() });
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        let series = TimeSeries { labels, samples: vec![Sample { value, timestamp }] };
        WriteRequest { timeseries: vec![series], ..Default::default() }.encode_to_vec()
    }

    fn ledger() -> (Ledger, Vec<Target>) {
        let targets = vec![Target::new(1, 3)];
        (Ledger::new(&targets), targets)
    }

    /// Takes samples of series 1, each a page and a time, and returns one of the sums.
    #[track_caller]
    fn check(pages: &[(usize, i64)], sum: &str, expect: u64) {
        let (mut ledger, _) = ledger();
        for (page, timestamp) in pages {
            let body = body(&[("__name__", "a"), ("series", "1")], value(*page, 1), *timestamp);
            ledger.take(&body, false, 5, true).unwrap();
        }
        assert_eq!(
            ledger.sums().get(sum).and_then(serde_json::Value::as_u64),
            Some(expect),
            "{sum}"
        );
    }

    #[test]
    fn each_sample_counts_once() {
        check(&[(1, 10), (2, 20), (70, 700)], "samples", 3);
        check(&[(1, 10), (2, 20), (1, 10)], "samples", 2);
        check(&[(1, 10), (2, 20), (1, 10)], "duplicates", 1);
        check(&[(1, 10), (2, 20), (1, 10)], "out_of_order", 0);
        check(&[(1, 10), (3, 30), (2, 20)], "out_of_order", 1);
        check(&[(1, 10), (2, 10)], "faults", 1);
    }

    #[test]
    fn what_is_changed_is_a_fault() {
        for (labels, value, faults) in [
            (&[("__name__", "a"), ("series", "1")][..], value(1, 1), 0),
            (&[("__name__", "a"), ("series", "1")], value(1, 2), 1),
            (&[("__name__", "a"), ("series", "1")], value(1, 1) + 0.5, 1),
            (&[("__name__", "a"), ("series", "7")], value(1, 7), 1),
            (&[("__name__", "a"), ("__name__", "a"), ("series", "1")], value(1, 1), 1),
            (&[("series", "1")], value(1, 1), 1),
        ] {
            let (mut ledger, _) = ledger();
            ledger.take(&body(labels, value, 10), false, 5, true).unwrap();
            assert_eq!(ledger.sums.faults, faults, "{labels:?} {value}");
        }
        let (mut ledger, _) = ledger();
        let mut cut = body(&[("__name__", "a"), ("series", "1")], value(1, 1), 10);
        cut.pop();
        ledger.take(&cut, false, 5, true).unwrap_err();
        assert_eq!(ledger.sums.faults, 1);
    }

    #[test]
    fn both_messages_are_read() {
        let symbols = ["", "__name__", "a", "instance", "127.0.0.1:1", "series", "1", "Help.", "s"];
        let request = |refs: &[u32]| proto_v2::Request {
            symbols: symbols.map(String::from).to_vec(),
            timeseries: vec![proto_v2::TimeSeries {
                labels_refs: refs.to_vec(),
                samples: vec![proto_v2::Sample {
                    value: value(1, 1),
                    timestamp: 10,
                    ..Default::default()
                }],
                metadata: Some(proto_v2::Metadata { r#type: 1, help_ref: 7, unit_ref: 8 }),
            }],
        };
        let (mut ledger, targets) = ledger();
        let whole = request(&[1, 2, 3, 4, 5, 6]).encode_to_vec();
        ledger.take(&whole, true, 5, true).unwrap();
        // The same sample in the other message is the same sample.
        let again = body(&[("__name__", "a"), ("series", "1")], value(1, 1), 10);
        ledger.take(&again, false, 5, true).unwrap();
        assert_eq!((ledger.sums.samples, ledger.sums.duplicates, ledger.sums.faults), (1, 1, 0));
        let facts = ledger.facts(&targets).to_string();
        assert!(facts.contains(r#""metadata":{"a":[1,"Help.","s"]}"#), "{facts}");
        for refs in [&[1, 2, 3, 4, 5, 9][..], &[1, 2, 3]] {
            ledger.take(&request(refs).encode_to_vec(), true, 5, true).unwrap_err();
        }
        assert_eq!(ledger.sums.faults, 2);
    }

    #[test]
    fn own_series_and_markers_are_no_samples_of_a_page() {
        let (mut ledger, targets) = ledger();
        for timestamp in [10, 20, 10] {
            ledger.take(&body(&[("__name__", "up")], 1.0, timestamp), false, 5, false).unwrap();
        }
        let stale = f64::from_bits(STALE_NAN);
        let marker = body(&[("__name__", "a"), ("series", "1")], stale, 30);
        ledger.take(&marker, false, 5, true).unwrap();
        let sums =
            (ledger.sums.own, ledger.sums.duplicates, ledger.sums.markers, ledger.sums.samples);
        assert_eq!(sums, (2, 1, 1, 0));
        let facts = ledger.facts(&targets).to_string();
        assert!(facts.contains(r#""unanswered":true"#), "{facts}");
    }

    #[test]
    fn gaps_are_stretches_of_missing_pages() {
        for (pages, gaps) in [(&[1, 2, 3][..], 0), (&[1, 3], 1), (&[2], 2), (&[], 1), (&[3], 1)] {
            let mut series = super::Series::default();
            for page in pages {
                assert!(series.insert(*page));
            }
            assert_eq!(series.gaps(3), gaps, "{pages:?}");
        }
    }
}
