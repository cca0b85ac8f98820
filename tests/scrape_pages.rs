//! Every page that was recorded from a real Flink, and the odd ones, through a real scrape: each sample
//! is sent or its loss has a reason.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, not the functions they call"
)]

#[expect(dead_code, reason = "shared with the tests of the relay, which use all of it")]
#[path = "common/fakes.rs"]
mod fakes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use fakes::{
    flink::FakeFlink,
    relay::{config, job, receiver},
};
use flinkrelay::{
    exposition::{self, Limits},
    flink::{NameMode, catalogue, derived, names::PAGE_NAME},
    labels::Labels,
    relay::Relay,
    remote_write::{
        Message, body,
        proto::{WriteRequest, metric_metadata::MetricType},
        v1,
        v2::{self, About, Point},
    },
    scrape::{Scraped, Scraper, Staged},
    series::{self, Dropped},
};
use prost::Message as _;

fn pages() -> Vec<PathBuf> {
    let directories = fs::read_dir("tests/pages").unwrap().map(|entry| entry.unwrap().path());
    let files = directories.flat_map(|directory| fs::read_dir(directory).unwrap());
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    // Beside the pages lie the answers of the same clusters' REST APIs.
    files.retain(|file| file.extension().is_some_and(|extension| extension != "json"));
    files.sort();
    assert!(files.len() >= 16, "{files:?}");
    files
}

async fn scrape(text: &str, flink_section: &str) -> (Scraper, Scraped) {
    let flink = FakeFlink::with_page(text).await;
    let slow = "scrape_interval: 1m\nscrape_timeout: 30s";
    let jobs = [job("flink", &[flink.address()], slow)];
    let receivers = [receiver("http://127.0.0.1:1/api/v1/write", "")];
    let relay = Relay::new(&config(&jobs, &receivers, flink_section)).unwrap();
    relay.scrape_once().await.targets.pop().unwrap()
}

fn series(scraper: &Scraper) -> Vec<(Labels<'static>, f64)> {
    let decode = |block| v1::decode_labels(block).unwrap().into_owned();
    scraper.samples(0).map(|(block, _, value)| (decode(block), value)).collect()
}

/// What the page holds, read a second time in the plain way.
fn samples_by_group(text: &str) -> BTreeMap<&'static str, u64> {
    let page = exposition::page(text.as_bytes(), &Limits::default()).unwrap();
    let mut groups = BTreeMap::new();
    for sample in page.samples() {
        *groups.entry(catalogue().group(sample.name).as_str()).or_default() += 1;
    }
    groups
}

#[tokio::test]
async fn each_sample_of_each_page_is_sent_or_its_loss_explained() {
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        let (scraper, scraped) = scrape(&text, "").await;
        let tally = scraped.result.as_ref().unwrap();
        let name = path.strip_prefix("tests/pages").unwrap().display().to_string();
        assert_eq!(tally.scraped + tally.made, tally.kept + tally.dropped.total(), "{name}");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(tally.scraped, lines as u64, "{name}: every line that is no comment");
        assert_eq!(scraped.page_bytes, text.len() as u64, "{name}");
        let sent = series(&scraper);
        assert_eq!(sent.len() as u64, tally.kept, "{name}");
        let distinct: BTreeSet<_> = sent.iter().map(|(labels, _)| labels.to_string()).collect();
        assert_eq!(distinct.len(), sent.len(), "{name}: a series is sent twice");
        let groups = tally.groups.iter();
        let groups = groups.filter(|(_, samples)| samples.scraped > 0);
        let scraped_by_group = groups.clone().map(|(g, s)| (g.as_str(), s.scraped)).collect();
        assert_eq!(samples_by_group(&text), scraped_by_group, "{name}");

        let mut told = format!(
            "{}, {} samples, {} made, {} kept\n",
            scraped.role, tally.scraped, tally.made, tally.kept
        );
        for (group, samples) in groups {
            let series::GroupTally { scraped, made, kept } = samples;
            writeln!(told, "group {group}: {kept} of {scraped} and {made} made").unwrap();
        }
        for (reason, samples) in tally.dropped.iter().filter(|(_, samples)| *samples > 0) {
            writeln!(told, "dropped {}: {samples}", reason.as_str()).unwrap();
        }
        writeln!(told, "ids kept: {}", tally.ids_kept).unwrap();
        for fault in &scraped.faults {
            writeln!(told, "bad line: {fault}").unwrap();
        }
        assert_eq!(scraped.faults_total, scraped.faults.len() as u64, "{name}: all are told");
        insta::assert_snapshot!(name.replace('/', "__"), told.trim_end());
    }
}

