//! The series that tell how a scrape went, as Prometheus writes them: `up`,
//! `scrape_duration_seconds`, `scrape_samples_scraped`, `scrape_samples_post_metric_relabeling`,
//! `scrape_series_added`; and, only while a target fails, `flinkrelay_scrape_failure{reason="…"}` 1,
//! which ends with a marker when the target recovers or fails for another reason; and, only while a page
//! comes in parts because some metric throws, `flinkrelay_scrape_metrics_quarantined`.
//!
//! They get the target's labels and the view's relabelling, but no `metric_relabel_configs`.

use std::{borrow::Cow, time::Duration};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Failure, PartialPage, Reason};
use crate::{
    labels::{Labels, METRIC_NAME},
    remote_write::{
        proto::metric_metadata::MetricType,
        v1,
        v2::{self, About, Symbols},
    },
    series::{Following, Origin, Tally, View},
};

/// A report series: a gauge.
struct Family {
    name: &'static str,
    help: &'static str,
    unit: &'static str,
}

const FAMILIES: [Family; 5] = [
    Family { name: "up", help: "Whether the last scrape of the target succeeded.", unit: "" },
    Family {
        name: "scrape_duration_seconds",
        help: "Time that the last scrape took.",
        unit: "seconds",
    },
    Family { name: "scrape_samples_scraped", help: "Samples on the target's page.", unit: "" },
    Family {
        name: "scrape_samples_post_metric_relabeling",
        help: "Samples of the page that are kept after filtering and relabelling.",
        unit: "",
    },
    Family {
        name: "scrape_series_added",
        help: "Series of the page that were not on the one before.",
        unit: "",
    },
];

/// The series that tells why a scrape failed.
const FAILURE: Family =
    Family { name: "flinkrelay_scrape_failure", help: "Why the last scrape failed; 1.", unit: "" };

/// The series that tells that a page is not whole.
const QUARANTINED: Family = Family {
    name: "flinkrelay_scrape_metrics_quarantined",
    help: "Metrics that are not asked for, because the page comes only without them.",
    unit: "",
};

/// A series of an earlier configuration: only its labels are known, and only its marker is sent.
const ENDED: Family = Family { name: "", help: "", unit: "" };

/// Encoded labels of the report series of one target.
#[derive(Debug)]
pub(super) struct Report {
    target: Labels<'static>,
    views: Vec<ViewBlocks>,
    /// What was sent last of the series that come and go, and has no marker yet.
    passing: Passing,
    sent: bool,
}

/// The series that are there only at times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Passing {
    failing: Option<Reason>,
    /// How many metrics are not asked for, while the page comes in parts.
    quarantined: Option<usize>,
}

#[derive(Debug)]
struct ViewBlocks {
    view: View,
    blocks: [Option<Box<[u8]>>; FAMILIES.len()],
    /// What receivers know from before a change of the configuration and get no more: the next scrape
    /// ends it.
    ended: Vec<Box<[u8]>>,
}

/// One sample of a report.
pub(super) struct Entry<'a> {
    family: &'static Family,
    /// Encoded labels.
    pub(super) block: Cow<'a, [u8]>,
    /// `None` is a staleness marker.
    pub(super) value: Option<f64>,
}

impl Entry<'_> {
    fn without_value(self) -> Self {
        Self { value: None, ..self }
    }

    /// The series as remote write 2.0 wants it. Not worth keeping for five of them.
    pub(super) fn number(&self, symbols: &mut Symbols) -> Following {
        let Family { help, unit, .. } = *self.family;
        let about = About { kind: MetricType::Gauge, help: help.into(), unit: unit.into() };
        let labels = v1::decode_labels(&self.block).expect("blocks are made by labels_block");
        let texts = [help.as_bytes(), unit.as_bytes(), &self.block];
        let hash = texts.into_iter().fold(0, |hash, text| xxh3_64_with_seed(text, hash));
        let series = v2::Series::new(symbols, &labels, &about);
        let value = self.value.map_or(v1::STALE_NAN, f64::to_bits);
        Following { series, hash, value }
    }
}

impl Report {
    pub(super) fn new(target: &Labels<'static>, views: &[View]) -> Self {
        let per_view = |view: &View| ViewBlocks {
            view: view.clone(),
            blocks: FAMILIES
                .map(|family| view.block(&labels(target, family.name, None)).ok().flatten()),
            ended: Vec::new(),
        };
        let views = views.iter().map(per_view).collect();
        Self { target: target.clone(), views, passing: Passing::default(), sent: false }
    }

    /// The report of the same target after a change of the configuration, see
    /// [`Tracker::adopt`](crate::series::Tracker::adopt).
    pub(super) fn adopt(&mut self, target: &Labels<'static>, views: &[View], origins: &[Origin]) {
        let old = std::mem::replace(self, Self::new(target, views));
        (self.passing, self.sent) = (old.passing, old.sent);
        for (view, origin) in origins.iter().enumerate() {
            let Some(from) = origin.view.filter(|_| old.sent) else { continue };
            let mut ended = old.blocks(from);
            let kept = self.blocks(view);
            ended.retain(|block| !kept.contains(block));
            if let Some(blocks) = self.views.get_mut(view) {
                blocks.ended = ended;
            }
        }
    }

