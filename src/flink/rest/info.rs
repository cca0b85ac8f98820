//! The info series: what REST knows beyond names, as series of the value 1 to join with.
//!
//! ```text
//!  flink_cluster_info{version="2.3.0",revision="…"} 1
//!  flink_job_info{job_id="…",job_name="…",job_type="STREAMING"} 1
//!  flink_job_checkpoint_info{job_id="…",job_name="…",path="s3://bucket/checkpoints/JOB"} 1
//!  flink_task_info{job_id="…",job_name="…",task_id="…",task_name="…",parallelism="4",max_parallelism="128"} 1
//!  flink_taskmanager_info{tm_id="…",host="…",slots="4"} 1
//! ```
//!
//! They are written as further lines of the page of the JobManager that leads, in the text format: so
//! exactly one target of a cluster has them, however many relays there are, and they are filtered,
//! relabelled and ended with markers as everything else on that page. Jobs are those that the page shows, so
//! they end with their job and not when REST is asked next.

use std::{collections::BTreeSet, fmt::Write as _};

use super::Cluster;
use crate::flink::Group;

/// Their names and what they tell.
pub const INFO: [(&str, &str); 5] = [
    ("flink_cluster_info", "Version of the cluster, from Flink's REST API; 1."),
    ("flink_job_info", "A job with its true name, from Flink's REST API; 1."),
    (
        "flink_job_checkpoint_info",
        "Where a job's checkpoints lie, from Flink's REST API; 1. Known once one has completed.",
    ),
    ("flink_task_info", "A task of a job with its parallelism, from Flink's REST API; 1."),
    ("flink_taskmanager_info", "A registered TaskManager, from Flink's REST API; 1."),
];

/// Whether the metric is one of these. Their labels are complete: nothing of them is normalised.
pub fn is_info(name: &str) -> bool {
    INFO.iter().any(|(info, _)| *info == name)
}

/// Their group.
pub fn group(name: &str) -> Option<Group> {
    is_info(name).then_some(Group::Cluster)
}

/// The lines for a JobManager's page that shows these jobs.
pub fn lines(cluster: &Cluster, jobs_shown: &BTreeSet<&str>) -> String {
    let mut page = Page::default();
    let [of_cluster, of_job, of_checkpoint, of_task, of_task_manager] = INFO;
    page.family(of_cluster);
    if !cluster.version.is_empty() {
        page.line(&[("version", &cluster.version), ("revision", &cluster.revision)]);
    }
    let jobs = || cluster.jobs.iter().filter(|(id, _)| jobs_shown.contains(&***id));
    page.family(of_job);
    for (id, job) in jobs() {
        page.line(&[("job_id", id), ("job_name", &job.name), ("job_type", &job.job_type)]);
    }
    page.family(of_checkpoint);
    for (id, job) in jobs() {
        if let Some(path) = &job.checkpoint_path {
            page.line(&[("job_id", id), ("job_name", &job.name), ("path", path)]);
        }
    }
    page.family(of_task);
    for (id, job) in jobs() {
        for (task_id, task) in job.vertices.iter().flatten() {
            page.line(&[
                ("job_id", id),
                ("job_name", &job.name),
                ("task_id", task_id),
                ("task_name", &task.name),
                ("parallelism", &task.parallelism.to_string()),
                ("max_parallelism", &task.max_parallelism.to_string()),
            ]);
        }
    }
    page.family(of_task_manager);
    for tm in &cluster.task_managers {
        page.line(&[("tm_id", &tm.id), ("host", &tm.host), ("slots", &tm.slots.to_string())]);
    }
    page.text
}

/// A page in the text format.
#[derive(Default)]
struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    fn family(&mut self, (name, help): (&'static str, &str)) {
        self.family = name;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
    }

    fn line(&mut self, labels: &[(&str, &str)]) {
        self.text.push_str(self.family);
        let mut open = '{';
        for (name, value) in labels {
            self.write(format_args!("{open}{name}=\""));
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            open = ',';
        }
        self.text.push_str("} 1\n");
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a string takes everything");
    }
}