/// What a scrape sent, without the target's labels: text of a series -> bits of its value.
fn sent(scraper: &Scraper) -> BTreeMap<String, u64> {
    let mut sent = BTreeMap::new();
    for (mut labels, value) in series(scraper) {
        for own in ["job", "instance"] {
            labels.remove(own);
            if let Some(value) = labels.remove(&format!("exported_{own}")) {
                labels.set(own, value);
            }
        }
        labels.sort();
        let other = sent.insert(labels.to_string(), value.to_bits());
        assert_eq!(other, None, "{labels} was sent twice");
    }
    sent
}

/// Whether the values of a sample stand under the right names, as far as one can tell by the page that was
/// made for it.
fn is_right(sample: &&exposition::Sample<'_>) -> bool {
    sample.labels().all(|(name, value)| name != "job_id" || value != "payments")
}

/// The values that arrive are those of the page, whatever becomes of names and labels.
#[tokio::test]
async fn no_value_changes_or_goes_missing() {
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        let page = exposition::page(text.as_bytes(), &Limits::default()).unwrap();
        // As it stands on the page a sample can be found again by all of its labels.
        let (scraper, raw) =
            scrape(&text, "flink: {names: raw, labels: raw, sentinels: keep, derived: none}").await;
        let mut on_page = BTreeMap::new();
        for sample in page.samples().filter(is_right) {
            let mut labels: Labels<'_> = sample.labels().collect();
            labels.set("__name__", sample.name);
            labels.sort();
            on_page.entry(labels.to_string()).or_insert_with(|| sample.value.to_bits());
        }
        assert!(sent(&scraper) == on_page, "{}", path.display());
        let raw = raw.result.unwrap();
        // With normalised labels the same values are there.
        let (scraper, normalised) =
            scrape(&text, "flink: {names: raw, sentinels: keep, derived: none}").await;
        let mut raw_values: Vec<_> = on_page.into_values().collect();
        let mut values: Vec<_> = series(&scraper).iter().map(|(_, v)| v.to_bits()).collect();
        raw_values.sort_unstable();
        values.sort_unstable();
        assert_eq!(raw_values, values, "{}: normalising loses nothing", path.display());
        assert_eq!(raw.dropped, normalised.result.unwrap().dropped, "{}", path.display());
    }
}

/// Under canonical names everything is there but what stands on the page under a former name too.
#[tokio::test]
async fn naming_loses_nothing_but_second_copies() {
    let (mut copies, mut told_apart) = (0, 0);
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        let page = exposition::page(text.as_bytes(), &Limits::default()).unwrap();
        let (_, raw) =
            scrape(&text, "flink: {names: raw, labels: raw, sentinels: keep, derived: none}").await;
        let (scraper, canonical) =
            scrape(&text, "flink: {labels: raw, sentinels: keep, derived: none}").await;
        let [raw, canonical] = [raw, canonical].map(|scraped| scraped.result.unwrap());
        let former: u64 = canonical
            .dropped
            .iter()
            .map(|(reason, samples)| {
                let same = raw.dropped.iter().find(|(r, _)| *r == reason).unwrap().1;
                let is_former = reason == Dropped::FormerName;
                assert!(is_former || samples == same, "{}: {reason:?}", path.display());
                if is_former { samples } else { 0 }
            })
            .sum();
        assert_eq!(canonical.kept + former, raw.kept, "{}", path.display());
        let scraped = |tally: &series::Tally| {
            tally.groups.iter().map(|(g, s)| (g, s.scraped)).collect::<Vec<_>>()
        };
        assert_eq!(scraped(&canonical), scraped(&raw));
        copies += former;

        // By the labels of a series, the metrics of the page that would have them.
        let mut metrics: BTreeMap<Labels<'_>, BTreeMap<&str, u64>> = BTreeMap::new();
        // Present names first: they win over former ones.
        for is_former in [false, true] {
            for sample in page.samples().filter(is_right) {
                let known = catalogue().find(sample.name);
                if known.is_some_and(|known| known.is_former_name()) != is_former {
                    continue;
                }
                let mut labels: Labels<'_> = sample.labels().collect();
                labels.set("__name__", sample.name);
                NameMode::Canonical.apply(known.as_ref(), &mut labels);
                labels.sort();
                let named = metrics.entry(labels).or_default();
                if !is_former || named.is_empty() {
                    named.entry(sample.name).or_insert_with(|| sample.value.to_bits());
                }
            }
        }
        let mut expected = BTreeMap::new();
        for (labels, named) in metrics {
            told_apart += usize::from(named.len() > 1);
            for (name, value) in &named {
                let mut labels = labels.clone();
                if named.len() > 1 {
                    labels.set(PAGE_NAME, *name);
                    labels.sort();
                }
                expected.insert(labels.to_string(), *value);
            }
        }
        assert!(sent(&scraper) == expected, "{}", path.display());
    }
    assert!(copies > 500, "{copies}: up to 1.20 a page has some metrics twice, and 2.3 too");
    assert_eq!(told_apart, 1, "one odd page has a state in a name and in a label");
}

