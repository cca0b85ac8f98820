//! Roll-ups across targets, and how the budget of series is used. Without them there are no series of these
//! families.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Kind, family};
use crate::{
    flink::budget::JobBudget,
    scrape::{BudgetState, level_number},
    status::Status,
};

/// A number of a degraded job.
type Row = (&'static str, &'static str, fn(&JobBudget) -> f64);

const ROWS: [Row; 3] = [
    (
        "budget_job_level",
        "How far a job is rolled up because of the budget: 1 to tasks, 2 to the job.",
        |job| f64::from(level_number(job.level)),
    ),
    ("budget_job_series", "Series of a job that is rolled up because of the budget.", |job| {
        job.series as f64
    }),
    ("budget_job_series_saved", "Series that a job would have more without the budget.", |job| {
        job.saved as f64
    }),
];

/// Writes the family of roll-ups across targets.
pub(super) fn rollups(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help =
        "Targets that are part of the roll-ups across the job's targets that were made last.";
    family(encoder, "rollup_targets", help, Kind::Gauge, |family| {
        let jobs = status.rollup_targets();
        jobs.iter().try_for_each(|(job, &targets)| family.add(&[("job", job)], targets as f64))
    })
}

/// Writes the families of the budget.
pub(super) fn budget(state: &BudgetState, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let is_on = state.budgets.is_on();
    let help = "Series of all targets together, as they are rolled up.";
    family(encoder, "budget_series", help, Kind::Gauge, |family| {
        if is_on { family.add(&[], state.series as f64) } else { Ok(()) }
    })?;
    let help = "Limits of the budget; 0 is none.";
    family(encoder, "budget_series_limit", help, Kind::Gauge, |family| {
        let limits = [
            ("series_total", state.budgets.series_total),
            ("series_per_job", state.budgets.series_per_job),
        ];
        let limits = limits.into_iter().filter(|_| is_on);
        limits
            .into_iter()
            .try_for_each(|(limit, series)| family.add(&[("limit", limit)], series as f64))
    })?;
    for (name, help, value) in ROWS {
        family(encoder, name, help, Kind::Gauge, |family| {
            state.degraded.iter().try_for_each(|job| {
                let labels = [("job_id", &*job.job), ("job_name", &*job.name)];
                family.add(&labels, value(job))
            })
        })?;
    }
    let help =
        "Jobs of which new series are left out because of the budget, the whole relay as one.";
    family(encoder, "budget_jobs_short", help, Kind::Gauge, |family| {
        if is_on { family.add(&[], state.short.len() as f64) } else { Ok(()) }
    })
}
