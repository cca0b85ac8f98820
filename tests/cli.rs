//! The program itself: exit codes, what goes to stdout and what to stderr, signals, environment.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, not the functions they call"
)]

#[path = "cli/estimate.rs"]
mod estimate;
#[expect(dead_code, reason = "shared with the tests of the relay, which use all of it")]
#[path = "common/fakes.rs"]
mod fakes;
#[path = "cli/process.rs"]
mod process;
#[path = "cli/reload.rs"]
mod reload;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/scrape.rs"]
mod scrape;
#[path = "cli/spool.rs"]
mod spool;
#[path = "cli/usage.rs"]
mod usage;
