//! What the relay says about itself: logs on stderr, and its own metrics.

pub mod metrics;
mod process;

use std::{io, io::IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt};

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text per event, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// Levels of the log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What others say that the relay says itself, once and in its own words. A longer target in the filter, such
/// as `kube_runtime=debug`, goes before it.
const OTHERS: &str = "kube=off";

/// Starts logging to stderr. `filter` is a level (`info`) or a list of `target=level` pairs.
///
/// # Errors
/// A filter that cannot be read, or logging that was started before.
pub fn init(
    format: LogFormat,
    filter: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // EnvFilter takes any word for the name of a module, and a level with a typing error would turn
    // the log off.
    let levels = filter.split(',').filter(|part| !part.contains('='));
    if let Some(unknown) = levels.map(str::trim).find(|part| !LEVELS.contains(part)) {
        return Err(
            format!("unknown level `{unknown}`, expected one of {}", LEVELS.join(", ")).into()
        );
    }
    let filter = EnvFilter::try_new(format!("{OTHERS},{filter}"))?;
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
}
