//! `--estimate`: what the scraped targets will cost a receiver, before anything is sent.
//!
//! Everything is counted and measured on the series that this scrape would send: bytes are those of
//! requests that the relay's own encoders make of them, compressed as on the wire, without HTTP headers.
//! A row is measured alone, so what dropping it saves is near; all together is less than the sum
//! of the rows, because they share texts.
//!
//! ```text
//!   series x groups x jobs -> rows: series, samples/s, bytes/day in 1.0 and 2.0
//!                          -> the same at each roll-up level
//!                          -> what a restart adds, and Mimir's default limits
//! ```

mod levels;
mod limits;
mod show;
mod size;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;

use self::{
    levels::rolled_up,
    size::{Item, Pages, measure, metadata_bytes},
};
pub(super) use self::{limits::Limit, show::write as write_table};
use super::{Report, TargetReport};
use crate::{
    config::{Config, MAX_SAMPLES_PER_SEND},
    flink::{Catalogue, Role, rollup::Level},
    labels::{Labels, METRIC_NAME},
    remote_write::{proto::metric_metadata::MetricType, v2::About},
};

/// What one round of scrapes tells of the cost.
#[derive(Debug, Serialize)]
pub(super) struct Estimate {
    /// Targets that answered, by role.
    pub(super) targets: BTreeMap<&'static str, Targets>,
    /// By group and job, the most series first.
    pub(super) rows: Vec<Row>,
    /// All together, measured together.
    pub(super) total: Cost,
    /// Bytes a day of the metadata that remote write 1.0 sends beside the samples; 2.0 has it in them.
    pub(super) metadata_bytes_per_day: f64,
    /// The total with this many TaskManagers, each with the mean of the pages that were scraped.
    pub(super) scaled: Option<Scaled>,
    /// Series that would be new, and the old ones gone, in these events.
    pub(super) new_series: NewSeries,
    /// Mimir's default limits against the total, or against the scaled one.
    pub(super) mimir: Vec<Limit>,
}

/// The targets of one role.
#[derive(Debug, Default, Serialize)]
pub(super) struct Targets {
    pub(super) count: u64,
    /// Series of all of them, without `up` and its companions.
    pub(super) series: u64,
    /// Series of the largest page.
    pub(super) series_max: u64,
}

/// The series of one group and job.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The metric group, or `report` for `up` and its companions.
    pub(super) group: String,
    /// Null for series that name no job.
    pub(super) job_name: Option<String>,
    pub(super) job_id: Option<String>,
    #[serde(flatten)]
    pub(super) cost: Cost,
}

/// What series cost.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Cost {
    #[serde(flatten)]
    pub(super) now: Amount,
    /// The same rolled up, within each target.
    pub(super) at_level_task: Amount,
    pub(super) at_level_job: Amount,
}

/// So many series, at the interval of their targets.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Amount {
    pub(super) series: u64,
    pub(super) samples_per_second: f64,
    /// As remote write 1.0.
    pub(super) bytes_per_day_v1: f64,
    /// As remote write 2.0.
    pub(super) bytes_per_day_v2: f64,
}

/// A cost for more or fewer TaskManagers.
#[derive(Debug, Serialize)]
pub(super) struct Scaled {
    pub(super) task_managers: u64,
    #[serde(flatten)]
    pub(super) cost: Cost,
}

/// Series whose labels hold something that changes.
#[derive(Debug, Default, Serialize)]
pub(super) struct NewSeries {
    /// A restart of all jobs: the labels of attempts.
    pub(super) attempts: u64,
    /// All jobs submitted again: `job_id`.
    pub(super) jobs: u64,
    /// All TaskManagers replaced: `tm_id`.
    pub(super) task_managers: u64,
}

/// The labels that each attempt of a task has anew.
const OF_ATTEMPT: [&str; 2] = ["task_attempt_id", "task_attempt_num"];

/// The group of `up` and its companions.
const REPORT: &str = "report";

/// The series that the relay adds for each target; see `scrape/report.rs`.
const REPORT_NAMES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

type JobKey<'a> = (String, Option<&'a str>, Option<&'a str>);

