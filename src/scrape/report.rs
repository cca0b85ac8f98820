//! The series that tell how a scrape went, as Prometheus writes them: `up`,
//! `scrape_duration_seconds`, `scrape_samples_scraped`, `scrape_samples_post_metric_relabeling`,
//! `scrape_series_added`; and, only while a target fails, `flinkrelay_scrape_failure{reason="…"}` 1,
//! which ends with a marker when the target recovers or fails for another reason.
//!
//! They get the target's labels and the view's relabelling, but no `metric_relabel_configs`.

use std::{borrow::Cow, time::Duration};

use super::{Failure, Reason};
use crate::{
    labels::{Labels, METRIC_NAME},
    remote_write::{
        proto::metric_metadata::MetricType,
        v1,
        v2::{self, About, Symbols},
    },
    series::{Origin, Tally, View},
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

/// A series of an earlier configuration: only its labels are known, and only its marker is sent.
const ENDED: Family = Family { name: "", help: "", unit: "" };

/// Encoded labels of the report series of one target.
#[derive(Debug)]
pub(super) struct Report {
    target: Labels<'static>,
    views: Vec<ViewBlocks>,
    /// The reason that was sent last and has no marker yet.
    failing: Option<Reason>,
    sent: bool,
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
    /// The series as remote write 2.0 wants it. Not worth keeping for five of them.
    pub(super) fn number(&self, symbols: &mut Symbols) -> v2::Series {
        let Family { help, unit, .. } = *self.family;
        let about = About { kind: MetricType::Gauge, help: help.into(), unit: unit.into() };
        let labels = v1::decode_labels(&self.block).expect("blocks are made by labels_block");
        v2::Series::new(symbols, &labels, &about)
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
        Self { target: target.clone(), views, failing: None, sent: false }
    }

    /// The report of the same target after a change of the configuration, see
    /// [`Tracker::adopt`](crate::series::Tracker::adopt).
    pub(super) fn adopt(&mut self, target: &Labels<'static>, views: &[View], origins: &[Origin]) {
        let old = std::mem::replace(self, Self::new(target, views));
        (self.failing, self.sent) = (old.failing, old.sent);
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
        let failure = self.failing.and_then(|reason| self.failure(view, reason));
        let known = of_view.entries().flatten().chain(of_view.ended()).chain(failure);
        known.map(|entry| entry.block.into()).collect()
    }

    /// The report of a scrape.
    pub(super) fn entries(
        &self,
        view: usize,
        result: &Result<Tally, Failure>,
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
        let failing = result.as_ref().err().map(|failure| failure.reason);
        let before = self.failing.filter(|_| self.failing != failing);
        entries.extend(before.and_then(|reason| self.failure(view, reason)));
        let failure = failing.and_then(|reason| self.failure(view, reason));
        entries.extend(failure.map(|entry| Entry { value: Some(1.0), ..entry }));
        entries
    }

    /// After all views of a scrape are encoded.
    pub(super) fn remember(&mut self, result: &Result<Tally, Failure>) {
        self.failing = result.as_ref().err().map(|failure| failure.reason);
        self.sent = true;
        for view in &mut self.views {
            view.ended.clear();
        }
    }

    /// The markers that end the report series, because the target is gone.
    pub(super) fn end(&self, view: usize) -> Vec<Entry<'_>> {
        let Some(blocks) = self.views.get(view).filter(|_| self.sent) else { return Vec::new() };
        let failure = self.failing.and_then(|reason| self.failure(view, reason));
        blocks.entries().flatten().chain(blocks.ended()).chain(failure).collect()
    }

    fn failure(&self, view: usize, reason: Reason) -> Option<Entry<'_>> {
        let labels = labels(&self.target, FAILURE.name, Some(reason));
        let block = self.views.get(view)?.view.block(&labels).ok()??;
        Some(Entry { family: &FAILURE, block: block.into_vec().into(), value: None })
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
