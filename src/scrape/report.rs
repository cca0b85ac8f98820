//! The series that tell how a scrape went, as Prometheus writes them: `up`,
//! `scrape_duration_seconds`, `scrape_samples_scraped`, `scrape_samples_post_metric_relabeling`,
//! `scrape_series_added`; and, only while a target fails, `flinkrelay_scrape_failure{reason="…"}` 1,
//! which ends with a marker when the target recovers or fails for another reason.
//!
//! They get the target's labels and the view's relabelling, but no `metric_relabel_configs`.

use std::time::Duration;

use super::{Failure, Reason};
use crate::{
    labels::{Labels, METRIC_NAME},
    remote_write::Encoder,
    series::{Tally, View},
};

const NAMES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// The name of the series that tells why a scrape failed.
pub(super) const FAILURE: &str = "flinkrelay_scrape_failure";

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
    blocks: [Option<Box<[u8]>>; NAMES.len()],
}

impl Report {
    pub(super) fn new(target: &Labels<'static>, views: &[View]) -> Self {
        let per_view = |view: &View| ViewBlocks {
            view: view.clone(),
            blocks: NAMES.map(|name| view.block(&labels(target, name, None)).ok().flatten()),
        };
        let views = views.iter().map(per_view).collect();
        Self { target: target.clone(), views, failing: None, sent: false }
    }

    /// Appends the report of a scrape.
    pub(super) fn encode(
        &self,
        view: usize,
        result: &Result<Tally, Failure>,
        duration: Duration,
        now_ms: i64,
        encoder: &mut Encoder,
    ) {
        let (up, tally) = match result {
            Ok(tally) => (1.0, tally.clone()),
            Err(_) => (0.0, Tally::default()),
        };
        let Some(blocks) = self.views.get(view) else { return };
        let counts = [tally.scraped, tally.kept, tally.series_added].map(|count| count as f64);
        let [scraped, kept, added] = counts;
        let values = [up, duration.as_secs_f64(), scraped, kept, added];
        for (block, value) in blocks.blocks.iter().zip(values) {
            if let Some(block) = block {
                encoder.push(block, value, now_ms);
            }
        }
        let failing = result.as_ref().err().map(|failure| failure.reason);
        if let Some(before) = self.failing.filter(|_| self.failing != failing)
            && let Some(block) = self.failure_block(view, before)
        {
            encoder.push_stale(&block, now_ms);
        }
        if let Some(block) = failing.and_then(|reason| self.failure_block(view, reason)) {
            encoder.push(&block, 1.0, now_ms);
        }
    }

    /// After all views of a scrape are encoded.
    pub(super) fn remember(&mut self, result: &Result<Tally, Failure>) {
        self.failing = result.as_ref().err().map(|failure| failure.reason);
        self.sent = true;
    }

    /// Appends the markers that end the report series, because the target is gone.
    pub(super) fn end(&self, view: usize, now_ms: i64, encoder: &mut Encoder) {
        let Some(blocks) = self.views.get(view).filter(|_| self.sent) else { return };
        for block in blocks.blocks.iter().flatten() {
            encoder.push_stale(block, now_ms);
        }
        if let Some(block) = self.failing.and_then(|reason| self.failure_block(view, reason)) {
            encoder.push_stale(&block, now_ms);
        }
    }

    fn failure_block(&self, view: usize, reason: Reason) -> Option<Box<[u8]>> {
        self.views.get(view)?.view.block(&labels(&self.target, FAILURE, Some(reason))).ok()?
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
