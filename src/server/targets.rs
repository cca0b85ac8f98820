//! `/targets`: what is scraped and how it goes, as JSON. Field names follow Prometheus'
//! `/api/v1/targets` where it has one.

mod discovery;

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use crate::{
    flink::{Budgets, budget::JobBudget},
    flink_rest::{EndpointState, Rest},
    limits::FAULTS_KEPT_MAX,
    push::Receiver,
    relay::Relay,
    scale::ScaleState,
    scrape::{BudgetState, PushdownState},
    shard::Shard,
    spool::Reason,
    status::{RangeState, TargetStatus},
};

/// The whole answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Targets {
    active_targets: Vec<Target>,
    /// Absent when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    discovery: Vec<discovery::Source>,
    ranges: Vec<Range>,
    receivers: Vec<ReceiverState>,
    /// By job, how many targets the last roll-ups across them are of; absent when there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rollup_targets: BTreeMap<String, usize>,
    /// Absent when it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    flink_rest: Option<FlinkRest>,
    /// Absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<Budget>,
    /// Absent when this relay scrapes all targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<ShardState>,
}

/// Which part of the targets is this relay's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardState {
    index: u32,
    /// Of how many; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    /// Absent when the count is written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    stateful_set: Option<StatefulSet>,
}

/// Who says how many there are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatefulSet {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas_wanted: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas_ready: Option<u32>,
    /// Why it cannot be watched; empty while it is.
    last_error: String,
}

/// How the budget of series is used.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Budget {
    /// As they are rolled up.
    series: u64,
    series_total: u64,
    series_per_job: u64,
    degraded: Vec<Degraded>,
    /// Ids of the jobs of which new series are left out; an empty one for all.
    short: Vec<String>,
}

/// A job that is rolled up further because of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Degraded {
    job_id: String,
    job_name: String,
    level: &'static str,
    series: u64,
    series_saved: u64,
}

/// Where names come from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FlinkRest {
    endpoints: Vec<RestEndpoint>,
    /// Ids on pages that no endpoint has explained: the first ones, and how many there are.
    unknown: Vec<String>,
    unknown_total: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RestEndpoint {
    url: String,
    health: &'static str,
    last_error: String,
    /// Seconds since the epoch; absent before the first good poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_poll: Option<f64>,
    polls: u64,
    requests: u64,
    flink_version: String,
    jobs: usize,
    task_managers: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    scrape_url: String,
    labels: BTreeMap<String, String>,
    role: &'static str,
    health: &'static str,
    last_error: String,
    last_error_reason: &'static str,
    /// Seconds since the epoch; absent before the first scrape.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_scrape: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_scrape_duration_seconds: Option<f64>,
    scrape_interval_seconds: f64,
    scrape_timeout_seconds: f64,
    samples_scraped: u64,
    /// Made by the relay from those of the page.
    samples_made: u64,
    samples_kept: u64,
    samples_dropped: BTreeMap<&'static str, u64>,
    groups: BTreeMap<&'static str, GroupSamples>,
    /// The first bad lines of the last page, for people.
    faults: Vec<String>,
    faults_total: u64,
    /// Absent while the page comes whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_page: Option<PartialPage>,
    /// Absent while nothing is left out by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pushdown: Option<Pushdown>,
}

/// Whether the target is asked for what is wanted only.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pushdown {
    /// `pushed`, or why not.
    state: &'static str,
    /// Good pages so far that were asked for by name.
    scrapes_pushed: u64,
    #[serde(flatten)]
    pushed: Option<Pushed>,
}

/// What is asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pushed {
    families: usize,
    families_left_out: usize,
    whole_bytes: u64,
    pushed_bytes: u64,
    query_bytes: usize,
}

/// A page that comes only in parts, because some metric throws.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PartialPage {
    /// The metrics that throw, as Flink exports them.
    quarantined: Vec<String>,
    /// How many more are not asked for, because some of them throw.
    suspected: usize,
    /// Until the whole page is tried.
    retry_in_seconds: f64,
}

#[derive(Debug, Serialize)]
struct GroupSamples {
    scraped: u64,
    made: u64,
    kept: u64,
}

