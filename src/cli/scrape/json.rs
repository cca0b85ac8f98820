//! `-o json`: one document for tools. Its shape is a contract:
//! `{"ranges": […], "targets": [{"url", "labels", "role", "up", "error", "samples", …, "series": […]}],
//! "custom": [{"name", "type", "help", "samples", "row"}]}`.

use std::{collections::BTreeMap, io};

use serde::Serialize;

use super::{Estimate, Report, TargetReport, custom, kind, number};
use crate::{
    flink::Budgets,
    scrape::{self, BudgetState, PushdownState},
    series::GroupTally,
    status::RangeState,
};

#[derive(Serialize)]
struct Document<'a> {
    ranges: Vec<Range<'a>>,
    targets: Vec<Target<'a>>,
    /// Absent when none is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<Budget<'a>>,
    /// Metrics that no row of the catalogue describes.
    custom: Vec<Unknown<'a>>,
}

#[derive(Serialize)]
struct Unknown<'a> {
    name: &'a str,
    r#type: &'static str,
    help: &'a str,
    samples: u64,
    /// For `flink.metrics`, to be completed; null for what is not Flink's.
    row: Option<String>,
}

#[derive(Serialize)]
struct Budget<'a> {
    series: u64,
    series_total: u64,
    series_per_job: u64,
    /// Jobs that are rolled up further because of it.
    degraded: Vec<Degraded<'a>>,
    /// Ids of jobs of which new series are left out; empty text for all.
    short: Vec<&'a str>,
}

#[derive(Serialize)]
struct Degraded<'a> {
    job_id: &'a str,
    job_name: &'a str,
    level: &'static str,
    series: u64,
    series_saved: u64,
}

#[derive(Serialize)]
struct Range<'a> {
    range: &'a str,
    instances: BTreeMap<u16, &'static str>,
    ignored: &'a BTreeMap<u16, String>,
    closed: usize,
}

#[derive(Serialize)]
struct Target<'a> {
    url: String,
    labels: BTreeMap<&'a str, &'a str>,
    role: &'static str,
    up: bool,
    /// Null when the scrape succeeded.
    error: Option<Error>,
    duration_seconds: f64,
    page_bytes: u64,
    samples_scraped: u64,
    /// Samples that the relay made from them.
    samples_made: u64,
    samples_kept: u64,
    /// Samples that would not be sent, by reason.
    samples_dropped: BTreeMap<&'static str, u64>,
    series_ids_kept: u64,
    groups: BTreeMap<&'static str, Samples>,
    faults: Vec<Fault>,
    faults_total: u64,
    /// Null when the page came whole.
    partial_page: Option<PartialPage<'a>>,
    /// Null when nothing is left out by name.
    pushdown: Option<Pushdown>,
    metrics: Vec<Metric<'a>>,
    series: Vec<Series<'a>>,
}

#[derive(Serialize)]
struct Error {
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
struct Samples {
    scraped: u64,
    made: u64,
    kept: u64,
}

#[derive(Serialize)]
struct Fault {
    line: u64,
    column: usize,
    offset: u64,
    message: String,
}

/// A page that comes only without metrics that throw when they are read.
#[derive(Serialize)]
struct PartialPage<'a> {
    /// As Flink exports them.
    quarantined: Vec<&'a str>,
    /// How many more were not asked for, because some of them throw.
    suspected: usize,
}

/// Whether `run` would ask for the next page by name.
#[derive(Serialize)]
struct Pushdown {
    /// `pushed`, or why not.
    state: &'static str,
    #[serde(flatten)]
    pushed: Option<Pushed>,
}

/// What it would ask for.
#[derive(Serialize)]
struct Pushed {
    families: usize,
    families_left_out: usize,
    whole_bytes: u64,
    pushed_bytes: u64,
    query_bytes: usize,
}

#[derive(Serialize)]
struct Metric<'a> {
    name: &'a str,
    r#type: &'static str,
    unit: &'a str,
    help: &'a str,
}

#[derive(Serialize)]
struct Series<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    group: &'static str,
    timestamp_ms: i64,
    /// As text, since JSON has neither NaN nor infinities.
    value: String,
}