/// Pages made of pages: samples of real ones, in any order, under labels that collide in any way.
mod any_page {
    use super::*;
    use flinkrelay::{
        flink, relabel,
        series::{Limits as LabelLimits, Shaper, Tracker, View},
    };
    use proptest::prelude::*;
    use std::sync::{Arc, LazyLock};

    fn tracker(names: NameMode) -> Tracker {
        let view = View {
            max_samples_per_send: 2000,
            metadata_interval: None,
            external_labels: BTreeMap::new(),
            write_relabel_configs: Vec::<relabel::Rule>::new(),
            limits: LabelLimits::default(),
        };
        let shaper = Shaper {
            catalogue: Arc::clone(flink::catalogue()),
            groups: flink::GroupFilter::default(),
            names,
            labels: flink::LabelPolicy::default(),
            rollups: flink::RollupPolicy::default(),
            sentinels: flink::Sentinels::Keep,
            derived: flink::Derivations::NONE,
            honor_labels: false,
            honor_timestamps: true,
            metric_relabel_configs: Vec::new(),
            limits: LabelLimits::default(),
            views: Arc::from([view]),
        };
        Tracker::new(Arc::new(shaper), Labels::new())
    }

    /// Every name of the recorded pages.
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut names = BTreeSet::new();
        for path in pages() {
            let text = fs::read_to_string(path).unwrap();
            let page = exposition::page(text.as_bytes(), &Limits::default()).unwrap();
            names.extend(page.samples().map(|sample| sample.name.to_owned()));
        }
        names.into_iter().collect()
    });

    proptest! {
        /// No two series that are kept are equal, the account is even, and what is dropped is a second
        /// copy under a former name, or was a duplicate on the page already.
        #[test]
        fn no_sample_is_lost_uncounted(
            lines in proptest::collection::vec((0..10_000_usize, 0..2_u8, 0..2_u8), 1..40),
            first in 0..10_000_usize,
        ) {
            // Neighbours in the alphabet are of one kind, so that pages hold what may collide.
            let line = |(at, task, attempt): &(usize, u8, u8)| {
                let name = &NAMES[(first + at % 60) % NAMES.len()];
                format!("{name}{{task_name=\"{task}\",task_attempt_num=\"{attempt}\"}} {at}")
            };
            let lines: Vec<String> = lines.iter().map(line).collect();
            let [raw, canonical] = [NameMode::Raw, NameMode::Canonical].map(|names| {
                let mut tracker = tracker(names);
                let mut page = || {
                    tracker.begin();
                    for line in &lines {
                        tracker.observe(line.as_bytes(), 0).unwrap();
                    }
                    let tally = tracker.close(0);
                    let sent: BTreeSet<_> = tracker.samples(0).map(|(block, ..)| block.to_vec()).collect();
                    assert_eq!(sent.len() as u64, tally.kept, "no two series are equal");
                    assert_eq!(tracker.stale(0).count(), 0, "the second page is as the first");
                    tracker.forget_stale();
                    tally
                };
                page();
                page()
            });
            let count = |tally: &flinkrelay::series::Tally, reason: Dropped| {
                tally.dropped.iter().find(|(r, _)| *r == reason).unwrap().1
            };
            prop_assert_eq!(count(&raw, Dropped::FormerName), 0);
            prop_assert_eq!(canonical.scraped, canonical.kept + canonical.dropped.total());
            let second = count(&canonical, Dropped::FormerName);
            let second = second + count(&canonical, Dropped::Duplicate);
            let duplicates = count(&raw, Dropped::Duplicate);
            prop_assert_eq!(canonical.kept + second, raw.kept + duplicates);
            let present = |line: &&String| {
                let name = line.split('{').next().unwrap();
                !catalogue().find(name).is_some_and(|known| known.is_former_name())
            };
            let series = |line: &String| line.split(' ').next().unwrap().to_owned();
            let present: BTreeSet<_> = lines.iter().filter(present).map(series).collect();
            prop_assert!(canonical.kept >= present.len() as u64, "{} are kept", canonical.kept);
        }
    }
}