#[derive(Debug, Serialize)]
struct Range {
    /// As the config spells it.
    range: String,
    job: String,
    instances: BTreeMap<u16, &'static str>,
    ignored: BTreeMap<u16, String>,
    closed: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiverState {
    name: String,
    url: String,
    /// See [`State`](crate::push::State).
    state: &'static str,
    /// Seconds since the epoch, as all times here; absent while requests are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_answer: Option<LastAnswer>,
    /// Until when it wants to be left alone, by its `Retry-After`; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<f64>,
    requests_in_flight: u16,
    shards: u16,
    /// How long the oldest sample has waited; 0 when none does.
    oldest_pending_seconds: f64,
    samples_appended: u64,
    samples_delivered: u64,
    samples_pending: u64,
    samples_dropped: BTreeMap<&'static str, u64>,
    /// Absent without a data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    spool: Option<SpoolState>,
}

/// A receiver's spool on disk.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpoolState {
    samples_recovered: u64,
    disk_bytes: u64,
    /// What is in memory only.
    unwritten_bytes: u64,
    /// Why new samples wait in memory; empty when they are written.
    trouble: String,
}

#[derive(Debug, Serialize)]
struct LastAnswer {
    /// Absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The receiver's own words, or why there was no answer.
    words: String,
    at: Option<f64>,
}

/// The present state of a relay.
pub(super) fn list(relay: &Relay) -> Targets {
    let ranges = relay.status.ranges().into_iter();
    let mut active_targets: Vec<_> = relay.status.targets().iter().map(|t| target(t)).collect();
    active_targets.sort_by(|a, b| a.scrape_url.cmp(&b.scrape_url));
    Targets {
        active_targets,
        discovery: relay.discovery().iter().map(discovery::source).collect(),
        ranges: ranges.map(|((_, spec), state)| range(spec, state)).collect(),
        receivers: relay.receivers().iter().map(|r| receiver(r)).collect(),
        rollup_targets: relay.status.rollup_targets(),
        flink_rest: relay.rest().as_ref().map(|rest| flink_rest(rest)),
        budget: budget(relay.status.budget.state()),
        shard: relay.shard().map(|part| shard(part, relay.scale.look())),
    }
}

fn shard(part: Shard, scale: Option<ScaleState>) -> ShardState {
    let stateful_set = scale.map(|scale| StatefulSet {
        name: scale.member.statefulset,
        replicas_wanted: scale.replicas.map(|replicas| replicas.wanted),
        replicas_ready: scale.replicas.map(|replicas| replicas.ready),
        last_error: scale.trouble.unwrap_or_default(),
    });
    let count = Some(part.count()).filter(|&count| count > 0);
    ShardState { index: part.index(), count, stateful_set }
}

fn budget(state: BudgetState) -> Option<Budget> {
    let Budgets { series_total, series_per_job } = state.budgets;
    let degraded = |job: JobBudget| Degraded {
        job_id: job.job.into(),
        job_name: job.name.into(),
        level: job.level.as_str(),
        series: job.series,
        series_saved: job.saved,
    };
    state.budgets.is_on().then(|| Budget {
        series: state.series,
        series_total,
        series_per_job,
        degraded: state.degraded.into_iter().map(degraded).collect(),
        short: state.short.into_iter().map(Into::into).collect(),
    })
}

fn flink_rest(rest: &Rest) -> FlinkRest {
    let unknown = rest.unknown();
    let endpoint = |(url, state): (hyper::Uri, EndpointState)| RestEndpoint {
        url: url.to_string(),
        health: match (state.polls, &state.failure) {
            (0, _) => "unknown",
            (_, None) => "up",
            (_, Some(_)) => "down",
        },
        last_error: state.failure.unwrap_or_default(),
        last_poll: state
            .last_ok
            .and_then(|at| Some(at.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())),
        polls: state.polls,
        requests: state.requests,
        flink_version: state.cluster.version.to_string(),
        jobs: state.cluster.jobs.len(),
        task_managers: state.cluster.task_managers.len(),
    };
    FlinkRest {
        endpoints: rest.endpoints().into_iter().map(endpoint).collect(),
        unknown_total: unknown.len(),
        unknown: unknown.iter().take(FAULTS_KEPT_MAX).map(ToString::to_string).collect(),
    }
}

