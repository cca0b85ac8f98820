//! Where targets are looked for, as `/targets` tells it.

use serde::Serialize;

use super::seconds;
use crate::relay::SourceLook;

/// One entry of a job's `…_sd_configs`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Source {
    job: String,
    /// Such as `file_sd_configs[0]`.
    config: String,
    /// Its kind, and what is asked.
    source: String,
    /// `unknown` before the first answer.
    health: &'static str,
    last_error: String,
    /// Seconds since the epoch; absent before the first answer that is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refresh: Option<f64>,
    refreshes: u64,
    refresh_failures: u64,
    /// Before relabelling; absent before the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    discovered_targets: Option<usize>,
    dropped_targets: Dropped,
}

#[derive(Debug, Serialize)]
struct Dropped {
    relabel: usize,
    invalid: usize,
    shard: usize,
}

pub(super) fn source(look: &SourceLook) -> Source {
    let state = look.source.state();
    let left_out = state.left_out;
    Source {
        job: look.job.clone(),
        config: look.config.clone(),
        source: look.source.config.to_string(),
        health: match (state.refreshes, &state.failure) {
            (0, _) => "unknown",
            (_, None) => "up",
            (_, Some(_)) => "down",
        },
        last_error: state.failure.unwrap_or_default(),
        last_refresh: state.last_refresh.and_then(seconds),
        refreshes: state.refreshes,
        refresh_failures: state.failures,
        discovered_targets: state.targets,
        dropped_targets: Dropped {
            relabel: left_out.relabel,
            invalid: left_out.invalid,
            shard: left_out.shard,
        },
    }
}
