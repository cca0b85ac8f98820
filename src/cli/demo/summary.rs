//! The demo's summary: targets, groups, rates, and the last values of ten series.

use std::fmt::Write as _;

use tokio::time::Instant;

use super::receiver::{Received, Store};
use crate::{
    labels::{Labels, METRIC_NAME},
    relay::Relay,
    series::GroupTallies,
};

/// Metrics of which one series is shown: the ones that people look at first.
const SHOWN: [&str; 10] = [
    "flink_jobmanager_numRunningJobs",
    "flink_jobmanager_taskSlotsAvailable",
    "flink_jobmanager_job_uptime",
    "flink_jobmanager_Status_JVM_CPU_Time",
    "flink_taskmanager_Status_JVM_Memory_Heap_Used",
    "flink_taskmanager_Status_JVM_GarbageCollector_All_Count",
    "flink_taskmanager_job_task_numRecordsOut",
    "flink_taskmanager_job_task_numBytesInRemote",
    "flink_taskmanager_job_task_checkpointAlignmentTime",
    "flink_taskmanager_job_task_operator_numRecordsIn",
];

/// What the summary is made from.
pub(super) struct Summary<'a> {
    relay: &'a Relay,
    /// The embedded receiver's store; `None` when samples go elsewhere.
    store: Option<&'a Store>,
    url: &'a str,
    began: Instant,
}

impl<'a> Summary<'a> {
    pub(super) fn new(relay: &'a Relay, store: Option<&'a Store>, url: &'a str) -> Self {
        Self { relay, store, url, began: Instant::now() }
    }

    /// The summary as it is now.
    pub(super) fn text(&self, now: Instant) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = self.write(now, &mut text);
        text
    }

    fn write(&self, now: Instant, text: &mut String) -> std::fmt::Result {
        let mut groups = GroupTallies::default();
        writeln!(text, "targets")?;
        for target in self.relay.status.targets() {
            let state = target.state();
            let health = match (&state.last_scrape, &state.failure) {
                (None, _) => "waiting".to_owned(),
                (Some(_), None) => format!("up, {} samples", state.tally.scraped),
                (Some(_), Some(failure)) => format!("down, {failure}"),
            };
            let role = state.role.as_str();
            writeln!(text, "  {role:<12} {:<38} {health}", target.target.url.to_string())?;
            groups.merge(&state.tally.groups);
        }
        write!(text, "groups\n ")?;
        for (group, samples) in groups.iter() {
            if samples.kept > 0 {
                write!(text, " {group} {}", samples.kept)?;
            }
        }
        writeln!(text, "\nreceiver\n  {}", self.url)?;
        for receiver in self.relay.receivers() {
            let counts = receiver.counts();
            let samples = counts.delivered.samples;
            let bytes = counts.delivered.bytes;
            let seconds = now.saturating_duration_since(self.began).as_secs_f64().max(0.001);
            writeln!(
                text,
                "  {samples} samples delivered, {:.0} samples/s, {:.1} bytes per sample, {} pending",
                samples as f64 / seconds,
                bytes as f64 / samples.max(1) as f64,
                counts.queued.samples,
            )?;
        }
        match self.store {
            Some(store) => write_series(&store.lock(), text),
            None => Ok(()),
        }
    }

    /// Whether the demo showed what it is to show.
    pub(super) fn verdict(&self, undelivered: u64) -> Result<(), String> {
        let targets = self.relay.status.targets();
        let silent = targets.iter().find(|target| target.state().totals.scraped == 0);
        if let Some(silent) = silent {
            return Err(format!("{} was never scraped", silent.target.url));
        }
        if undelivered > 0 {
            return Err(format!("{undelivered} samples were not delivered to {}", self.url));
        }
        for receiver in self.relay.receivers() {
            let counts = receiver.counts();
            if counts.delivered.samples == 0 || counts.delivered != counts.appended {
                return Err(format!("{} samples were dropped", counts.dropped_in_all().samples));
            }
            if let Some(store) = self.store
                && store.lock().samples < counts.delivered.samples
            {
                return Err("the receiver has fewer samples than were delivered".to_owned());
            }
        }
        Ok(())
    }
}

fn write_series(received: &Received, text: &mut String) -> std::fmt::Result {
    let (series, families) = (received.last.len(), received.families);
    writeln!(text, "  {series} series, metadata of {families} metrics; ten of the series:")?;
    for name in SHOWN {
        let of_name = |labels: &&Labels<'static>| labels.metric_name() == name;
        // The busiest one; of equals the first by its labels, so that frames do not jump.
        let mut of_name: Vec<_> =
            received.last.iter().filter(|(labels, _)| of_name(labels)).collect();
        of_name.sort_by_cached_key(|(labels, _)| labels.to_string());
        if let Some((labels, value)) =
            of_name.into_iter().reduce(|a, b| if b.1 > a.1 { b } else { a })
        {
            writeln!(text, "  {value:>16} {name}{}", short(labels))?;
        }
    }
    Ok(())
}

/// The labels that tell series apart for a person.
fn short(labels: &Labels<'_>) -> String {
    let shown = ["job_name", "task_name", "operator", "subtask_index", "tm_id", "instance"];
    let pairs = shown.iter().filter_map(|&name| Some((name, labels.get(name)?)));
    let pairs: Vec<_> = pairs
        .filter(|(name, _)| *name != METRIC_NAME)
        .take(3)
        .map(|(name, value)| {
            let cut: String = value.chars().take(24).collect();
            let dots = if cut.len() < value.len() { "…" } else { "" };
            format!("{name}=\"{cut}{dots}\"")
        })
        .collect();
    format!("{{{}}}", pairs.join(","))
}