impl Estimate {
    /// The estimate of what was scraped; `task_managers` is for how many it shall be scaled.
    pub(super) fn new(report: &Report, config: &Config, task_managers: Option<u64>) -> Self {
        let pages = pages(report, config);
        let catalogue = &config.flink.catalogue;
        let mut by_row = BTreeMap::<JobKey<'_>, Pages>::new();
        for (page, items) in pages.iter().enumerate() {
            for item in items {
                let label = |name| item.labels.get(name);
                let key = (item.group.clone(), label("job_name"), label("job_id"));
                let row = by_row.entry(key).or_insert_with(|| pages.like());
                row.push(page, item.clone());
            }
        }
        let row = |((group, name, id), pages): (JobKey<'_>, Pages)| Row {
            group,
            job_name: name.map(str::to_owned),
            job_id: id.map(str::to_owned),
            cost: cost(&pages, catalogue, &|_| 1.0),
        };
        let mut rows: Vec<Row> = by_row.into_iter().map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.cost.now.series));
        let total = cost(&pages, catalogue, &|_| 1.0);
        let targets = targets(report);
        let scaled = task_managers.and_then(|wanted| {
            let found = targets.get(Role::TaskManager.as_str())?.count;
            let factor = wanted as f64 / found as f64;
            let factors = |page: usize| if pages.is_task_manager(page) { factor } else { 1.0 };
            Some(Scaled { task_managers: wanted, cost: cost(&pages, catalogue, &factors) })
        });
        let amount = scaled.as_ref().map_or(total.now, |scaled| scaled.cost.now);
        let mimir = limits::mimir(&pages, amount);
        Self {
            targets,
            rows,
            new_series: new_series(&pages),
            metadata_bytes_per_day: metadata_bytes(report, config),
            total,
            scaled,
            mimir,
        }
    }
}

/// What these pages cost as they are and at each level; each page counts as many times as told.
fn cost(pages: &Pages, catalogue: &Catalogue, factor: &dyn Fn(usize) -> f64) -> Cost {
    let at = |level| measure(&rolled_up(pages, level, catalogue), factor);
    Cost {
        now: measure(pages, factor),
        at_level_task: at(Level::Task),
        at_level_job: at(Level::Job),
    }
}

/// The series of each target that answered, those of the report among them.
fn pages(report: &Report, config: &Config) -> Pages {
    let first = config.receivers.first();
    let samples_max =
        first.map_or(MAX_SAMPLES_PER_SEND, |receiver| receiver.queue.max_samples_per_send);
    let mut pages = Pages::new(samples_max);
    for target in report.targets.iter().filter(|target| target.scraped.result.is_ok()) {
        let is_task_manager = target.scraped.role == Role::TaskManager;
        let page = pages.add(target.target.interval, is_task_manager);
        let families = Families::new(target);
        for series in &target.series {
            pages.push(
                page,
                Item {
                    group: series.group.as_str().to_owned(),
                    labels: series.labels.clone(),
                    about: families.about(series.name()),
                    timestamp_ms: series.timestamp_ms,
                    value: series.value,
                },
            );
        }
        let now = target.series.first().map_or(1_700_000_000_000, |series| series.timestamp_ms);
        for name in REPORT_NAMES {
            pages.push(page, report_item(target, config, name, now));
        }
    }
    pages
}

fn report_item(
    target: &TargetReport,
    config: &Config,
    name: &'static str,
    timestamp_ms: i64,
) -> Item {
    let mut labels: Labels<'static> = target.target.labels.clone();
    labels.set(METRIC_NAME, name);
    for (name, value) in &config.external_labels {
        if labels.get(name).is_none() {
            labels.push(name.clone(), value.clone());
        }
    }
    labels.sort();
    let about = About::kind(MetricType::Gauge);
    Item { group: REPORT.to_owned(), labels, about: Arc::new(about), timestamp_ms, value: 1.0 }
}

/// The families of a target by name, a summary's count among them.
struct Families<'a>(BTreeMap<&'a str, Arc<About>>);

impl<'a> Families<'a> {
    fn new(target: &'a TargetReport) -> Self {
        let about = |family: &'a super::FamilyReport| About {
            kind: family.kind,
            help: family.help.as_str().into(),
            unit: family.unit.as_str().into(),
        };
        let families = target.families.iter();
        Self(families.map(|f| (f.name.as_str(), Arc::new(about(f)))).collect())
    }

    fn about(&self, name: &str) -> Arc<About> {
        let count = || self.0.get(name.strip_suffix("_count")?);
        let known = self.0.get(name).or_else(count);
        known.cloned().unwrap_or_else(|| Arc::new(About::kind(MetricType::Unknown)))
    }
}

fn targets(report: &Report) -> BTreeMap<&'static str, Targets> {
    let mut targets = BTreeMap::<_, Targets>::new();
    for target in report.targets.iter().filter(|target| target.scraped.result.is_ok()) {
        let of_role = targets.entry(target.scraped.role.as_str()).or_default();
        let series = target.series.len() as u64;
        of_role.count += 1;
        of_role.series += series;
        of_role.series_max = of_role.series_max.max(series);
    }
    targets
}

fn new_series(pages: &Pages) -> NewSeries {
    let mut new = NewSeries::default();
    for item in pages.iter().flatten() {
        let names: BTreeSet<&str> = item.labels.iter().map(|(name, _)| name).collect();
        new.attempts += u64::from(OF_ATTEMPT.iter().any(|label| names.contains(label)));
        new.jobs += u64::from(names.contains("job_id"));
        new.task_managers += u64::from(names.contains("tm_id"));
    }
    new
}