fn target(status: &TargetStatus) -> Target {
    let state = status.state();
    let labels = status.target.labels.iter();
    let groups = state.tally.groups.iter();
    Target {
        scrape_url: status.target.url.to_string(),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        role: state.role.as_str(),
        health: match (&state.last_scrape, &state.failure) {
            (None, _) => "unknown",
            (Some(_), None) => "up",
            (Some(_), Some(_)) => "down",
        },
        last_error: state.failure.as_ref().map(ToString::to_string).unwrap_or_default(),
        last_error_reason: state.failure.as_ref().map_or("", |failure| failure.reason.as_str()),
        last_scrape: state.last_scrape.and_then(|(began, _)| seconds(began)),
        last_scrape_duration_seconds: state.last_scrape.map(|(_, took)| took.as_secs_f64()),
        scrape_interval_seconds: status.target.interval.as_secs_f64(),
        scrape_timeout_seconds: status.target.timeout.as_secs_f64(),
        samples_scraped: state.tally.scraped,
        samples_made: state.tally.made,
        samples_kept: state.tally.kept,
        samples_dropped: state
            .tally
            .dropped
            .iter()
            .map(|(reason, samples)| (reason.as_str(), samples))
            .collect(),
        groups: groups
            .filter(|(_, samples)| samples.scraped + samples.made > 0)
            .map(|(group, samples)| {
                let crate::series::GroupTally { scraped, made, kept } = samples;
                (group.as_str(), GroupSamples { scraped, made, kept })
            })
            .collect(),
        faults: state.faults.iter().map(ToString::to_string).collect(),
        faults_total: state.faults_total,
        partial_page: state.partial.map(|partial| PartialPage {
            quarantined: partial.quarantined.iter().map(ToString::to_string).collect(),
            suspected: partial.suspected,
            retry_in_seconds: partial.retry_in.as_secs_f64(),
        }),
        pushdown: pushdown(state.pushdown, state.scrapes_pushed),
    }
}

fn pushdown(state: PushdownState, scrapes_pushed: u64) -> Option<Pushdown> {
    let (state, pushed) = match state {
        PushdownState::Off => return None,
        PushdownState::Whole(why) => (why.as_str(), None),
        PushdownState::Pushed(pushed) => ("pushed", Some(pushed)),
    };
    let pushed = pushed.map(|pushed| Pushed {
        families: pushed.families,
        families_left_out: pushed.left_out,
        whole_bytes: pushed.whole_bytes,
        pushed_bytes: pushed.pushed_bytes,
        query_bytes: pushed.query_bytes,
    });
    Some(Pushdown { state, scrapes_pushed, pushed })
}

fn range(range: String, state: RangeState) -> Range {
    let RangeState { job, instances, ignored, closed } = state;
    let instances = instances.into_iter().map(|(port, role)| (port, role.as_str())).collect();
    Range { range, job, instances, ignored, closed }
}

fn receiver(receiver: &Receiver) -> ReceiverState {
    let (counts, health) = (receiver.counts(), receiver.state());
    let (requests_in_flight, shards) = receiver.in_flight();
    ReceiverState {
        name: receiver.config.name.clone(),
        url: receiver.url(),
        state: health.state.as_str(),
        failing_since: health.failing_since.and_then(seconds),
        last_success: health.last_success.and_then(seconds),
        last_answer: health.last_answer.map(|answer| LastAnswer {
            status: answer.status,
            words: answer.words,
            at: seconds(answer.at),
        }),
        retry_after: receiver.retry_at().and_then(seconds),
        requests_in_flight,
        shards,
        oldest_pending_seconds: receiver.oldest_pending().unwrap_or_default().as_secs_f64(),
        samples_appended: counts.appended.samples,
        samples_delivered: counts.delivered.samples,
        samples_pending: counts.queued.samples,
        samples_dropped: Reason::ALL
            .into_iter()
            .map(|reason| (reason.as_str(), counts.dropped(reason).samples))
            .collect(),
        spool: receiver.store().map(|store| SpoolState {
            samples_recovered: counts.recovered.samples,
            disk_bytes: store.disk_bytes,
            unwritten_bytes: store.unwritten_bytes,
            trouble: store.trouble,
        }),
    }
}

/// Seconds since the epoch.
fn seconds(at: SystemTime) -> Option<f64> {
    Some(at.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}
