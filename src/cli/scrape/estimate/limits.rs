//! Mimir's limits per tenant as they are when nobody has changed them (2.17,
//! `pkg/util/validation/limits.go`): the first that a new receiver of many series meets.

use serde::Serialize;

use super::{Amount, size::Pages};
use crate::labels::Labels;

/// One limit, and what was found.
#[derive(Debug, Serialize)]
pub(in crate::cli::scrape) struct Limit {
    /// The key in Mimir's configuration.
    pub(in crate::cli::scrape) name: &'static str,
    pub(in crate::cli::scrape) limit: u64,
    pub(in crate::cli::scrape) found: u64,
    /// Whether samples would be refused.
    pub(in crate::cli::scrape) is_hit: bool,
    /// The series that has the most; empty where it is not about one.
    pub(in crate::cli::scrape) series: String,
}

impl Limit {
    fn new(name: &'static str, limit: u64, found: u64) -> Self {
        Self { name, limit, found, is_hit: found > limit, series: String::new() }
    }
}

const SERIES: u64 = 150_000;
const SAMPLES_PER_SECOND: u64 = 10_000;
const BURST_SAMPLES: u64 = 200_000;
const LABELS: u64 = 30;
const NAME_BYTES: u64 = 1024;
const VALUE_BYTES: u64 = 2048;

/// The limits, in the order in which Mimir documents them.
pub(super) fn mimir(pages: &Pages, total: Amount) -> Vec<Limit> {
    let rate = total.samples_per_second.ceil() as u64;
    let longest = |of: fn(&Labels<'_>) -> usize, name, limit| {
        let items = pages.iter().flatten();
        let most = items.max_by_key(|item| of(&item.labels));
        let mut found = Limit::new(name, limit, most.map_or(0, |item| of(&item.labels) as u64));
        if let Some(item) = most {
            found.series = item.labels.metric_name().to_owned();
        }
        found
    };
    vec![
        Limit::new("ingestion_rate", SAMPLES_PER_SECOND, rate),
        // All targets at once at the worst, after an outage of the receiver.
        Limit::new("ingestion_burst_size", BURST_SAMPLES, total.series),
        longest(
            |labels| longest_of(labels, |(name, _)| name.len()),
            "max_label_name_length",
            NAME_BYTES,
        ),
        longest(
            |labels| longest_of(labels, |(_, value)| value.len()),
            "max_label_value_length",
            VALUE_BYTES,
        ),
        longest(|labels| labels.len(), "max_label_names_per_series", LABELS),
        Limit::new("max_global_series_per_user", SERIES, total.series),
    ]
}

fn longest_of(labels: &Labels<'_>, len: fn((&str, &str)) -> usize) -> usize {
    labels.iter().map(len).max().unwrap_or(0)
}