    /// Everything that the receivers of a view know, or will with the next scrape.
    fn blocks(&self, view: usize) -> Vec<Box<[u8]>> {
        let Some(of_view) = self.views.get(view) else { return Vec::new() };
        let passing = self.passing(view, self.passing);
        let known = of_view.entries().flatten().chain(of_view.ended()).chain(passing);
        known.map(|entry| entry.block.into()).collect()
    }

    /// The report of a scrape.
    pub(super) fn entries(
        &self,
        view: usize,
        result: &Result<Tally, Failure>,
        passing: Passing,
        duration: Duration,
    ) -> Vec<Entry<'_>> {
        let (up, tally) = match result {
            Ok(tally) => (1.0, tally.clone()),
            Err(_) => (0.0, Tally::default()),
        };
        let Some(blocks) = self.views.get(view) else { return Vec::new() };
        let counts = [tally.scraped, tally.kept, tally.series_added].map(|count| count as f64);
        let [scraped, kept, added] = counts;
        let values = [up, duration.as_secs_f64(), scraped, kept, added];
        let valued = |(entry, value): (Option<_>, _)| Some(Entry { value: Some(value), ..entry? });
        let mut entries: Vec<_> = blocks.entries().zip(values).filter_map(valued).collect();
        entries.extend(blocks.ended());
        let gone = Entry::without_value;
        entries.extend(self.passing(view, self.passing.without(passing)).map(gone));
        entries.extend(self.passing(view, passing));
        entries
    }

    /// After all views of a scrape are encoded.
    pub(super) fn remember(&mut self, passing: Passing) {
        self.passing = passing;
        self.sent = true;
        for view in &mut self.views {
            view.ended.clear();
        }
    }

    /// The markers that end the report series, because the target is gone.
    pub(super) fn end(&self, view: usize) -> Vec<Entry<'_>> {
        let Some(blocks) = self.views.get(view).filter(|_| self.sent) else { return Vec::new() };
        let passing = self.passing(view, self.passing).map(Entry::without_value);
        blocks.entries().flatten().chain(blocks.ended()).chain(passing).collect()
    }

    /// The series that come and go, with their values.
    fn passing(&self, view: usize, passing: Passing) -> impl Iterator<Item = Entry<'_>> + use<'_> {
        let Passing { failing, quarantined } = passing;
        let failure = failing.and_then(|reason| self.one(view, &FAILURE, Some(reason), 1.0));
        let count = quarantined.map(|metrics| metrics as f64);
        let quarantined = count.and_then(|count| self.one(view, &QUARANTINED, None, count));
        failure.into_iter().chain(quarantined)
    }

    fn one(
        &self,
        view: usize,
        family: &'static Family,
        reason: Option<Reason>,
        value: f64,
    ) -> Option<Entry<'_>> {
        let labels = labels(&self.target, family.name, reason);
        let block = self.views.get(view)?.view.block(&labels).ok()??;
        Some(Entry { family, block: block.into_vec().into(), value: Some(value) })
    }
}

impl Passing {
    pub(super) fn of(result: &Result<Tally, Failure>, partial: Option<&PartialPage>) -> Self {
        let missing = |partial: &PartialPage| partial.quarantined.len() + partial.suspected;
        Self {
            failing: result.as_ref().err().map(|failure| failure.reason),
            quarantined: partial.filter(|_| result.is_ok()).map(missing),
        }
    }

    /// What is not there any more.
    fn without(self, next: Self) -> Self {
        Self {
            failing: self.failing.filter(|_| self.failing != next.failing),
            quarantined: self.quarantined.filter(|_| next.quarantined.is_none()),
        }
    }
}

impl ViewBlocks {
    /// An entry without a value for each series, `None` where the view drops it.
    fn entries(&self) -> impl Iterator<Item = Option<Entry<'_>>> {
        FAMILIES.iter().zip(&self.blocks).map(|(family, block)| {
            Some(Entry { family, block: block.as_deref()?.into(), value: None })
        })
    }

    /// A marker for each series that was left behind.
    fn ended(&self) -> impl Iterator<Item = Entry<'_>> {
        self.ended.iter().map(|block| Entry {
            family: &ENDED,
            block: block.as_ref().into(),
            value: None,
        })
    }
}

fn labels<'a>(target: &'a Labels<'static>, name: &'a str, reason: Option<Reason>) -> Labels<'a> {
    let mut labels = target.iter().collect::<Labels<'a>>();
    labels.set(METRIC_NAME, name);
    if let Some(reason) = reason {
        labels.set("reason", reason.as_str());
    }
    labels.sort();
    labels
}