/// A page that is scraped again and again is the same each time, also after a failure.
#[tokio::test]
async fn the_second_look_at_a_page_is_the_first() {
    let path = Path::new("tests/pages/odd/tm_2.3.0_scrambled_and_duplicate_labels.txt");
    let text = fs::read_to_string(path).unwrap();
    let flink = FakeFlink::with_page(&text).await;
    let slow = "scrape_interval: 1m\nscrape_timeout: 30s";
    let jobs = [job("flink", &[flink.address()], slow)];
    let receivers = [receiver("http://127.0.0.1:1/api/v1/write", "")];
    let relay = Relay::new(&config(&jobs, &receivers, "")).unwrap();
    let (mut scraper, first) = relay.scrape_once().await.targets.pop().unwrap();
    let first = (first.result.unwrap(), first.faults, series(&scraper));
    flink.set(|_| fakes::http::Answer::close());
    assert!(scraper.scrape(0).await.result.is_err());
    flink.set_page(&text);
    for round in 0..3 {
        let again = scraper.scrape(0).await;
        let mut tally = again.result.unwrap();
        assert_eq!(tally.series_added, if round == 0 { first.0.series_added } else { 0 });
        (tally.series_added, tally.ids_kept) = (first.0.series_added, first.0.ids_kept);
        assert_eq!(tally, first.0);
        assert_eq!(again.faults, first.1);
        assert_eq!(series(&scraper).len(), first.2.len());
        let same = series(&scraper).iter().zip(&first.2).all(|(again, first)| again.0 == first.0);
        assert!(same, "the same series in the same order");
    }
}

/// A page that breaks off leaves nothing behind: no memory, and no series that is taken for known.
#[tokio::test]
async fn a_page_that_was_cut_is_as_if_it_had_not_been() {
    // Its series are told apart by ids, which is decided when a line is new.
    let text = fs::read_to_string("tests/pages/odd/tm_2.3.0_odd_values.txt").unwrap();
    let (fresh, expected) = scrape(&text, "").await;
    let expected = expected.result.unwrap();
    assert!(expected.ids_kept > 0);
    let cut = text.clone();
    let flink = FakeFlink::with_script(move |_| fakes::flink::page(&cut).cut(2)).await;
    let slow = "scrape_interval: 1m\nscrape_timeout: 30s";
    let jobs = [job("flink", &[flink.address()], slow)];
    let receivers = [receiver("http://127.0.0.1:1/api/v1/write", "")];
    let relay = Relay::new(&config(&jobs, &receivers, "")).unwrap();
    let (mut scraper, scraped) = relay.scrape_once().await.targets.pop().unwrap();
    assert!(scraped.result.is_err());
    assert_eq!(scraper.series_len(), 0);
    flink.set_page(&text);
    assert_eq!(scraper.scrape(0).await.result.unwrap(), expected);
    let without_instance = |scraper: &Scraper| -> Vec<String> {
        let all = series(scraper).into_iter();
        let all = all.map(|(mut labels, _)| {
            labels.remove("instance");
            labels.to_string()
        });
        // What is made from the page is in no particular order.
        let mut all: Vec<String> = all.collect();
        all.sort();
        all
    };
    assert_eq!(without_instance(&scraper), without_instance(&fresh));
}

/// Whether a line's metric is on no page under two names, nothing is derived from it and it is no
/// sentinel, so that its series ends with the line, and no other.
fn has_one_name(line: &str) -> bool {
    let known = catalogue().find(line.split('{').next().unwrap());
    let value = exposition::split(line.as_bytes()).and_then(|s| exposition::value(s.rest).ok());
    if known.is_some_and(|known| {
        derived::fed_by(&known.canonical_name()).is_some()
            || value.is_some_and(|(value, _)| known.no_value().is(value))
    }) {
        return false;
    }
    let name = known.map(|known| known.canonical_name().into_owned());
    let mut former = catalogue().metrics().filter(|metric| metric.is_former_name);
    name.is_none_or(|name| !former.any(|metric| metric.canonical.contains(&name)))
}