/// Writes the document.
pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let ranges = report.ranges.iter().map(|(spec, state)| range(spec, state)).collect();
    let unknown = custom::unknown(report).into_iter().map(|metric| {
        let custom::Unknown { name, kind, help, samples, row } = metric;
        Unknown { name, r#type: kind, help, samples, row }
    });
    let document = Document {
        ranges,
        targets: report.targets.iter().map(target).collect(),
        budget: budget(&report.budget),
        custom: unknown.collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// Writes an estimate, whose fields are its keys.
pub(super) fn write_estimate(estimate: &Estimate, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, estimate)?;
    writeln!(out)
}

fn budget(state: &BudgetState) -> Option<Budget<'_>> {
    let Budgets { series_total, series_per_job } = state.budgets;
    let degraded = state.degraded.iter().map(|job| Degraded {
        job_id: &job.job,
        job_name: &job.name,
        level: job.level.as_str(),
        series: job.series,
        series_saved: job.saved,
    });
    state.budgets.is_on().then(|| Budget {
        series: state.series,
        series_total,
        series_per_job,
        degraded: degraded.collect(),
        short: state.short.iter().map(|job| &**job).collect(),
    })
}

fn range<'a>(spec: &'a str, state: &'a RangeState) -> Range<'a> {
    let instances = state.instances.iter().map(|&(port, role)| (port, role.as_str())).collect();
    Range { range: spec, instances, ignored: &state.ignored, closed: state.closed }
}

fn target(report: &TargetReport) -> Target<'_> {
    let scraped = &report.scraped;
    let tally = scraped.result.as_ref().ok().cloned().unwrap_or_default();
    let groups = tally.groups.iter().filter(|(_, count)| count.scraped + count.made > 0);
    let samples = |GroupTally { scraped, made, kept }| Samples { scraped, made, kept };
    Target {
        url: report.target.url.to_string(),
        labels: report.target.labels.iter().collect(),
        role: scraped.role.as_str(),
        up: scraped.result.is_ok(),
        error: scraped
            .result
            .as_ref()
            .err()
            .map(|failure| Error { reason: failure.reason.as_str(), message: failure.to_string() }),
        duration_seconds: scraped.duration.as_secs_f64(),
        page_bytes: scraped.page_bytes,
        samples_scraped: tally.scraped,
        samples_made: tally.made,
        samples_kept: tally.kept,
        samples_dropped: tally.dropped.iter().map(|(r, count)| (r.as_str(), count)).collect(),
        series_ids_kept: tally.ids_kept,
        groups: groups.map(|(group, count)| (group.as_str(), samples(count))).collect(),
        faults: scraped
            .faults
            .iter()
            .map(|fault| Fault {
                line: fault.line(),
                column: fault.column(),
                offset: fault.offset(),
                message: fault.to_string(),
            })
            .collect(),
        faults_total: scraped.faults_total,
        partial_page: scraped.partial.as_ref().map(|partial| PartialPage {
            quarantined: partial.quarantined.iter().map(AsRef::as_ref).collect(),
            suspected: partial.suspected,
        }),
        pushdown: pushdown(scraped.pushdown),
        metrics: report
            .families
            .iter()
            .map(|f| Metric { name: &f.name, r#type: kind(f.kind), unit: &f.unit, help: &f.help })
            .collect(),
        series: report
            .series
            .iter()
            .map(|series| Series {
                name: series.name(),
                labels: series.other_labels().collect(),
                group: series.group.as_str(),
                timestamp_ms: series.timestamp_ms,
                value: number(series.value),
            })
            .collect(),
    }
}

fn pushdown(state: PushdownState) -> Option<Pushdown> {
    Some(match state {
        PushdownState::Off => return None,
        PushdownState::Whole(why) => Pushdown { state: why.as_str(), pushed: None },
        PushdownState::Pushed(pushed) => {
            let scrape::Pushed { families, left_out, whole_bytes, pushed_bytes, query_bytes } =
                pushed;
            let families_left_out = left_out;
            let pushed =
                Pushed { families, families_left_out, whole_bytes, pushed_bytes, query_bytes };
            Pushdown { state: "pushed", pushed: Some(pushed) }
        }
    })
}
