//! Bytes of series as requests, measured with the encoders that make requests.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Amount;
use crate::{
    cli::scrape::Report,
    config::Config,
    labels::Labels,
    remote_write::{
        Encoder, Fragment,
        v1::{self, Metadata},
        v2::{self, About, Symbols},
    },
};

/// One series with its sample.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) group: String,
    /// As sent, sorted.
    pub(super) labels: Labels<'static>,
    pub(super) about: Arc<About>,
    pub(super) timestamp_ms: i64,
    pub(super) value: f64,
}

/// The series of some targets, each target's apart: requests hold one target's series.
#[derive(Debug)]
pub(super) struct Pages {
    pages: Vec<Page>,
    samples_max: u32,
}

#[derive(Debug)]
struct Page {
    interval: Duration,
    is_task_manager: bool,
    items: Vec<Item>,
}

impl Pages {
    /// None yet; requests of them hold so many samples at most.
    pub(super) const fn new(samples_max: u32) -> Self {
        Self { pages: Vec::new(), samples_max }
    }

    /// As many targets, without series.
    pub(super) fn like(&self) -> Self {
        let page = |page: &Page| Page { items: Vec::new(), ..*page };
        Self { pages: self.pages.iter().map(page).collect(), samples_max: self.samples_max }
    }

    /// Adds a target; returns its number.
    pub(super) fn add(&mut self, interval: Duration, is_task_manager: bool) -> usize {
        self.pages.push(Page { interval, is_task_manager, items: Vec::new() });
        self.pages.len() - 1
    }

    pub(super) fn push(&mut self, page: usize, item: Item) {
        if let Some(page) = self.pages.get_mut(page) {
            page.items.push(item);
        }
    }

    /// Whether that target is a TaskManager.
    pub(super) fn is_task_manager(&self, page: usize) -> bool {
        self.pages.get(page).is_some_and(|page| page.is_task_manager)
    }

    /// The series of each target.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[Item]> {
        self.pages.iter().map(|page| page.items.as_slice())
    }
}

/// What these series cost; each page counts as many times as `factor` tells.
pub(super) fn measure(pages: &Pages, factor: &dyn Fn(usize) -> f64) -> Amount {
    let (mut amount, mut series) = (Amount::default(), 0.0);
    for (at, page) in pages.pages.iter().enumerate() {
        let factor = factor(at);
        let per_second = factor / page.interval.as_secs_f64();
        let count = page.items.len() as f64;
        series += count * factor;
        amount.samples_per_second += count * per_second;
        amount.bytes_per_day_v1 += v1_bytes(&page.items, pages.samples_max) * per_second * DAY;
        amount.bytes_per_day_v2 += v2_bytes(&page.items, pages.samples_max) * per_second * DAY;
    }
    amount.series = series.round() as u64;
    amount
}

/// Seconds of a day.
const DAY: f64 = 86_400.0;

fn v1_bytes(items: &[Item], samples_max: u32) -> f64 {
    let mut encoder = Encoder::new(samples_max);
    for item in items {
        encoder.push(&v1::labels_block(&item.labels), item.value, item.timestamp_ms);
    }
    bytes(&encoder.finish(now()))
}

fn v2_bytes(items: &[Item], samples_max: u32) -> f64 {
    let mut symbols = Symbols::default();
    let number = |item: &Item| v2::Series::new(&mut symbols, &item.labels, &item.about);
    let series: Vec<_> = items.iter().map(number).collect();
    let mut encoder = v2::Encoder::new(&symbols, samples_max);
    for (series, item) in series.iter().zip(items) {
        encoder.push(series, item.value, item.timestamp_ms, 0);
    }
    bytes(&encoder.finish(now()))
}

/// Bytes a day of the metadata of all targets in remote write 1.0.
pub(super) fn metadata_bytes(report: &Report, config: &Config) -> f64 {
    let metadata = config.receivers.first().map(|receiver| &receiver.metadata);
    if metadata.is_some_and(|metadata| !metadata.send) {
        return 0.0;
    }
    let every = metadata.map_or(SEND_INTERVAL, |metadata| metadata.send_interval);
    let of_target = |target: &crate::cli::scrape::TargetReport| {
        let mut encoder = Encoder::new(u32::MAX);
        for family in &target.families {
            encoder.push_metadata(&Metadata {
                kind: family.kind,
                family: &family.name,
                help: &family.help,
                unit: &family.unit,
            });
        }
        // It goes with a scrape, so not more often than there are scrapes.
        let seconds = every.max(target.target.interval).as_secs_f64();
        bytes(&encoder.finish(now())) * DAY / seconds
    };
    report.targets.iter().map(of_target).sum()
}

/// Without a receiver: `metadata_config.send_interval` as it is by default.
const SEND_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of the bodies of these fragments.
fn bytes(fragments: &[Fragment]) -> f64 {
    fragments.iter().map(|fragment| fragment.bytes() as f64).sum()
}

/// Encoders note when a fragment came to be; nobody asks here.
fn now() -> Instant {
    Instant::now()
}