/// Which of the labels a body of 2.0 has and which metadata: those of the same scrape in 1.0.
#[tokio::test]
async fn both_messages_say_the_same_of_each_page() {
    let (mut counters, mut summaries, mut helps) = (0, 0, BTreeSet::new());
    for path in pages() {
        let name = path.display();
        let text = fs::read_to_string(&path).unwrap();
        let flink = FakeFlink::with_page(&text).await;
        let slow = "scrape_interval: 1m\nscrape_timeout: 30s";
        let jobs = [job("flink", &[flink.address()], slow)];
        let lines =
            "metadata_config: {send_interval: 1ms}\nqueue_config: {max_samples_per_send: 500}";
        let receivers = [receiver("http://127.0.0.1:1/api/v1/write", lines)];
        let relay = Relay::new(&config(&jobs, &receivers, "")).unwrap();
        let (mut scraper, first) = relay.scrape_once().await.targets.pop().unwrap();
        assert!(first.staged[0].v2.is_empty(), "{name}: nobody wants it yet");
        scraper.want([(0, Message::V1), (0, Message::V2)]);
        // One sample has gone meanwhile.
        let first = text.lines().find(|line| !line.starts_with('#') && has_one_name(line)).unwrap();
        flink.set_page(&text.replacen(&format!("{first}\n"), "", 1));
        let scraped = scraper.scrape(0).await;
        let (one, two) = read_both(&scraped.staged[0]);
        assert!(one.timeseries.len() > 30, "{name}");
        let stale = two.iter().filter(|point| point.sample.value == v1::STALE_NAN).count();
        assert_eq!(stale, 1, "{name}");
        let families: BTreeMap<_, _> =
            one.metadata.iter().map(|m| (m.metric_family_name.as_str(), m)).collect();
        let mut found = BTreeSet::new();
        for point in two.iter().filter(|point| point.sample.value != v1::STALE_NAN) {
            let sample = point.labels.metric_name();
            let family = [sample, sample.trim_end_matches("_count")];
            let Some(about) = family.iter().find_map(|family| families.get(family)) else {
                assert!(sample == "up" || sample.starts_with("scrape_"), "{name}: {sample}");
                assert_eq!(point.about.kind, MetricType::Gauge, "{name}: {sample}");
                assert!(!point.about.help.is_empty(), "{name}: {sample}");
                continue;
            };
            found.insert(about.metric_family_name.as_str());
            let expect = (about.r#type, about.help.as_str(), about.unit.as_str());
            let About { kind, help, unit } = &point.about;
            assert_eq!((*kind as i32, &**help, &**unit), expect, "{name}: {sample}");
            counters += usize::from(*kind == MetricType::Counter);
            summaries += usize::from(*kind == MetricType::Summary);
            helps.insert(help.clone());
        }
        assert_eq!(found.len(), families.len(), "{name}: each family has a series");

        // The same markers when the target goes.
        let ended = scraper.end(1, tokio::time::Instant::now());
        let (one, two) = read_both(&ended[0]);
        assert_eq!(one.metadata, []);
        assert!(two.iter().all(|point| point.sample.value == v1::STALE_NAN), "{name}");
        // And nothing is kept of it once nobody wants it.
        scraper.want([(0, Message::V1)]);
        assert!(scraper.scrape(2).await.staged[0].v2.is_empty(), "{name}");
    }
    assert!(counters > 100 && summaries > 100 && helps.len() > 100, "{counters} {summaries}");
}

/// What receivers of either message get, after it was compared.
fn read_both(staged: &Staged) -> (WriteRequest, Vec<Point>) {
    let mut two = Vec::new();
    for fragment in &staged.v2 {
        two.extend(v2::read(&body([&**fragment].into_iter())).unwrap());
    }
    let one = body(staged.v1.iter().map(|fragment| &**fragment));
    let one = snap::raw::Decoder::new().decompress_vec(&one).unwrap();
    let one = WriteRequest::decode(&*one).unwrap();
    assert_eq!(one.timeseries.len(), two.len());
    for (one, two) in one.timeseries.iter().zip(&two) {
        let labels: Labels<'_> = one.labels.iter().map(|l| (&*l.name, &*l.value)).collect();
        assert_eq!(labels, two.labels);
        let [sample] = one.samples[..] else { panic!("{one:?}") };
        let two = (two.sample.value, two.sample.timestamp_ms, two.sample.start_ms);
        assert_eq!((sample.value.to_bits(), sample.timestamp, 0), two, "{labels}");
    }
    (one, two)
}
